//! A hand-over is committed before its ciphertext went out: two steps swapped.
//! error[E0308]: mismatched types | expected `Streamed`, found `Decided`

use schakel_broker::decide::Decided;
use schakel_broker::deliver::{self, Commit, Line};
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, line: &Line, decided: Decided) -> Result<Commit, Refusal> {
    deliver::commit(state, line, decided).await
}

//! Keys go out before the leaf stands under a signed checkpoint.
//! error[E0308]: mismatched types | expected `Proved`, found `Committed`

use schakel_broker::deliver::{self, Committed, Line, Sent};
use schakel_broker::roles::Caller;
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;

pub async fn leg(
    state: &State,
    caller: &Caller,
    line: &Line,
    committed: Committed,
) -> Result<Option<Sent>, Refusal> {
    deliver::send(state, caller, line, committed).await
}

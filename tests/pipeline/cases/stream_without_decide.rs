//! Ciphertext goes out for a packet that nobody decided on.
//! error[E0308]: mismatched types | expected `Decided`, found `Lease`

use schakel_broker::deliver::{self, Line, Streamed};
use schakel_broker::state::State;
use schakel_broker::store::Lease;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, line: &Line, lease: Lease) -> Result<Streamed, Refusal> {
    deliver::stream(state, line, lease).await
}

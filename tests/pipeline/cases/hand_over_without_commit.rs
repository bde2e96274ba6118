//! A decision that is not durable is proved and handed over.
//! error[E0308]: mismatched types | expected `Committed`, found `Streamed`

use schakel_broker::deliver::{self, Proved, Streamed};
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, streamed: Streamed) -> Result<Proved, Refusal> {
    deliver::prove(state, streamed).await
}

//! What was received is admitted, nobody verified it.
//! error[E0308]: mismatched types | expected `VerifiedPacket`, found `Received`

use schakel_broker::admit::{self, Admission};
use schakel_broker::intake::Received;
use schakel_broker::intake::rejection::Rejection;
use schakel_broker::state::State;

pub async fn leg(state: &State, received: Received) -> Result<Admission, Rejection> {
    admit::admit(state, received).await
}

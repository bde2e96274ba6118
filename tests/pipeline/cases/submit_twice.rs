//! A packet that was accepted is accepted once more: a stage consumes what it takes.
//! error[E0382]: use of moved value: `complete`

use schakel_broker::accept::{self, AcceptedPacket};
use schakel_broker::intake::sealings::CompletePacket;
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, complete: CompletePacket) -> Result<AcceptedPacket, Refusal> {
    accept::accept(state, complete).await?;
    accept::accept(state, complete).await
}

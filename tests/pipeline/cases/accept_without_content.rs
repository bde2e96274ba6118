//! A packet is accepted whose ciphertext nobody has.
//! error[E0308]: mismatched types | expected `CompletePacket`, found `AdmittedPacket`

use schakel_broker::accept::{self, AcceptedPacket};
use schakel_broker::admit::AdmittedPacket;
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, admitted: AdmittedPacket) -> Result<AcceptedPacket, Refusal> {
    accept::accept(state, admitted).await
}

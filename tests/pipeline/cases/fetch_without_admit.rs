//! Ciphertext is fetched for a packet that nobody admitted.
//! error[E0308]: mismatched types | expected `AdmittedPacket`, found `VerifiedPacket`

use schakel_broker::intake::sealings::{self, CompletePacket};
use schakel_broker::state::State;
use schakel_broker::verify::VerifiedPacket;
use schakel_proto::refusal::Refusal;

pub async fn leg(state: &State, verified: VerifiedPacket) -> Result<CompletePacket, Refusal> {
    sealings::fetch(state, verified).await
}

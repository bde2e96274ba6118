//! Verify and admit are swapped.
//! error[E0308]: mismatched types | expected `Received`, found `AdmittedPacket`

use schakel_broker::admit::AdmittedPacket;
use schakel_broker::state::State;
use schakel_broker::verify::{self, VerifiedPacket};
use schakel_proto::refusal::Refusal;

pub fn leg(state: &State, admitted: AdmittedPacket) -> Result<VerifiedPacket, Refusal> {
    verify::verify(state, admitted)
}

//! An acknowledgement is settled as it came, nobody checked who signed it.
//! error[E0308]: mismatched types | expected `VerifiedAcknowledgement`, found `Signed`

use schakel_broker::acknowledge;
use schakel_broker::roles::Caller;
use schakel_broker::state::State;
use schakel_proto::refusal::Refusal;
use schakel_proto::wire;

pub async fn leg(state: &State, caller: &Caller, signed: wire::Signed) -> Result<wire::Settled, Refusal> {
    acknowledge::settle(state, caller, signed).await
}

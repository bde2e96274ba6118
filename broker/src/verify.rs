//! Verify: the submission is signed by a current key of the agency that the connection belongs to, is
//! of this network, fresh, and sealed to members' current keys.

use schakel_proto::packet::verify::{self, VerifiedSubmission, VerifyContext};
use schakel_proto::refusal::{Fault, Refusal};

use crate::intake::{Received, Rest};
use crate::roles::Caller;
use crate::state::State;

/// A submission that is its sender's. Its ciphertext is still to come.
pub struct VerifiedPacket {
    caller: Caller,
    submission: VerifiedSubmission,
    rest: Rest,
}

/// Verifies what was received, under the directory that the call came in with.
///
/// # Errors
/// The first defect found.
pub fn verify(state: &State, received: Received) -> Result<VerifiedPacket, Refusal> {
    let (caller, parsed, rest) = received.into_parts();
    let now = state.clock.now();
    let context = VerifyContext {
        network: &state.network,
        tls_agency: caller.agency(),
        directory: caller.directory().as_ref(),
        now,
    };
    let submission = verify::verify(parsed, context)?;
    let manifest = submission.parsed().manifest();
    let life = manifest.expires.millis_since(manifest.created);
    if life > state.bounds.packet_life_max_millis {
        let days = state.bounds.packet_life_max_millis / (24 * 3600 * 1000);
        let sentence = format!("This broker keeps packets for at most {days} days");
        let refusal = Refusal::new(
            Fault::Invalid,
            "LIFE_TOO_LONG",
            sentence,
            "Seal it with a shorter life.",
        );
        return Err(refusal.at("manifest.expires_ms"));
    }
    Ok(VerifiedPacket {
        caller,
        submission,
        rest,
    })
}

impl VerifiedPacket {
    /// The submission and its proof.
    pub fn submission(&self) -> &VerifiedSubmission {
        &self.submission
    }

    /// Who submits.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// For the next stage.
    pub(crate) fn into_parts(self) -> (Caller, VerifiedSubmission, Rest) {
        (self.caller, self.submission, self.rest)
    }
}

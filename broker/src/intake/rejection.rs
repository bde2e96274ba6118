//! How a submission is refused: to the sender a refusal, to the log at most a few leaves an hour for each
//! member, so that nobody fills the log with rubbish. No packet, queue row or file is left.

use schakel_proto::evidence::Event;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{self, Fault, Refusal};
use schakel_proto::wire;

use crate::log::entry::EntryDraft;
use crate::redact::{Code, safe};
use crate::refusals::Refused;
use crate::state::State;

/// A refused submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    refusal: Refusal,
    recipients: Vec<wire::RecipientRefusal>,
    /// It has its leaf already.
    logged: bool,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            recipients: Vec::new(),
            logged: false,
        }
    }
}

impl Rejection {
    /// The rules deny every recipient; the log says so.
    pub fn denied(recipients: Vec<wire::RecipientRefusal>) -> Self {
        let refusal = Refusal::new(
            Fault::Precondition,
            "DENIED",
            "The rules deny this packet to every recipient",
            "Each recipient's reason code says what stands in the way; change that, then seal anew.",
        );
        Self {
            refusal,
            recipients,
            logged: true,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.refusal.code
    }

    /// For each recipient, why nothing may go to it; empty unless the rules deny.
    pub fn recipients(&self) -> &[wire::RecipientRefusal] {
        &self.recipients
    }

    /// As a gRPC status with the refusal in its details.
    pub fn to_status(&self) -> tonic::Status {
        let message = wire::Refusal {
            recipients: self.recipients.clone(),
            ..self.refusal.to_wire()
        };
        refusal::status(self.refusal.fault, &message)
    }

    /// Whether it is the submission that is at fault, not the line or the broker.
    fn is_submissions_fault(&self) -> bool {
        !matches!(
            self.refusal.fault,
            Fault::Exhausted | Fault::Unavailable | Fault::Internal | Fault::NotFound
        )
    }
}

/// Leaves one leaf for a member's malformed, forged or forbidden submission or statement (`event` says which),
/// unless that member has had its share. What it pretended to be is not recorded: only who sent it, and the code.
pub async fn record(state: &State, member: &AgencyId, rejection: &Rejection, event: Event) {
    tracing::info!(
        member = safe(member),
        code = safe(Code(&rejection.refusal)),
        event = event.as_str(),
        "rejected"
    );
    let what = match event {
        Event::StatementRejected => Refused::Statement,
        _ => Refused::Submission,
    };
    state.gauges.refusals.count(what, rejection.code());
    let now = state.clock.now();
    if rejection.logged || !rejection.is_submissions_fault() || state.rejections.take(member, now).is_err() {
        return;
    }
    let draft = EntryDraft {
        sender: Some(member.clone()),
        reason: rejection.code().to_owned(),
        ..EntryDraft::new(event, now)
    };
    let recorded = match state.entry(draft.concerning(member, false)).await {
        Ok(entry) => state.store.record(entry).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = recorded {
        tracing::error!(code = safe(Code(&refusal)), "a rejection could not be logged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_carries_its_reasons_and_has_its_leaf() {
        let reason = wire::RecipientRefusal {
            reason: "DENY_CASE_CLOSED".into(),
            ..Default::default()
        };
        let rejection = Rejection::denied(vec![reason.clone()]);
        let status = rejection.to_status();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(refusal::from_status(&status).unwrap().recipients, [reason]);
        assert!(rejection.logged);
    }

    #[test]
    fn only_the_submissions_own_faults_are_worth_a_leaf() {
        let with = |fault| Rejection::from(Refusal::new(fault, "X", "x", "x")).is_submissions_fault();
        assert!(with(Fault::Invalid) && with(Fault::Forbidden) && with(Fault::Conflict));
        assert!(!with(Fault::Exhausted) && !with(Fault::Unavailable) && !with(Fault::Internal));
    }
}

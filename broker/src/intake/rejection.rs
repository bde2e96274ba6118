//! How a submission is refused: to the sender a refusal, to the log at most a few leaves an hour for each
//! member, so that nobody fills the log with rubbish. No packet, queue row or file is left.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use schakel_proto::evidence::Event;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{self, Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::intake::rates::Rates;
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

/// How many rejections of each member are logged, and how many were not.
pub struct Rejections {
    rates: Rates,
    left_out: Mutex<HashMap<AgencyId, u64>>,
}

impl Rejections {
    /// `per_hour` leaves an hour for each member.
    pub fn new(per_hour: u32) -> Self {
        Self {
            rates: Rates::new(per_hour, 3_600_000),
            left_out: Mutex::default(),
        }
    }

    /// Whether one more gets a leaf: then how many before it got none. Else it is counted.
    fn enter(&self, member: &AgencyId, now: Timestamp) -> Option<u64> {
        let written = self.rates.take(member, now).is_ok();
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if written {
            return Some(left_out.remove(member).unwrap_or_default());
        }
        let count = left_out.entry(member.clone()).or_default();
        *count = count.saturating_add(1);
        None
    }

    /// These got no leaf after all.
    fn missed(&self, member: &AgencyId, missed: u64) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let count = left_out.entry(member.clone()).or_default();
        *count = count.saturating_add(missed);
    }

    /// Those that have some without a leaf, and may have one now; or all of them, if this is the `last` moment.
    fn owed(&self, now: Timestamp, last: bool) -> Vec<(AgencyId, u64)> {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |member: &AgencyId| last || self.rates.take(member, now).is_ok();
        left_out.extract_if(|member, _| due(member)).collect()
    }
}

/// Says in the log how many rejections were left out of it, as far as the members' share allows; `last`: the broker
/// stops, and forgets what is not said now.
pub async fn settle(state: &State, last: bool) {
    let now = state.clock.now();
    for (member, count) in state.rejections.owed(now, last) {
        let draft = EntryDraft {
            sender: Some(member.clone()),
            reason: "LEFT_OUT".to_owned(),
            left_out: count,
            ..EntryDraft::new(Event::SubmissionRejection, now)
        };
        write(state, draft, &member, count).await;
    }
}

/// Counts a refusal, and leaves one leaf for a member's malformed, forged or forbidden submission, statement or recall
/// (`what`), unless that member has had its share: then it is left out, and the next leaf says how many there were.
/// What it pretended to be is not recorded: only who sent it, and the code.
pub async fn record(state: &State, member: &AgencyId, rejection: &Rejection, what: Refused) {
    let event = match what {
        Refused::Statement => Event::StatementRejected,
        _ => Event::SubmissionRejection,
    };
    tracing::info!(
        member = safe(member),
        code = safe(Code(&rejection.refusal)),
        event = event.as_str(),
        "rejected"
    );
    state.meters.refused(what, rejection.code());
    let now = state.clock.now();
    if rejection.logged || !rejection.is_submissions_fault() {
        return;
    }
    let Some(left_out) = state.rejections.enter(member, now) else {
        return state.meters.left_out();
    };
    let draft = EntryDraft {
        sender: Some(member.clone()),
        reason: rejection.code().to_owned(),
        left_out,
        ..EntryDraft::new(event, now)
    };
    write(state, draft, member, left_out.saturating_add(1)).await;
}

/// Rejections that a leaf is being written for. Dropped before it is there (its caller went away, or it failed), they
/// count as left out.
struct Unwritten<'a> {
    rejections: &'a Rejections,
    member: &'a AgencyId,
    count: u64,
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.rejections.missed(self.member, self.count);
        }
    }
}

/// Commits a leaf that stands for `count` rejections.
async fn write(state: &State, draft: EntryDraft, member: &AgencyId, count: u64) {
    let mut unwritten = Unwritten {
        rejections: &state.rejections,
        member,
        count,
    };
    let recorded = match state.entry(draft.concerning(member, false)).await {
        Ok(entry) => state.store.record(entry).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = recorded {
        tracing::error!(code = safe(Code(&refusal)), "a rejection could not be logged");
    } else {
        unwritten.count = 0;
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
    fn what_gets_no_leaf_is_counted_until_one_says_so() {
        let (pz, caw) = (
            AgencyId::new("pz-rupel").unwrap(),
            AgencyId::new("caw-rupel").unwrap(),
        );
        let at = Timestamp::from_millis;
        let rejections = Rejections::new(2);
        let entered: Vec<_> = (0..7).map(|_| rejections.enter(&pz, at(0))).collect();
        assert_eq!(entered, [Some(0), Some(0), None, None, None, None, None]);
        assert_eq!(
            rejections.enter(&caw, at(0)),
            Some(0),
            "another's flood is not its own"
        );
        assert_eq!(rejections.owed(at(1), false), []);
        assert_eq!(
            rejections.enter(&pz, at(1_800_000)),
            Some(5),
            "the next one says it"
        );
        assert_eq!(rejections.enter(&pz, at(1_800_000)), None);
        rejections.missed(&pz, 2);
        assert_eq!(rejections.owed(at(3_600_000), false), [(pz.clone(), 3)]);
        assert_eq!(rejections.owed(at(3_600_000), true), [], "it is said once");
        rejections.enter(&pz, at(3_600_000));
        assert_eq!(rejections.owed(at(3_600_000), true), [(pz, 1)]);
    }

    #[test]
    fn whoever_goes_away_while_a_leaf_is_written_is_counted_all_the_same() {
        let pz = AgencyId::new("pz-rupel").unwrap();
        let (rejections, at) = (Rejections::new(1), Timestamp::from_millis(0));
        let count = 1 + rejections.enter(&pz, at).unwrap();
        let unwritten = |count| Unwritten {
            rejections: &rejections,
            member: &pz,
            count,
        };
        drop(unwritten(count));
        assert_eq!(rejections.owed(at, true), [(pz.clone(), 1)]);
        drop(unwritten(0));
        assert_eq!(rejections.owed(at, true), []);
    }

    #[test]
    fn only_the_submissions_own_faults_are_worth_a_leaf() {
        let with = |fault| Rejection::from(Refusal::new(fault, "X", "x", "x")).is_submissions_fault();
        assert!(with(Fault::Invalid) && with(Fault::Forbidden) && with(Fault::Conflict));
        assert!(!with(Fault::Exhausted) && !with(Fault::Unavailable) && !with(Fault::Internal));
    }
}

//! The state of one packet that this agency sends, as `state.json` keeps it.

use std::collections::{BTreeMap, BTreeSet};

use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::{AgencyId, Code};
use schakel_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::request::SendRequest;

/// How long after its acceptance a receipt may be on its way, in milliseconds; it takes a second.
const RECEIPT_MAX_MILLIS: i64 = 60_000;

/// Where a packet stands. It only ever moves down this list, but for one that ended here and that the log
/// proves to be at the broker: that one is `Accepted` again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Sealed and durable here; the broker has not answered yet.
    Sealed,
    /// The broker has it, durably; the sealed copy is kept.
    Accepted,
    /// Every recipient's final outcome is proved; the sealed copy is gone.
    Settled,
    /// Refused for good; the reason stands in `refusal`.
    Refused,
    /// Sealed anew as another packet (the roster had changed).
    Replaced,
    /// Taken back before the broker had it.
    Recalled,
}

impl State {
    /// Whether nothing more happens to it.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Settled | Self::Refused | Self::Replaced | Self::Recalled
        )
    }
}

/// Outcome for one recipient and part. Each comes from a log entry, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Nothing is decided yet.
    Pending,
    /// Waits at the broker, e.g. for a consent.
    Held,
    /// Handed over; the recipient has not acknowledged yet.
    HandedOver,
    /// The recipient has it and says so, signed.
    Received,
    /// Stays behind.
    Withheld,
    /// The packet is refused for this recipient.
    Denied,
    /// The recipient's agent refused it, signed.
    Refused,
    /// Taken back in time.
    Recalled,
    /// Its time was over first.
    Expired,
}

impl PartState {
    /// Whether it can still change.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Held | Self::HandedOver)
    }

    /// Whether a decision on it is known and it is not on its way.
    pub const fn is_decided(self) -> bool {
        !matches!(self, Self::Pending | Self::HandedOver)
    }

    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::HandedOver => "handed over",
            Self::Received => "received",
            Self::Withheld => "withheld",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Recalled => "recalled",
            Self::Expired => "expired",
        }
    }
}

/// What is known of one part for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipient.
    pub recipient: AgencyId,
    /// The part.
    pub part: PartId,
    /// Category of the part.
    pub category: Code,
    /// Where it stands.
    pub state: PartState,
    /// Reason code of the decision or refusal; empty: none yet.
    pub reason: String,
    /// What the decision binds the recipient to.
    pub obligations: Vec<String>,
    /// Since when, in milliseconds since 1970, by the broker's clock.
    pub since_ms: i64,
    /// Position in the log of the entry that says so; none: nothing yet.
    pub log_index: Option<u64>,
    /// Our own rules refused it before sealing: the broker never had it for this recipient.
    #[serde(default)]
    pub own: bool,
    /// The last hand-over of it: the recipient may have it, whatever `state` says.
    #[serde(default)]
    pub handed_over: Option<HandedOver>,
    /// What any hand-over of it bound the recipient to: handed over again, it is bound by both.
    #[serde(default)]
    pub bound: Vec<String>,
    /// When the recipient's agency took it out of its inbox, in milliseconds since 1970, by its own clock.
    #[serde(default)]
    pub taken_ms: Option<i64>,
    /// What the recipient's agent says it carried out, signed.
    #[serde(default)]
    pub fulfilled: Vec<Fulfilled>,
    /// The ground of the hand-over has ended: asked again now, it would not be delivered.
    #[serde(default)]
    pub ended: Option<Ended>,
    /// The recipient's key that it is sealed to; none: it is not sealed to it.
    #[serde(default)]
    pub key: Option<Fingerprint>,
    /// The directory does not list that key any more: whoever got hold of it may read what was handed over.
    /// Known where it is shown, never stored as true.
    #[serde(default)]
    pub key_revoked: bool,
}

impl Outcome {
    /// Of a part of which nothing is decided yet.
    pub fn pending(recipient: AgencyId, (part, category): (PartId, Code), since: Timestamp) -> Self {
        Self {
            recipient,
            part,
            category,
            state: PartState::Pending,
            reason: String::new(),
            obligations: Vec::new(),
            since_ms: since.millis(),
            log_index: None,
            own: false,
            handed_over: None,
            bound: Vec::new(),
            taken_ms: None,
            fulfilled: Vec::new(),
            ended: None,
            key: None,
            key_revoked: false,
        }
    }

    /// Whether the recipient may know it.
    pub const fn disclosure(&self) -> Disclosure {
        match (self.state, self.handed_over.is_some(), self.taken_ms.is_some()) {
            (_, _, true) => Disclosure::Taken,
            (PartState::Received, ..) => Disclosure::Received,
            (PartState::HandedOver, ..) | (_, true, _) => Disclosure::Possibly,
            (_, false, _) => Disclosure::No,
        }
    }
}

/// Whether a recipient may know a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// The agency took it out of its inbox.
    Taken,
    /// Its agent has it and says so, signed.
    Received,
    /// It was handed over, and nothing says that it did not arrive.
    #[serde(rename = "possibly_disclosed")]
    Possibly,
    /// It was never handed over.
    #[serde(rename = "not_handed_over")]
    No,
}

impl Disclosure {
    /// The word in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Received => "received",
            Self::Possibly => "possibly disclosed",
            Self::No => "not handed over",
        }
    }
}

/// A hand-over, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// When it was decided, by the broker's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// How many facts of the case it was decided on.
    pub facts_count: u64,
    /// Position of its consignment in the log.
    pub log_index: u64,
}

/// An obligation that the recipient's agent says it carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fulfilled {
    /// As the decision says it.
    pub obligation: String,
    /// When, in milliseconds since 1970, by the recipient's clock.
    pub done_ms: i64,
    /// Position in the log.
    pub log_index: u64,
}

/// The ground of a hand-over has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Reason code.
    pub reason: String,
    /// Since when we know it, in milliseconds since 1970.
    pub since_ms: i64,
    /// Our own rules say so, on the facts shown to us. If not: the broker says so, by facts that are not.
    pub own: bool,
}

/// A part as it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Its id.
    pub part: PartId,
    /// Category code.
    pub category: Code,
    /// File name inside the seal.
    pub file_name: String,
    /// Title inside the seal.
    pub title: String,
    /// Length of the content, bytes.
    pub length: u64,
    /// SHA-256 of the content, to seal the same again.
    pub sha256: Digest,
    /// It was sealed for somebody; if not, its file was not read.
    #[serde(default = "yes")]
    pub sealed: bool,
}

fn yes() -> bool {
    true
}

/// The broker's answer that it has the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Leaf of the SubmissionAcceptance.
    pub leaf: Digest,
    /// When, by the broker's clock.
    pub at_ms: i64,
    /// Position in the log once the receipt was checked.
    pub log_index: Option<u64>,
}

/// A recall that we signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// Its reason code.
    pub reason: Code,
    /// When we signed it.
    pub made_ms: i64,
    /// The broker has answered it.
    pub answered: bool,
}

/// One packet of the outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: 1.
    pub format: u32,
    /// The packet.
    pub packet: PacketId,
    /// Where it stands.
    pub state: State,
    /// The case.
    pub case: CaseRef,
    /// What was asked, to seal it again if the roster has changed.
    pub request: SendRequest,
    /// The parts as sealed.
    pub parts: Vec<SealedPart>,
    /// SHA-256 of the manifest.
    pub manifest_digest: Digest,
    /// When it was sealed.
    pub created_ms: i64,
    /// When it loses its force.
    pub expires_ms: i64,
    /// Roster version that it says it saw.
    pub roster_version_seen: Option<u64>,
    /// Bytes of its sealed parts on this disk.
    pub sealed_bytes: u64,
    /// Times it was sealed anew before.
    pub sealed_before_count: u32,
    /// The packet it was sealed instead of.
    pub replaces: Option<PacketId>,
    /// The packet that was sealed instead of it.
    pub replaced_by: Option<PacketId>,
    /// The broker's answer.
    pub accepted: Option<Accepted>,
    /// Why it was refused.
    pub refusal: Option<Problem>,
    /// A recall.
    pub recall: Option<Recalled>,
    /// Outcome per recipient and part.
    pub outcomes: Vec<Outcome>,
    /// Positions of log entries that are kept beside the packet and do not prove what they say, yet.
    #[serde(default)]
    pub unproved: BTreeSet<u64>,
    /// Positions of kept log entries that no witnessed checkpoint is known to cover.
    #[serde(default)]
    pub provisional: BTreeSet<u64>,
    /// Positions of kept log entries that one covers, and its size.
    #[serde(default)]
    pub witnessed: BTreeMap<u64, u64>,
    /// The witnessed checkpoints that these rest on.
    #[serde(default)]
    pub cosigned: Vec<Cosigned>,
}

/// A checkpoint that enough witnesses cosigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosigned {
    /// Its size.
    pub size: u64,
    /// Who cosigned it.
    pub by: Vec<AgencyId>,
    /// How many witnesses there were.
    pub of: usize,
    /// How many of them it took.
    pub needed: usize,
}

impl Record {
    /// A log entry is kept: provisional, until a witnessed checkpoint covers it.
    pub fn note_kept(&mut self, index: u64) {
        if !self.witnessed.contains_key(&index) {
            self.provisional.insert(index);
        }
    }

    /// A witnessed checkpoint covers this entry, from now on for good.
    pub fn note_witnessed(&mut self, index: u64, cosigned: Cosigned) {
        self.provisional.remove(&index);
        self.witnessed.entry(index).or_insert(cosigned.size);
        if self.cosigned.iter().all(|known| known.size != cosigned.size) {
            self.cosigned.push(cosigned);
        }
    }

    /// Whether the broker says that it has the packet, and does not show the log's receipt of it. `now` is by its clock,
    /// as is what it said.
    pub fn is_receipt_overdue(&self, now: Timestamp) -> bool {
        let waits = self
            .accepted
            .as_ref()
            .filter(|accepted| accepted.log_index.is_none());
        self.state == State::Accepted
            && waits.is_some_and(|waits| {
                now.millis_since(Timestamp::from_millis(waits.at_ms)) > RECEIPT_MAX_MILLIS
            })
    }

    /// The witnessed checkpoint that covers the entry at this position; none: it is provisional.
    pub fn covered(&self, index: u64) -> Option<&Cosigned> {
        let size = self.witnessed.get(&index)?;
        self.cosigned.iter().find(|one| one.size == *size)
    }

    /// The log proves that the broker has the packet, at this position and whatever was thought of it here: the
    /// answer was lost, and its time was over or it was sealed anew. Gives whether it had ended here.
    pub fn prove_accepted(&mut self, accepted: Accepted) -> bool {
        self.accepted = Some(accepted);
        match self.state {
            State::Accepted | State::Settled => false,
            State::Sealed => {
                self.state = State::Accepted;
                false
            }
            State::Refused | State::Replaced | State::Recalled => {
                self.state = State::Accepted;
                self.refusal = None;
                for outcome in self
                    .outcomes
                    .iter_mut()
                    .filter(|o| o.log_index.is_none() && !o.own)
                {
                    outcome.state = PartState::Pending;
                    outcome.reason.clear();
                    outcome.obligations.clear();
                }
                if let Some(recall) = &mut self.recall {
                    recall.answered = false;
                }
                true
            }
        }
    }

    /// Whether every outcome is final and the receipt of the submission was checked.
    pub fn is_proved_final(&self) -> bool {
        let receipt = self.accepted.as_ref().is_some_and(|a| a.log_index.is_some());
        receipt && self.outcomes.iter().all(|o| o.state.is_final())
    }

    /// Whether every outcome is decided (`held` counts), or nothing more will happen.
    pub fn is_decided(&self) -> bool {
        self.state.is_final() || self.outcomes.iter().all(|o| o.state.is_decided())
    }
}

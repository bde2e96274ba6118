//! Leg 1: what a packet is to the store.

use bytes::Bytes;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::content::StoredContent;
use super::entry::NewEntry;
use super::oversight::FollowUp;

/// Everything of one verified and admitted packet, to be committed at once.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// Made by the sender.
    pub packet: PacketId,
    /// SHA-256 of the manifest: the same id with another digest is refused.
    pub manifest_digest: Digest,
    /// The case it is about.
    pub case: CaseRef,
    /// Who sends it.
    pub sender: AgencyId,
    /// The signed manifest.
    pub manifest: wire::Signed,
    /// When it was accepted, by the broker's clock.
    pub accepted_at: Timestamp,
    /// When its life ends.
    pub expires: Timestamp,
    /// Order in the queue, lower first: 0 immediate, 1 urgent, 2 routine.
    pub priority: u8,
    /// What it asks for beyond its delivery.
    pub follow_up: FollowUp,
    /// Per recipient, its opening.
    pub recipients: Vec<NewRecipient>,
    /// The parts.
    pub parts: Vec<NewPart>,
    /// One per part and recipient that it is sealed to.
    pub key_packets: Vec<wire::KeyPacket>,
    /// The SubmissionAcceptance.
    pub entry: NewEntry,
}

/// A recipient of an [`Acceptance`].
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// The agency.
    pub agency: AgencyId,
    /// Opens its descriptor's digest in the manifest.
    pub opening: wire::Opening,
}

/// A part of an [`Acceptance`].
#[derive(Clone, Debug)]
pub struct NewPart {
    /// Random name.
    pub part: PartId,
    /// Opens its descriptor's digest in the manifest.
    pub opening: wire::Opening,
    /// The agencies it is sealed to: each gets a part state, from `pending` on.
    pub recipients: Vec<AgencyId>,
    /// Its encryptions.
    pub sealings: Vec<NewSealing>,
}

/// One encryption of a part, its bytes already spooled.
#[derive(Clone, Debug)]
pub struct NewSealing {
    /// The profile.
    pub profile: wire::Profile,
    /// The bytes, from [`Spool::finish`](super::content::Spool::finish): their digest was checked.
    pub content: StoredContent,
}

/// How an acceptance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Durable, with its leaf pending.
    New(AcceptedPacket),
    /// It was accepted before: the original answer. Nothing changed.
    Repeated(AcceptedPacket),
    /// This id was used for another manifest: an alarm. Nothing changed.
    ConflictingDigest,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedPacket {
    /// The packet.
    pub packet: PacketId,
    /// Of the SubmissionAcceptance.
    pub leaf_hash: Digest,
    /// When it was first accepted.
    pub accepted_at: Timestamp,
}

/// Whether a packet id was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Never.
    No,
    /// With the same manifest: the original answer.
    Same(AcceptedPacket),
    /// With another manifest.
    Other,
}

/// Where a part stands for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Not decided yet.
    Pending,
    /// Waits for a missing fact; decided again when a statement on the case arrives.
    Held,
    /// Decided: stays behind. Final.
    Withheld,
    /// Decided and committed: made available, not acknowledged yet.
    HandedOver,
    /// Acknowledged by the recipient's agent. Final.
    Received,
    /// Refused by the recipient's agent. Final.
    Refused,
    /// Taken back by the sender before it was handed over. Final.
    Recalled,
    /// The packet's life ended before. Final.
    Expired,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Held,
        Self::Withheld,
        Self::HandedOver,
        Self::Received,
        Self::Refused,
        Self::Recalled,
        Self::Expired,
    ];

    /// As `wire::PartState` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Withheld => "withheld",
            Self::HandedOver => "handed_over",
            Self::Received => "received",
            Self::Refused => "refused",
            Self::Recalled => "recalled",
            Self::Expired => "expired",
        }
    }

    /// From the form of `wire::PartState`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Nothing changes it any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Held | Self::HandedOver)
    }
}

/// State of one part for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartState {
    /// The recipient.
    pub recipient: AgencyId,
    /// The part.
    pub part: PartId,
    /// Where it stands.
    pub stage: Stage,
    /// Reason code of the last decision, refusal or recall; may be empty.
    pub reason: String,
    /// Obligations of the last decision.
    pub obligations: Vec<String>,
    /// Since when it stands there.
    pub since: Timestamp,
    /// A hand-over of it was committed at some time: the recipient may have it, whatever `stage` says.
    pub possibly_disclosed: bool,
    /// The entry that put it where it stands, if one did.
    pub leaf_hash: Option<Digest>,
}

/// Where a packet stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketStage {
    /// Something can still change.
    Accepted,
    /// Every part is final for every recipient.
    Settled,
    /// Its life ended before all was settled.
    Expired,
    /// The sender took back what was not handed over.
    Recalled,
}

impl PacketStage {
    /// As `wire::GetOutcomeAnswer` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Settled => "settled",
            Self::Expired => "expired",
            Self::Recalled => "recalled",
        }
    }
}

/// What became of a packet, for its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The packet.
    pub packet: PacketId,
    /// Its case.
    pub case: CaseRef,
    /// Its sender: only this agency may see the outcome.
    pub sender: AgencyId,
    /// As a whole.
    pub stage: PacketStage,
    /// Per part and recipient.
    pub parts: Vec<PartState>,
}

/// A stored packet, with the openings of all recipients and parts.
#[derive(Clone, Debug)]
pub struct StoredPacket {
    /// The packet.
    pub packet: PacketId,
    /// SHA-256 of the manifest.
    pub manifest_digest: Digest,
    /// Its case.
    pub case: CaseRef,
    /// Its sender.
    pub sender: AgencyId,
    /// The signed manifest.
    pub manifest: wire::Signed,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When its life ends.
    pub expires: Timestamp,
    /// Of the SubmissionAcceptance.
    pub leaf_hash: Digest,
    /// Per recipient, its opening.
    pub recipients: Vec<NewRecipient>,
    /// The parts, in the order of the acceptance.
    pub parts: Vec<StoredPart>,
}

/// A part of a [`StoredPacket`].
#[derive(Clone, Debug)]
pub struct StoredPart {
    /// The part.
    pub part: PartId,
    /// Opens its descriptor's digest.
    pub opening: wire::Opening,
    /// The agencies it is sealed to.
    pub recipients: Vec<AgencyId>,
    /// Its encryptions; read them with [`Store::content`](super::Store::content).
    pub sealings: Vec<StoredSealing>,
    /// Nobody waits for it any more: its ciphertext is gone.
    pub purged: bool,
}

/// One stored encryption of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSealing {
    /// The profile.
    pub profile: wire::Profile,
    /// Length of the encrypted-data packet, in bytes.
    pub length: u64,
    /// SHA-256 of the encrypted-data packet.
    pub sha256: Digest,
}

/// A key packet of one recipient for one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKeyPacket {
    /// The part.
    pub part: PartId,
    /// The session-key packet (PKESK).
    pub packet: Bytes,
}

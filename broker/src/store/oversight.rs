//! For the broker's operator and its monitors, never for agencies: what was in force, what was logged, what
//! waits too long. Metadata only.

use bytes::Bytes;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

/// Most versions kept of the directory, and of the policy bundle; the oldest go first.
pub const KEPT_MAX_COUNT: usize = 128;

/// A directory or bundle that was in force, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its digest, as its ceiling had it.
    pub digest: Digest,
    /// Encoded with its signatures.
    pub signed: Bytes,
}

/// What a packet is to the follow-up of its case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// None: figures only.
    #[default]
    No,
    /// Somebody was in contact about the case.
    Follows,
    /// The same, and from now on somebody must be again within the deadline.
    Asks,
}

/// What a packet asks for beyond its delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowUp {
    /// What it is to the follow-up of its case.
    pub contact: Contact,
    /// When its emergency must have been reviewed; `None`: it is none.
    pub review_by: Option<Timestamp>,
}

/// The last packet about a case in which somebody must keep in contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastContact {
    /// The case.
    pub case: CaseRef,
    /// The packet.
    pub packet: PacketId,
    /// When it was accepted.
    pub at: Timestamp,
}

/// An emergency delivery that nobody has reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReview {
    /// The case.
    pub case: CaseRef,
    /// The packet that broke the glass.
    pub packet: PacketId,
    /// When it was accepted.
    pub since: Timestamp,
    /// Review due.
    pub due: Timestamp,
}

/// A packet in a recipient's queue: it waits, or was handed over and is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDelivery {
    /// For whom.
    pub recipient: AgencyId,
    /// The packet.
    pub packet: PacketId,
}

/// Some of many, and where to go on; `None`: that was all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// In order. May be empty though there are more.
    pub found: Vec<T>,
    /// Where to go on.
    pub next: Option<C>,
}

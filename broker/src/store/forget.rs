//! Retention: records whose time is over go, in pages, each with an entry that says how many. What goes is what a leaf
//! meant; the leaf, its place in the tree and every other proof stay.

use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::time::Timestamp;

/// Most records that go in one step.
pub const FORGOTTEN_MAX_COUNT: usize = 64;

/// Records that are to go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// Entries of an erased case, from [`Store::of_case`](super::Store::of_case), with the packets and statements that
    /// they are about, and with the first of them the facts of the case.
    Case {
        /// The case.
        case: CaseRef,
        /// Positions of the entries.
        entries: Vec<u64>,
    },
    /// Packets of [`Store::ended`](super::Store::ended): everything but their id, the digest of their manifest and
    /// their entries.
    Packets(Vec<PacketId>),
    /// Entries of [`Store::acts`](super::Store::acts).
    Acts(Acts),
}

impl Forgetting {
    /// How many entries or packets.
    pub fn count(&self) -> u64 {
        let count = match self {
            Self::Case { entries, .. } => entries.len(),
            Self::Packets(packets) => packets.len(),
            Self::Acts(acts) => acts.entries.len(),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// As the reason of its entry says it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Case { .. } => "case",
            Self::Packets(_) => "packets",
            Self::Acts(_) => "acts",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgot {
    /// Durable.
    Done {
        /// Of its entry; none: nothing went.
        leaf_hash: Option<Digest>,
    },
    /// Something of it has gone before, or is not what it was taken for: look again. Nothing changed.
    Changed,
}

/// Acts of the operator and refused attempts that were logged before a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// Positions of their entries.
    pub entries: Vec<u64>,
    /// From here the log was gone through.
    pub from: u64,
    /// Up to here (not included) the log was gone through.
    pub looked_at: u64,
}

/// A packet of which nothing is open any more, and which nobody needs on record to follow its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedPacket {
    /// The packet.
    pub packet: PacketId,
    /// When the last of its parts became final.
    pub ended: Timestamp,
    /// It broke the glass.
    pub emergency: bool,
}

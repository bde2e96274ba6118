//! What witnesses are to cosign and what they did, as the store keeps it: the same for every broker on it.

use bytes::Bytes;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

/// Most cosignatures of one checkpoint that are kept: the directory has room for fewer witnesses.
pub const COSIGNATURES_MAX_COUNT: usize = 1_024;

/// A checkpoint that is, or was, held up to the witnesses, with what they cosigned of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// Leaves in its tree.
    pub size: u64,
    /// The note as the log signed it.
    pub note: Bytes,
    /// Since when, by the clock of the broker that held it up.
    pub since: Timestamp,
    /// By witness, each its latest line.
    pub lines: Vec<(AgencyId, String)>,
}

/// What is to be held up instead of what was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCandidate {
    /// Leaves in its tree.
    pub size: u64,
    /// The note as the log signed it.
    pub note: Bytes,
    /// This moment.
    pub since: Timestamp,
    /// What the caller saw held up: its size and how many cosignatures it had. Compared and swapped.
    pub instead_of: Option<(u64, usize)>,
    /// The one whose cosignatures stay: the newest that enough witnesses signed.
    pub keep: Option<u64>,
}

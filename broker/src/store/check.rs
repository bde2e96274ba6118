//! What a check of the store as it lies on the disk gives back, a page at a time.

use schakel_proto::ids::Digest;
use schakel_proto::tlog::tree::Frontier;

/// Rows whose checksums were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedRows {
    /// How many.
    pub rows: u64,
    /// Those whose record does not match its checksum.
    pub damaged: Vec<String>,
    /// Part files that rows name, in the order of their digests.
    pub files: Vec<Digest>,
    /// The last key that was looked at; `None`: that was all.
    pub next: Option<Vec<u8>>,
}

/// How far a check of the tree is.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// The tree of the leaves that were looked at.
    pub frontier: Frontier,
    /// What is not as it must be.
    pub wrong: Vec<String>,
}

/// How a part file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Its bytes have the digest that it is named by.
    Whole,
    /// It is not there, and a row names it.
    Missing,
    /// Its bytes are others, and a row names it.
    Damaged,
    /// No row names it any more.
    Unneeded,
}

//! What an audit of the store's own rows says: which do not follow from the others.

use std::collections::BTreeMap;

use schakel_proto::ids::CaseRef;

use super::verbs::audit::{Half, Waiting};

/// Entries of which only the leaf is left: counted, and compared with what the log says that went.
pub const ENTRIES_GONE: &str = "an entry whose retention had ended";
/// Packets of which only a trace is left: likewise.
pub const PACKETS_GONE: &str = "a packet whose retention had ended";

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The entry of the log that it is about, if it is about one.
    pub index: Option<u64>,
    /// Where.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// How far an audit is.
#[derive(Default)]
pub struct Cursor {
    /// The last row that is done.
    pub(super) after: Option<Vec<u8>>,
    /// A packet with a long way, of which the rest is still to be walked.
    pub(super) half: Option<Half>,
    /// Entries that wait for their checkpoint.
    pub(super) waiting: Waiting,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursor")
    }
}

/// What a page of rows came to.
#[derive(Debug, Default)]
pub struct Audited {
    /// Rows looked at.
    pub rows: u64,
    /// Those that are wrong.
    pub findings: Vec<Finding>,
    /// What could not be checked, and how often.
    pub gone: BTreeMap<&'static str, u64>,
    /// Cases whose records are going just now: each must be erased.
    pub leaving: Vec<CaseRef>,
    /// Where to go on; `None`: that was all.
    pub next: Option<Cursor>,
}

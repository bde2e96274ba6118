//! Entries as they are filed in the log: for the operator who looks through it. No proofs are made, so that a page
//! of many costs little.

use bytes::Bytes;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::wire;

use super::entry::Concern;

/// Which entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filed {
    /// All of them.
    All,
    /// Those of a case.
    Case(CaseRef),
    /// Those of a packet.
    Packet(PacketId),
    /// Those that are committed and not in the tree yet, at the positions that they will have.
    Pending,
}

/// An entry of the tree with everything that was committed with it.
#[derive(Clone, PartialEq)]
pub struct FiledEntry {
    /// Position in the log.
    pub index: u64,
    /// Names it: hash of the leaf.
    pub leaf_hash: Digest,
    /// The leaf's bytes.
    pub leaf: Bytes,
    /// The body's bytes.
    pub body: Bytes,
    /// The case whose erasure key salts it; `None`: the key of no case.
    pub case: Option<CaseRef>,
    /// Opens the shown decision.
    pub shown: Option<wire::Opening>,
    /// Opens the hidden decision.
    pub hidden: Option<wire::Opening>,
    /// The signed thing the event is about.
    pub attachment: Option<wire::Signed>,
    /// Whom it is shown to.
    pub concerns: Vec<Concern>,
}

impl std::fmt::Debug for FiledEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FiledEntry({})", self.index)
    }
}

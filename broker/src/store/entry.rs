//! Log entries as the store keeps them, and the log's verbs' types.

use std::fmt;

use schakel_proto::evidence::{Body, EvidenceError, SealedEntry, attachment_digest};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;

/// An agency that an entry is shown to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The agency.
    pub agency: AgencyId,
    /// Whether the hidden decision is opened to it as well (the sender's view).
    pub sees_hidden: bool,
}

/// A log entry to be committed together with the change it is evidence of. Private fields: the digests
/// in the body were checked against openings and attachment.
#[derive(Clone)]
pub struct NewEntry {
    pub(super) sealed: SealedEntry,
    pub(super) body: Body,
    pub(super) shown: Option<wire::Opening>,
    pub(super) hidden: Option<wire::Opening>,
    pub(super) attachment: Option<wire::Signed>,
    pub(super) concerns: Vec<Concern>,
}

impl NewEntry {
    /// Puts together a sealed entry and what opens its digests. `log::entry::EntryMaker` makes it from
    /// a draft; call this only if you sealed the entry yourself.
    pub fn new(
        network: &NetworkName,
        sealed: SealedEntry,
        shown: Option<wire::Opening>,
        hidden: Option<wire::Opening>,
        attachment: Option<wire::Signed>,
        concerns: Vec<Concern>,
    ) -> Result<Self, EvidenceError> {
        let body = Body::parse(sealed.body(), network)?;
        let digest = |o: &wire::Opening| Digest::of_all(&[&o.nonce, &o.descriptor]);
        let fits = body.shown_digest == shown.as_ref().map(digest)
            && body.hidden_digest == hidden.as_ref().map(digest);
        if !fits {
            return Err(EvidenceError::Digest("decision"));
        }
        if body.attachment_digest != attachment.as_ref().map(attachment_digest) {
            return Err(EvidenceError::Digest("attachment"));
        }
        Ok(Self {
            sealed,
            body,
            shown,
            hidden,
            attachment,
            concerns,
        })
    }

    /// Names the entry from now on.
    pub const fn leaf_hash(&self) -> Digest {
        self.sealed.leaf_hash()
    }

    /// What it says.
    pub const fn body(&self) -> &Body {
        &self.body
    }
}

/// Shows only what the public leaf shows.
impl fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewEntry({})", self.leaf_hash())
    }
}

/// A committed entry that is not in the tree yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLeaf {
    /// Order of commit.
    pub sequence: u64,
    /// The leaf's hash.
    pub leaf_hash: Digest,
}

/// One step of the log's only writer.
#[derive(Clone, Debug)]
pub struct Integration {
    /// Size of the tree that this extends: compared and swapped.
    pub expected_size: u64,
    /// The pending leaves that get the next positions, in order of `sequence`, none left out.
    pub leaves: Vec<PendingLeaf>,
    /// Every node that becomes complete, leaves included.
    pub nodes: Vec<(Node, Digest)>,
    /// Over the tree after this step.
    pub checkpoint: SignedCheckpoint,
}

/// How an [`Integration`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrated {
    /// The tree now has this many leaves.
    Done {
        /// Leaves in the tree.
        size: u64,
    },
    /// The shard in force has ended, ends before the last of the leaves, or is another: nothing was written.
    Frozen,
    /// Somebody else has written: this writer must stop, or the log forks.
    Conflict {
        /// Leaves in the tree.
        size: u64,
    },
}

/// An entry in the tree, as the store knows it; `log::publish::Evidences` makes wire evidence of it.
#[derive(Clone, PartialEq)]
pub struct LoggedEntry {
    /// The leaf's bytes.
    pub leaf: bytes::Bytes,
    /// The body's bytes.
    pub body: bytes::Bytes,
    /// The case whose erasure key salts it; `None`: the key of no case.
    pub case: Option<CaseRef>,
    /// Position in the log.
    pub index: u64,
    /// Opens the shown decision.
    pub shown: Option<wire::Opening>,
    /// Opens the hidden decision; `None` also where the reader may not see it.
    pub hidden: Option<wire::Opening>,
    /// The signed thing the event is about.
    pub attachment: Option<wire::Signed>,
    /// Audit path in the tree of `checkpoint`.
    pub inclusion: Vec<Digest>,
    /// The newest checkpoint, which covers the entry.
    pub checkpoint: StoredCheckpoint,
}

impl fmt::Debug for LoggedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoggedEntry(index {} of {})", self.index, self.checkpoint.size)
    }
}

/// The newest checkpoint as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Digest,
    /// The signed note.
    pub note: bytes::Bytes,
}

//! Contradictions of a log: two things about it that cannot both be so, and what follows from them for somebody who has
//! nothing but the files in which an agent keeps both sides (docs/format/log.md).

use super::checkpoint::{CheckpointError, SignedCheckpoint};
use super::proof::{PROOF_MAX_COUNT, check_consistency, shown_root};
use super::shards::Opens;
use crate::ids::Digest;

/// What two sides amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log's key signed two histories: two roots of one size. Nobody else can have made this.
    Forked,
    /// The log's key signed both, and the proof between them, which the broker gave, does not hold. Whoever kept it may
    /// have spoilt the proof: the broker is to show one that holds, and cannot if it rewrote the log.
    NotShown,
    /// The log's key signed the one side; the other is an agency's signed word for a checkpoint of the same size or
    /// smaller that is not of that history. Either of the two lies, or the log showed them two histories.
    Disputed,
}

/// Why two sides do not amount to a contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoContradiction {
    /// A side is not a checkpoint of the log.
    #[error("a side of it is not signed by the log: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// They are of one history.
    #[error("both sides are of one history")]
    Consistent,
    /// The proof is longer than any.
    #[error("the proof is malformed")]
    Malformed,
}

/// A checkpoint as an agency says that it saw it, in something that it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Digest,
}

/// What a broker gave between two sizes of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The consistency proof.
    pub proof: Vec<Digest>,
    /// Where the smaller size is a power of two: the root that the larger tree's first leaves have, as the broker says.
    pub from_root: Option<Digest>,
}

impl Given {
    /// Whether it shows, under the larger tree's root alone, another root of the smaller size than was seen. Then no proof
    /// can lead from the one to the other: whoever signed both signed two histories.
    pub fn shows_another(&self, seen: Seen, newer: Seen) -> bool {
        let from_root = self.from_root.as_ref();
        let shown = shown_root(seen.size, newer.size, from_root, &self.proof, &newer.root);
        shown.is_ok_and(|root| root != seen.root)
    }
}

impl From<&SignedCheckpoint> for Seen {
    fn from(checkpoint: &SignedCheckpoint) -> Self {
        Self {
            size: checkpoint.size(),
            root: checkpoint.root(),
        }
    }
}

/// Judges two notes of a log, and the consistency proof that was given between them, in whichever order.
///
/// # Errors
/// They do not contradict each other.
pub fn judge(
    first: &[u8],
    second: &[u8],
    proof: &[Digest],
    log: &(impl Opens + ?Sized),
) -> Result<Verdict, NoContradiction> {
    let (first, second) = (log.open(first)?, log.open(second)?);
    let (older, newer) = if first.size() <= second.size() {
        (&first, &second)
    } else {
        (&second, &first)
    };
    let seen = Seen::from(older);
    if older.size() == newer.size() && older.root() != newer.root() {
        return Ok(Verdict::Forked);
    }
    // The log went back to a smaller size: the order in which they were seen is the only witness of it.
    if first.size() > second.size() && proof.is_empty() {
        return Ok(Verdict::NotShown);
    }
    not_of(seen, newer, proof).map(|()| Verdict::NotShown)
}

/// Judges what an agency says it saw against a note of the log that is not smaller, and the proof that was given.
///
/// # Errors
/// It is of that note's history, or there is nothing to compare.
pub fn judge_seen(
    seen: Seen,
    note: &[u8],
    proof: &[Digest],
    log: &(impl Opens + ?Sized),
) -> Result<Verdict, NoContradiction> {
    let own = log.open(note)?;
    not_of(seen, &own, proof).map(|()| Verdict::Disputed)
}

/// That a tree is not shown to be the beginning of another.
fn not_of(seen: Seen, newer: &SignedCheckpoint, proof: &[Digest]) -> Result<(), NoContradiction> {
    if proof.len() > PROOF_MAX_COUNT {
        return Err(NoContradiction::Malformed);
    }
    let same = if seen.size == newer.size() {
        seen.root == newer.root()
    } else {
        check_consistency(seen.size, newer.size(), proof, &seen.root, &newer.root()).is_ok()
    };
    if same {
        Err(NoContradiction::Consistent)
    } else {
        Ok(())
    }
}

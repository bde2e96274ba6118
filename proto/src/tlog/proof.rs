//! Inclusion and consistency proofs (RFC 9162 sections 2.1.3 and 2.1.4): made from complete subtrees,
//! checked with nothing but hashes.

use super::hash::{empty_root, node_hash};
use super::tree::{Frontier, Node};
use crate::ids::Digest;

/// Longest proof of either kind for any tree of less than 2^64 leaves.
pub const PROOF_MAX_COUNT: usize = 128;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The leaf is said to stand outside the tree, or a tree is said to shrink.
    #[error("proof: position or sizes are impossible")]
    Position,
    /// It has more or fewer hashes than the position and sizes need.
    #[error("proof: wrong number of hashes")]
    Length,
    /// The hashes do not lead to the root.
    #[error("proof: does not lead to the root")]
    Root,
}

/// That a leaf stands in a tree; only [`check_inclusion`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Included {
    leaf: Digest,
    index: u64,
    size: u64,
}

impl Included {
    /// The leaf's hash.
    pub const fn leaf(&self) -> Digest {
        self.leaf
    }
    /// Its position, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }
    /// Size of the tree, in leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

/// That a tree is an extension of an older one; only [`check_consistency`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consistent {
    from: u64,
    to: u64,
}

impl Consistent {
    /// Size of the older tree, in leaves.
    pub const fn from(&self) -> u64 {
        self.from
    }
    /// Size of the newer tree, in leaves.
    pub const fn to(&self) -> u64 {
        self.to
    }
}

/// What an error of making a proof is: the caller's numbers, or the reader's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError<E> {
    /// Position or sizes are impossible.
    #[error("proof: position or sizes are impossible")]
    Position,
    /// A node could not be read.
    #[error("proof: a node cannot be read")]
    Read(#[source] E),
}

/// Hash of the `count` leaves from `start` on, which need not be a complete subtree but begin where
/// one of at least that size begins.
fn range<E>(start: u64, count: u64, read: &mut dyn FnMut(Node) -> Result<Digest, E>) -> Result<Digest, E> {
    let mut hash = None;
    for peak in Frontier::peaks_of(count).into_iter().rev() {
        let node = Node {
            level: peak.level,
            index: (start >> peak.level) + peak.index,
        };
        let left = read(node)?;
        hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
    }
    Ok(hash.unwrap_or_else(empty_root))
}

/// Largest power of two smaller than `count`; `count` is at least 2.
const fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf up.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    read: &mut dyn FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, MakeError<E>> {
    if index >= size {
        return Err(MakeError::Position);
    }
    let (mut start, mut count) = (0, size);
    let mut path = Vec::new();
    while count > 1 {
        let left = split(count);
        let other = if index < start + left {
            (start + left, count - left)
        } else {
            (start, left)
        };
        path.push(range(other.0, other.1, read).map_err(MakeError::Read)?);
        (start, count) = if index < start + left {
            (start, left)
        } else {
            (start + left, count - left)
        };
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `to` leaves extends the one of `from` leaves. Empty for `from` 0 and
/// for equal sizes.
pub fn consistency<E>(
    from: u64,
    to: u64,
    read: &mut dyn FnMut(Node) -> Result<Digest, E>,
) -> Result<Vec<Digest>, MakeError<E>> {
    if from > to {
        return Err(MakeError::Position);
    }
    let mut path = Vec::new();
    if from == 0 || from == to {
        return Ok(path);
    }
    let (mut start, mut count, mut old) = (0, to, from);
    let mut whole = true;
    while old != count {
        let left = split(count);
        let other = if old <= left {
            (start + left, count - left)
        } else {
            (start, left)
        };
        path.push(range(other.0, other.1, read).map_err(MakeError::Read)?);
        if old <= left {
            count = left;
        } else {
            (start, count, old) = (start + left, count - left, old - left);
            whole = false;
        }
    }
    if !whole {
        path.push(range(start, count, read).map_err(MakeError::Read)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks an audit path (RFC 9162 section 2.1.3.2).
pub fn check_inclusion(
    leaf: Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<Included, ProofError> {
    if index >= size {
        return Err(ProofError::Position);
    }
    let (mut number, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root {
        Ok(Included { leaf, index, size })
    } else {
        Err(ProofError::Root)
    }
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2). The empty tree is consistent with every
/// tree, if its root is the empty root.
pub fn check_consistency(
    from: u64,
    to: u64,
    path: &[Digest],
    from_root: &Digest,
    to_root: &Digest,
) -> Result<Consistent, ProofError> {
    let done = Consistent { from, to };
    if from > to {
        return Err(ProofError::Position);
    }
    if from == to || from == 0 {
        let same = if from == 0 {
            *from_root == empty_root()
        } else {
            from_root == to_root
        };
        // Two empty trees must both have the empty root.
        let same = same && (to != 0 || *to_root == empty_root());
        return match (path.is_empty(), same) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(done),
        };
    }
    let (first, rest) = if from.is_power_of_two() {
        (from_root, path)
    } else {
        path.split_first().ok_or(ProofError::Length)?
    };
    let (old, new) = climb(from, to, first, rest)?;
    if old == *from_root && new == *to_root {
        Ok(done)
    } else {
        Err(ProofError::Root)
    }
}

/// The root of the first `from` leaves of a tree, as a consistency proof shows it under that tree's root alone: who
/// signed the tree and another root of that size has signed two histories. For a power of two a proof begins with what
/// the checker holds: there `from_root` is what is said to stand at that place, and the proof shows that it does.
pub fn shown_root(
    from: u64,
    to: u64,
    from_root: Option<&Digest>,
    path: &[Digest],
    to_root: &Digest,
) -> Result<Digest, ProofError> {
    if from >= to || from == 0 {
        return Err(ProofError::Position);
    }
    let (first, rest) = if from.is_power_of_two() {
        (from_root.ok_or(ProofError::Length)?, path)
    } else {
        path.split_first().ok_or(ProofError::Length)?
    };
    let (old, new) = climb(from, to, first, rest)?;
    if new == *to_root {
        Ok(old)
    } else {
        Err(ProofError::Root)
    }
}

/// The roots of both trees that a proof leads to from its first hash.
fn climb(from: u64, to: u64, first: &Digest, rest: &[Digest]) -> Result<(Digest, Digest), ProofError> {
    let (mut number, mut last) = (from - 1, to - 1);
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if number & 1 == 1 || number == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    if last == 0 {
        Ok((old, new))
    } else {
        Err(ProofError::Length)
    }
}

//! Complete subtrees and how a tree grows: only hashes that never change again are ever kept.

use super::hash::{empty_root, node_hash};
use crate::ids::Digest;

/// A complete subtree of `2^level` leaves; the `index`-th of its level, counted from the left.
/// Level 0 are the leaf hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Height over the leaves.
    pub level: u8,
    /// Position in its level.
    pub index: u64,
}

/// The right edge of a tree: the roots of the complete subtrees that make it up, largest first.
/// All that is needed to append and to know the root.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The nodes whose hashes make up a tree of `size` leaves, largest first.
    pub fn peaks_of(size: u64) -> Vec<Node> {
        let mut peaks = Vec::new();
        let mut start = 0;
        for level in (0..64u8).rev() {
            if size & (1 << level) != 0 {
                peaks.push(Node {
                    level,
                    index: start >> level,
                });
                start += 1 << level;
            }
        }
        peaks
    }

    /// The right edge of a stored tree; `read` gives the hash of each node asked for.
    pub fn read<E>(size: u64, mut read: impl FnMut(Node) -> Result<Digest, E>) -> Result<Self, E> {
        let peaks = Self::peaks_of(size)
            .into_iter()
            .map(&mut read)
            .collect::<Result<_, E>>()?;
        Ok(Self { size, peaks })
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends one leaf hash; every node that becomes complete by it (the leaf first) goes to `made`.
    pub fn append(&mut self, leaf: Digest, made: &mut impl FnMut(Node, Digest)) {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        made(node, hash);
        while node.index & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
            };
            made(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// Root of the tree.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::hash::leaf_hash;
    use super::*;

    #[test]
    fn grows_as_the_published_vectors_say() {
        // Leaves and roots of the Certificate Transparency reference implementation.
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        let mut nodes = BTreeMap::new();
        for (leaf, root) in leaves.iter().zip(roots) {
            frontier.append(leaf_hash(&hex::decode(leaf).unwrap()), &mut |n, h| {
                assert!(nodes.insert(n, h).is_none(), "a node is made once");
            });
            assert_eq!(hex::encode(frontier.root().as_bytes()), root);
            let again = Frontier::read(frontier.size(), |n| nodes.get(&n).copied().ok_or(n)).unwrap();
            assert_eq!(again, frontier);
        }
        assert_eq!(nodes.len(), 15);
    }
}

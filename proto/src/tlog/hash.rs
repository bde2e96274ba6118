//! The two hashes of an RFC 6962 tree, told apart by their first byte so that a leaf can never be
//! passed off as an inner node.

use crate::ids::Digest;

/// Hash of a leaf: `SHA-256(0x00 || leaf)` (RFC 9162 section 2.1.1).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_all(&[&[0x00], leaf])
}

/// Hash of an inner node: `SHA-256(0x01 || left || right)` (RFC 9162 section 2.1.1).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_all(&[&[0x01], left.as_bytes(), right.as_bytes()])
}

/// Root of the empty tree: SHA-256 of nothing (RFC 9162 section 2.1.1).
pub fn empty_root() -> Digest {
    Digest::of(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn match_the_published_vectors() {
        // Certificate Transparency reference implementation, merkle_tree_test.
        let hex = |d: Digest| hex::encode(d.as_bytes());
        assert_eq!(
            hex(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        let pair = node_hash(&leaf_hash(b""), &leaf_hash(&[0]));
        assert_eq!(
            hex(pair),
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
        );
    }
}

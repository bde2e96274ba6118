//! Proofs against a naive implementation of RFC 9162's definitions, against published vectors, and broken
//! in every place.

use std::collections::BTreeMap;

use base64::Engine;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::checkpoint::{CheckpointError, LogKey, LogSecret, SignedCheckpoint};
use super::hash::{empty_root, leaf_hash, node_hash};
use super::proof::{
    MakeError, ProofError, check_consistency, check_inclusion, consistency, inclusion, shown_root,
};
use super::tree::{Frontier, Node};
use crate::ids::Digest;

/// Largest power of two smaller than `n`, as the RFC defines k.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// MTH of section 2.1.1, literally.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        all => {
            let (left, right) = all.split_at(split(all.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH of section 2.1.3.1, literally.
fn naive_path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if m < k {
        (naive_path(m, left), naive_root(right))
    } else {
        (naive_path(m - k, right), naive_root(left))
    };
    path.push(other);
    path
}

/// SUBPROOF of section 2.1.4.1, literally.
fn naive_subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    let n = leaves.len();
    if m == n {
        return if whole {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let k = split(n);
    let (left, right) = leaves.split_at(k);
    let (mut path, other) = if m <= k {
        (naive_subproof(m, left, whole), naive_root(right))
    } else {
        (naive_subproof(m - k, right, false), naive_root(left))
    };
    path.push(other);
    path
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn nodes(leaves: &[Digest]) -> BTreeMap<Node, Digest> {
    let (mut frontier, mut nodes) = (Frontier::default(), BTreeMap::new());
    for leaf in leaves {
        frontier.append(*leaf, &mut |node, hash| {
            nodes.insert(node, hash);
        });
    }
    assert_eq!(frontier.root(), naive_root(leaves));
    nodes
}

fn reader(nodes: &BTreeMap<Node, Digest>) -> impl FnMut(Node) -> Result<Digest, Node> + '_ {
    |node| nodes.get(&node).copied().ok_or(node)
}

#[test]
fn every_proof_of_small_trees_is_the_naive_one_and_holds() {
    let all = leaves(70);
    for size in 1..=all.len() {
        let tree = &all[..size];
        let (nodes, root) = (nodes(tree), naive_root(tree));
        for index in 0..size {
            let path = inclusion(index as u64, size as u64, &mut reader(&nodes)).unwrap();
            assert_eq!(path, naive_path(index, tree));
            let included = check_inclusion(tree[index], index as u64, size as u64, &path, &root).unwrap();
            assert_eq!((included.index(), included.size()), (index as u64, size as u64));
        }
        for from in 1..=size {
            let path = consistency(from as u64, size as u64, &mut reader(&nodes)).unwrap();
            assert_eq!(path, naive_subproof(from, tree, true), "{from} to {size}");
            let old = naive_root(&all[..from]);
            check_consistency(from as u64, size as u64, &path, &old, &root).unwrap();
        }
    }
}

/// Eight leaves of the Certificate Transparency reference implementation (merkle_verifier_test).
fn published() -> Vec<Digest> {
    let leaves = ",00,10,2021,3031,40414243,5051525354555657,606162636465666768696a6b6c6d6e6f";
    leaves
        .split(',')
        .map(|leaf| leaf_hash(&hex::decode(leaf).unwrap()))
        .collect()
}

fn hex_path(path: Vec<Digest>) -> Vec<String> {
    path.iter().map(|h| hex::encode(h.as_bytes())).collect()
}

#[test]
fn proofs_match_the_published_vectors() {
    let all = published();
    let path = |m: u64, n: u64| hex_path(inclusion(m, n, &mut reader(&nodes(&all))).unwrap());
    assert_eq!(
        path(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        path(5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        path(2, 3),
        ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]
    );
    assert_eq!(
        path(1, 5),
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]
    );
}

#[test]
fn proofs_of_extension_match_the_published_vectors() {
    let all = published();
    let between = |m: u64, n: u64| hex_path(consistency(m, n, &mut reader(&nodes(&all))).unwrap());
    assert_eq!(
        between(1, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        between(6, 8),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(
        between(2, 5),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ]
    );
}

#[test]
fn impossible_positions_and_empty_proofs_are_refused() {
    let (one, nobody) = (leaf_hash(b"one"), Digest::of(b"nobody"));
    let none = BTreeMap::new();
    assert_eq!(inclusion(0, 0, &mut reader(&none)), Err(MakeError::Position));
    assert_eq!(consistency(2, 1, &mut reader(&none)), Err(MakeError::Position));
    assert_eq!(
        check_inclusion(one, 0, 0, &[], &empty_root()),
        Err(ProofError::Position)
    );
    assert_eq!(check_inclusion(one, 1, 1, &[], &one), Err(ProofError::Position));
    assert!(check_inclusion(one, 0, 1, &[], &one).is_ok());
    assert_eq!(
        check_inclusion(one, 0, 1, &[nobody], &one),
        Err(ProofError::Length)
    );
    assert_eq!(
        check_inclusion(one, 0, u64::MAX, &[nobody; 128], &one),
        Err(ProofError::Length)
    );
    assert_eq!(
        check_consistency(2, 1, &[], &one, &one),
        Err(ProofError::Position)
    );
    assert_eq!(
        check_consistency(1, 1, &[nobody], &one, &one),
        Err(ProofError::Length)
    );
    assert_eq!(check_consistency(1, 1, &[], &one, &nobody), Err(ProofError::Root));
    assert_eq!(check_consistency(0, 5, &[], &nobody, &one), Err(ProofError::Root));
    assert_eq!(
        check_consistency(0, 0, &[], &empty_root(), &nobody),
        Err(ProofError::Root)
    );
    assert!(check_consistency(0, 5, &[], &empty_root(), &one).is_ok());
    assert_eq!(
        check_consistency(3, 5, &[], &one, &nobody),
        Err(ProofError::Length)
    );
    assert_eq!(check_consistency(1, 5, &[], &one, &one), Err(ProofError::Length));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// L02, L13: any other leaf, position, size, root or hash, and any added or missing hash, is refused.
    #[test]
    fn l13_a_changed_inclusion_proof_is_refused(size in 1usize..200, index in any::<prop::sample::Index>(),
                                                at in any::<prop::sample::Index>(), change in 0..6) {
        let all = leaves(size);
        let (index, nodes, root) = (index.index(size), nodes(&all), naive_root(&all));
        let mut path = inclusion(index as u64, size as u64, &mut reader(&nodes)).unwrap();
        let (mut leaf, mut number, mut root) = (all[index], index as u64, root);
        let other = Digest::of(b"other");
        match change {
            0 => leaf = other,
            1 => root = other,
            2 => path.push(other),
            3 if !path.is_empty() => { path.pop(); }
            4 if !path.is_empty() => { let at = at.index(path.len()); path[at] = other; }
            5 if size > 1 => number = (number + 1 + at.index(size - 1) as u64) % size as u64,
            _ => return Ok(()),
        }
        prop_assert!(check_inclusion(leaf, number, size as u64, &path, &root).is_err());
    }

    /// L02, L03: a tree that changed, dropped or reordered a leaf is no extension of the one before.
    #[test]
    fn l02_a_rewritten_log_is_no_extension(from in 1usize..120, more in 0usize..80,
                                           at in any::<prop::sample::Index>(), change in 0..3) {
        let old = leaves(from);
        let mut new = leaves(from + more);
        let at = at.index(from);
        match change {
            0 => new[at] = Digest::of(b"altered"),
            1 => { new.remove(at); new.push(Digest::of(b"in its place")); }
            _ => { let other = (at + 1) % new.len(); if other == at { return Ok(()); } new.swap(at, other); }
        }
        if new[..from] == old[..] {
            return Ok(());
        }
        let (nodes, root) = (nodes(&new), naive_root(&new));
        let path = consistency(from as u64, new.len() as u64, &mut reader(&nodes)).unwrap();
        let checked = check_consistency(from as u64, new.len() as u64, &path, &naive_root(&old), &root);
        prop_assert!(checked.is_err());
    }

    /// A changed proof of extension is refused.
    #[test]
    fn a_consistency_proof_shows_the_older_root_under_the_newer_alone(from in 1usize..150, more in 1usize..150,
        change in any::<prop::sample::Index>()) {
        let leaves = leaves(from + more);
        let (older, newer) = (naive_root(&leaves[..from]), naive_root(&leaves));
        let proof = naive_subproof(from, &leaves, true);
        let (from, to) = (from as u64, leaves.len() as u64);
        let said = from.is_power_of_two().then_some(&older);
        prop_assert_eq!(shown_root(from, to, said, &proof, &newer), Ok(older));
        prop_assert!(shown_root(from, to, said, &proof, &older).is_err());
        prop_assert_eq!(said.is_none(), shown_root(from, to, None, &proof, &newer).is_ok());
        let other = Digest::of(b"said to stand there, and does not");
        prop_assert_ne!(shown_root(from, to, Some(&other), &proof, &newer), Ok(other));
        let mut changed = proof.clone();
        let at = change.index(changed.len());
        changed[at] = Digest::of(changed[at].as_bytes());
        prop_assert!(shown_root(from, to, said, &changed, &newer).is_err());
    }

    #[test]
    fn l13_a_changed_consistency_proof_is_refused(from in 1usize..150, more in 1usize..150,
                                                  at in any::<prop::sample::Index>(), change in 0..4) {
        let all = leaves(from + more);
        let (nodes, root, old) = (nodes(&all), naive_root(&all), naive_root(&all[..from]));
        let to = all.len() as u64;
        let mut path = consistency(from as u64, to, &mut reader(&nodes)).unwrap();
        let (mut old, mut root) = (old, root);
        let other = Digest::of(b"other");
        match change {
            0 => { let at = at.index(path.len()); path[at] = other; }
            1 => path.push(other),
            2 => { path.pop(); }
            _ => if at.index(2) == 0 { old = other } else { root = other },
        }
        prop_assert!(check_consistency(from as u64, to, &path, &old, &root).is_err());
    }
}

fn secret() -> LogSecret {
    LogSecret::generate("rupel.example/log", &mut StdRng::seed_from_u64(3)).unwrap()
}

#[test]
fn a_checkpoint_goes_there_and_back_in_its_published_form() {
    let secret = secret();
    let signed = secret.sign(12, Digest::of(b"root"));
    let text = std::str::from_utf8(signed.note()).unwrap();
    let root = base64::engine::general_purpose::STANDARD.encode(Digest::of(b"root").as_bytes());
    let (body, line) = text.split_once("\n\n").unwrap();
    assert_eq!(body, format!("rupel.example/log\n12\n{root}"));
    assert!(line.starts_with("\u{2014} rupel.example/log ") && line.ends_with('\n'));
    let opened = SignedCheckpoint::open(signed.note(), secret.public()).unwrap();
    assert_eq!(opened, signed);
    assert_eq!((opened.size(), opened.origin()), (12, "rupel.example/log"));
    // Lines of witnesses stand beside it and are kept.
    let witnessed = format!("{text}\u{2014} witness.example/w AAAAAAAA\n");
    let opened = SignedCheckpoint::open(witnessed.as_bytes(), secret.public()).unwrap();
    assert_eq!(opened.note(), witnessed.as_bytes());
}

#[test]
fn a_verifier_key_and_note_of_the_published_package_are_read_as_it_reads_them() {
    // golang.org/x/mod/sumdb/note, package example: key PeterNeumann.
    let public = base64::engine::general_purpose::STANDARD
        .decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
        .unwrap();
    let key = LogKey::new("PeterNeumann", &public[1..]).unwrap();
    assert_eq!(
        key.to_text(),
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    );
}

#[test]
fn a_changed_checkpoint_is_refused_and_says_why() {
    let secret = secret();
    let note = secret.sign(12, Digest::of(b"root")).note().to_vec();
    let key = secret.public();
    let open = |note: &[u8]| SignedCheckpoint::open(note, key).map(drop);
    for at in 0..note.len() {
        let mut changed = note.clone();
        changed[at] ^= 1;
        assert!(open(&changed).is_err(), "byte {at}");
        assert!(open(&note[..at]).is_err(), "cut at {at}");
    }
    let text = String::from_utf8(note.clone()).unwrap();
    let with = |from: &str, to: &str| open(text.replacen(from, to, 1).as_bytes());
    assert_eq!(with("\n12\n", "\n13\n"), Err(CheckpointError::Signature));
    assert_eq!(with("\n12\n", "\n012\n"), Err(CheckpointError::Malformed));
    assert_eq!(with("\n\n", "\nextension\n\n"), Err(CheckpointError::Malformed));
    assert_eq!(with("rupel", "demer"), Err(CheckpointError::Origin));
    assert_eq!(
        with("\u{2014} rupel.example/log", "\u{2014} other"),
        Err(CheckpointError::Unsigned)
    );
    let other = LogSecret::generate("rupel.example/log", &mut StdRng::seed_from_u64(4)).unwrap();
    assert_eq!(
        SignedCheckpoint::open(&note, other.public()).map(drop),
        Err(CheckpointError::Unsigned)
    );
    assert!(open(&[b'a'; 20_000]).is_err());
}

#[test]
fn a_log_key_survives_its_file_and_stays_silent() {
    let secret = secret();
    let text = secret.to_text();
    assert!(text.starts_with("PRIVATE+KEY+rupel.example/log+"));
    let again = LogSecret::from_text(&text).unwrap();
    assert_eq!(again.public(), secret.public());
    assert_eq!(format!("{again:?}"), "LogSecret(rupel.example/log)");
    let seed = text.trim().rsplit('+').next().unwrap();
    assert!(!format!("{again:?}").contains(seed));
    for bad in [
        "",
        "PRIVATE+KEY+a",
        "PRIVATE+KEY+a+00000000+AQ==",
        &text.replacen("rupel", "demer", 1),
    ] {
        assert!(LogSecret::from_text(bad).is_err(), "{bad}");
    }
    for bad in ["", "a b", "a+b", "é", &"a".repeat(129)] {
        assert!(
            LogSecret::generate(bad, &mut StdRng::seed_from_u64(1)).is_err(),
            "{bad:?}"
        );
    }
}

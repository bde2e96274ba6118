//! Our verifier of proofs beside Go's: the same verdict on true proofs, on changed ones, and on those of trees too large
//! to be made.

use std::collections::BTreeMap;

use rand::{Rng, RngCore, rngs::StdRng};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::hash::{empty_root, leaf_hash, node_hash};
use schakel_proto::tlog::proof::{check_consistency, check_inclusion, consistency, inclusion};
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_tests::system::outside::said_of;
use schakel_tests::system::told::{count, rounds, seeded, skip};

/// One proof with what it is about, true or not.
#[derive(Clone, Debug, PartialEq)]
struct Proof {
    /// Of extension; else of inclusion.
    tree: bool,
    size: u64,
    /// Index of the leaf, or size of the older tree.
    number: u64,
    /// Leaf and root, or new root and old root.
    hashes: [Digest; 2],
    path: Vec<Digest>,
}

impl Proof {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let bytes = hex::decode(format!("{}{}{}", words[3], words[4], words[5].replace('-', ""))).unwrap();
        let hashes: Vec<_> = bytes.chunks(32).map(|h| Digest::try_from(h).unwrap()).collect();
        Self {
            tree: words[0] == "tree",
            size: words[1].parse().unwrap(),
            number: words[2].parse().unwrap(),
            hashes: [hashes[0], hashes[1]],
            path: hashes[2..].to_vec(),
        }
    }

    /// As the Go program reads it.
    fn line(&self) -> String {
        let kind = if self.tree { "tree" } else { "record" };
        let hex = |hash: &Digest| hex::encode(hash.as_bytes());
        let path: String = self.path.iter().map(hex).collect();
        let path = if path.is_empty() { "-" } else { &path };
        let [first, second] = self.hashes.map(|hash| hex(&hash));
        format!("{kind} {} {} {first} {second} {path}\n", self.size, self.number)
    }

    /// What our verifier says.
    fn holds(&self) -> bool {
        let [first, second] = &self.hashes;
        if self.tree {
            return check_consistency(self.number, self.size, &self.path, second, first).is_ok();
        }
        check_inclusion(*first, self.number, self.size, &self.path, second).is_ok()
    }

    /// What has been changed in one place, or made shorter, longer or ordered in another way.
    fn changes(&self, rng: &mut StdRng) -> Vec<Self> {
        let last = self.path.len().saturating_sub(1);
        let any = |rng: &mut StdRng| {
            let mut bytes = [0; 32];
            rng.fill_bytes(&mut bytes);
            Digest::from_bytes(bytes)
        };
        let mut all = Vec::new();
        let mut with = |change: &mut dyn FnMut(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            all.push(changed);
        };
        with(&mut |p| p.path.truncate(last));
        with(&mut |p| p.path = p.path.iter().skip(1).copied().collect());
        with(&mut |p| p.path.clear());
        with(&mut |p| p.path.push(any(rng)));
        with(&mut |p| p.path.insert(0, any(rng)));
        with(&mut |p| p.path.extend(p.path.last().copied()));
        with(&mut |p| p.path.extend(p.path.clone()));
        with(&mut |p| p.path.resize(64, any(rng)));
        with(&mut |p| p.path.resize(130, any(rng)));
        with(&mut |p| p.path.reverse());
        with(&mut |p| p.path.rotate_left(last.min(1)));
        with(&mut |p| {
            let at = rng.random_range(0..=last);
            p.path
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|hash| *hash = flipped(*hash, rng));
        });
        with(&mut |p| p.path.insert(0, p.hashes[0]));
        with(&mut |p| p.path.push(p.hashes[1]));
        with(&mut |p| p.hashes[0] = flipped(p.hashes[0], rng));
        with(&mut |p| p.hashes[1] = flipped(p.hashes[1], rng));
        with(&mut |p| p.hashes.reverse());
        with(&mut |p| p.hashes[1] = p.hashes[0]);
        for number in [
            self.number + 1,
            self.number.wrapping_sub(1),
            self.number ^ 1,
            0,
            self.size,
            self.size + 1,
        ] {
            with(&mut |p| p.number = number);
        }
        for size in [
            self.size + 1,
            self.size - 1,
            self.size ^ 1,
            2 * self.size,
            self.size / 2,
            0,
        ] {
            with(&mut |p| p.size = size);
        }
        all.retain(|changed| changed != self);
        all
    }
}

fn flipped(hash: Digest, rng: &mut StdRng) -> Digest {
    let mut bytes = *hash.as_bytes();
    bytes[rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
    Digest::from_bytes(bytes)
}

/// Largest power of two below `size`, which is 2 or more.
fn below(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// A true proof in a tree too large to be made: its path is chance, its roots follow (RFC 9162, 2.1.3.1 and 2.1.4.1,
/// read backwards). `old`: what stands for the whole older tree, if the path does not name it.
fn imagined(tree: bool, size: u64, number: u64, rng: &mut StdRng) -> Proof {
    let mut hash = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Digest::from_bytes(bytes)
    };
    // The way down: the size of the subtree and whether it lies on the right.
    let (mut count, mut at, mut turns) = (size, number, Vec::new());
    while if tree { at != count } else { count > 1 } {
        let left = below(count);
        let right = if tree { at > left } else { at >= left };
        turns.push(right);
        (count, at) = if right {
            (count - left, at - left)
        } else {
            (left, at)
        };
    }
    let start = hash();
    let (mut old, mut new, mut path) = (start, start, Vec::new());
    if tree && turns.contains(&true) {
        path.push(start);
    }
    for right in turns.into_iter().rev() {
        let other = hash();
        path.push(other);
        if right {
            (old, new) = (node_hash(&other, &old), node_hash(&other, &new));
        } else {
            new = node_hash(&new, &other);
        }
    }
    let hashes = if tree { [new, old] } else { [start, new] };
    Proof {
        tree,
        size,
        number,
        hashes,
        path,
    }
}

/// Every node of the tree whose leaf n is n in eight bytes.
fn nodes(size: u64) -> BTreeMap<Node, Digest> {
    let (mut frontier, mut nodes) = (Frontier::default(), BTreeMap::new());
    for leaf in 0..size {
        frontier.append(leaf_hash(&leaf.to_be_bytes()), &mut |node, hash| {
            nodes.insert(node, hash);
        });
    }
    nodes
}

#[test]
fn l13_go_and_our_verifier_come_to_the_same_verdict_on_every_proof() {
    let largest = rounds(33, 140);
    let made = match said_of(&["proofs", &largest.to_string()], String::new()) {
        Ok(made) => made,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let nodes = nodes(largest);
    let mut true_ones: Vec<_> = made.lines().map(Proof::parse).collect();
    assert_eq!(true_ones.len() as u64, largest * (largest + 1));
    for proof in &true_ones {
        // Ours is Go's, hash for hash.
        let mut read = |node: Node| nodes.get(&node).copied().ok_or(());
        let ours = match proof.tree {
            true => consistency(proof.number, proof.size, &mut read),
            false => inclusion(proof.number, proof.size, &mut read),
        };
        assert_eq!(ours.unwrap(), proof.path, "{proof:?}");
    }
    for _ in 0..rounds(300, 5_000) {
        let bits = rng.random_range(2..=61);
        let size = rng.random_range(2..1_u64 << bits);
        let number = rng.random_range(1..=size);
        true_ones.push(imagined(true, size, number, &mut rng));
        true_ones.push(imagined(false, size, number - 1, &mut rng));
    }
    let (mut holding, mut refused) = (0, 0);
    for some in true_ones.chunks(500) {
        let (hold, others) = judged(some, &mut rng);
        (holding, refused) = (holding + hold, refused + others);
    }
    let number = true_ones.len() as u64;
    assert!(
        holding >= number && refused > 10 * number,
        "{holding} hold, {refused} do not"
    );
    count(
        holding + refused,
        &format!("proofs judged by Go and by us, {holding} of them true"),
    );
}

/// True proofs and what is made of them by one change each: Go and we say the same of every one. How many hold, and how
/// many do not.
fn judged(true_ones: &[Proof], rng: &mut StdRng) -> (u64, u64) {
    let mut all = Vec::new();
    for proof in true_ones {
        assert!(proof.holds(), "{proof:?}");
        all.extend(proof.changes(rng));
    }
    all.extend_from_slice(true_ones);
    // Go has no word for the tree of no leaves, and none for a position that is no number to it.
    let (outside, judged): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|p| (p.tree && p.number == 0) || p.number > i64::MAX as u64);
    for proof in outside {
        let empty = proof.number == 0 && proof.path.is_empty() && proof.hashes[1] == empty_root();
        assert_eq!(proof.holds(), empty, "{proof:?}");
    }
    let said = said_of(&["verdicts"], judged.iter().map(Proof::line).collect()).unwrap();
    assert_eq!(said.lines().count(), judged.len());
    let mut holding = 0;
    for (proof, verdict) in judged.iter().zip(said.lines()) {
        assert_eq!(
            proof.holds(),
            verdict == "holds",
            "Go says {verdict} of {proof:?}"
        );
        holding += u64::from(proof.holds());
    }
    (holding, judged.len() as u64 - holding)
}

//! Two checkpoints of one log that contradict each other convince a stranger; two that may both be true do not.

use std::path::{Path, PathBuf};

use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::evidence::verify::verify;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::hash::{empty_root, leaf_hash, node_hash};
use schakel_proto::tlog::proof::{consistency, inclusion};
use schakel_proto::tlog::text::InclusionText;
use schakel_proto::tlog::tree::Node;
use schakel_tests::system::network::Town;
use schakel_tests::system::pack::{command, path};

use super::{anchor, failed};

/// A history, made of nothing but its leaves.
pub struct History(Vec<Vec<u8>>);

impl History {
    /// So many leaves; one of them says something else.
    pub fn of(size: usize, other: Option<usize>) -> Self {
        let leaf = |n: usize| match other {
            Some(at) if at == n => vec![n as u8, 1],
            _ => vec![n as u8],
        };
        Self((0..size).map(leaf).collect())
    }

    fn node(&self, node: Node) -> Digest {
        if node.level == 0 {
            return leaf_hash(&self.0[node.index as usize]);
        }
        let below = |index| {
            self.node(Node {
                level: node.level - 1,
                index,
            })
        };
        node_hash(&below(node.index * 2), &below(node.index * 2 + 1))
    }

    /// Root of the tree.
    pub fn root(&self) -> Digest {
        fn of(leaves: &[Vec<u8>]) -> Digest {
            match leaves {
                [] => empty_root(),
                [one] => leaf_hash(one),
                all => {
                    let split = all.len().next_power_of_two() / 2;
                    node_hash(&of(&all[..split]), &of(&all[split..]))
                }
            }
        }
        of(&self.0)
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.0.len() as u64
    }

    /// That it extends its own beginning of this size.
    pub fn proof_from(&self, size: u64) -> Vec<Digest> {
        consistency(size, self.size(), &mut |node| Ok::<_, ()>(self.node(node))).unwrap()
    }
}

fn folder(town: &Town, secret: &LogSecret, sides: [&History; 2], proof: &[Digest]) -> PathBuf {
    let folder = town.scratch("contradiction");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let [first, second] = sides.map(|side| secret.sign(side.size(), side.root()));
    write("first.note", first.note());
    write("second.note", second.note());
    let found = serde_json::json!({ "what": "found by a test", "proof": proof });
    write("found.json", found.to_string().as_bytes());
    let directory = std::fs::read(town.network().directory_file()).unwrap();
    write("directory.bin", &directory);
    for name in [
        "first.leaf",
        "first.tlog-proof",
        "second.leaf",
        "second.tlog-proof",
    ] {
        let _none = std::fs::remove_file(folder.join(name));
    }
    folder
}

/// What both sides say of one place.
fn leaves(folder: &Path, secret: &LogSecret, sides: [&History; 2], index: u64) {
    for (name, side) in ["first", "second"].into_iter().zip(sides) {
        let path = inclusion(index, side.size(), &mut |node| Ok::<_, ()>(side.node(node))).unwrap();
        let note = secret.sign(side.size(), side.root()).note().to_vec();
        let text = InclusionText { index, path, note }.to_text();
        std::fs::write(folder.join(format!("{name}.tlog-proof")), text).unwrap();
        std::fs::write(folder.join(format!("{name}.leaf")), &side.0[index as usize]).unwrap();
    }
}

/// Where the smaller size is a power of two.
fn of_a_power_of_two(town: &Town, secret: &LogSecret) {
    let check = |folder: &Path| failed(&verify(folder, &anchor(town)).unwrap());
    let none: [String; 0] = [];
    // Of eight leaves the proof shows no root; with the one that stands there it does, and with no other.
    let (eight, grown) = (History::of(8, None), History::of(15, Some(4)));
    let without = folder(town, secret, [&eight, &grown], &grown.proof_from(8));
    assert_eq!(check(&without), ["contradiction 8 / 15"]);
    let said = |root: Digest, proof: &[Digest]| {
        let found = serde_json::json!({ "what": "found by a test", "proof": proof, "from_root": root });
        std::fs::write(without.join("found.json"), found.to_string()).unwrap();
    };
    said(History::of(8, Some(4)).root(), &grown.proof_from(8));
    assert_eq!(check(&without), none);
    said(Digest::of(b"invented"), &grown.proof_from(8));
    assert_eq!(check(&without), ["contradiction 8 / 15"]);
    // Two leaves at one place prove it too.
    leaves(&without, secret, [&eight, &grown], 4);
    assert_eq!(check(&without), none);
    leaves(&without, secret, [&eight, &grown], 3);
    assert_eq!(
        check(&without),
        ["contradiction 8 / 15"],
        "both say the same there"
    );
}

#[test]
fn l01_l03_two_checkpoints_that_contradict_each_other_are_proof_and_two_that_do_not_are_none() {
    let town = Town::rupel();
    let text = std::fs::read_to_string(town.network().broker_folder().join("log-key.txt")).unwrap();
    let secret = LogSecret::from_text(&text).unwrap();
    let check = |folder: &Path| failed(&verify(folder, &anchor(&town)).unwrap());
    let none: [String; 0] = [];
    let (ten, lie) = (History::of(10, None), History::of(10, Some(4)));
    // Two roots of one size.
    let two = folder(&town, &secret, [&ten, &lie], &[]);
    assert_eq!(check(&two), none);
    let (status, said) = command(&[
        "evidence",
        "verify",
        path(&two),
        "--lang",
        "nl",
        "--authority",
        path(&town.network().authority_file()),
    ]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("die elkaar tegenspreken"), "{said}");
    assert_eq!(
        check(&folder(&town, &secret, [&ten, &ten], &[])),
        ["contradiction 10 / 10"]
    );
    // Cut and grown again: the broker's own proof shows another root of the older size under the newer.
    let grown = History::of(15, Some(4));
    let proof = grown.proof_from(10);
    assert_eq!(check(&folder(&town, &secret, [&ten, &grown], &proof)), none);
    assert_eq!(check(&folder(&town, &secret, [&grown, &ten], &proof)), none);
    let honest = History::of(15, None);
    let proof = honest.proof_from(10);
    let both_true = folder(&town, &secret, [&ten, &honest], &proof);
    assert_eq!(check(&both_true), ["contradiction 10 / 15"]);
    let mut damaged = proof;
    damaged[0] = Digest::of(b"no proof of anybody");
    assert_eq!(
        check(&folder(&town, &secret, [&ten, &honest], &damaged)),
        ["contradiction 10 / 15"]
    );
    of_a_power_of_two(&town, &secret);
    // Anybody can write two checkpoints.
    let forger = LogSecret::generate(secret.public().origin(), &mut StdRng::seed_from_u64(7)).unwrap();
    let forged = folder(&town, &forger, [&ten, &lie], &[]);
    assert_eq!(
        check(&forged),
        ["checkpoint first.note", "checkpoint second.note"]
    );
    let more = folder(&town, &secret, [&ten, &lie], &[]);
    std::fs::write(more.join("verslag.pdf"), "see me").unwrap();
    assert_eq!(check(&more), ["container verslag.pdf"]);
    std::fs::remove_file(more.join("verslag.pdf")).unwrap();
    let nobodys = folder(&town, &secret, [&ten, &lie], &[]);
    std::fs::remove_file(nobodys.join("directory.bin")).unwrap();
    assert_eq!(check(&nobodys), ["directory directory.bin"]);
}

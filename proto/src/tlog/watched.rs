//! Cosignatures, and a log that is not what it was: thousands of edits, all found by whoever holds one older checkpoint.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ED25519, ML_DSA_44, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::checkpoint::{LogSecret, SignedCheckpoint};
use super::contradiction::{Given, NoContradiction, Seen, Verdict, judge, judge_seen};
use super::cosignature::{Algorithm, CosignatureError, WitnessKey, WitnessSecret, with_lines, witness_name};
use super::hash::leaf_hash;
use super::proof::{check_consistency, check_inclusion, consistency, inclusion};
use super::tree::{Frontier, Node};
use super::witnessed::{Standing, Witnesses};
use crate::ids::Digest;
use crate::party::AgencyId;

const ORIGIN: &str = "rupel.example/log";

fn rng() -> StdRng {
    let seed = std::env::var("SCHAKEL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| StdRng::from_os_rng().random::<u64>());
    println!("SCHAKEL_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn log() -> LogSecret {
    LogSecret::generate(ORIGIN, &mut StdRng::seed_from_u64(11)).unwrap()
}

fn agency(number: usize) -> AgencyId {
    AgencyId::new(&format!("agency-{number}")).unwrap()
}

/// So many witnesses, of both kinds in turn, of whom so many may lie.
fn witnesses(count: usize, liars: usize) -> (Witnesses, Vec<WitnessSecret>) {
    let secret = |number: usize| {
        let algorithm = [Algorithm::Ed25519, Algorithm::MlDsa44][number % 2];
        let mut rng = StdRng::seed_from_u64(number as u64);
        WitnessSecret::generate(algorithm, &witness_name(ORIGIN, &agency(number)), &mut rng).unwrap()
    };
    let secrets: Vec<_> = (0..count).map(secret).collect();
    let keys = secrets.iter().enumerate();
    let keys = keys.map(|(number, one)| (agency(number), Some(one.public().clone())));
    (Witnesses::new(keys.collect(), liars), secrets)
}

/// The checkpoint with these witnesses' cosignatures in its note.
fn cosigned(checkpoint: &SignedCheckpoint, by: &[&WitnessSecret]) -> SignedCheckpoint {
    let lines: Vec<_> = by
        .iter()
        .map(|one| one.cosign(checkpoint, 1_700_000_000).unwrap().line)
        .collect();
    let note = with_lines(checkpoint.note(), lines.iter().map(String::as_str));
    SignedCheckpoint::open(&note, log().public()).unwrap()
}

#[test]
fn a_cosignature_is_what_the_specification_says() {
    let checkpoint = log().sign(20_852_163, Digest::of(b"root"));
    let (_, secrets) = witnesses(2, 0);
    let root = STANDARD.encode(Digest::of(b"root").as_bytes());
    for secret in &secrets {
        let line = secret.cosign(&checkpoint, 1_679_315_147).unwrap().line;
        let (name, value) = line.strip_prefix("\u{2014} ").unwrap().split_once(' ').unwrap();
        let (bytes, key) = (STANDARD.decode(value).unwrap(), secret.public().to_bytes());
        assert_eq!(name, secret.public().name());
        let id = Digest::of_all(&[name.as_bytes(), b"\n", &key]);
        assert_eq!(&bytes[..4], &id.as_bytes()[..4]);
        assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
        let (public, signature) = (&key[1..], &bytes[12..]);
        if secret.public().algorithm() == Algorithm::Ed25519 {
            let message = format!("cosignature/v1\ntime 1679315147\n{ORIGIN}\n20852163\n{root}\n");
            assert_eq!((key[0], signature.len()), (4, 64));
            UnparsedPublicKey::new(&ED25519, public)
                .verify(message.as_bytes(), signature)
                .unwrap();
        } else {
            let mut message = b"subtree/v1\n\0".to_vec();
            message.push(name.len() as u8);
            message.extend(name.as_bytes());
            message.extend(1_679_315_147_u64.to_be_bytes());
            message.push(ORIGIN.len() as u8);
            message.extend(ORIGIN.as_bytes());
            message.extend(0_u64.to_be_bytes());
            message.extend(20_852_163_u64.to_be_bytes());
            message.extend(Digest::of(b"root").as_bytes());
            assert_eq!((key[0], signature.len()), (6, 2420));
            UnparsedPublicKey::new(&ML_DSA_44, public)
                .verify(&message, signature)
                .unwrap();
        }
        let again = WitnessSecret::from_text(&secret.to_text()).unwrap();
        assert_eq!(again.public(), secret.public());
        let key = WitnessKey::new(name, &secret.public().to_bytes()).unwrap();
        assert_eq!(&key, secret.public());
    }
}

#[test]
fn every_flipped_bit_of_a_cosignature_and_every_other_checkpoint_is_refused() {
    let (_, secrets) = witnesses(2, 0);
    let (checkpoint, mut rng) = (log().sign(9, Digest::of(b"a")), rng());
    for secret in &secrets {
        let (key, made) = (secret.public(), secret.cosign(&checkpoint, 77).unwrap());
        assert_eq!(key.check(&made.line, &checkpoint).unwrap(), made);
        assert_eq!(key.check(&format!("{}\n", made.line), &checkpoint).unwrap(), made);
        for other in [log().sign(9, Digest::of(b"b")), log().sign(10, Digest::of(b"a"))] {
            assert_eq!(key.check(&made.line, &other), Err(CosignatureError::Signature));
        }
        let head = format!("\u{2014} {} ", key.name());
        let bytes = STANDARD.decode(made.line.strip_prefix(&head).unwrap()).unwrap();
        for _ in 0..200 {
            let mut spoilt = bytes.clone();
            let at = rng.random_range(0..spoilt.len());
            spoilt[at] ^= 1 << rng.random_range(0..8);
            let line = format!("{head}{}", STANDARD.encode(&spoilt));
            assert!(key.check(&line, &checkpoint).is_err(), "byte {at}");
        }
        for length in [0, 3, 4, 11, 12, bytes.len() - 1] {
            let line = format!("{head}{}", STANDARD.encode(&bytes[..length]));
            assert!(key.check(&line, &checkpoint).is_err(), "{length} bytes");
        }
        assert!(key.check("", &checkpoint).is_err());
        assert!(
            key.check(&format!("{}\n{}", made.line, made.line), &checkpoint)
                .is_err()
        );
    }
    assert!(secrets[0].cosign(&checkpoint, 0).is_err());
}

#[test]
fn one_witness_counts_once_strangers_do_not_and_a_false_line_spoils_the_note() {
    let (watch, secrets) = witnesses(5, 1);
    assert_eq!((watch.count(), watch.needed()), (5, 4));
    let checkpoint = log().sign(9, Digest::of(b"a"));
    let twice: Vec<_> = [0, 0, 0, 0, 1, 1].map(|n: usize| &secrets[n]).to_vec();
    let standing = watch.standing(&cosigned(&checkpoint, &twice)).unwrap();
    assert_eq!((standing.by().len(), standing.is_witnessed()), (2, false));
    let (_, strangers) = {
        let (more, secrets) = witnesses(9, 0);
        (more, secrets.into_iter().skip(5).collect::<Vec<_>>())
    };
    let strange: Vec<_> = secrets[..2].iter().chain(&strangers).collect();
    let standing = watch.standing(&cosigned(&checkpoint, &strange)).unwrap();
    assert_eq!(standing.by().len(), 2, "only the directory's witnesses count");
    let enough: Vec<_> = secrets[..4].iter().collect();
    let good = cosigned(&checkpoint, &enough);
    assert!(matches!(watch.standing(&good).unwrap(), Standing::Witnessed { by } if by.len() == 4));
    let other = log().sign(9, Digest::of(b"b"));
    let line = secrets[4].cosign(&other, 5).unwrap().line;
    let note = with_lines(good.note(), [line.as_str()]);
    let spoilt = SignedCheckpoint::open(&note, log().public()).unwrap();
    assert_eq!(watch.standing(&spoilt), Err(CosignatureError::Signature));
    // Named and without a key: counted among those of whom more than half must sign.
    let keys = (0..5).map(|n| (agency(n), None)).collect();
    let standing = Witnesses::new(keys, 0).standing(&good).unwrap();
    assert_eq!(
        standing,
        Standing::Provisional {
            by: Vec::new(),
            needed: 3
        }
    );
    assert!(
        !Witnesses::default().standing(&good).unwrap().is_witnessed(),
        "no witnesses: all is provisional"
    );
}

#[test]
fn l01_l09_no_two_histories_of_one_size_are_both_witnessed_unless_more_lie_than_are_allowed_for() {
    for count in 1..=9_usize {
        for liars in 0..count {
            let (watch, secrets) = witnesses(count, liars);
            let (one, other) = (log().sign(9, Digest::of(b"a")), log().sign(9, Digest::of(b"b")));
            // Liars sign both views; the honest ones are divided as well as the broker can.
            let honest: Vec<_> = secrets[liars..].iter().collect();
            let (left, right) = honest.split_at(honest.len() / 2);
            let by = |half: &[&WitnessSecret]| {
                let keys = secrets[..liars].iter().chain(half.iter().copied());
                watch.needed() <= keys.count()
            };
            assert!(
                !(by(left) && by(right)),
                "{count} witnesses, {liars} of them lie: both views witnessed"
            );
            if count == 5 && liars == 1 {
                let views = [
                    cosigned(&one, &[&[&secrets[0]], left].concat()),
                    cosigned(&other, &[&[&secrets[0]], right].concat()),
                ];
                let witnessed = views
                    .iter()
                    .filter(|v| watch.standing(v).unwrap().is_witnessed())
                    .count();
                assert!(witnessed < 2);
                // Any honest agency that holds both notes can prove it to anybody.
                let verdict = judge(views[0].note(), views[1].note(), &[], log().public());
                assert_eq!(verdict, Ok(Verdict::Forked));
            }
        }
    }
    // One liar more than the directory allows for, and the two views can both be witnessed: that is what f means.
    let (watch, secrets) = witnesses(5, 1);
    let all: Vec<_> = secrets.iter().collect();
    let views = [&all[..4], &[all[0], all[1], all[2], all[4]][..]];
    let notes = ["a", "b"].map(|root| log().sign(9, Digest::of(root.as_bytes())));
    for (note, by) in notes.iter().zip(views) {
        assert!(watch.standing(&cosigned(note, by)).unwrap().is_witnessed());
    }
}

/// A log in memory.
#[derive(Clone)]
struct Tree {
    leaves: Vec<Digest>,
    nodes: BTreeMap<Node, Digest>,
    root: Digest,
}

impl Tree {
    fn of(leaves: Vec<Digest>) -> Self {
        let (mut frontier, mut nodes) = (Frontier::default(), BTreeMap::new());
        for leaf in &leaves {
            frontier.append(*leaf, &mut |node, hash| {
                nodes.insert(node, hash);
            });
        }
        Self {
            leaves,
            nodes,
            root: frontier.root(),
        }
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// What this tree's owner would show as a proof from a size.
    fn from(&self, size: u64) -> Vec<Digest> {
        let mut read = |node| self.nodes.get(&node).copied().ok_or(());
        consistency(size, self.size(), &mut read).ok().unwrap_or_default()
    }
}

/// What a broker may do to what it has logged, and not to what comes after.
fn edit(leaves: &mut Vec<Digest>, rng: &mut StdRng) -> &'static str {
    let at = rng.random_range(0..leaves.len());
    match rng.random_range(0..6) {
        0 => {
            leaves.remove(at);
            "dropped"
        }
        1 => {
            leaves[at] = leaf_hash(&rng.random::<[u8; 16]>());
            "altered"
        }
        2 => {
            let other = rng.random_range(0..leaves.len());
            leaves.swap(at, other);
            "swapped"
        }
        3 => {
            leaves.insert(at, leaf_hash(&rng.random::<[u8; 16]>()));
            "put in, as of before"
        }
        4 => {
            leaves[at..].shuffle(rng);
            "shuffled"
        }
        _ => {
            leaves.truncate(at);
            "cut off"
        }
    }
}

#[test]
fn l02_l03_ten_thousand_edits_of_a_log_are_all_found_by_whoever_holds_one_older_checkpoint() {
    let mut rng = rng();
    let mut found = 0;
    while found < 10_000 {
        let size = rng.random_range(1..48_usize);
        let leaves: Vec<_> = (0..size).map(|n| leaf_hash(&[n as u8])).collect();
        let honest = Tree::of(leaves.clone());
        let mut edited = leaves.clone();
        let what = edit(&mut edited, &mut rng);
        // Regrown, so that it looks like a log that goes on.
        let more = rng.random_range(0..8_usize) + size.saturating_sub(edited.len());
        edited.extend((0..more).map(|n| leaf_hash(&[n as u8, 1])));
        if edited.get(..size) == Some(&leaves[..]) {
            continue;
        }
        let lying = Tree::of(edited);
        assert!(lying.size() >= honest.size());
        let checked = check_consistency(
            honest.size(),
            lying.size(),
            &lying.from(honest.size()),
            &honest.root,
            &lying.root,
        );
        assert!(checked.is_err(), "{what}: {size} leaves, then {}", lying.size());
        // Nor does any other proof that it can think of hold.
        let guess: Vec<_> = (0..rng.random_range(0..8))
            .map(|_| Digest::of(&rng.random::<[u8; 8]>()))
            .collect();
        for proof in [
            honest.from(honest.size()),
            lying.from(rng.random_range(1..=lying.size())),
            guess,
        ] {
            let checked = check_consistency(honest.size(), lying.size(), &proof, &honest.root, &lying.root);
            assert!(checked.is_err(), "{what}");
        }
        found += 1;
    }
}

#[test]
fn l06_a_receipt_of_another_entry_place_or_tree_does_not_hold() {
    let mut rng = rng();
    for _ in 0..2_000 {
        let size = rng.random_range(2..64_usize);
        let tree = Tree::of((0..size).map(|n| leaf_hash(&[n as u8])).collect());
        let [index, other] = [0, 1].map(|_| rng.random_range(0..size));
        let mut read = |node| tree.nodes.get(&node).copied().ok_or(());
        let path = inclusion(index as u64, tree.size(), &mut read).ok().unwrap();
        let check = |leaf: Digest, index: usize, size: u64| {
            check_inclusion(leaf, index as u64, size, &path, &tree.root).is_ok()
        };
        assert!(check(tree.leaves[index], index, tree.size()));
        assert!(!check(Digest::of(b"forged"), index, tree.size()), "forged");
        if other != index {
            assert!(
                !check(tree.leaves[other], index, tree.size()),
                "another entry's proof"
            );
            assert!(!check(tree.leaves[index], other, tree.size()), "another place");
        }
        let later = Tree::of((0..=size).map(|n| leaf_hash(&[n as u8])).collect());
        let replayed = check_inclusion(tree.leaves[index], index as u64, later.size(), &path, &later.root);
        assert!(replayed.is_err(), "an old proof under a new checkpoint");
    }
}

#[test]
fn what_was_kept_of_a_contradiction_is_judged_offline() {
    let secret = log();
    let tree = |count: u8, mark: u8| {
        Tree::of(
            (0..count)
                .map(|n| leaf_hash(&[n, if n < 4 { 0 } else { mark }]))
                .collect(),
        )
    };
    let (old, grown, forked) = (tree(8, 0), tree(12, 0), tree(12, 1));
    let note = |tree: &Tree| secret.sign(tree.size(), tree.root).note().to_vec();
    let public = secret.public();
    assert_eq!(
        judge(&note(&grown), &note(&forked), &[], public),
        Ok(Verdict::Forked)
    );
    assert_eq!(
        judge(&note(&old), &note(&forked), &forked.from(8), public),
        Ok(Verdict::NotShown)
    );
    assert_eq!(
        judge(&note(&old), &note(&grown), &grown.from(8), public),
        Err(NoContradiction::Consistent)
    );
    assert_eq!(
        judge(&note(&old), &note(&old), &[], public),
        Err(NoContradiction::Consistent)
    );
    assert_eq!(
        judge(&note(&grown), &note(&old), &[], public),
        Ok(Verdict::NotShown),
        "it went back"
    );
    let stranger = LogSecret::generate(ORIGIN, &mut StdRng::seed_from_u64(5)).unwrap();
    let forged = stranger.sign(12, forked.root).note().to_vec();
    assert!(matches!(
        judge(&note(&grown), &forged, &[], public),
        Err(NoContradiction::Checkpoint(_))
    ));
    let seen = |tree: &Tree| Seen {
        size: tree.size(),
        root: tree.root,
    };
    assert_eq!(
        judge_seen(seen(&forked), &note(&grown), &[], public),
        Ok(Verdict::Disputed)
    );
    assert_eq!(
        judge_seen(seen(&old), &note(&forked), &forked.from(8), public),
        Ok(Verdict::Disputed)
    );
    assert_eq!(
        judge_seen(seen(&old), &note(&grown), &grown.from(8), public),
        Err(NoContradiction::Consistent)
    );
    assert_eq!(
        judge_seen(seen(&grown), &note(&old), &[], public),
        Ok(Verdict::Disputed),
        "more than there is"
    );
}

/// A tree of so many leaves, of which one says something else.
fn tree_with(count: u64, other: Option<u64>) -> Tree {
    let leaf = |n: u64| leaf_hash(&[&n.to_be_bytes()[..], &[u8::from(other == Some(n))]].concat());
    Tree::of((0..count).map(leaf).collect())
}

#[test]
fn l01_what_a_broker_gives_shows_its_other_history_at_powers_of_two_as_anywhere() {
    let seen = |tree: &Tree| Seen {
        size: tree.size(),
        root: tree.root,
    };
    for from in 1..=17_u64 {
        let old = tree_with(from, None);
        for to in from + 1..=from + 18 {
            for other in (0..to).map(Some).chain([None]) {
                let new = tree_with(to, other);
                let given = Given {
                    proof: new.from(from),
                    from_root: from
                        .is_power_of_two()
                        .then(|| tree_with(from, other.filter(|at| *at < from)).root),
                };
                let lies = other.is_some_and(|at| at < from);
                assert_eq!(
                    given.shows_another(seen(&old), seen(&new)),
                    lies,
                    "{from} {to} {other:?}"
                );
                assert!(
                    !given.shows_another(seen(&new), seen(&old)),
                    "the other way round"
                );
                // A root that does not stand there proves nothing, and neither does a proof that was spoilt.
                let invented = Given {
                    from_root: Some(Digest::of(b"invented")),
                    ..given.clone()
                };
                let by_proof = lies && !from.is_power_of_two();
                assert_eq!(invented.shows_another(seen(&old), seen(&new)), by_proof);
                let mut spoilt = given;
                if let Some(last) = spoilt.proof.last_mut() {
                    *last = Digest::of(b"spoilt");
                }
                assert!(!spoilt.shows_another(seen(&old), seen(&new)));
            }
        }
    }
}

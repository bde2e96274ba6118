//! The log: checkpoints, proofs, evidence, what a leaf commits to.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use schakel_broker::log::tiles::Resource;
use schakel_proto::evidence::{BODY_TYPE, Body, DECISION_TYPE, Event, LEAF_TYPE, attachment_digest, check};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::cosignature::with_lines;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::{self, check_consistency, check_inclusion};
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_proto::vectors::NOW;
use schakel_proto::wire;

use crate::fixtures::{DIRECTORY, LOG, WORLD, witness};
use crate::{choice, chosen, refused, said};

/// What the log has signed.
static SIGNED: LazyLock<Vec<SignedCheckpoint>> = LazyLock::new(|| {
    let sizes = [0, 1, 17, u64::MAX];
    sizes
        .iter()
        .map(|size| LOG.sign(*size, Digest::of(&size.to_be_bytes())))
        .collect()
});

/// A note opens only if the log signed it; a key that is read is written so that it reads as the same.
pub fn checkpoint(input: &[u8]) {
    let (way, rest) = choice(input);
    if way & 1 == 0 {
        match SignedCheckpoint::open(rest, LOG.public()) {
            Ok(opened) => {
                assert_eq!(opened.note(), rest);
                cosigned(&opened);
                let same = |s: &&SignedCheckpoint| s.size() == opened.size() && s.root() == opened.root();
                assert!(SIGNED.iter().any(|s| same(&s)), "signed by nobody");
            }
            Err(error) => said(&error.to_string()),
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match LogSecret::from_text(text) {
        Ok(secret) => {
            let again = LogSecret::from_text(&secret.to_text()).unwrap();
            assert_eq!(again.public(), secret.public());
            let signed = secret.sign(5, Digest::of(rest));
            assert_eq!(SignedCheckpoint::open(signed.note(), secret.public()), Ok(signed));
        }
        Err(error) => said(&error.to_string()),
    }
}

/// Whatever lines a note has, a witness counts once, and only for what it cosigned.
fn cosigned(opened: &SignedCheckpoint) {
    match DIRECTORY.log().watch().standing(opened) {
        Ok(standing) => {
            assert!(standing.by().len() <= 1);
            assert!(
                standing.by().is_empty() || opened.size() == 17,
                "cosigned by nobody"
            );
        }
        Err(error) => said(&error.to_string()),
    }
}

/// Checkpoints, one with a witness' line of a stranger, some with true and spoilt ones, and a key.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = SIGNED.iter().map(|s| chosen(0, s.note())).collect();
    let mut witnessed = SIGNED[1].note().to_vec();
    witnessed.extend("\u{2014} witness.example AAAAAAAAAAAA\n".as_bytes());
    all.push(chosen(0, &witnessed));
    let agency = DIRECTORY.log().witnesses().first().unwrap();
    let secret = witness(agency);
    let lines = [5, 7].map(|seconds| secret.cosign(&SIGNED[2], seconds).unwrap().line);
    let lines = || lines.iter().map(String::as_str);
    all.push(chosen(0, &with_lines(SIGNED[2].note(), lines())));
    all.push(chosen(0, &with_lines(SIGNED[1].note(), lines())));
    all.push(chosen(1, LOG.to_text().as_bytes()));
    all
}

const LEAVES: u64 = 64;

/// A tree of 64 leaves: every node, and the root at each size.
static TREE: LazyLock<(BTreeMap<Node, Digest>, Vec<Digest>)> = LazyLock::new(|| {
    let (mut nodes, mut frontier) = (BTreeMap::new(), Frontier::default());
    let mut roots = vec![frontier.root()];
    for leaf in 0..LEAVES {
        frontier.append(leaf_hash(&leaf.to_be_bytes()), &mut |node, hash| {
            nodes.insert(node, hash);
        });
        roots.push(frontier.root());
    }
    (nodes, roots)
});

fn number(input: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(input.iter().skip(at * 8)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

/// Two numbers, two roots and a path: as they come, or as changes to a true proof of a small tree. A true proof
/// holds; a changed one does not.
pub fn proof(input: &[u8]) {
    let (way, rest) = choice(input);
    let (one, two) = (number(rest, 0), number(rest, 1));
    let hash = |bytes: &[u8]| {
        let mut hash = [0; 32];
        hash[..bytes.len()].copy_from_slice(bytes);
        Digest::from_bytes(hash)
    };
    let mut hashes: Vec<Digest> = rest.get(16..).unwrap_or_default().chunks(32).map(hash).collect();
    if way & 1 == 1 {
        return true_proof(way, one, two, &hashes);
    }
    hashes.resize(hashes.len().max(2), Digest::from_bytes([0; 32]));
    let (roots, path) = hashes.split_at(2);
    if let Ok(included) = check_inclusion(roots[0], one, two, path, &roots[1]) {
        assert!(path.len() <= 64 && included.index() < included.size());
        let mut other = path.to_vec();
        if let Some(first) = other.first_mut() {
            *first = Digest::of(first.as_bytes());
            assert!(check_inclusion(roots[0], one, two, &other, &roots[1]).is_err());
        }
        other.push(roots[0]);
        assert!(check_inclusion(roots[0], one, two, &other, &roots[1]).is_err());
    }
    if let Ok(consistent) = check_consistency(one, two, path, &roots[0], &roots[1]) {
        assert!(path.len() <= proof::PROOF_MAX_COUNT && consistent.from() <= consistent.to());
    }
}

fn true_proof(way: u8, one: u64, two: u64, changes: &[Digest]) {
    let (nodes, roots) = &*TREE;
    let mut read = |node: Node| nodes.get(&node).copied().ok_or(());
    let size = two % LEAVES + 1;
    let (from, index) = (one % (size + 1), one % size);
    let root = |size: u64| &roots[usize::try_from(size).unwrap()];
    let leaf = leaf_hash(&index.to_be_bytes());
    let path = match way & 2 {
        0 => proof::inclusion(index, size, &mut read).unwrap(),
        _ => proof::consistency(from, size, &mut read).unwrap(),
    };
    let mut changed = path.clone();
    if way & 4 != 0 {
        changed.truncate(usize::from(way >> 3));
    }
    for (to, by) in changed.iter_mut().zip(changes) {
        let mut bytes = *to.as_bytes();
        bytes.iter_mut().zip(by.as_bytes()).for_each(|(to, by)| *to ^= by);
        *to = Digest::from_bytes(bytes);
    }
    let holds = match way & 2 {
        0 => check_inclusion(leaf, index, size, &changed, root(size)).is_ok(),
        _ => check_consistency(from, size, &changed, root(from), root(size)).is_ok(),
    };
    assert_eq!(holds, changed == path, "a proof of {size} leaves");
}

/// Proofs in the small tree, and numbers at the edges.
pub fn proofs() -> Vec<Vec<u8>> {
    let numbers = [
        (0, 1),
        (5, 17),
        (63, 63),
        (31, 32),
        (u64::MAX - 1, u64::MAX),
        (1 << 63, u64::MAX),
    ];
    let bytes = |(a, b): (u64, u64)| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let plain = numbers
        .iter()
        .flat_map(|n| [1, 3, 5, 0x17].map(|way| chosen(way, &bytes(*n))));
    let raw = numbers
        .iter()
        .map(|n| chosen(0, &[bytes(*n), vec![8; 32 * 9]].concat()));
    plain.chain(raw).collect()
}

/// Evidence as it comes, or made to hold together first: then it says what its body says.
pub fn evidence(input: &[u8]) {
    let (way, rest) = choice(input);
    let Ok(mut evidence) = wire::Evidence::decode(rest) else {
        return;
    };
    if way & 1 == 1 {
        mend(&mut evidence);
    }
    match check(&evidence, &WORLD.network, LOG.public()) {
        Ok(checked) => {
            assert_eq!(
                Body::parse(&evidence.body, &WORLD.network).as_ref(),
                Ok(checked.body())
            );
            assert_eq!(checked.leaf_hash(), leaf_hash(&evidence.leaf));
            assert!(checked.index() < checked.tree_size());
            assert_eq!(checked.shown().is_some(), evidence.shown.is_some());
            assert_eq!(checked.attachment(), evidence.attachment.as_ref());
        }
        Err(error) => said(&error.to_string()),
    }
}

fn mend(evidence: &mut wire::Evidence) {
    if let Ok(mut body) = wire::EvidenceBody::decode(evidence.body.clone()) {
        let digest = |opening: &Option<wire::Opening>| {
            let opening = opening.as_ref()?;
            Some(
                Digest::of_all(&[&opening.nonce, &opening.descriptor])
                    .to_vec()
                    .into(),
            )
        };
        body.shown_digest = digest(&evidence.shown).unwrap_or(body.shown_digest);
        body.hidden_digest = digest(&evidence.hidden).unwrap_or(body.hidden_digest);
        if let Some(signed) = &evidence.attachment {
            body.attachment_digest = attachment_digest(signed).to_vec().into();
        }
        evidence.body = body.encode_to_vec().into();
        if let Ok(mut leaf) = wire::Leaf::decode(evidence.leaf.clone()) {
            leaf.at_ms = body.at_ms;
            let commitment = Digest::of_all(&[b"schakel/leaf/v1", &evidence.salt, &evidence.body]);
            leaf.commitment = commitment.to_vec().into();
            evidence.leaf = leaf.encode_to_vec().into();
        }
    }
    (evidence.index, evidence.tree_size) = (0, 1);
    evidence.inclusion.clear();
    evidence.checkpoint = LOG.sign(1, leaf_hash(&evidence.leaf)).note().to_vec().into();
}

fn body_message(event: &str) -> wire::EvidenceBody {
    let agency = WORLD.members().next().unwrap();
    wire::EvidenceBody {
        r#type: BODY_TYPE.to_owned(),
        network: WORLD.network.to_string(),
        entry_id: vec![1; 16].into(),
        event: event.to_owned(),
        at_ms: NOW.millis(),
        case_ref: vec![2; 16].into(),
        packet_id: vec![3; 16].into(),
        manifest_digest: vec![4; 32].into(),
        sender: agency.to_string(),
        recipient: agency.to_string(),
        reason: "matrix".to_owned(),
        shown_digest: vec![5; 32].into(),
        hidden_digest: vec![6; 32].into(),
        attachment_digest: vec![7; 32].into(),
        left_out: 8,
        actor: "unix:1000".to_owned(),
        shard: link(event),
    }
}

/// Another shard, where an event names one.
fn link(event: &str) -> Option<wire::ShardLink> {
    let origin = "fuzz.example/log/2026h1".to_owned();
    match Event::parse(event) {
        Some(Event::ShardFrozen) => Some(wire::ShardLink {
            origin,
            ..Default::default()
        }),
        Some(Event::ShardOpened) => Some(wire::ShardLink {
            origin,
            size: 9,
            root: vec![8; 32].into(),
        }),
        _ => None,
    }
}

/// What a leaf commits to: what parses has no other meaning when it is written again.
pub fn body(input: &[u8]) {
    match Body::parse(input, &WORLD.network) {
        Ok(body) => {
            let again = wire::EvidenceBody::decode(input).unwrap().encode_to_vec();
            assert_eq!(Body::parse(&again, &WORLD.network), Ok(body));
        }
        Err(error) => said(&error.to_string()),
    }
}

/// One body of each event.
pub fn bodies() -> Vec<Vec<u8>> {
    let bodies = Event::ALL
        .iter()
        .map(|event| body_message(event.as_str()).encode_to_vec());
    bodies.collect()
}

/// Evidence with and without decisions and attachment.
pub fn all_evidence() -> Vec<Vec<u8>> {
    let decision = wire::Decision {
        r#type: DECISION_TYPE.to_owned(),
        network: WORLD.network.to_string(),
        packet_id: vec![3; 16].into(),
        recipient: WORLD.members().next().unwrap().to_string(),
        at_ms: NOW.millis(),
        bundle_digest: vec![8; 32].into(),
        bundle_version: 1,
        facts_head: vec![9; 32].into(),
        facts_count: 2,
        directory_version: 3,
        parts: vec![wire::PartDecision {
            part_id: vec![1; 16].into(),
            outcome: "deliver".to_owned(),
            reason: "matrix".to_owned(),
            obligations: vec!["no-further-use".to_owned()],
            policies: vec!["matrix:alert:police_zone".to_owned()],
        }],
    };
    let opening = wire::Opening {
        nonce: vec![1; 32].into(),
        descriptor: decision.encode_to_vec().into(),
    };
    let leaf = wire::Leaf {
        r#type: LEAF_TYPE.to_owned(),
        network: WORLD.network.to_string(),
        ..Default::default()
    };
    let plain = wire::Evidence {
        leaf: leaf.encode_to_vec().into(),
        salt: vec![2; 32].into(),
        body: body_message("ContentHandover").encode_to_vec().into(),
        ..Default::default()
    };
    let full = wire::Evidence {
        shown: Some(opening.clone()),
        hidden: Some(opening),
        attachment: Some(wire::Signed::default()),
        ..plain.clone()
    };
    let ready = |mut evidence: wire::Evidence| {
        mend(&mut evidence);
        evidence.encode_to_vec()
    };
    [ready(plain), ready(full)]
        .iter()
        .flat_map(|e| [chosen(0, e), chosen(1, e)])
        .collect()
}

/// A path of the log over HTTP: what is read has that one way to be written, and no number of it is out of bounds.
pub fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Resource::parse(text) {
        Ok(resource) => assert_eq!(resource.to_string(), text),
        Err(refusal) => refused(refusal),
    }
}

/// Paths of each kind, and at the edges.
pub fn paths() -> Vec<Vec<u8>> {
    let paths = "checkpoint tile/0/000 tile/63/x001/x234/067.p/255 tile/entries/000.p/1 tile/entries/x012/345 entry/0 \
        entry/18446744073709551615 tile/1/x018/x446/x744/x073/x709/x551/615 tile/0/000.p/256 tile/64/000 entry/01";
    paths
        .split_whitespace()
        .map(|path| path.as_bytes().to_vec())
        .collect()
}

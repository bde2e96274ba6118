//! Evidence that holds, and what is refused when anything of it is changed.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::ids::PartId;
use crate::tlog::checkpoint::LogSecret;
use crate::tlog::proof::inclusion;
use crate::tlog::tree::{Frontier, Node};

struct Case {
    network: NetworkName,
    secret: LogSecret,
    evidence: wire::Evidence,
}

fn bytes(b: &[u8]) -> Bytes {
    Bytes::copy_from_slice(b)
}

fn decision(packet: &PacketId, parts: usize, rng: &mut StdRng) -> wire::Decision {
    let part = |rng: &mut StdRng| wire::PartDecision {
        part_id: bytes(PartId::random(rng).as_bytes()),
        outcome: "deliver".to_owned(),
        reason: "ALLOW_MATRIX".to_owned(),
        ..Default::default()
    };
    wire::Decision {
        packet_id: bytes(packet.as_bytes()),
        recipient: "caw-rupel".to_owned(),
        bundle_digest: bytes(Digest::of(b"bundle").as_bytes()),
        parts: (0..parts).map(|_| part(rng)).collect(),
        ..Default::default()
    }
}

/// A consignment at position 5 of 8, with both decisions and an attachment.
fn case() -> Case {
    let mut rng = StdRng::seed_from_u64(5);
    let network = NetworkName::new("rupel").unwrap();
    let secret = LogSecret::generate("rupel.example/log", &mut rng).unwrap();
    let packet = PacketId::new(Timestamp::from_millis(1_795_278_600_000), &mut rng);
    let shown = decision(&packet, 2, &mut rng);
    let hidden = decision(&packet, 0, &mut rng);
    let (shown, shown_digest) = conceal(&network, shown, &mut rng);
    let (hidden, hidden_digest) = conceal(&network, hidden, &mut rng);
    let attachment = wire::Signed {
        bytes: bytes(b"an acknowledgement"),
        signature: bytes(b"a signature"),
    };
    let key = ErasureKey::random(&mut rng);
    let body = wire::EvidenceBody {
        entry_id: bytes(EntryId::random(&mut rng).as_bytes()),
        event: Event::ContentConsignment.as_str().to_owned(),
        at_ms: 1_795_278_600_007,
        case_ref: bytes(CaseRef::random(&mut rng).as_bytes()),
        packet_id: bytes(packet.as_bytes()),
        manifest_digest: bytes(Digest::of(b"manifest").as_bytes()),
        sender: "pz-rupel".to_owned(),
        recipient: "caw-rupel".to_owned(),
        shown_digest: bytes(shown_digest.as_bytes()),
        hidden_digest: bytes(hidden_digest.as_bytes()),
        attachment_digest: bytes(attachment_digest(&attachment).as_bytes()),
        ..Default::default()
    };
    let sealed = seal(&network, body, &key);
    let mut nodes = std::collections::HashMap::new();
    let mut frontier = Frontier::default();
    for number in 0..8u8 {
        let leaf = if number == 5 {
            sealed.leaf_hash()
        } else {
            leaf_hash(&[number])
        };
        frontier.append(leaf, &mut |n, h| {
            nodes.insert(n, h);
        });
    }
    let path = inclusion(5, 8, &mut |n: Node| nodes.get(&n).copied().ok_or(n)).unwrap();
    let evidence = wire::Evidence {
        leaf: sealed.leaf().clone(),
        salt: bytes(key.salt(sealed.body()).as_bytes()),
        body: sealed.body().clone(),
        index: 5,
        tree_size: 8,
        inclusion: path.iter().map(|h| bytes(h.as_bytes())).collect(),
        checkpoint: bytes(secret.sign(8, frontier.root()).note()),
        shown: Some(shown),
        hidden: Some(hidden),
        attachment: Some(attachment),
    };
    Case {
        network,
        secret,
        evidence,
    }
}

#[test]
fn good_evidence_says_everything_and_less_when_less_is_opened() {
    let Case {
        network,
        secret,
        mut evidence,
    } = case();
    let checked = check(&evidence, &network, secret.public()).unwrap();
    assert_eq!(checked.body().event, Event::ContentConsignment);
    assert_eq!(checked.body().sender.as_ref().unwrap().as_str(), "pz-rupel");
    assert_eq!((checked.index(), checked.tree_size()), (5, 8));
    assert_eq!(checked.leaf_hash(), leaf_hash(&evidence.leaf));
    assert_eq!(checked.shown().unwrap().parts().len(), 2);
    assert_eq!(checked.hidden().unwrap().parts().len(), 0);
    assert!(checked.attachment().is_some());
    (evidence.hidden, evidence.attachment) = (None, None);
    let checked = check(&evidence, &network, secret.public()).unwrap();
    assert!(checked.hidden().is_none() && checked.shown().is_some());
}

#[test]
fn l11_a_leaf_says_nothing_but_when_and_its_size_tells_nothing() {
    let Case {
        network, evidence, ..
    } = case();
    let leaf = wire::Leaf::decode(&*evidence.leaf).unwrap();
    assert_eq!(
        (leaf.network.as_str(), leaf.commitment.len()),
        (network.as_str(), 32)
    );
    let mut rng = StdRng::seed_from_u64(9);
    let key = ErasureKey::random(&mut rng);
    let empty = wire::EvidenceBody {
        at_ms: 1_795_278_600_007,
        ..Default::default()
    };
    assert_eq!(
        seal(&network, empty.clone(), &key).leaf().len(),
        evidence.leaf.len()
    );
    // The same words under another key make another leaf: without the salt nobody can guess the body.
    let other = seal(&network, empty.clone(), &ErasureKey::random(&mut rng));
    assert_ne!(other.leaf_hash(), seal(&network, empty, &key).leaf_hash());
    assert_eq!(format!("{key:?}"), "ErasureKey");
}

#[test]
fn whatever_is_changed_is_refused() {
    let Case {
        network,
        secret,
        evidence,
    } = case();
    let refused = |change: &dyn Fn(&mut wire::Evidence)| {
        let mut changed = evidence.clone();
        change(&mut changed);
        check(&changed, &network, secret.public()).unwrap_err()
    };
    let flip = |b: &Bytes, at: usize| {
        let mut b = b.to_vec();
        b[at] ^= 1;
        Bytes::from(b)
    };
    for at in 0..evidence.leaf.len() {
        refused(&|e| e.leaf = flip(&e.leaf, at));
    }
    for at in 0..evidence.body.len() {
        assert_eq!(
            refused(&|e| e.body = flip(&e.body, at)),
            EvidenceError::Commitment
        );
    }
    for at in 0..32 {
        assert_eq!(
            refused(&|e| e.salt = flip(&e.salt, at)),
            EvidenceError::Commitment
        );
    }
    for at in 0..evidence.checkpoint.len() {
        refused(&|e| e.checkpoint = flip(&e.checkpoint, at));
    }
    assert_eq!(
        refused(&|e| e.salt = e.salt.slice(1..)),
        EvidenceError::Commitment
    );
    assert_eq!(refused(&|e| e.index = 4), EvidenceError::Proof(ProofError::Root));
    assert_eq!(
        refused(&|e| e.index = 8),
        EvidenceError::Proof(ProofError::Position)
    );
    assert_eq!(
        refused(&|e| e.tree_size = 9),
        EvidenceError::Malformed("tree size")
    );
    assert_eq!(
        refused(&|e| {
            e.inclusion.pop();
        }),
        EvidenceError::Proof(ProofError::Length)
    );
    assert!(matches!(
        refused(&|e| e.inclusion[0] = bytes(b"short")),
        EvidenceError::Malformed(_)
    ));
    assert!(matches!(
        refused(&|e| e.inclusion = vec![Bytes::new(); 200]),
        EvidenceError::Malformed(_)
    ));
    let shown = EvidenceError::Digest("shown decision");
    assert_eq!(refused(&|e| e.shown.clone_from(&e.hidden)), shown);
    assert_eq!(refused(&|e| e.shown = Some(wire::Opening::default())), shown);
    assert_eq!(
        refused(&|e| e.attachment = Some(wire::Signed::default())),
        EvidenceError::Digest("attachment")
    );
}

#[test]
fn evidence_of_another_network_or_log_is_refused() {
    let Case {
        network,
        secret,
        evidence,
    } = case();
    let other = NetworkName::new("demer").unwrap();
    assert_eq!(
        check(&evidence, &other, secret.public()),
        Err(EvidenceError::Network)
    );
    let log = LogSecret::generate("demer.example/log", &mut StdRng::seed_from_u64(5)).unwrap();
    let wrong = EvidenceError::Checkpoint(CheckpointError::Origin);
    assert_eq!(check(&evidence, &network, log.public()), Err(wrong));
}

#[test]
fn every_event_has_its_own_name() {
    for event in Event::ALL {
        assert_eq!(Event::parse(event.as_str()), Some(event));
    }
    let names: std::collections::BTreeSet<_> = Event::ALL.iter().map(|e| e.as_str()).collect();
    assert_eq!(names.len(), Event::ALL.len());
    assert_eq!(Event::parse("submissionacceptance"), None);
}

#[test]
fn l12_without_its_key_a_leaf_fits_every_body_and_none_and_its_proof_still_holds() {
    let Case {
        network,
        secret,
        evidence,
    } = case();
    let mut rng = StdRng::seed_from_u64(12);
    // Key and row are erased: leaf, proof and checkpoint are what is left.
    let left = wire::Evidence {
        salt: Bytes::new(),
        body: Bytes::new(),
        shown: None,
        hidden: None,
        attachment: None,
        ..evidence.clone()
    };
    let checkpoint = steps::checkpoint(&left, secret.public()).unwrap();
    assert_eq!(steps::included(&left, &checkpoint).unwrap().index(), 5);
    assert_eq!(steps::body(&left, &network), Err(EvidenceError::Commitment));
    // Who guesses the whole body cannot tell whether it is the one: every other key makes another salt.
    for _ in 0..100 {
        let guessed = wire::Evidence {
            salt: bytes(ErasureKey::random(&mut rng).salt(&evidence.body).as_bytes()),
            ..evidence.clone()
        };
        assert_eq!(steps::body(&guessed, &network), Err(EvidenceError::Commitment));
    }
}

#[test]
fn shard_entries_name_the_other_shard_as_their_event_does() {
    let network = NetworkName::new("rupel").unwrap();
    let body = |event: Event, shard: Option<wire::ShardLink>| {
        let body = wire::EvidenceBody {
            r#type: BODY_TYPE.to_owned(),
            network: network.to_string(),
            entry_id: bytes(&[1; 16]),
            event: event.as_str().to_owned(),
            shard,
            ..Default::default()
        };
        Body::parse(&body.encode_to_vec(), &network).map(|body| body.shard)
    };
    let end = Some((7, Digest::of(b"root")));
    let link = |end| ShardLink {
        origin: "rupel.example/log/2026h2".to_owned(),
        end,
    };
    let (after, before) = (link(None), link(end));
    for (event, link, fits) in [
        (Event::ShardFrozen, &after, true),
        (Event::ShardFrozen, &before, false),
        (Event::ShardOpened, &before, true),
        (Event::ShardOpened, &after, false),
        (Event::AdminAct, &after, false),
    ] {
        let parsed = body(event, Some(link.to_wire()));
        assert_eq!(
            parsed.ok().flatten().as_ref(),
            Some(link).filter(|_| fits),
            "{event:?}"
        );
    }
    let mut long = after.to_wire();
    long.origin = "x".repeat(ORIGIN_MAX_BYTES + 1);
    assert!(body(Event::ShardFrozen, Some(long)).is_err());
    assert_eq!(body(Event::AdminAct, None), Ok(None));
}

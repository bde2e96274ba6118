//! The log: views, proofs, one writer.

use std::sync::Arc;

use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::tlog::tree::{Frontier, Node};

use super::super::*;
use super::bench::{Bench, JUSTICE, SENDER, SMALL, WELFARE, agency};
use crate::log::entry::EntryDraft;
use crate::log::publish::Evidences;
use crate::log::sequencer::{LogState, Sequencer};

/// A packet of which one part is delivered and one is not, under a checkpoint: its id, the hidden part, and
/// the leaves of acceptance and consignment.
async fn consigned(bench: &mut Bench) -> (PacketId, PartId, Digest, Digest) {
    let to: &[&str] = &[WELFARE];
    let new = bench.packet(to, &[(SMALL, to), (SMALL, to)]).await;
    let (id, hidden, accepted) = (new.packet, new.parts[1].part, new.entry.leaf_hash());
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let verdict = |s: &PartState| match s.part == hidden {
        true => Verdict::Withhold,
        false => Verdict::Deliver,
    };
    let handing = bench.decide(&lease, verdict).await;
    let consigned = handing.entry.as_ref().unwrap().leaf_hash();
    bench.store().hand_over(handing).await.unwrap();
    let early = bench.store().entry(consigned).await.unwrap();
    assert!(early.is_none(), "not under a checkpoint yet");
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    assert_eq!(log.wait_for(accepted).await.unwrap(), 0);
    assert_eq!(log.wait_for(consigned).await.unwrap(), 1);
    sequencer.stop().await;
    assert!(matches!(log.state(), LogState::Stopped(_)));
    bench.reopen().await;
    (id, hidden, accepted, consigned)
}

pub(super) async fn entries_are_shown_as_far_as_they_concern(mut bench: Bench) {
    let (id, hidden, accepted, consigned) = consigned(&mut bench).await;
    let key = bench.secret().public().clone();
    let (evidences, store) = (Evidences::new(bench.keys.clone()), bench.store());
    let of = async |who: &str, leaf| {
        let found = evidences.of(store.as_ref(), &agency(who), leaf).await.unwrap();
        found.map(|e| evidence::check(&e, &bench.network, &key).unwrap())
    };
    let mine = of(SENDER, consigned).await.unwrap();
    assert_eq!(
        (mine.body().event, mine.body().packet),
        (Event::ContentConsignment, Some(id))
    );
    assert_eq!(
        (mine.leaf_hash(), mine.index(), mine.tree_size()),
        (consigned, 1, 2)
    );
    let part = |p: &evidence::PartDecision| p.part;
    let parts = |d: Option<&evidence::Decision>| d.map(|d| d.parts().iter().map(part).collect::<Vec<_>>());
    assert_eq!(parts(mine.hidden()), Some(vec![hidden]));
    let theirs = of(WELFARE, consigned).await.unwrap();
    assert_eq!(parts(theirs.shown()), parts(mine.shown()));
    assert!(theirs.hidden().is_none(), "what is hidden stays hidden");
    assert!(of(JUSTICE, consigned).await.is_none());
    assert!(of(WELFARE, accepted).await.is_none());
    let shown = evidences.submission(store.as_ref(), accepted).await.unwrap();
    let shown = evidence::check(&shown.unwrap(), &bench.network, &key).unwrap();
    assert_eq!(shown.body().event, Event::SubmissionAcceptance);
}

pub(super) async fn evidence_is_given_in_order_from_any_position(mut bench: Bench) {
    let (_, _, accepted, consigned) = consigned(&mut bench).await;
    let (evidences, store) = (Evidences::new(bench.keys.clone()), bench.store());
    for (who, from, limit, expected) in [
        (SENDER, 0, 10, (2, 2)),
        (SENDER, 0, 1, (1, 1)),
        (SENDER, 1, 10, (1, 2)),
        (SENDER, 2, 10, (0, 2)),
        (WELFARE, 0, 10, (1, 2)),
        (JUSTICE, 0, 10, (0, 0)),
    ] {
        let given = evidences.since(store.as_ref(), &agency(who), from, limit).await;
        let (all, next) = given.unwrap();
        assert_eq!((all.len(), next), expected, "{who} from {from}");
    }
    let leaves = store.leaves(0, 10).await.unwrap();
    let hashes: Vec<_> = leaves.iter().map(|l| leaf_hash(l)).collect();
    assert_eq!(hashes, [accepted, consigned]);
    assert_eq!(store.leaves(1, 10).await.unwrap().len(), 1);
    // The case's erasure key gone, its entries mean nothing any more; the tree stands.
    bench.keys.destroy(bench.case).await.unwrap();
    let erased = evidences.of(store.as_ref(), &agency(SENDER), consigned).await;
    assert!(erased.unwrap().is_none());
    assert_eq!(store.leaves(0, 10).await.unwrap().len(), 2);
    after_erasure(&mut bench).await;
}

/// What happens to an erased case afterwards leads back to nothing, and what would add to it is not made.
async fn after_erasure(bench: &mut Bench) {
    let about = |event, bench: &Bench| {
        let draft = EntryDraft {
            case: Some(bench.case),
            packet: Some(PacketId::from_bytes([7; 16])),
            manifest_digest: Some(Digest::of(b"manifest")),
            sender: Some(agency(SENDER)),
            recipient: Some(agency(WELFARE)),
            reason: "a-reason".to_owned(),
            ..EntryDraft::new(event, bench.now)
        };
        draft.concerning(&agency(SENDER), true)
    };
    for event in Event::ALL {
        let mut draft = about(event, bench);
        draft.attachment = Some(bench.signed(10));
        let made = bench.maker.make(draft, &mut bench.rng).await;
        let adds = [
            Event::SubmissionAcceptance,
            Event::ContentConsignment,
            Event::ContentWithheld,
            Event::ContentHandover,
            Event::ContentHandoverFailure,
            Event::ObligationFulfilled,
            Event::Recalled,
            Event::StatementAccepted,
            Event::FactsChanged,
        ];
        if adds.contains(&event) {
            assert!(matches!(made, Err(StoreError::Erased)), "{event:?}");
            continue;
        }
        let made = made.unwrap();
        let body = made.body().clone();
        assert_eq!(
            (body.event, body.at, body.reason.as_str()),
            (event, bench.now, "a-reason")
        );
        assert_eq!((body.case, body.packet, body.manifest_digest), (None, None, None));
        assert_eq!(
            (body.sender, body.recipient, body.attachment_digest),
            (None, None, None)
        );
        assert!(
            made.concerns.is_empty() && made.attachment.is_none(),
            "shown to nobody"
        );
        let key = bench.keys.existing(None).await.unwrap().unwrap();
        let both = (&**made.sealed.leaf(), &**made.sealed.body());
        evidence::check_leaf(both, &bench.network, &key).unwrap();
    }
}

/// Makes and integrates the next step by hand.
async fn step(bench: &Bench, frontier: &mut Frontier) -> Integration {
    let leaves = bench.store().pending(100).await.unwrap();
    let expected_size = frontier.size();
    let mut nodes = Vec::new();
    for leaf in &leaves {
        frontier.append(leaf.leaf_hash, &mut |n, h| nodes.push((n, h)));
    }
    let checkpoint = bench.secret().sign(frontier.size(), frontier.root());
    Integration {
        expected_size,
        leaves,
        nodes,
        checkpoint,
    }
}

async fn record(bench: &mut Bench, count: usize) {
    for _ in 0..count {
        let draft = EntryDraft::new(Event::SubmissionRejection, bench.now).concerning(&agency(SENDER), true);
        let entry = bench.entry(draft).await;
        let leaf = bench.store().record(entry.clone()).await.unwrap();
        assert_eq!(
            bench.store().record(entry).await.unwrap(),
            leaf,
            "the same entry again"
        );
    }
}

pub(super) async fn only_one_writer_extends_the_tree(mut bench: Bench) {
    record(&mut bench, 3).await;
    let mut frontier = Frontier::default();
    let good = step(&bench, &mut frontier).await;
    assert_eq!(good.leaves.len(), 3, "a repeated entry is one leaf");
    let store = bench.store();
    let mut skipping = good.clone();
    skipping.leaves.remove(0);
    skipping.checkpoint = bench.secret().sign(2, frontier.root());
    assert!(matches!(
        store.integrate(skipping).await,
        Err(StoreError::Misused(_))
    ));
    let mut empty = good.clone();
    empty.leaves.clear();
    assert!(matches!(
        store.integrate(empty).await,
        Err(StoreError::Misused(_))
    ));
    assert_eq!(
        store.integrate(good.clone()).await.unwrap(),
        Integrated::Done { size: 3 }
    );
    assert_eq!(
        store.integrate(good).await.unwrap(),
        Integrated::Conflict { size: 3 }
    );
    bench.reopen().await;
    let checkpoint = bench.store().latest_checkpoint().await.unwrap().unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (3, frontier.root()));
    assert!(bench.store().pending(10).await.unwrap().is_empty());
    assert_eq!(
        bench.store().index_of(Digest::of(b"unknown")).await.unwrap(),
        None
    );
}

pub(super) async fn a_sequencer_that_finds_another_writer_stops(mut bench: Bench) {
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    record(&mut bench, 1).await;
    let first = bench
        .store()
        .pending(1)
        .await
        .unwrap()
        .first()
        .map(|p| p.leaf_hash);
    if let Some(leaf) = first {
        log.wait_for(leaf).await.unwrap();
    }
    sequencer.stop().await;
    // Two that both believe to be the only one: the second to write finds out.
    let (one, one_log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    let mut frontier = Frontier::default();
    let leaf = bench.store().leaves(0, 1).await.unwrap().remove(0);
    frontier.append(leaf_hash(&leaf), &mut |_, _| {});
    bench.breaker.hold();
    let store: Arc<dyn Store> = bench.store();
    let draft = EntryDraft::new(Event::SubmissionRejection, bench.now);
    let (a, b) = (bench.entry(draft.clone()).await, bench.entry(draft).await);
    bench.breaker.let_go();
    // The rival writes until it was first once: then the sequencer must have stopped.
    store.record(a).await.unwrap();
    let mut won = false;
    for _ in 0..200 {
        let rival = step(&bench, &mut frontier.clone()).await;
        if rival.leaves.is_empty() {
            let size = store.latest_checkpoint().await.unwrap().unwrap().size;
            let mut nodes = std::collections::HashMap::new();
            for node in Frontier::peaks_of(size) {
                nodes.insert(node, store.node(node).await.unwrap().unwrap());
            }
            frontier = Frontier::read(size, |n| nodes.get(&n).copied().ok_or(n)).unwrap();
            record(&mut bench, 1).await;
            continue;
        }
        if let Ok(Integrated::Done { .. }) = store.integrate(rival).await {
            won = true;
            break;
        }
    }
    assert!(won, "the rival was never first");
    let _ = store.record(b.clone()).await.unwrap();
    let waited = one_log.wait_for(b.leaf_hash()).await;
    if store.is_shared() {
        // There it follows, until nobody else writes.
        assert!(waited.is_ok(), "{waited:?}");
    } else {
        assert!(matches!(waited, Err(StoreError::Stopped(_))), "{waited:?}");
    }
    one.stop().await;
    // Another key than the one that signed the newest checkpoint is refused at the start.
    let other = schakel_proto::tlog::checkpoint::LogSecret::generate("rupel.example/log", &mut bench.rng);
    let refused = Sequencer::start(bench.store(), other.unwrap()).await;
    assert!(matches!(refused.map(|_| ()), Err(StoreError::Unusable(_))));
}

pub(super) async fn cosignatures_add_up_under_the_one_checkpoint_that_is_held_up(mut bench: Bench) {
    let next = |size: u64, instead_of, keep| NewCandidate {
        size,
        note: bytes::Bytes::from(format!("rupel.example/log\n{size}\n")),
        since: Timestamp::from_millis(7),
        instead_of,
        keep,
    };
    let (one, other) = (agency(WELFARE), agency(JUSTICE));
    let keep = async |bench: &Bench, size, who: &AgencyId, line: &str| {
        let kept = bench.store().keep_cosignature(size, who, line.to_owned()).await;
        kept.unwrap()
    };
    assert_eq!(bench.store().held_up().await.unwrap(), []);
    assert!(!keep(&bench, 3, &one, "line").await, "nothing is held up");
    assert!(bench.store().hold_up(next(3, None, None)).await.unwrap());
    assert!(
        !bench.store().hold_up(next(4, None, None)).await.unwrap(),
        "somebody was first"
    );
    assert!(keep(&bench, 3, &one, "first").await && keep(&bench, 3, &other, "other").await);
    assert!(keep(&bench, 3, &one, "latest").await);
    bench.reopen().await;
    let lines = vec![
        (other.clone(), "other".to_owned()),
        (one.clone(), "latest".to_owned()),
    ];
    let expected = |size, lines: &[(AgencyId, String)]| HeldUp {
        size,
        note: next(size, None, None).note,
        since: Timestamp::from_millis(7),
        lines: lines.to_vec(),
    };
    let mut sorted = lines.clone();
    sorted.sort();
    let first = expected(3, &sorted);
    assert_eq!(
        bench.store().held_up().await.unwrap(),
        std::slice::from_ref(&first)
    );
    // A line came in since it was looked at; a smaller one takes no place.
    let store = bench.store();
    assert!(!store.hold_up(next(5, Some((3, 1)), Some(3))).await.unwrap());
    assert!(!store.hold_up(next(3, Some((3, 2)), None)).await.unwrap());
    assert!(store.hold_up(next(5, Some((3, 2)), Some(3))).await.unwrap());
    assert_eq!(store.held_up().await.unwrap(), [first.clone(), expected(5, &[])]);
    assert!(
        keep(&bench, 3, &one, "late").await,
        "it is kept, and may get more"
    );
    assert!(store.hold_up(next(9, Some((5, 0)), Some(3))).await.unwrap());
    let sizes = |all: Vec<HeldUp>| all.into_iter().map(|one| one.size).collect::<Vec<_>>();
    assert_eq!(sizes(store.held_up().await.unwrap()), [3, 9]);
    assert!(store.hold_up(next(12, Some((9, 0)), Some(9))).await.unwrap());
    assert_eq!(sizes(store.held_up().await.unwrap()), [9, 12]);
    assert!(!keep(&bench, 3, &one, "line").await, "it is gone, with its lines");
}

pub(super) async fn proofs_of_extension_hold_between_all_sizes(mut bench: Bench) {
    let mut frontier = Frontier::default();
    let mut roots = vec![frontier.root()];
    for size in 1..=9 {
        record(&mut bench, 1).await;
        let next = step(&bench, &mut frontier).await;
        assert_eq!(
            bench.store().integrate(next).await.unwrap(),
            Integrated::Done { size }
        );
        roots.push(frontier.root());
    }
    bench.reopen().await;
    for (level, count) in [(0, 9), (1, 4), (2, 2), (3, 1), (4, 0)] {
        let store = bench.store();
        let node = |index| Node { level, index };
        let all = store.nodes(node(0), 100).await.unwrap();
        assert_eq!(all.len(), count, "complete subtrees of level {level}");
        for (index, hash) in (0..).zip(&all) {
            assert_eq!(store.node(node(index)).await.unwrap().as_ref(), Some(hash));
            assert_eq!(store.nodes(node(index), 1).await.unwrap(), [*hash]);
        }
    }
    for from in 0..=9 {
        for to in from..=9 {
            let proof = bench.store().consistency(from, to).await.unwrap();
            let (old, new) = (&roots[from as usize], &roots[to as usize]);
            check_consistency(from, to, &proof, old, new).unwrap();
        }
    }
    assert!(matches!(
        bench.store().consistency(3, 10).await,
        Err(StoreError::Missing(_))
    ));
    assert!(matches!(
        bench.store().consistency(4, 3).await,
        Err(StoreError::Missing(_))
    ));
}

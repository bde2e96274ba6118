//! What was kept for its time goes once, whole, and with its entry; what is left of it is its leaf.

use schakel_proto::evidence::Event;
use schakel_proto::ids::CaseRef;

use super::super::kv::keys;
use super::super::*;
use super::bench::{Bench, LARGE, SMALL, WELFARE, leaf};
use super::breaker::Break;
use super::damaged::{aside, ground, row};
use super::filed::{integrate, positions};
use crate::log::entry::EntryDraft;
use crate::store::forget::FORGOTTEN_MAX_COUNT;

const LATER: i64 = 40 * 86_400_000;

/// The entry that says that something goes.
async fn said(bench: &mut Bench, forgetting: &Forgetting) -> Option<NewEntry> {
    let draft = EntryDraft {
        reason: forgetting.as_str().to_owned(),
        left_out: forgetting.count(),
        ..EntryDraft::new(Event::RecordsErased, bench.now)
    };
    match forgetting.count() {
        0 => None,
        _ => Some(bench.entry(draft).await),
    }
}

/// It fails, it fails but was saved, and it is begun anew: it goes once.
async fn go(bench: &mut Bench, forgetting: Forgetting) {
    for how in [Break::Failed, Break::FailedButSaved] {
        let entry = said(bench, &forgetting).await;
        bench.breaker.arm(how);
        let broken = bench.store().forget(forgetting.clone(), entry).await;
        assert!(matches!(broken, Err(StoreError::Unconfirmed(_))), "{broken:?}");
    }
    let entry = said(bench, &forgetting).await;
    let again = bench.store().forget(forgetting, entry).await.unwrap();
    assert_eq!(again, Forgot::Changed, "it has gone before");
    bench.reopen().await;
    integrate(bench).await;
}

/// How much of it is left, by the tables' letters; pieces of long rows too.
fn rows(bench: &Bench, with: &[u8]) -> Vec<u8> {
    let all = aside(|| {
        let view = ground(bench).view().unwrap();
        let all = view.scan(&[], None, usize::MAX).unwrap();
        view.finish().unwrap();
        all
    });
    let named = all
        .iter()
        .filter(|(key, _)| key.windows(with.len()).any(|part| part == with));
    named.map(|(key, _)| key[0]).collect()
}

/// How much is left of the entry of a leaf.
async fn entry_rows(bench: &Bench, leaf: Digest) -> Vec<u8> {
    let number = bench.store().index_of(leaf).await.unwrap().unwrap();
    rows(bench, &keys::entry(number))
}

/// An ended packet of two parts, one of them in a file, and the leaf of its consignment.
async fn ended(bench: &mut Bench) -> (PacketId, Digest) {
    let to: &[&str] = &[WELFARE];
    let new = bench.packet(to, &[(SMALL, to), (LARGE, to)]).await;
    let packet = new.packet;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    let consignment = leaf(&bench.store().hand_over(handing.clone()).await.unwrap());
    let ack = bench.ack(&handing, consignment, AckOutcome::Received).await;
    bench.store().acknowledge(ack).await.unwrap();
    (packet, consignment)
}

pub(super) async fn no_more_goes_than_is_said_and_what_is_open_or_damaged_stays(mut bench: Bench) {
    let (packet, consignment) = ended(&mut bench).await;
    integrate(&bench).await;
    let store = bench.store();
    let early = store.ended(bench.now, None, 9).await.unwrap();
    assert!(early.found.is_empty(), "not before its last part was final");
    // The bench's manifests are none: whether it broke the glass cannot be told, so it stays.
    let later = bench.now.plus_millis(LATER);
    assert!(store.ended(later, None, 9).await.unwrap().found.is_empty());
    let one = Forgetting::Packets(vec![packet]);
    let entry = said(&mut bench, &one).await;
    assert_eq!(store.forget(one.clone(), entry).await.unwrap(), Forgot::Changed);
    let many = Forgetting::Packets(vec![packet; FORGOTTEN_MAX_COUNT + 1]);
    let entry = said(&mut bench, &many).await;
    assert!(matches!(
        store.forget(many, entry.clone()).await,
        Err(StoreError::Misused(_))
    ));
    for entry in [entry, None] {
        assert!(matches!(
            store.forget(one.clone(), entry).await,
            Err(StoreError::Misused(_))
        ));
    }
    assert!(rows(&bench, packet.as_bytes()).contains(&b'M'));
    assert!(rows(&bench, consignment.as_bytes()).contains(&b'C'));
}

pub(super) async fn a_case_goes_page_by_page_and_leaves_its_leaves(mut bench: Bench) {
    let (case, other) = (bench.case, CaseRef::random(&mut bench.rng));
    let mut packets = Vec::new();
    for _ in 0..3 {
        packets.push(ended(&mut bench).await);
        let statement = bench.statement().await;
        bench.store().add_statement(statement).await.unwrap();
    }
    // Longer than one row takes.
    let draft = EntryDraft {
        case: Some(case),
        attachment: Some(bench.signed(150_000)),
        ..EntryDraft::new(Event::StatementRejected, bench.now)
    };
    let entry = bench.entry(draft).await;
    let long = bench.store().record(entry).await.unwrap();
    bench.case = other;
    let kept = ended(&mut bench).await;
    integrate(&bench).await;
    let leaves = bench.store().leaves(0, 1_000).await.unwrap();
    let whole = positions(&bench, Filed::Case(case), 100).await;
    assert_eq!(bench.store().of_case(case).await.unwrap(), whole);
    // Two pages; in between it is on its way out, and the other case is as it was.
    let (first, second) = whole.split_at(5);
    let wrong = Forgetting::Case {
        case: other,
        entries: first.to_vec(),
    };
    let entry = said(&mut bench, &wrong).await;
    assert_eq!(bench.store().forget(wrong, entry).await.unwrap(), Forgot::Changed);
    for (entries, leaving) in [(first, true), (second, false)] {
        let entries = entries.to_vec();
        go(&mut bench, Forgetting::Case { case, entries }).await;
        let mark = row(&bench, &keys::leaving(case.as_bytes()));
        assert_eq!(mark.is_some(), leaving);
        assert_eq!(bench.store().facts(case).await.unwrap().count(), 0);
    }
    assert!(positions(&bench, Filed::Case(case), 100).await.is_empty());
    assert!(rows(&bench, case.as_bytes()).is_empty());
    for (packet, consignment) in &packets {
        assert!(rows(&bench, packet.as_bytes()).is_empty());
        // Its leaf: where it stands, and that it stands there.
        assert_eq!(rows(&bench, consignment.as_bytes()), [b'J']);
        assert_eq!(entry_rows(&bench, *consignment).await, [b'E']);
        assert!(bench.store().packet(*packet).await.unwrap().is_none());
    }
    assert_eq!(rows(&bench, long.as_bytes()), [b'J']);
    assert_eq!(entry_rows(&bench, long).await, [b'E'], "in one piece");
    let now = bench.store().leaves(0, 1_000).await.unwrap();
    assert_eq!(now[..leaves.len()], leaves);
    assert_eq!(now.len(), leaves.len() + 2, "each page was said once");
    assert!(bench.store().packet(kept.0).await.unwrap().is_some());
    assert_eq!(positions(&bench, Filed::Case(other), 100).await.len(), 3);
    for index in whole {
        let page = bench
            .store()
            .filed(Filed::All, index.checked_sub(1), 1)
            .await
            .unwrap();
        let entry = &page.found[0];
        assert!(entry.index == index && entry.body.is_empty() && entry.case.is_none());
        assert!(entry.concerns.is_empty() && entry.attachment.is_none() && entry.shown.is_none());
    }
}

pub(super) async fn acts_go_in_the_order_of_the_log_and_nothing_else_does(mut bench: Bench) {
    let events = [
        Event::AdminAct,
        Event::BundleActivated,
        Event::SubmissionRejection,
        Event::DirectoryActivated,
        Event::AdminAct,
    ];
    for event in events {
        let entry = bench.entry(EntryDraft::new(event, bench.now)).await;
        bench.store().record(entry).await.unwrap();
        bench.now = bench.now.plus_millis(10);
    }
    integrate(&bench).await;
    let began = bench.now.plus_millis(-50);
    let acts = async |bench: &Bench, after: i64, limit: usize| {
        bench.store().acts(began.plus_millis(after), limit).await.unwrap()
    };
    assert_eq!(acts(&bench, 0, 9).await.looked_at, 0);
    assert_eq!(acts(&bench, 1, 9).await.entries, [0]);
    assert_eq!(acts(&bench, 41, 2).await.looked_at, 2);
    let found = acts(&bench, 40, 9).await;
    assert_eq!(
        (&found.entries[..], found.from, found.looked_at),
        (&[0, 2][..], 0, 4)
    );
    go(&mut bench, Forgetting::Acts(found)).await;
    let found = acts(&bench, 41, 9).await;
    assert_eq!(
        (&found.entries[..], found.from, found.looked_at),
        (&[4][..], 4, 5)
    );
    let gone = bench.store().filed(Filed::All, None, 9).await.unwrap().found;
    let empty: Vec<u64> = gone
        .iter()
        .filter(|one| one.body.is_empty())
        .map(|one| one.index)
        .collect();
    assert_eq!(empty, [0, 2]);
    // Only the place moves on: without an entry.
    let moved = Acts {
        entries: Vec::new(),
        from: 4,
        looked_at: 5,
    };
    let done = bench.store().forget(Forgetting::Acts(moved), None).await.unwrap();
    assert_eq!(done, Forgot::Done { leaf_hash: None });
}

//! What the operator and its monitors are given: everything, in pages, and also after a restart.

use super::super::oversight::KEPT_MAX_COUNT;
use super::super::*;
use super::bench::{Bench, JUSTICE, SENDER, SMALL, WELFARE, agency};
use crate::log::sequencer::Sequencer;

pub(super) async fn what_was_in_force_is_kept_and_the_oldest_goes(mut bench: Bench) {
    let signed = |version: u64, length: usize| {
        let byte = u8::try_from(version % 251).unwrap();
        bytes::Bytes::from(vec![byte; length])
    };
    let of = |version| Ceiling {
        version,
        digest: Digest::of(&signed(version, 9)),
    };
    // Longer than one row takes.
    let long = 150 * 1024;
    for version in 1..=3 {
        let (of, signed) = (of(version), signed(version, long));
        bench.store().keep(CeilingOf::Bundle, of, signed).await.unwrap();
    }
    // What is kept is not replaced, whatever comes under its number.
    let other = bytes::Bytes::from_static(b"other");
    bench.store().keep(CeilingOf::Bundle, of(2), other).await.unwrap();
    bench.reopen().await;
    for version in 1..=3 {
        let kept = bench
            .store()
            .kept(CeilingOf::Bundle, version)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept.signed, signed(version, long));
        assert_eq!(kept.digest, of(version).digest);
    }
    assert_eq!(bench.store().kept(CeilingOf::Directory, 1).await.unwrap(), None);
    for version in 4..=u64::try_from(KEPT_MAX_COUNT).unwrap() + 1 {
        let (of, signed) = (of(version), signed(version, 9));
        bench.store().keep(CeilingOf::Bundle, of, signed).await.unwrap();
    }
    bench.reopen().await;
    let kept = async |version| bench.store().kept(CeilingOf::Bundle, version).await.unwrap();
    assert_eq!(kept(1).await, None, "the oldest");
    assert_eq!(kept(2).await.unwrap().signed, signed(2, long));
    let newest = u64::try_from(KEPT_MAX_COUNT).unwrap() + 1;
    assert_eq!(kept(newest).await.unwrap().signed, signed(newest, 9));
}

pub(super) async fn what_waits_is_found_in_pages(mut bench: Bench) {
    let ours = bench.case;
    let mut ids = Vec::new();
    let asks = [Contact::No, Contact::Follows, Contact::Asks, Contact::Follows];
    for contact in asks {
        let to: &[&str] = &[WELFARE, JUSTICE];
        let mut new = bench.packet(to, &[(SMALL, to)]).await;
        new.follow_up.contact = contact;
        ids.push(new.packet);
        bench.store().accept(new).await.unwrap();
        bench.now = bench.now.plus_millis(1_000);
        // Before somebody must keep in contact, nobody's silence counts; figures are no contact.
        let last = bench.store().contacts(None, 9).await.unwrap().found;
        let expected = ids.get(2).map(|_| *ids.last().unwrap());
        assert_eq!(last.first().map(|one| one.packet), expected);
    }
    bench.reopen().await;
    let store = bench.store();
    let first = store.packets_of(ours, None, 3).await.unwrap();
    assert_eq!(first.found, ids[..3]);
    let rest = store.packets_of(ours, first.next, 3).await.unwrap();
    assert_eq!((rest.found, rest.next), (ids[3..].to_vec(), None));
    let other = schakel_proto::ids::CaseRef::from_bytes([0; 16]);
    assert!(store.packets_of(other, None, 9).await.unwrap().found.is_empty());
    // All queues, of all recipients; what was accepted later is left out.
    let before = bench.now.plus_millis(-1_000);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.deliveries(before, after, 3).await.unwrap();
        found.extend(page.found);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let of = |who: &str| {
        let own = found.iter().filter(|one| one.recipient == agency(who));
        own.map(|one| one.packet).collect::<Vec<_>>()
    };
    assert_eq!((of(WELFARE), of(JUSTICE)), (ids[..3].to_vec(), ids[..3].to_vec()));
}

pub(super) async fn an_emergency_waits_until_its_review(mut bench: Bench) {
    let mut new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let (id, due) = (new.packet, bench.now.plus_millis(72 * 3_600_000));
    new.follow_up.review_by = Some(due);
    bench.store().accept(new).await.unwrap();
    bench.reopen().await;
    let open = bench.store().reviews(None, 9).await.unwrap().found;
    assert_eq!(
        open.iter().map(|one| (one.packet, one.due)).collect::<Vec<_>>(),
        [(id, due)]
    );
    let statement = bench.statement().await;
    bench.store().add_statement(statement).await.unwrap();
    assert_eq!(
        bench.store().reviews(None, 9).await.unwrap().found.len(),
        1,
        "some other statement"
    );
    let mut review = bench.statement().await;
    review.reviews = Some(id);
    bench.store().add_statement(review).await.unwrap();
    bench.reopen().await;
    assert!(bench.store().reviews(None, 9).await.unwrap().found.is_empty());
}

pub(super) async fn records_come_with_everything_that_opens_them(mut bench: Bench) {
    let to: &[&str] = &[WELFARE];
    let new = bench.packet(to, &[(SMALL, to), (SMALL, to)]).await;
    let hidden = new.parts[1].part;
    bench.store().accept(new).await.unwrap();
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let verdict = |s: &PartState| match s.part == hidden {
        true => Verdict::Withhold,
        false => Verdict::Deliver,
    };
    let handing = bench.decide(&lease, verdict).await;
    let leaf = handing.entry.as_ref().unwrap().leaf_hash();
    bench.store().hand_over(handing).await.unwrap();
    assert!(
        bench.store().records(0, 9).await.unwrap().is_empty(),
        "not in the tree yet"
    );
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    log.wait_for(leaf).await.unwrap();
    sequencer.stop().await;
    bench.reopen().await;
    let store = bench.store();
    let all = store.records(0, 9).await.unwrap();
    assert_eq!(all.iter().map(|one| one.index).collect::<Vec<_>>(), [0, 1]);
    assert!(all[1].shown.is_some() && all[1].hidden.is_some());
    assert_eq!(store.records(1, 9).await.unwrap(), all[1..]);
    assert!(store.records(2, 9).await.unwrap().is_empty());
    assert!(store.entry_for(&agency(SENDER), leaf).await.unwrap().is_some());
}

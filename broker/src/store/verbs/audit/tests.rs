//! Pages of an audit: as short as they must be, and the same found; and a log that stands still.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use schakel_proto::evidence::Event;
use schakel_proto::ids::PartId;

use super::super::super::conformance::filed::integrate;
use super::super::super::conformance::{Backend, Bench, Open, SMALL, WELFARE};
use super::super::super::kv::rows::{PacketRow, PartRow};
use super::super::super::kv::txn::Committed;
use super::super::super::{Store, Verdict};
use super::*;
use crate::log::entry::EntryDraft;

/// Reads the bench's rows.
fn with<T>(bench: &Bench, read: impl FnOnce(&Committed<'_>) -> T) -> T {
    let Open::Memory(store) = &bench.open else {
        panic!("another backend");
    };
    read(&Committed(store.kv()))
}

/// A packet that was handed over so often.
async fn handed_over(bench: &mut Bench, times: usize) -> PacketId {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let packet = new.packet;
    bench.store().accept(new).await.unwrap();
    for _ in 0..times {
        let lease = bench.lease(WELFARE, 1).await.remove(0);
        let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
        bench.store().hand_over(handing).await.unwrap();
        bench.now = bench.now.plus_millis(100_000);
    }
    integrate(bench).await;
    packet
}

/// All pages: how many, rows, and findings.
fn all(bench: &Bench, limit: usize, spent: bool) -> (usize, u64, Vec<Finding>) {
    with(bench, |read| {
        let (mut pages, mut rows, mut findings, mut after) = (0, 0, Vec::new(), None);
        loop {
            let page = super::rows(read, &bench.network, after, (limit, &|| spent)).unwrap();
            (pages, rows) = (pages + 1, rows + page.rows);
            assert!(
                !spent || page.rows <= 1,
                "one row is enough when there is no time"
            );
            findings.extend(page.findings);
            match page.next {
                Some(next) => after = Some(next),
                None => return (pages, rows, findings),
            }
        }
    })
}

#[tokio::test]
async fn l02_a_page_ends_with_its_time_and_all_pages_find_the_same() {
    let mut bench = Bench::new(Backend::Memory).await;
    handed_over(&mut bench, 3).await;
    let (pages, rows, findings) = all(&bench, 10_000, false);
    assert_eq!(pages, 1);
    assert!(rows > 20);
    // The bench's manifests are no manifests.
    assert!(!findings.is_empty());
    let (many, same, again) = all(&bench, 64, true);
    assert_eq!(
        (many, same, again),
        (usize::try_from(rows).unwrap(), rows, findings)
    );
}

#[tokio::test]
async fn l02_a_long_way_is_walked_in_stretches() {
    let mut bench = Bench::new(Backend::Memory).await;
    let packet = handed_over(&mut bench, 40).await;
    with(&bench, |read| {
        let row: PacketRow = read.must(&keys::packet(&packet)).unwrap();
        let part: PartId = id(&row.parts[0]).unwrap();
        let parts = vec![(part, read.must::<PartRow>(&keys::part(&packet, &part)).unwrap())];
        let walk = |spent: &dyn Fn() -> bool| {
            let (mut stretches, mut half) = (0, None);
            loop {
                let mut audit = Audit::new(read, &bench.network, spent).unwrap();
                audit.half = half;
                stretches += 1;
                if let Some(way) = audit.walked(&packet, (&row, &parts)).unwrap() {
                    return (stretches, way);
                }
                half = audit.half.take();
                assert!(half.is_some(), "it goes on where it was");
            }
        };
        let (one, whole) = walk(&|| false);
        let (many, same) = walk(&|| true);
        assert_eq!((one, many), (1, 3), "41 entries, 16 at a time");
        assert_eq!(whole.states, same.states);
        let leaf = |way: &way::Way| way.decided.values().map(|last| last.leaf).collect::<Vec<_>>();
        assert_eq!(leaf(&whole), leaf(&same));
        let last = filed::filed(read, super::super::super::Filed::All, Some(39), 9).unwrap();
        assert_eq!(leaf(&whole), [last.found[0].leaf_hash], "the last of them");
    });
}

#[tokio::test]
async fn l02_a_log_that_stands_still_is_not_called_wrong() {
    let mut bench = Bench::new(Backend::Memory).await;
    for _ in 0..PENDING_MAX_COUNT + 3 {
        let entry = bench.entry(EntryDraft::new(Event::AdminAct, bench.now)).await;
        bench.store().record(entry).await.unwrap();
    }
    let page = with(&bench, |read| {
        super::rows(read, &bench.network, None, (100_000, &|| false)).unwrap()
    });
    assert_eq!(page.findings, []);
    assert_eq!(page.gone.values().sum::<u64>(), 3, "{:?}", page.gone);
    // A number that is not the next one is found all the same.
    let next = u64::try_from(PENDING_MAX_COUNT + 3).unwrap();
    with(&bench, |read| {
        let audit = Audit::new(read, &bench.network, &|| false).unwrap();
        let own = |number: u64| audit.own(keys::NEXT_SEQUENCE, &number.to_be_bytes());
        own(next).unwrap();
        for other in [0, next - 1, next + 1] {
            own(other).unwrap_err();
        }
    });
}

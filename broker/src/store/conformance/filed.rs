//! The files of cases and packets: what belongs to one is found without going through the others.

use schakel_proto::ids::{CaseRef, PacketId};

use super::super::*;
use super::bench::{Bench, SMALL, WELFARE};
use crate::log::sequencer::Sequencer;

/// Puts everything pending into the tree.
pub(crate) async fn integrate(bench: &Bench) {
    let (sequencer, _log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    // On a store that others share it follows for a moment before it writes.
    for _ in 0..1_000 {
        if bench.store().pending(1).await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    sequencer.stop().await;
}

/// Positions of the entries of a case or packet, page by page of `limit`.
pub(crate) async fn positions(bench: &Bench, of: Filed, limit: usize) -> Vec<u64> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store().filed(of, after, limit).await.unwrap();
        assert!(page.found.len() <= limit);
        all.extend(page.found.iter().map(|entry| entry.index));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Two cases with a packet each, of which the first is handed over, and an entry of no case: the cases and packets.
pub(crate) async fn two_cases(bench: &mut Bench) -> ([CaseRef; 2], [PacketId; 2]) {
    let first = bench.case;
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let one = new.packet;
    bench.store().accept(new).await.unwrap();
    let draft = crate::log::entry::EntryDraft::new(schakel_proto::evidence::Event::AdminAct, bench.now);
    let entry = bench.entry(draft).await;
    bench.store().record(entry).await.unwrap();
    bench.case = CaseRef::random(&mut bench.rng);
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let (second, two) = (bench.case, new.packet);
    bench.store().accept(new).await.unwrap();
    bench.case = first;
    let leases = bench.lease(WELFARE, 2).await;
    let lease = leases
        .into_iter()
        .find(|lease| lease.packet.packet == one)
        .unwrap();
    let handing = bench.decide(&lease, |_| Verdict::Deliver).await;
    bench.store().hand_over(handing).await.unwrap();
    ([first, second], [one, two])
}

/// What [`two_cases`] leaves in the files.
pub(crate) async fn check(bench: &Bench, cases: [CaseRef; 2], packets: [PacketId; 2]) {
    for limit in [1, 2, 100] {
        for (of, expected) in [
            (Filed::All, &[0, 1, 2, 3][..]),
            (Filed::Case(cases[0]), &[0, 3]),
            (Filed::Case(cases[1]), &[2]),
            (Filed::Packet(packets[0]), &[0, 3]),
            (Filed::Packet(packets[1]), &[2]),
            (Filed::Case(CaseRef::from_bytes([0; 16])), &[]),
            (Filed::Case(CaseRef::from_bytes([255; 16])), &[]),
        ] {
            assert_eq!(positions(bench, of, limit).await, expected, "{of:?} by {limit}");
        }
    }
    let mut known = cases;
    known.sort_unstable();
    let all = bench.store().cases(None, 100).await.unwrap();
    assert_eq!((all.found.as_slice(), all.next), (&known[..], None));
    let one = bench.store().cases(None, 1).await.unwrap();
    assert_eq!((one.found.as_slice(), one.next), (&known[..1], Some(known[0])));
    let other = bench.store().cases(one.next, 9).await.unwrap();
    assert_eq!(other.found, known[1..]);
}

pub(super) async fn entries_are_filed_by_case_and_packet(mut bench: Bench) {
    let (cases, packets) = two_cases(&mut bench).await;
    assert_eq!(
        positions(&bench, Filed::All, 9).await,
        [0_u64; 0],
        "not in the tree yet"
    );
    integrate(&bench).await;
    check(&bench, cases, packets).await;
    bench.reopen().await;
    check(&bench, cases, packets).await;
    let store = bench.store();
    let filed = store.filed(Filed::All, None, 9).await.unwrap().found;
    let records = store.records(0, 9).await.unwrap();
    for (filed, record) in filed.iter().zip(&records) {
        assert_eq!(
            (filed.index, &filed.leaf, &filed.body),
            (record.index, &record.leaf, &record.body)
        );
        assert_eq!((&filed.shown, &filed.hidden), (&record.shown, &record.hidden));
        assert_eq!((&filed.attachment, filed.case), (&record.attachment, record.case));
    }
    assert_eq!((filed.len(), records.len()), (4, 4));
    assert!(!filed[0].concerns.is_empty());
}

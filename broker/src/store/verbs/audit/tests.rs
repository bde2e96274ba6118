//! Pages of an audit: as short as they must be, and the same found; a log that stands still; and what was held when it
//! ended.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;

use schakel_proto::evidence::Event;
use schakel_proto::ids::PartId;

use super::super::super::conformance::filed::integrate;
use super::super::super::conformance::{Backend, Bench, Open, SMALL, WELFARE, damage};
use super::super::super::kv::Rows;
use super::super::super::kv::rows::{PacketRow, PartRow};
use super::super::super::kv::txn::Committed;
use super::super::super::{
    AckOutcome, Acknowledged, Acknowledging, Expired, Expiring, HandOver, HandedOver, NewEntry, Recall,
    Recalling, Stage, Verdict,
};
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
        bench.now = bench.now.plus_millis(61_000);
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
                let mut audit = Audit::new(read, &bench.network, (Waiting::default(), spent)).unwrap();
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
    assert!(page.gone.is_empty(), "each is known to wait: {:?}", page.gone);
    // A number that is not the next one is found all the same.
    let next = u64::try_from(PENDING_MAX_COUNT + 3).unwrap();
    with(&bench, |read| {
        let audit = Audit::new(read, &bench.network, (Waiting::default(), &|| false)).unwrap();
        let own = |number: u64| audit.own(keys::NEXT_SEQUENCE, &number.to_be_bytes());
        own(next).unwrap();
        for other in [0, next - 1, next + 1] {
            own(other).unwrap_err();
        }
    });
}

/// Counts what is read.
struct Counting<'a>(Committed<'a>, Cell<usize>);

impl Read for Counting<'_> {
    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.1.set(self.1.get() + 1);
        self.0.record(key)
    }

    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        let rows = self.0.records(prefix, after, limit)?;
        self.1.set(self.1.get() + rows.len());
        Ok(rows)
    }

    fn is_far(&self) -> bool {
        self.0.is_far()
    }

    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        self.0.ahead(keys)
    }
}

#[tokio::test]
async fn l02_what_waits_is_read_once_and_not_for_each_page() {
    const WAIT: usize = 200;
    let mut bench = Bench::new(Backend::Memory).await;
    let more = async |bench: &mut Bench| {
        let entry = bench.entry(EntryDraft::new(Event::AdminAct, bench.now)).await;
        bench.store().record(entry).await.unwrap();
    };
    for _ in 0..WAIT {
        more(&mut bench).await;
    }
    let page = |bench: &Bench, after| {
        with(bench, |read| {
            let read = Counting(Committed(read.0), Cell::new(0));
            let page = super::rows(&read, &bench.network, after, (1, &|| true)).unwrap();
            assert_eq!(page.findings, []);
            (page.next.unwrap(), read.1.get())
        })
    };
    let (next, first) = page(&bench, None);
    assert!(first > WAIT, "{first}");
    more(&mut bench).await;
    let (next, second) = page(&bench, Some(next));
    assert!(second < WAIT / 4, "{second}");
    assert_eq!(next.waiting.entries.len(), WAIT + 1, "with the one that came");
    integrate(&bench).await;
    let (next, _) = page(&bench, Some(next));
    assert_eq!(next.waiting.entries.len(), 0, "now they are in the tree");
}

#[tokio::test]
async fn l02_a_pending_entry_that_cannot_be_read_is_one_finding() {
    let mut bench = Bench::new(Backend::Memory).await;
    for _ in 0..3 {
        let entry = bench.entry(EntryDraft::new(Event::AdminAct, bench.now)).await;
        bench.store().record(entry).await.unwrap();
    }
    damage(&bench, &keys::entry(1));
    let (_, _, findings) = all(&bench, 64, false);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].what, "does not match its checksum");
}

/// How what was held came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Received,
    Refused,
    Recalled,
    Expired,
}

/// An entry of the bench's sender about a packet for welfare, as the broker makes it.
async fn entry(
    bench: &mut Bench,
    (event, packet): (Event, PacketId),
    said: (&str, wire::Signed),
) -> NewEntry {
    let stored = bench.store().packet(packet).await.unwrap().unwrap();
    let draft = EntryDraft {
        case: Some(stored.case),
        packet: Some(packet),
        sender: Some(stored.sender.clone()),
        recipient: Some(AgencyId::new(WELFARE).unwrap()),
        reason: said.0.to_owned(),
        attachment: Some(said.1),
        ..EntryDraft::new(event, bench.now)
    };
    bench.entry(draft).await
}

/// Decides what is leased, with or without an entry.
async fn decided(bench: &mut Bench, verdict: Verdict, reason: &str) -> (HandOver, Option<Digest>) {
    let lease = bench.lease(WELFARE, 1).await.remove(0);
    let mut handing = bench.decide(&lease, |_| verdict).await;
    for part in &mut handing.parts {
        // What the bench writes into its entries.
        if handing.entry.is_some() {
            part.obligations.clear();
        } else {
            reason.clone_into(&mut part.reason);
        }
    }
    let handed = bench.store().hand_over(handing.clone()).await.unwrap();
    let HandedOver::Committed { leaf_hash, .. } = handed else {
        panic!("{handed:?}");
    };
    bench.now = bench.now.plus_millis(100_000);
    (handing, leaf_hash)
}

async fn recalled(bench: &mut Bench, packet: PacketId) {
    let reason = "sent_in_error";
    let entry = entry(
        bench,
        (Event::Recalled, packet),
        (reason, wire::Signed::default()),
    )
    .await;
    let sender = bench.store().packet(packet).await.unwrap().unwrap().sender;
    let recalling = Recalling {
        packet,
        sender,
        reason: reason.to_owned(),
        entry,
        at: bench.now,
    };
    let answer = bench.store().recall(recalling).await.unwrap();
    assert!(matches!(answer, Recall::Done { .. }));
}

async fn expired(bench: &mut Bench, packet: PacketId) {
    bench.now = bench.now.plus_millis(4_000_000);
    let entry = entry(bench, (Event::Expired, packet), ("", wire::Signed::default())).await;
    let at = bench.now;
    let answer = bench
        .store()
        .expire(Expiring { packet, entry, at })
        .await
        .unwrap();
    assert!(matches!(answer, Expired::Done { .. }));
}

/// A part that was delivered, then held, perhaps held again for another reason, then ended.
async fn held_and_ended(bench: &mut Bench, again: bool, end: End) -> PacketId {
    let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
    let packet = new.packet;
    bench.store().accept(new).await.unwrap();
    let (handing, consignment) = decided(bench, Verdict::Deliver, "").await;
    decided(bench, Verdict::Hold, "").await;
    if again {
        bench.store().reconsider(None).await.unwrap();
        let (_, leaf) = decided(bench, Verdict::Hold, "HELD_FOR_ANOTHER_REASON").await;
        assert_eq!(leaf, None);
    }
    let at = bench.now;
    let said = |outcome: &str| wire::Signed {
        bytes: wire::Acknowledgement {
            consignment_leaf: consignment.unwrap().to_vec().into(),
            outcome: outcome.to_owned(),
            part_ids: vec![handing.parts[0].part.to_vec().into()],
            ..wire::Acknowledgement::default()
        }
        .encode_to_vec()
        .into(),
        ..wire::Signed::default()
    };
    let word = |outcome, reason: &str, entry| Acknowledging {
        packet,
        recipient: handing.recipient.clone(),
        consignment: consignment.unwrap(),
        outcome,
        reason: reason.to_owned(),
        obligation: String::new(),
        parts: vec![handing.parts[0].part],
        entry,
        at,
    };
    match end {
        End::Received => {
            let event = (Event::ContentHandover, packet);
            let entry = entry(bench, event, ("received", said("received"))).await;
            let word = word(AckOutcome::Received, "", entry);
            let answer = bench.store().acknowledge(word).await.unwrap();
            assert!(matches!(answer, Acknowledged::Settled { .. }));
        }
        End::Refused => {
            let event = (Event::ContentHandoverFailure, packet);
            let entry = entry(bench, event, ("quarantined", said("refused"))).await;
            let word = word(AckOutcome::Refused, "quarantined", entry);
            let answer = bench.store().acknowledge(word).await.unwrap();
            assert!(matches!(answer, Acknowledged::Settled { .. }));
        }
        End::Recalled => recalled(bench, packet).await,
        End::Expired => expired(bench, packet).await,
    }
    packet
}

#[tokio::test]
async fn l02_why_a_part_was_held_is_asked_only_if_the_log_says_it() {
    for end in [End::Received, End::Refused, End::Recalled, End::Expired] {
        for again in [false, true] {
            let mut bench = Bench::new(Backend::Memory).await;
            let packet = held_and_ended(&mut bench, again, end).await;
            with(&bench, |read| {
                let row: PacketRow = read.must(&keys::packet(&packet)).unwrap();
                let part: PartId = id(&row.parts[0]).unwrap();
                let parts = vec![(part, read.must::<PartRow>(&keys::part(&packet, &part)).unwrap())];
                let mut audit = Audit::new(read, &bench.network, (Waiting::default(), &|| false)).unwrap();
                let way = audit.walked(&packet, (&row, &parts)).unwrap().unwrap();
                let state = way.states.values().next().unwrap();
                assert!(state.stage.is_final(), "{state:?}");
                audit.state(&packet, state, &way).unwrap();
                audit.handed(&packet, &state.recipient, &way).unwrap();
                let mut other = state.clone();
                other.reason = "ANOTHER".to_owned();
                let told = !again || matches!(end, End::Refused | End::Recalled);
                assert_eq!(audit.state(&packet, &other, &way).is_err(), told, "{end:?}");
                let mut other = state.clone();
                other.stage = Stage::Withheld;
                audit.state(&packet, &other, &way).unwrap_err();
            });
        }
    }
}

#[tokio::test]
async fn l02_to_whom_an_entry_is_shown_follows_from_what_it_says() {
    let (sender, recipient, other) = ("pz-rupel", WELFARE, "parket-antwerpen");
    let others = "is shown to others than it says itself";
    for (event, to, expected) in [
        (Event::AdminAct, &[][..], None),
        (Event::AdminAct, &[sender], Some(others)),
        (Event::SubmissionRejection, &[sender], None),
        (Event::SubmissionRejection, &[], Some(others)),
        (Event::SubmissionRejection, &[sender, other], Some(others)),
        (Event::StatementRejected, &[other], Some(others)),
        (Event::Recalled, &[sender], None),
        (Event::Recalled, &[sender, recipient], Some(others)),
        (Event::Expired, &[], Some(others)),
        (
            Event::StatementAccepted,
            &[other],
            Some("is not shown to whom it comes from"),
        ),
        (Event::ContentHandover, &[sender], Some(others)),
        (
            Event::ObligationFulfilled,
            &[sender, recipient, other],
            Some(others),
        ),
    ] {
        let mut bench = Bench::new(Backend::Memory).await;
        let mut draft = EntryDraft::new(event, bench.now);
        if event != Event::AdminAct {
            draft.sender = Some(AgencyId::new(sender).unwrap());
            draft.recipient = Some(AgencyId::new(recipient).unwrap());
        }
        for agency in to {
            draft = draft.concerning(&AgencyId::new(agency).unwrap(), false);
        }
        let entry = bench.entry(draft).await;
        bench.store().record(entry).await.unwrap();
        let (_, _, findings) = all(&bench, 64, false);
        let found = findings.first().map(|one| one.what.as_str());
        assert_eq!(found, expected, "{event:?} to {to:?}");
        let draft = EntryDraft::new(event, bench.now).concerning(&AgencyId::new(recipient).unwrap(), true);
        let entry = bench.entry(draft).await;
        bench.store().record(entry).await.unwrap();
        let (_, _, findings) = all(&bench, 64, false);
        let what = "shows what is hidden to another agency than its sender";
        assert!(findings.iter().any(|one| one.what == what), "{findings:#?}");
    }
}

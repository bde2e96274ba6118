//! One damaged row is one packet's misfortune: it stays where it is, with an alarm, and no other waits for it.

use schakel_proto::ids::PacketId;

use super::super::kv::{Batch, Ground, Group, keys};
use super::super::*;
use super::bench::{Bench, Open, SMALL, WELFARE, agency};

/// Flips a bit in a row; gives the record as it was.
pub(crate) fn damage(bench: &Bench, key: &[u8]) -> Vec<u8> {
    let whole = row(bench, key).expect("the row");
    let mut record = whole.clone();
    *record.last_mut().unwrap() ^= 1;
    put(bench, key, Some(record));
    whole
}

pub(crate) fn ground(bench: &Bench) -> &dyn Ground {
    match &bench.open {
        Open::Memory(store) => store.kv(),
        Open::Sled(store) => store.kv(),
        Open::Postgres(store, _) => store.kv(),
    }
}

/// The record of a row, past all verbs.
pub(crate) fn row(bench: &Bench, key: &[u8]) -> Option<Vec<u8>> {
    aside(|| {
        let view = ground(bench).view().unwrap();
        let record = view.get(key).unwrap();
        view.finish().unwrap();
        record
    })
}

/// Sets the record of a row, past all verbs; `None`: takes it away.
pub(crate) fn put(bench: &Bench, key: &[u8], record: Option<Vec<u8>>) {
    let batch = Batch::from([(key.to_vec(), record)]);
    let group = Group {
        batch: &batch,
        keep: &[],
        ended: &[],
    };
    aside(|| ground(bench).begin().unwrap().commit(&group).unwrap());
}

/// Where a thread that serves may block.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

async fn accepted(bench: &mut Bench, count: usize) -> Vec<PacketId> {
    let mut all = Vec::new();
    for _ in 0..count {
        let new = bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await;
        all.push(new.packet);
        bench.store().accept(new).await.unwrap();
        bench.now = bench.now.plus_millis(1);
    }
    all
}

pub(super) async fn one_damaged_packet_keeps_no_other_from_its_recipient(mut bench: Bench) {
    let all = accepted(&mut bench, 4).await;
    let key = keys::packet(&all[0]);
    let whole = damage(&bench, &key);
    damage(&bench, &keys::recipient(&all[1], &agency(WELFARE)));
    // One at a time, as a recipient with credit for one asks.
    for expected in &all[2..] {
        let leased = bench.lease(WELFARE, 1).await;
        assert_eq!(
            leased.iter().map(|l| l.packet.packet).collect::<Vec<_>>(),
            [*expected]
        );
    }
    assert!(bench.lease(WELFARE, 1).await.is_empty());
    let waiting = bench.store().waiting(&agency(WELFARE)).await.unwrap();
    assert_eq!(waiting.packets, 4, "nothing is lost");
    // Restored, it goes its way.
    put(&bench, &key, Some(whole));
    bench.now = bench.now.plus_millis(60_001);
    assert_eq!(bench.lease(WELFARE, 1).await[0].packet.packet, all[0]);
}

pub(super) async fn one_damaged_packet_keeps_no_other_from_ending_or_being_decided_again(mut bench: Bench) {
    let all = accepted(&mut bench, 3).await;
    for _ in &all {
        let lease = bench.lease(WELFARE, 1).await.remove(0);
        let held = bench.decide(&lease, |_| Verdict::Hold).await;
        bench.store().hand_over(held).await.unwrap();
    }
    assert!(bench.lease(WELFARE, 9).await.is_empty(), "all are held");
    let key = keys::packet(&all[0]);
    let whole = damage(&bench, &key);
    assert_eq!(bench.store().reconsider(None).await.unwrap(), [agency(WELFARE)]);
    let leased = bench.lease(WELFARE, 9).await;
    assert_eq!(
        leased.iter().map(|l| l.packet.packet).collect::<Vec<_>>(),
        all[1..]
    );
    let statement = bench.statement().await;
    let added = bench.store().add_statement(statement).await.unwrap();
    assert!(
        matches!(added, StatementAdded::New { .. }),
        "a statement does not wait for it"
    );
    bench.now = bench.now.plus_millis(3_600_000);
    for limit in [1, 9] {
        let due = bench.store().due(bench.now, limit).await.unwrap();
        let due: Vec<_> = due.iter().map(|d| d.packet).collect();
        assert_eq!(due, all[1..][..limit.min(2)]);
    }
    // Restored, it is decided again and ends.
    put(&bench, &key, Some(whole));
    assert_eq!(bench.store().reconsider(None).await.unwrap(), [agency(WELFARE)]);
    assert_eq!(bench.store().due(bench.now, 9).await.unwrap().len(), 3);
}

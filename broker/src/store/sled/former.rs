//! A store of schema 1 is brought to this program's when it is opened, wherever an opening before was killed.

use std::sync::Arc;

use schakel_proto::evidence::Event;

use super::super::StoreError;
use super::super::conformance::{Backend, Bench, filed};
use super::super::kv::txn::{Committed, Read, Txn};
use super::super::kv::{Batch, Kv, NoFaults, View, keys};
use super::{MARKER, SledKv, SledOptions, SledStore, migrate, open};
use crate::log::entry::EntryDraft;

/// Writes the entries as schema 1 had them: under the hash of the leaf, their order in tables of its own.
fn as_it_was(kv: &SledKv) {
    let none = Batch::new();
    let mut txn = Txn::new(kv, &none);
    let size = Committed(kv).row::<super::super::kv::rows::CheckpointRow>(keys::CHECKPOINT);
    let size = size.unwrap().map_or(0, |row| row.size);
    for (key, _) in kv.scan(&[keys::ENTRY], None, 10_000).unwrap() {
        let number = keys::last_number(&key).unwrap();
        let (leaf, _) = super::super::verbs::log::numbered(&Committed(kv), number)
            .unwrap()
            .unwrap();
        let entry = txn.get(&key).unwrap().unwrap();
        txn.erase(&key).unwrap();
        txn.put(&migrate::former_entry(&leaf), &entry).unwrap();
        let (table, waits) = if number < size {
            (migrate::ORDER, false)
        } else {
            (migrate::WAITING, true)
        };
        let place = [&[table][..], &number.to_be_bytes()].concat();
        txn.put(&place, leaf.as_bytes()).unwrap();
        if waits {
            txn.delete(&keys::index(&leaf)).unwrap();
        }
    }
    txn.put_number(keys::SCHEMA, migrate::FORMER).unwrap();
    kv.commit(&txn.into_changes()).unwrap();
    let marker = kv.folder.join(MARKER);
    std::fs::write(marker, "schakel store, schema 1\n").unwrap();
}

fn folder(bench: &Bench) -> std::path::PathBuf {
    bench.dir.path().join("store")
}

/// Four entries in the tree, one of two pieces among three that wait; all rows as this program wrote them.
async fn two_cases_and_more(
    bench: &mut Bench,
) -> (
    (
        [schakel_proto::ids::CaseRef; 2],
        [schakel_proto::ids::PacketId; 2],
    ),
    super::super::kv::Rows,
) {
    let known = filed::two_cases(bench).await;
    filed::integrate(bench).await;
    for length in [10, 150_000, 20] {
        let draft = EntryDraft {
            attachment: Some(bench.signed(length)),
            ..EntryDraft::new(Event::StatementRejected, bench.now)
        };
        let entry = bench.entry(draft).await;
        bench.store().record(entry).await.unwrap();
    }
    bench.store().close().await;
    let kv = open::open(&folder(bench), SledOptions::default()).unwrap();
    let rows = kv.scan(&[], None, 100_000).unwrap();
    as_it_was(&kv);
    kv.close();
    (known, rows)
}

fn rows(bench: &Bench) -> super::super::kv::Rows {
    let kv = open::open(&folder(bench), SledOptions::default()).unwrap();
    let rows = kv.scan(&[], None, 100_000).unwrap();
    kv.close();
    rows
}

#[tokio::test]
async fn a_former_store_is_brought_up_and_is_what_this_program_would_have_written() {
    let mut bench = Bench::new(Backend::Sled).await;
    let ((cases, packets), written) = two_cases_and_more(&mut bench).await;
    assert_ne!(rows(&bench), written);
    let unchecked = SledStore::open_unchecked(&folder(&bench)).await;
    let Err(StoreError::Unusable(why)) = unchecked else {
        panic!("nothing is written to it");
    };
    assert!(why.contains("start the broker once"), "{why}");
    bench.reopen().await;
    bench.store().close().await;
    assert_eq!(rows(&bench), written, "each row, and no other");
    let marker = std::fs::read_to_string(folder(&bench).join(MARKER)).unwrap();
    assert_eq!(marker, "schakel store, schema 2\n");
    bench.reopen().await;
    filed::check(&bench, cases, packets).await;
    assert_eq!(bench.store().pending(10).await.unwrap().len(), 3);
    filed::integrate(&bench).await;
    assert_eq!(bench.store().leaves(0, 10).await.unwrap().len(), 7);
    bench.reopen().await;
}

#[tokio::test]
async fn an_opening_that_was_killed_is_gone_on_with() {
    for done in 0..=9 {
        let mut bench = Bench::new(Backend::Sled).await;
        let (_, written) = two_cases_and_more(&mut bench).await;
        let kv = open::open(&folder(&bench), SledOptions::default()).unwrap();
        migrate::commit(&kv, |txn| {
            txn.put_number(keys::SCHEMA, keys::SCHEMA_VERSION)?;
            Ok(true)
        })
        .unwrap();
        for _ in 0..done {
            migrate::commit(&kv, |txn| migrate::step(txn, 1)).unwrap();
        }
        kv.close();
        let unchecked = SledStore::open_unchecked(&folder(&bench)).await;
        assert_eq!(unchecked.is_err(), done < 7, "after {done}");
        drop(unchecked);
        bench.reopen().await;
        bench.store().close().await;
        assert_eq!(rows(&bench), written, "after {done}");
    }
}

#[tokio::test]
async fn a_former_store_on_a_full_disk_or_with_damage_is_refused_and_says_what_to_do() {
    let mut bench = Bench::new(Backend::Sled).await;
    let (_, written) = two_cases_and_more(&mut bench).await;
    let before = rows(&bench);
    let refused = async |options: SledOptions, said: &str| {
        let opened = SledStore::open_with(&folder(&bench), options, Arc::new(NoFaults)).await;
        let Err(StoreError::Unusable(why)) = opened else {
            panic!("{opened:?}");
        };
        assert!(why.contains(said), "{why}");
    };
    let full = SledOptions {
        reserve_bytes: Some(u64::MAX),
        ..SledOptions::default()
    };
    refused(full, "make room and start again").await;
    assert_eq!(rows(&bench), before, "nothing was touched");
    let kv = open::open(&folder(&bench), SledOptions::default()).unwrap();
    let order = [&[migrate::ORDER][..], &1_u64.to_be_bytes()].concat();
    let there = kv.get(&order).unwrap();
    kv.commit(&Batch::from([(order.clone(), None)])).unwrap();
    kv.close();
    refused(SledOptions::default(), "Restore the newest backup").await;
    // Put right, it goes on.
    let kv = open::open(&folder(&bench), SledOptions::default()).unwrap();
    kv.commit(&Batch::from([(order, there)])).unwrap();
    kv.close();
    bench.reopen().await;
    bench.store().close().await;
    assert_eq!(rows(&bench), written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_backup_of_a_former_store_restores_to_what_this_program_would_have_written() {
    use super::super::place::{Place, restore};
    use super::super::{BackupOrder, Care, Store};
    let mut bench = Bench::new(Backend::Sled).await;
    let (_, written) = two_cases_and_more(&mut bench).await;
    // As the former program would have made it.
    let kv = open::open(&folder(&bench), SledOptions::default()).unwrap();
    let contents = super::super::content::Contents::in_folder(&folder(&bench).join(super::PARTS)).unwrap();
    let store = SledStore::start(kv, contents, Arc::new(NoFaults)).unwrap();
    let order = BackupOrder {
        file: bench.dir.path().join("former.backup"),
        network: bench.network.clone(),
        at: bench.now,
    };
    store.backup(&order, &|_| {}).await.unwrap();
    store.close().await;
    let to = bench.dir.path().join("restored");
    let restored = restore(&order.file, &Place::Folder(to.clone()), &order.network, &|_| {}).await;
    assert_eq!(restored.unwrap().0.header.schema, migrate::FORMER);
    SledStore::open(&to).await.unwrap().close().await;
    let kv = open::open(&to, SledOptions::default()).unwrap();
    let mut rows = kv.scan(&[], None, 100_000).unwrap();
    Kv::close(&kv);
    rows.retain(|(key, _)| key != keys::HALT);
    assert_eq!(rows, written);
}

//! From a folder into a database and back: the same log.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::store::conformance::{Backend, Bench, SMALL, WELFARE};
use crate::store::postgres::tests::fresh;
use crate::store::sled::{SledOptions, SledStore, open_checked};
use crate::store::{BackupOrder, Care, LoggedEntry, halt};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::time::Timestamp;

const LARGE: usize = 600 * 1024;
const QUIET: Tell<'static> = &|_| {};

/// A closed store in a folder, its packets all under a checkpoint.
async fn filled(count: usize) -> (Bench, PathBuf, Vec<(PacketId, PartId)>) {
    let mut bench = Bench::new(Backend::Sled).await;
    let (sequencer, log) = crate::log::sequencer::Sequencer::start(bench.store(), bench.secret())
        .await
        .unwrap();
    let mut all = Vec::new();
    for number in 0..count {
        let length = if number % 2 == 0 { LARGE } else { SMALL };
        let new = bench.packet(&[WELFARE], &[(length, &[WELFARE])]).await;
        let leaf = new.entry.leaf_hash();
        all.push((new.packet, new.parts[0].part));
        bench.store().accept(new).await.unwrap();
        log.wait_for(leaf).await.unwrap();
    }
    sequencer.stop().await;
    bench.store().close().await;
    let folder = bench.dir.path().join("store");
    (bench, folder, all)
}

/// Everything that others see of a log.
async fn seen(store: &dyn Store) -> (Vec<LoggedEntry>, Vec<Vec<Digest>>) {
    let size = store.latest_checkpoint().await.unwrap().unwrap().size;
    let mut proofs = Vec::new();
    for from in 1..size {
        proofs.push(store.consistency(from, size).await.unwrap());
    }
    (store.records(0, 1_000).await.unwrap(), proofs)
}

async fn has_all(store: &dyn Store, all: &[(PacketId, PartId)]) {
    for (number, (packet, part)) in all.iter().enumerate() {
        let mut reader = store
            .content(*packet, *part, schakel_proto::wire::Profile::V6)
            .await
            .unwrap();
        let mut length = 0;
        while let Some(chunk) = reader.next().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, if number % 2 == 0 { LARGE } else { SMALL });
    }
}

fn rows(folder: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (kv, _) = open_checked(folder).unwrap();
    let mut rows = Vec::new();
    moving::each(&kv, &mut |key, found| {
        rows.push((key.to_vec(), found.to_vec()));
        Ok(())
    })
    .unwrap();
    Ground::close(&kv);
    rows.retain(|(key, _)| key != keys::HALT);
    rows
}

fn order(file: PathBuf) -> BackupOrder {
    BackupOrder {
        file,
        network: NetworkName::new("rupel").unwrap(),
        at: Timestamp::from_millis(0),
    }
}

/// A move into a database that was broken off: no broker starts on what it left.
async fn broken_off(there: &Place, rows: &[(Vec<u8>, Vec<u8>)]) {
    let begun = Target::begin(there).await.unwrap();
    let (ground, contents) = begun.inside();
    let mut sink = Sink::new(ground, contents);
    for (key, record) in rows.iter().take(9) {
        sink.put(key, Some(record)).unwrap();
    }
    sink.put(b"P stray", Some(b"x")).unwrap();
    sink.flush().unwrap();
    let Target::Database(half) = begun else {
        panic!("a database")
    };
    assert_eq!(
        halt::may_sign(half.as_ref()).await.unwrap_err().code,
        "STORE_UNFINISHED"
    );
    half.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_store_goes_into_a_database_and_back_and_the_log_is_the_same() {
    let (mut bench, folder, all) = filled(6).await;
    let before = rows(&folder);
    let first = SledStore::open(&folder).await.unwrap();
    let log = seen(&first).await;
    first.close().await;
    let notes = bench.dir.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let options = fresh(&notes);
    let (here, there) = (
        Place::Folder(folder.clone()),
        Place::Database(Box::new(options.clone())),
    );
    broken_off(&there, &before).await;
    let (moved, _) = move_to(&here, &there, QUIET).await.unwrap();
    assert_eq!((moved.rows, moved.files), (before.len() as u64, 3));
    let again = Place::Folder(bench.dir.path().join("elsewhere"));
    let refused = move_to(&here, &again, QUIET).await.unwrap_err();
    assert!(refused.to_string().contains("STORE_MOVED"), "{refused}");
    let refused = Target::begin(&there).await.err().unwrap();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    assert!(halt::may_sign(store.as_ref()).await.is_ok());
    assert!(seen(store.as_ref()).await == log);
    has_all(store.as_ref(), &all).await;
    let shared = order(bench.dir.path().join("shared.backup"));
    assert_eq!(
        store.backup(&shared, QUIET).await.unwrap_err().code,
        "BACKUP_SHARED"
    );
    // It goes on there, and comes back with what came.
    let secret = bench.secret();
    let (sequencer, handle) = crate::log::sequencer::Sequencer::start(Arc::clone(&store), secret)
        .await
        .unwrap();
    let draft = crate::log::entry::EntryDraft::new(schakel_proto::evidence::Event::AdminAct, bench.now);
    let leaf = store.record(bench.entry(draft).await).await.unwrap();
    assert_eq!(handle.wait_for(leaf).await.unwrap(), 6);
    sequencer.stop().await;
    let log = seen(store.as_ref()).await;
    store.close().await;
    drop((store, handle));
    let back = bench.dir.path().join("back");
    let (moved, marked) = move_to(&there, &Place::Folder(back.clone()), QUIET)
        .await
        .unwrap();
    assert_eq!((moved.files, marked.size), (3, 7));
    let store = SledStore::open_with(
        &back,
        SledOptions::default(),
        Arc::new(crate::store::kv::NoFaults),
    )
    .await
    .unwrap();
    assert!(seen(&store).await == log);
    has_all(&store, &all).await;
    assert!(halt::may_sign(&store).await.is_ok());
    store.close().await;
    let store = PostgresStore::open(options).await.unwrap();
    assert_eq!(halt::may_sign(&store).await.unwrap_err().code, "STORE_MOVED");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_backup_of_a_folder_restores_into_a_database() {
    let (bench, folder, all) = filled(4).await;
    let store = SledStore::open(&folder).await.unwrap();
    let order = order(bench.dir.path().join("one.backup"));
    store.backup(&order, QUIET).await.unwrap();
    let log = seen(&store).await;
    store.close().await;
    let notes = bench.dir.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let options = fresh(&notes);
    let there = Place::Database(Box::new(options.clone()));
    let (_, marked) = restore(&order.file, &there, &order.network, QUIET).await.unwrap();
    let store = PostgresStore::open(options).await.unwrap();
    assert!(seen(&store).await == log);
    has_all(&store, &all).await;
    assert_eq!(halt::may_sign(&store).await.unwrap_err().code, "STORE_RESTORED");
    assert!(store.confirm(marked).await.unwrap());
    assert!(halt::may_sign(&store).await.is_ok());
    store.close().await;
}

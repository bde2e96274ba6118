//! Backups of stores in use: exactly one moment of the store, whatever was committed meanwhile; nothing that restores
//! where a backup was broken off or changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;

use super::super::conformance::{Backend, Bench, Open, SMALL, WELFARE};
use super::super::content::Contents;
use super::super::kv::keys;
use super::super::kv::txn::{Committed, Read};
use super::super::memory::{MemoryKv, MemoryStore};
use super::super::place::{self, Place};
use super::super::sled::{Building, SledStore};
use super::super::*;
use super::restore;
use crate::log::sequencer::Sequencer;

const LARGE: usize = 70 * 1024;
const QUIET: Tell<'static> = &|_| {};

fn order(file: &Path) -> BackupOrder {
    BackupOrder {
        file: file.to_owned(),
        network: NetworkName::new("rupel").unwrap(),
        at: Timestamp::from_millis(1_795_278_600_000),
    }
}

fn rupel() -> NetworkName {
    NetworkName::new("rupel").unwrap()
}

/// A store with packets, long and short, all under a checkpoint; and their ids with their parts.
async fn filled(
    count: usize,
) -> (
    Bench,
    Vec<(schakel_proto::ids::PacketId, schakel_proto::ids::PartId)>,
) {
    let mut bench = Bench::new(Backend::Sled).await;
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
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
    (bench, all)
}

async fn read(
    store: &dyn Store,
    packet: schakel_proto::ids::PacketId,
    part: schakel_proto::ids::PartId,
) -> usize {
    let mut reader = store
        .content(packet, part, schakel_proto::wire::Profile::V6)
        .await
        .unwrap();
    let mut length = 0;
    while let Some(chunk) = reader.next().await.unwrap() {
        length += chunk.len();
    }
    length
}

/// What one writer commits as its n-th batch, made again from its number alone.
fn changes(seed: u64, number: u64) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut rng = StdRng::seed_from_u64(seed ^ number);
    let count = rng.random_range(1..20);
    let mut all: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..count)
        .map(|_| {
            let key = rng.random_range(0_u16..2_000).to_be_bytes();
            let key = [b"k".as_slice(), &key].concat();
            let value = rng.random_bool(0.6).then(|| {
                let mut value = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut value);
                value
            });
            (key, value)
        })
        .collect();
    all.push((b"number".to_vec(), Some(number.to_be_bytes().to_vec())));
    all
}

async fn write(store: &MemoryStore, seed: u64, number: u64) {
    let changes = changes(seed, number);
    let verb = move |step: &mut super::super::kv::engine::Step<'_>| {
        for (key, value) in changes {
            match value {
                Some(value) => step.txn.put(&key, &value)?,
                None => step.txn.delete(&key)?,
            }
        }
        Ok(())
    };
    store.engine().write(false, verb).await.unwrap();
}

/// The values after that many batches.
fn values_after(seed: u64, number: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut values = BTreeMap::new();
    for number in 0..=number {
        for (key, value) in changes(seed, number) {
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.remove(&key)),
            }
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d17_a_backup_is_one_moment_of_a_store_that_is_written_all_the_time() {
    let seed = StdRng::from_os_rng().next_u64();
    println!("SEED {seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    for round in 0..12 {
        let store = Arc::new(MemoryStore::new().unwrap());
        let mut number = 0;
        while number < 400 {
            write(&store, seed, number).await;
            number += 1;
        }
        let before = number - 1;
        let stop = Arc::new(AtomicBool::new(false));
        let (writing, stopped) = (Arc::clone(&store), Arc::clone(&stop));
        let writer = tokio::spawn(async move {
            while !stopped.load(Ordering::SeqCst) {
                write(&writing, seed, number).await;
                number += 1;
            }
            number
        });
        let file = dir.path().join(format!("{round}.backup"));
        let made = store.backup(&order(&file), QUIET).await.unwrap();
        stop.store(true, Ordering::SeqCst);
        let after = writer.await.unwrap();
        let inspected = restore::inspect(&file).unwrap();
        assert_eq!(
            (&inspected.trailer, inspected.digest),
            (&made.trailer, made.digest)
        );
        let (kv, contents) = (MemoryKv::default(), Contents::in_memory());
        restore::apply(&file, &inspected, (&kv, &contents), QUIET)
            .await
            .unwrap();
        let read = Committed(&kv);
        let moment = read.number(b"number").unwrap().unwrap();
        assert!(
            (before..after).contains(&moment),
            "what was answered before is in it: {before} {moment} {after}"
        );
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> =
            read.scan(&[], None, usize::MAX).unwrap().into_iter().collect();
        assert!(found.remove(keys::HALT).is_some(), "it is marked");
        let expected = values_after(seed, moment);
        let differ = |key: &&Vec<u8>| found.get(*key) != expected.get(*key);
        let keys: std::collections::BTreeSet<&Vec<u8>> = found.keys().chain(expected.keys()).collect();
        let differ: Vec<_> = keys.into_iter().filter(differ).collect();
        assert!(
            differ.is_empty(),
            "{} rows differ from that moment: {differ:?}",
            differ.len()
        );
        written += u64::from(made.trailer.batches > 0);
    }
    assert!(written > 0, "nothing was written during any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn d17_a_restored_store_has_everything_and_signs_only_when_it_is_confirmed() {
    let (mut bench, all) = filled(5).await;
    let file = bench.dir.path().join("one.backup");
    let made = bench.store().backup(&order(&file), QUIET).await.unwrap();
    assert_eq!((made.trailer.size, made.trailer.files), (5, 3));
    let folder = bench.dir.path().join("restored");
    let (_, halt) = place::restore(&file, &Place::Folder(folder.clone()), &rupel(), QUIET)
        .await
        .unwrap();
    let newest = bench.store().latest_checkpoint().await.unwrap().unwrap();
    assert_eq!((halt.size, halt.root), (newest.size, newest.root));
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&folder).await.unwrap());
    for (number, (packet, part)) in all.iter().enumerate() {
        let length = if number % 2 == 0 { LARGE } else { SMALL };
        assert_eq!(read(store.as_ref(), *packet, *part).await, length);
    }
    assert_eq!(store.latest_checkpoint().await.unwrap().unwrap(), newest);
    assert_eq!(store.halted().await.unwrap(), Some(halt));
    let refusal = halt::may_sign(store.as_ref()).await.unwrap_err();
    assert_eq!(refusal.code, "STORE_RESTORED");
    let entry = bench
        .entry(crate::log::entry::EntryDraft::new(
            schakel_proto::evidence::Event::AdminAct,
            bench.now,
        ))
        .await;
    let leaf = store.record(entry).await.unwrap();
    let (sequencer, log) = Sequencer::start(Arc::clone(&store), bench.secret())
        .await
        .unwrap();
    assert!(
        matches!(log.wait_for(leaf).await, Err(StoreError::Stopped(_))),
        "nothing is signed"
    );
    sequencer.stop().await;
    assert_eq!(store.latest_checkpoint().await.unwrap().unwrap(), newest);
    let other = Halt { size: 4, ..halt };
    assert!(!store.confirm(other).await.unwrap());
    assert!(store.confirm(halt).await.unwrap());
    assert!(halt::may_sign(store.as_ref()).await.is_ok());
    let (sequencer, log) = Sequencer::start(Arc::clone(&store), bench.secret())
        .await
        .unwrap();
    assert_eq!(log.wait_for(leaf).await.unwrap(), 5);
    sequencer.stop().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d17_a_backup_that_was_broken_off_or_changed_does_not_restore() {
    let (bench, _) = filled(3).await;
    let file = bench.dir.path().join("one.backup");
    bench.store().backup(&order(&file), QUIET).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    let seed = StdRng::from_os_rng().next_u64();
    println!("SEED {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let harmed = bench.dir.path().join("harmed.backup");
    let folder = bench.dir.path().join("restored");
    let refused = |bytes: &[u8]| {
        std::fs::write(&harmed, bytes).unwrap();
        restore::inspect(&harmed).unwrap_err().code
    };
    for _ in 0..200 {
        let length = rng.random_range(0..whole.len());
        assert_eq!(refused(&whole[..length]), "BACKUP_DAMAGED", "cut at {length}");
        let mut flipped = whole.clone();
        let at = rng.random_range(0..whole.len());
        flipped[at] ^= 1 << rng.random_range(0..8);
        assert_eq!(refused(&flipped), "BACKUP_DAMAGED", "flipped at {at}");
    }
    assert_eq!(refused(&[whole.as_slice(), b"x"].concat()), "BACKUP_DAMAGED");
    let cut = place::restore(&harmed, &Place::Folder(folder.clone()), &rupel(), QUIET)
        .await
        .unwrap_err();
    assert!(cut.to_string().contains("BACKUP_DAMAGED"), "{cut}");
    assert!(!folder.exists(), "nothing is made of what is not whole");
    let other = NetworkName::new("noorderkempen").unwrap();
    let other = place::restore(&file, &Place::Folder(folder.clone()), &other, QUIET)
        .await
        .unwrap_err();
    assert!(other.to_string().contains("BACKUP_NETWORK"), "{other}");
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backup_is_overwritten_and_one_that_is_given_up_leaves_nothing() {
    let (bench, _) = filled(3).await;
    let file = bench.dir.path().join("one.backup");
    std::fs::write(&file, b"another").unwrap();
    let refused = bench.store().backup(&order(&file), QUIET).await.unwrap_err();
    assert_eq!(refused.code, "BACKUP_EXISTS");
    assert_eq!(std::fs::read(&file).unwrap(), b"another");
    let file = bench.dir.path().join("two.backup");
    let Open::Sled(store) = &bench.open else {
        panic!("sled")
    };
    // Polled until it has begun, then dropped.
    {
        let order = order(&file);
        let mut backup = store.backup(&order, QUIET);
        // One step at a time.
        while !partial(&file).exists() {
            let step = std::future::poll_fn(|context| std::task::Poll::Ready(backup.as_mut().poll(context)));
            assert!(step.await.is_pending(), "it was made before it could be given up");
            tokio::task::yield_now().await;
        }
        assert!(store.engine().tee().is_holding());
    }
    assert!(!partial(&file).exists() && !file.exists());
    assert!(!store.engine().tee().is_holding());
    // What a killed one left is in nobody's way.
    std::fs::write(partial(&file), b"half").unwrap();
    bench.store().backup(&order(&file), QUIET).await.unwrap();
    assert!(file.exists() && !partial(&file).exists());
    assert!(store.engine().tee().begin());
    let third = bench.dir.path().join("three.backup");
    let refused = bench.store().backup(&order(&third), QUIET).await.unwrap_err();
    assert_eq!(refused.code, "BACKUP_RUNNING");
    assert!(!third.exists() && !partial(&third).exists());
    store.engine().tee().end();
}

#[tokio::test(flavor = "multi_thread")]
async fn part_files_stay_while_a_backup_is_made_and_go_afterwards() {
    let (mut bench, all) = filled(1).await;
    let Open::Sled(store) = &bench.open else {
        panic!("sled")
    };
    let store = Arc::clone(store);
    assert!(store.engine().tee().begin());
    bench.now = bench.now.plus_millis(400 * 86_400_000);
    let expiring = bench.expiring(all[0].0).await;
    let expired = store.expire(expiring).await.unwrap();
    assert!(matches!(expired, Expired::Done { .. }), "{expired:?}");
    // A commit later the writer has looked for orphans once more.
    let draft = crate::log::entry::EntryDraft::new(schakel_proto::evidence::Event::AdminAct, bench.now);
    let entry = bench.entry(draft).await;
    store.record(entry).await.unwrap();
    assert_eq!(bench.part_files(), 1, "a page may have named it");
    store.engine().tee().end();
    store.engine().nudge();
    while bench.part_files() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_file_is_told_and_keeps_nothing_else_out_of_the_backup() {
    let (bench, all) = filled(5).await;
    let parts = bench.dir.path().join("store/parts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&parts)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[1], b"other bytes").unwrap();
    let file = bench.dir.path().join("one.backup");
    let made = bench.store().backup(&order(&file), QUIET).await.unwrap();
    assert_eq!((made.trailer.files, made.trailer.damaged_files), (1, 2));
    let folder = bench.dir.path().join("restored");
    place::restore(&file, &Place::Folder(folder.clone()), &rupel(), QUIET)
        .await
        .unwrap();
    let store = SledStore::open(&folder).await.unwrap();
    let mut whole = 0;
    for (packet, part) in &all {
        let reader = store
            .content(*packet, *part, schakel_proto::wire::Profile::V6)
            .await;
        match reader {
            Ok(mut reader) => {
                while reader.next().await.unwrap().is_some() {}
                whole += 1;
            }
            Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error}"),
        }
    }
    assert_eq!(whole, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_needs_an_empty_folder_and_can_be_given_again() {
    let (bench, _) = filled(2).await;
    let file = bench.dir.path().join("one.backup");
    bench.store().backup(&order(&file), QUIET).await.unwrap();
    let folder = bench.dir.path().join("restored");
    let own = bench.dir.path().join("store");
    for (folder, says) in [(&own, "another broker"), (&folder, "not empty")] {
        if !folder.exists() {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("notes.txt"), b"mine").unwrap();
        }
        let refused = place::restore(&file, &Place::Folder(folder.clone()), &rupel(), QUIET)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
    }
    assert_eq!(std::fs::read(folder.join("notes.txt")).unwrap(), b"mine");
    std::fs::remove_file(folder.join("notes.txt")).unwrap();
    // Broken off: a mark, some rows, some files.
    let building = Building::begin(&folder).unwrap();
    let inspected = restore::inspect(&file).unwrap();
    restore::apply(&file, &inspected, building.inside(), QUIET)
        .await
        .unwrap();
    building.inside().0.close();
    drop(building);
    let said = SledStore::open(&folder).await.unwrap_err().to_string();
    assert!(said.contains("broken off: give the same command again"), "{said}");
    place::restore(&file, &Place::Folder(folder.clone()), &rupel(), QUIET)
        .await
        .unwrap();
    SledStore::open(&folder).await.unwrap().close().await;
    let again = place::restore(&file, &Place::Folder(folder.clone()), &rupel(), QUIET)
        .await
        .unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
}

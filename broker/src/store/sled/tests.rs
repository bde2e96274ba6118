//! What only the sled backend has to show: damage is found or harmless, never silent; one broker at a time; an
//! older or emptied store is refused with an instruction.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use schakel_proto::ids::{PacketId, PartId};

use super::super::conformance::{Backend, Bench};
use super::super::kv::txn::{Committed, Read};
use super::super::kv::{Batch, Kv, View, keys, record};
use super::super::*;
use super::{SledOptions, SledStore};
use crate::log::sequencer::Sequencer;

const WELFARE: &str = "caw-rupel";
const LARGE: usize = 70 * 1024;

/// A closed store with some packets whose leaves are all under a checkpoint.
pub(super) async fn filled(count: usize) -> (Bench, PathBuf, Vec<(PacketId, PartId)>) {
    let mut bench = Bench::new(Backend::Sled).await;
    let mut all = Vec::new();
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    for number in 0..count {
        let length = if number % 2 == 0 { LARGE } else { 4_096 };
        let new = bench.packet(&[WELFARE], &[(length, &[WELFARE])]).await;
        let leaf = new.entry.leaf_hash();
        all.push((new.packet, new.parts[0].part));
        bench.store().accept(new).await.unwrap();
        log.wait_for(leaf).await.unwrap();
    }
    sequencer.stop().await;
    drop(log);
    bench.store().close().await;
    let folder = bench.dir.path().join("store");
    (bench, folder, all)
}

pub(super) async fn open(folder: &Path) -> Result<SledStore, StoreError> {
    let options = SledOptions {
        reserve_bytes: Some(0),
        cache_bytes: 8 * 1024 * 1024,
    };
    SledStore::open_with(folder, options, std::sync::Arc::new(super::NoFaults)).await
}

async fn refusal(folder: &Path) -> String {
    match open(folder).await {
        Err(StoreError::Unusable(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(super) async fn read(store: &SledStore, packet: PacketId, part: PartId) -> Result<(), StoreError> {
    let mut reader = store
        .content(packet, part, schakel_proto::wire::Profile::V6)
        .await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn d15_a_second_broker_on_one_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await.unwrap();
    assert!(refusal(dir.path()).await.contains("another broker"));
    first.close().await;
    let second = open(dir.path()).await.unwrap();
    assert!(
        matches!(first.pending(1).await, Err(StoreError::Stopped(_))),
        "closed is closed"
    );
    assert_eq!(first.health(), StoreHealth::Stopped);
    drop(second);
    open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn d12_an_emptied_store_is_never_taken_for_a_new_one() {
    let (_bench, folder, _) = filled(1).await;
    let spare = folder.with_extension("spare");
    copy(&folder, &spare);
    fs::remove_file(folder.join("rows/db")).unwrap();
    assert!(refusal(&folder).await.contains("Restore the newest backup"));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(folder.join("rows/db"))
        .unwrap();
    assert!(refusal(&folder).await.contains("rows are gone"));
    fs::remove_dir_all(folder.join("rows")).unwrap();
    assert!(refusal(&folder).await.contains("rows are gone"));
    fs::remove_file(spare.join("STORE")).unwrap();
    assert!(refusal(&spare).await.contains("marker is gone"));
}

#[tokio::test]
async fn d02_a_store_whose_making_was_killed_is_made_anew_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let rows = dir.path().join("rows");
    fs::create_dir(&rows).unwrap();
    // sled was writing its settings, and would not read these (of at most 8 bytes it says nothing, and writes them anew).
    fs::write(rows.join("conf"), [0; 32]).unwrap();
    open(dir.path()).await.unwrap().close().await;
    // Once there are rows they are never taken for unmade ones.
    fs::write(rows.join("conf"), [0; 32]).unwrap();
    assert!(refusal(dir.path()).await.contains("damaged"));
    fs::remove_file(dir.path().join("STORE")).unwrap();
    assert!(refusal(dir.path()).await.contains("damaged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_a_truncated_store_is_whole_or_refused() {
    let (bench, folder, all) = filled(6).await;
    let length = fs::metadata(folder.join("rows/db")).unwrap().len();
    let mut refused = 0;
    for number in 0..24 {
        let target = bench.dir.path().join(format!("cut-{number}"));
        copy(&folder, &target);
        let file = OpenOptions::new()
            .write(true)
            .open(target.join("rows/db"))
            .unwrap();
        file.set_len(length * number / 24).unwrap();
        match open(&target).await {
            Err(StoreError::Unusable(why)) => {
                assert!(why.contains("Restore the newest backup"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
            Ok(store) => {
                for (packet, part) in &all {
                    read(&store, *packet, *part).await.unwrap();
                }
                store.close().await;
            }
        }
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(refused > 0);
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// What is done to the log's places and entries.
type Harm = fn(&Pairs, &Pairs, &mut Batch);

/// Each with its name and what is said of it.
fn harms() -> [(&'static str, Harm, &'static str); 8] {
    [
        (
            "a place lost",
            |places, _, b| drop(b.insert(places[2].0.clone(), None)),
            "damage was found",
        ),
        (
            "an entry lost",
            |_, entries, b| drop(b.insert(entries[2].0.clone(), None)),
            "damage was found",
        ),
        (
            "the last entry lost",
            |_, entries, b| drop(b.insert(entries.last().unwrap().0.clone(), None)),
            "damage was found",
        ),
        (
            "two places exchanged",
            |places, _, b| {
                b.insert(places[0].0.clone(), Some(places[1].1.clone()));
                b.insert(places[1].0.clone(), Some(places[0].1.clone()));
            },
            "the order of the log",
        ),
        (
            "two entries exchanged",
            |_, entries, b| {
                b.insert(entries[0].0.clone(), Some(entries[1].1.clone()));
                b.insert(entries[1].0.clone(), Some(entries[0].1.clone()));
            },
            "the order of the log",
        ),
        (
            "a place of a leaf that was never committed",
            |_, _, b| {
                let unknown = keys::index(&schakel_proto::ids::Digest::of(b"unknown"));
                b.insert(unknown, Some(99_u64.to_be_bytes().to_vec()));
            },
            "the order of the log",
        ),
        (
            "the next number is a former one",
            |_, _, b| {
                b.insert(keys::NEXT_SEQUENCE.to_vec(), Some(2_u64.to_be_bytes().to_vec()));
            },
            "the order of the log",
        ),
        ("nothing", |_, _, _| {}, ""),
    ]
}

/// Rows with good checksums that do not fit each other: the log's leaves against their places and entries.
#[tokio::test(flavor = "multi_thread")]
async fn d11_leaves_places_and_entries_that_do_not_fit_each_other_are_found() {
    let put = |batch: &mut Batch, key: &[u8], value: &[u8]| {
        batch.insert(key.to_vec(), Some(record::seal(key, value)));
    };
    let (bench, folder, _) = filled(6).await;
    for (number, (what, harm, said)) in harms().into_iter().enumerate() {
        let target = bench.dir.path().join(format!("harm-{number}"));
        copy(&folder, &target);
        let store = open(&target).await.unwrap();
        let read = Committed(store.kv());
        let rows = |prefix| read.scan(&[prefix], None, 100).unwrap();
        let mut batch = Batch::new();
        harm(&rows(keys::INDEX), &rows(keys::ENTRY), &mut batch);
        // Sealed anew: each record by itself is sound.
        let sealed: Vec<_> = batch
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.clone()?)))
            .collect();
        for (key, value) in sealed {
            let flagged = [&[0], value.as_slice()].concat();
            put(&mut batch, &key, &flagged);
        }
        store.kv().commit(&batch).unwrap();
        store.close().await;
        if said.is_empty() {
            open(&target).await.unwrap().close().await;
        } else {
            let why = refusal(&target).await;
            assert!(why.contains(said), "{what}: {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_d11_a_flipped_bit_is_found_or_harmless() {
    let (bench, folder, all) = filled(6).await;
    let whole = fs::read(folder.join("rows/db")).unwrap();
    let used = whole.iter().rposition(|b| *b != 0).unwrap();
    let mut refused = 0;
    for number in 0..40 {
        let target = bench.dir.path().join(format!("flip-{number}"));
        copy(&folder, &target);
        let mut damaged = whole.clone();
        damaged[used * number / 40] ^= 1 << (number % 8);
        fs::write(target.join("rows/db"), damaged).unwrap();
        match open(&target).await {
            Err(StoreError::Unusable(why)) => {
                assert!(why.contains("Restore the newest backup"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
            Ok(store) => {
                for (packet, part) in &all {
                    read(&store, *packet, *part).await.unwrap();
                    assert!(store.packet(*packet).await.unwrap().is_some());
                }
                store.close().await;
            }
        }
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn d10_a_damaged_part_file_is_found_and_the_others_are_served() {
    let (_bench, folder, all) = filled(5).await;
    let large: Vec<_> = all.iter().step_by(2).collect();
    let store = open(&folder).await.unwrap();
    let mut files = Vec::new();
    for (packet, _) in &large {
        let sealing = store.packet(*packet).await.unwrap().unwrap().parts[0].sealings[0];
        files.push(folder.join("parts").join(hex::encode(sealing.sha256.as_bytes())));
    }
    let file = OpenOptions::new().read(true).write(true).open(&files[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, LARGE as u64 / 2).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], LARGE as u64 / 2).unwrap();
    let (packet, part) = large[0];
    let mut reader = store
        .content(*packet, *part, schakel_proto::wire::Profile::V6)
        .await
        .unwrap();
    assert!(
        matches!(reader.next().await, Err(StoreError::Corrupt(_))),
        "no last chunk without the digest"
    );
    OpenOptions::new()
        .write(true)
        .open(&files[1])
        .unwrap()
        .set_len(LARGE as u64 - 1)
        .unwrap();
    assert!(matches!(
        read(&store, large[1].0, large[1].1).await,
        Err(StoreError::Corrupt(_))
    ));
    fs::remove_file(&files[1]).unwrap();
    assert!(matches!(
        read(&store, large[1].0, large[1].1).await,
        Err(StoreError::Corrupt(_))
    ));
    read(&store, large[2].0, large[2].1).await.unwrap();
    drop(store);
    let store = open(&folder).await.unwrap();
    read(&store, large[2].0, large[2].1).await.unwrap();
}

#[tokio::test]
async fn d13_an_older_copy_that_is_put_back_is_refused() {
    let (mut bench, folder, _) = filled(2).await;
    let older = folder.with_extension("older");
    copy(&folder.join("rows"), &older);
    bench.reopen().await;
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    let new = bench.packet(&[WELFARE], &[(4_096, &[WELFARE])]).await;
    let leaf = new.entry.leaf_hash();
    bench.store().accept(new).await.unwrap();
    log.wait_for(leaf).await.unwrap();
    sequencer.stop().await;
    bench.store().close().await;
    fs::remove_dir_all(folder.join("rows")).unwrap();
    copy(&older, &folder.join("rows"));
    assert!(
        refusal(&folder)
            .await
            .contains("the log had 3 leaves and now has 2")
    );
}

type Change = Box<dyn Fn(&::sled::Db)>;

/// Changes one record behind the store's back.
async fn tamper(folder: &Path, change: impl Fn(&::sled::Db)) {
    let rows = ::sled::Config::new()
        .path(folder.join("rows"))
        .flush_every_ms(None)
        .open()
        .unwrap();
    change(&rows);
    rows.flush().unwrap();
    drop(rows);
}

#[tokio::test]
async fn d11_rows_that_do_not_fit_the_tree_are_found_at_start() {
    let (bench, folder, all) = filled(3).await;
    let replace = |key: Vec<u8>, value: Vec<u8>| {
        move |rows: &::sled::Db| {
            rows.insert(&key, record::seal(&key, &value)).unwrap();
        }
    };
    let node = schakel_proto::tlog::tree::Node { level: 1, index: 0 };
    let zero = [vec![0], vec![0; 32]].concat();
    let leaf = {
        let store = open(&folder).await.unwrap();
        let leaf = store.filed(Filed::All, Some(0), 1).await.unwrap().found[0].leaf_hash;
        store.close().await;
        leaf
    };
    let mut cases: Vec<(&str, Change)> = vec![
        (
            "node 0 of level 1",
            Box::new(replace(keys::node(node), zero.clone())),
        ),
        (
            "order of the log's leaves",
            Box::new(replace(
                keys::index(&leaf),
                [vec![0], 9_u64.to_be_bytes().to_vec()].concat(),
            )),
        ),
        (
            "table P",
            Box::new(|rows| {
                let (key, mut found) = rows
                    .scan_prefix(b"P")
                    .next()
                    .unwrap()
                    .map(|(k, v)| (k, v.to_vec()))
                    .unwrap();
                *found.last_mut().unwrap() ^= 1;
                rows.insert(key, found).unwrap();
            }),
        ),
        (
            "another schema",
            Box::new(replace(
                keys::SCHEMA.to_vec(),
                [vec![0], 3u64.to_be_bytes().to_vec()].concat(),
            )),
        ),
    ];
    let manifest = keys::manifest(&all[0].0);
    cases.push((
        "table M",
        Box::new(move |rows| {
            rows.remove(&manifest).unwrap();
        }),
    ));
    for (number, (expected, change)) in cases.into_iter().enumerate() {
        let target = bench.dir.path().join(format!("tampered-{number}"));
        copy(&folder, &target);
        tamper(&target, change).await;
        let why = refusal(&target).await;
        let found = why.contains(expected) || (expected == "another schema" && why.contains("schema 3"));
        assert!(found, "{expected}: {why}");
    }
}

#[tokio::test]
async fn an_interrupted_creation_is_finished_and_leftovers_are_cleared() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).await.unwrap());
    fs::remove_file(dir.path().join("STORE")).unwrap();
    fs::write(dir.path().join("rows/snap.0000000000000042.generating"), b"half").unwrap();
    fs::write(dir.path().join("parts/tmp/0"), b"half").unwrap();
    let orphan = dir.path().join("parts").join("ab".repeat(32));
    fs::write(&orphan, b"an orphan").unwrap();
    drop(open(dir.path()).await.unwrap());
    assert!(dir.path().join("STORE").exists());
    assert!(!orphan.exists());
    assert_eq!(fs::read_dir(dir.path().join("parts/tmp")).unwrap().count(), 0);
    let generating = fs::read_dir(dir.path().join("rows")).unwrap();
    assert!(
        generating
            .flatten()
            .all(|e| !e.file_name().to_string_lossy().ends_with(".generating"))
    );
}

#[tokio::test]
async fn no_record_reaches_the_size_that_sled_puts_into_files_it_never_syncs() {
    let mut bench = Bench::new(Backend::Sled).await;
    let mut new = bench.packet(&[WELFARE], &[(40 * 1024, &[WELFARE])]).await;
    new.manifest = bench.signed(schakel_proto::limits::MANIFEST_MAX_BYTES);
    new.manifest_digest = schakel_proto::ids::Digest::of(&new.manifest.bytes);
    let (id, manifest) = (new.packet, new.manifest.clone());
    bench.store().accept(new).await.unwrap();
    bench.reopen().await;
    assert_eq!(
        bench.store().packet(id).await.unwrap().unwrap().manifest,
        manifest
    );
    bench.store().close().await;
    let kv = super::open::open(&bench.dir.path().join("store"), SledOptions::default()).unwrap();
    let rows = kv.scan(&[], None, 10_000).unwrap();
    let longest = rows.iter().map(|(_, v)| v.len()).max().unwrap();
    assert!(
        (50 * 1024..schakel_proto::limits::STORE_VALUE_MAX_BYTES).contains(&longest),
        "{longest}"
    );
    kv.close();
    assert!(
        !bench
            .dir
            .path()
            .join("store/rows/blobs")
            .read_dir()
            .is_ok_and(|mut d| d.next().is_some())
    );
}

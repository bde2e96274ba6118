//! A store that is compacted or moved is the same store; broken off anywhere, one of the two is there whole. And every
//! file of it cut short or emptied: never less in silence.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use schakel_proto::ids::{PacketId, PartId};

use super::super::halt::may_sign;
use super::super::kv::{Kv, View};
use super::super::place::{Place, move_to};
use super::super::*;
use super::tests::{copy, filled, open, read};
use super::{SledOptions, compact, migrate};
use crate::log::sequencer::Sequencer;

const QUIET: Tell<'static> = &|_| {};

/// All rows, without the mark of a moved store.
fn rows(folder: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let kv = super::open::open(folder, SledOptions::default()).unwrap();
    let mut rows = kv.scan(&[], None, usize::MAX).unwrap();
    Kv::close(&kv);
    rows.retain(|(key, _)| key != super::super::kv::keys::HALT);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_store_has_the_same_rows_in_less_room() {
    let (_bench, folder, all) = filled(6).await;
    // Garbage: the same rows written again and again.
    let kv = super::open::open(&folder, SledOptions::default()).unwrap();
    let found = kv.scan(&[], None, usize::MAX).unwrap();
    for round in 0..400_u32 {
        let key = [b"B garbage".as_slice(), &round.to_be_bytes()].concat();
        let value = super::super::kv::record::seal(&key, &vec![round as u8; 20_000]);
        kv.commit(&super::super::kv::Batch::from([(key.clone(), Some(value))]))
            .unwrap();
        kv.commit(&super::super::kv::Batch::from([(key, None)])).unwrap();
    }
    Kv::close(&kv);
    let done = compact(&folder, QUIET).unwrap();
    assert_eq!(done.rows, found.len() as u64);
    assert!(done.after * 2 < done.before, "{done:?}");
    assert_eq!(rows(&folder), found);
    assert!(!folder.join("rows.old").exists() && !folder.join("rows.new").exists());
    let store = open(&folder).await.unwrap();
    for (packet, part) in &all {
        read(&store, *packet, *part).await.unwrap();
    }
    assert!(
        compact(&folder, QUIET)
            .unwrap_err()
            .to_string()
            .contains("another broker")
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d16_a_compaction_that_was_broken_off_leaves_one_store_that_opens() {
    let (bench, folder, all) = filled(4).await;
    let expected = rows(&folder);
    for state in 0..4 {
        let target = bench.dir.path().join(format!("state-{state}"));
        copy(&folder, &target);
        let at = |name: &str| target.join(name);
        match state {
            // Half of the new rows were written.
            0 => {
                copy(&target.join("rows"), &at("rows.new"));
                let db = OpenOptions::new().write(true).open(at("rows.new/db")).unwrap();
                db.set_len(1_000).unwrap();
            }
            // Between the two renames.
            1 => {
                copy(&target.join("rows"), &at("rows.new"));
                fs::rename(at("rows"), at("rows.old")).unwrap();
            }
            // Before the old ones went.
            2 => copy(&target.join("rows"), &at("rows.old")),
            // In the middle of that.
            _ => {
                copy(&target.join("rows"), &at("rows.old"));
                fs::remove_file(at("rows.old/db")).unwrap();
            }
        }
        let store = open(&target)
            .await
            .unwrap_or_else(|error| panic!("state {state}: {error}"));
        for (packet, part) in &all {
            read(&store, *packet, *part).await.unwrap();
        }
        store.close().await;
        assert!(
            !at("rows.old").exists() && !at("rows.new").exists(),
            "state {state}"
        );
        assert_eq!(rows(&target), expected, "state {state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_store_is_the_same_log_and_the_former_one_signs_no_more() {
    let (mut bench, folder, all) = filled(7).await;
    let store = open(&folder).await.unwrap();
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    let mut proofs = Vec::new();
    for from in 1..7 {
        proofs.push(store.consistency(from, 7).await.unwrap());
    }
    let entries = store.records(0, 100).await.unwrap();
    store.close().await;
    let to = bench.dir.path().join("moved");
    let before = rows(&folder);
    let (moved, halt) = move_to(&Place::Folder(folder.clone()), &Place::Folder(to.clone()), QUIET)
        .await
        .unwrap();
    assert_eq!((moved.rows, moved.files), (before.len() as u64, 4));
    assert_eq!(rows(&to), before);
    let store: Arc<dyn Store> = Arc::new(open(&to).await.unwrap());
    assert!(may_sign(store.as_ref()).await.is_ok());
    assert_eq!(store.latest_checkpoint().await.unwrap().unwrap(), newest);
    assert!(store.records(0, 100).await.unwrap() == entries);
    for (from, proof) in (1..7).zip(&proofs) {
        assert_eq!(&store.consistency(from, 7).await.unwrap(), proof);
    }
    for (packet, part) in &all {
        let stored = store.packet(*packet).await.unwrap();
        assert!(stored.is_some());
        let mut reader = store
            .content(*packet, *part, schakel_proto::wire::Profile::V6)
            .await
            .unwrap();
        while reader.next().await.unwrap().is_some() {}
    }
    let (sequencer, log) = Sequencer::start(Arc::clone(&store), bench.secret())
        .await
        .unwrap();
    let draft = crate::log::entry::EntryDraft::new(schakel_proto::evidence::Event::AdminAct, bench.now);
    let leaf = store.record(bench.entry(draft).await).await.unwrap();
    assert_eq!(log.wait_for(leaf).await.unwrap(), 7, "it goes on");
    sequencer.stop().await;
    store.close().await;
    // The former one.
    let again = bench.dir.path().join("again");
    let refused = move_to(
        &Place::Folder(folder.clone()),
        &Place::Folder(again.clone()),
        QUIET,
    )
    .await
    .unwrap_err();
    assert!(refused.to_string().contains("STORE_MOVED"), "{refused}");
    assert!(!again.exists());
    let former = open(&folder).await.unwrap();
    assert_eq!(may_sign(&former).await.unwrap_err().code, "STORE_MOVED");
    assert_eq!((halt.size, halt.root), (newest.size, newest.root));
    assert!(former.confirm(halt).await.unwrap());
    assert!(may_sign(&former).await.is_ok());
    former.close().await;
    let refused = move_to(&Place::Folder(folder.clone()), &Place::Folder(to.clone()), QUIET)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_migrated_is_told_before_it_is_done() {
    let (_bench, folder, _) = filled(3).await;
    let kv = super::open::open(&folder, SledOptions::default()).unwrap();
    let filed = super::super::kv::keys::FILED;
    kv.commit(&super::super::kv::Batch::from([(filed.to_vec(), None)]))
        .unwrap();
    Kv::close(&kv);
    for (only_look, found, left) in [(true, 3, 3), (true, 3, 3), (false, 3, 0), (false, 0, 0)] {
        let all = migrate(&folder, only_look).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].name, all[1].found, all[1].left), ("files", found, left));
        assert_eq!((all[0].name, all[0].found, all[0].left), ("numbers", 0, 0));
    }
}

/// What a harmed store may be: whole, or refused with words. If it opens it has every packet and every entry; content that
/// is gone is told.
async fn whole_or_refused(
    folder: &Path,
    all: &[(PacketId, PartId)],
    what: &str,
    mut parts_may_lack: bool,
) -> bool {
    let store = match open(folder).await {
        Ok(store) => store,
        Err(StoreError::Unusable(why)) => {
            assert!(why.len() > 40, "{what}: {why}");
            return false;
        }
        Err(other) => panic!("{what}: {other:?}"),
    };
    let size = store
        .latest_checkpoint()
        .await
        .unwrap()
        .map_or(0, |newest| newest.size);
    assert_eq!(size, all.len() as u64, "{what}: it opened with less");
    for (packet, part) in all {
        assert!(store.packet(*packet).await.unwrap().is_some(), "{what}");
        match read(&store, *packet, *part).await {
            Ok(()) => {}
            Err(StoreError::Corrupt(_)) if parts_may_lack => parts_may_lack = false,
            Err(other) => panic!("{what}: {other:?}"),
        }
    }
    store.close().await;
    true
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files_in(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn d12_any_file_cut_short_or_emptied_from_anywhere_on_is_whole_or_refused() {
    let (bench, folder, all) = filled(5).await;
    let long = std::env::var("SCHAKEL_LONG").is_ok();
    let seed = StdRng::from_os_rng().next_u64();
    println!("SEED {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut opened, mut refused) = (0, 0);
    for file in files_in(&folder) {
        let name = file.strip_prefix(&folder).unwrap().to_owned();
        let length = fs::metadata(&file).unwrap().len();
        let large = name.ends_with("db");
        let offsets = match (large, long) {
            (_, true) => 200,
            (true, false) => 16,
            (false, false) => 3,
        };
        let is_part = name.starts_with("parts");
        for number in 0..offsets {
            let at = if number == 0 {
                0
            } else {
                rng.random_range(0..length.max(1))
            };
            for zeroed in [false, true] {
                let target = bench.dir.path().join("harmed");
                copy(&folder, &target);
                let harmed = OpenOptions::new().write(true).open(target.join(&name)).unwrap();
                harmed.set_len(at).unwrap();
                if zeroed {
                    harmed.set_len(length).unwrap();
                }
                drop(harmed);
                let what = format!("{} from {at}, zeroed: {zeroed}", name.display());
                if whole_or_refused(&target, &all, &what, is_part).await {
                    opened += 1;
                } else {
                    refused += 1;
                }
                fs::remove_dir_all(&target).unwrap();
            }
        }
    }
    println!("{opened} opened whole, {refused} refused");
    assert!(opened > 0 && refused > 0);
}

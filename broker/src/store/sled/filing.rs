//! A store that was written by a program without the files of cases and packets gets them when it is opened.

use super::super::conformance::{Backend, Bench, filed};
use super::super::error::StoreError;
use super::super::kv::txn::{Committed, Read, Txn};
use super::super::kv::{Batch, Kv, View, keys};
use super::{SledOptions, SledStore, open};

/// Takes the files away, and their mark; or sets the mark to `kept`, as after a start of an older program in between.
async fn take_away(bench: &Bench, kept: Option<u64>) -> usize {
    bench.store().close().await;
    let folder = bench.dir.path().join("store");
    let kv = open::open(&folder, SledOptions::default()).unwrap();
    let mut batch = Batch::new();
    for table in [keys::CASE_FILE, keys::PACKET_FILE] {
        for (key, _) in kv.scan(&[table], None, 1_000).unwrap() {
            let late = kept.is_none_or(|kept| keys::last_number(&key).unwrap() >= kept);
            if late {
                batch.insert(key, None);
            }
        }
    }
    let count = batch.len();
    let none = Batch::new();
    let mut txn = Txn::new(&kv, &none);
    match kept {
        None => txn.delete(keys::FILED).unwrap(),
        Some(kept) => txn.put_number(keys::FILED, kept).unwrap(),
    }
    batch.extend(txn.into_changes());
    kv.commit(&batch).unwrap();
    assert_eq!(Committed(&kv).number(keys::FILED).unwrap(), kept);
    kv.close();
    count
}

#[tokio::test]
async fn an_older_store_gets_its_files_when_it_is_opened() {
    let mut bench = Bench::new(Backend::Sled).await;
    let (cases, packets) = filed::two_cases(&mut bench).await;
    filed::integrate(&bench).await;
    for (kept, taken) in [(None, 6), (Some(3), 2)] {
        assert_eq!(take_away(&bench, kept).await, taken);
        bench.reopen().await;
        filed::check(&bench, cases, packets).await;
    }
}

#[tokio::test]
async fn an_older_store_on_a_full_disk_opens_and_is_filed_once_there_is_room() {
    let mut bench = Bench::new(Backend::Sled).await;
    let (cases, packets) = filed::two_cases(&mut bench).await;
    filed::integrate(&bench).await;
    assert_eq!(take_away(&bench, None).await, 6);
    let folder = bench.dir.path().join("store");
    let full = SledOptions {
        reserve_bytes: Some(u64::MAX),
        ..SledOptions::default()
    };
    let faults = std::sync::Arc::new(super::super::kv::NoFaults);
    let store = SledStore::open_with(&folder, full, faults).await.unwrap();
    let all = super::super::Store::filed(&store, super::super::Filed::All, None, 10).await;
    assert!(!all.unwrap().found.is_empty(), "what needs no file is found");
    super::super::Store::close(&store).await;
    bench.reopen().await;
    filed::check(&bench, cases, packets).await;
}

#[tokio::test]
async fn an_older_store_that_cannot_be_filed_for_damage_says_what_to_do() {
    let mut bench = Bench::new(Backend::Sled).await;
    filed::two_cases(&mut bench).await;
    filed::integrate(&bench).await;
    take_away(&bench, None).await;
    let folder = bench.dir.path().join("store");
    let kv = open::open(&folder, SledOptions::default()).unwrap();
    let batch = Batch::from([(keys::entry(1), None)]);
    kv.commit(&batch).unwrap();
    let Err(StoreError::Unusable(why)) = open::file_all(&kv) else {
        panic!("it is damaged");
    };
    assert!(why.contains("Restore the newest backup"), "{why}");
    kv.close();
}

//! The engine and the view of a batch in progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use schakel_proto::ids::Digest;

use super::super::content::Contents;
use super::super::error::StoreError;
use super::super::memory::MemoryKv;
use super::super::{Store, StoreHealth};
use super::txn::{Committed, Read, Txn};
use super::{Batch, CommitError, Kv, KvStore, NoFaults, Rows, View};

/// A map whose disk fails at the sync, once it is told to.
#[derive(Default)]
struct Failing {
    rows: MemoryKv,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl View for Failing {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(key)
    }
    fn scan(&self, p: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        self.rows.scan(p, after, limit)
    }
}

impl Kv for Failing {
    fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        self.rows.commit(batch)?;
        assert!(!self.panics.load(Ordering::SeqCst), "broken on purpose");
        if self.fails.load(Ordering::SeqCst) {
            Err(CommitError::Fatal("EIO".to_owned()))
        } else {
            Ok(())
        }
    }
    fn has_room(&self, _bytes: u64) -> bool {
        true
    }
    fn tree_grew(&self, _size: u64, _root: &Digest) -> Result<(), StoreError> {
        Ok(())
    }
    fn close(&self) {}
}

async fn entry() -> (tempfile::TempDir, super::super::NewEntry) {
    use rand::SeedableRng;
    let dir = tempfile::tempdir().unwrap();
    let keys = crate::erasure::ErasureKeys::open(&dir.path().join("erasure")).unwrap();
    let network = schakel_proto::party::NetworkName::new("rupel").unwrap();
    let maker = crate::log::entry::EntryMaker::new(network, keys);
    let at = schakel_proto::time::Timestamp::from_millis(1_795_278_600_000);
    let event = schakel_proto::evidence::Event::SubmissionRejection;
    let draft = crate::log::entry::EntryDraft::new(event, at);
    let entry = maker
        .make(draft, &mut rand::rngs::StdRng::seed_from_u64(1))
        .await
        .unwrap();
    (dir, entry)
}

#[tokio::test]
async fn d07_after_a_failed_sync_nothing_is_accepted_or_read_until_a_restart() {
    let store = KvStore::start(Failing::default(), Contents::in_memory(), Arc::new(NoFaults)).unwrap();
    let (_dir, entry) = entry().await;
    store.kv().fails.store(true, Ordering::SeqCst);
    assert!(matches!(
        store.record(entry.clone()).await,
        Err(StoreError::Stopped(_))
    ));
    store.kv().fails.store(false, Ordering::SeqCst);
    assert!(
        matches!(store.record(entry.clone()).await, Err(StoreError::Stopped(_))),
        "never retried"
    );
    assert!(
        matches!(store.pending(1).await, Err(StoreError::Stopped(_))),
        "it may not be durable"
    );
    assert_eq!(store.health(), StoreHealth::Stopped);
}

#[tokio::test]
async fn a_writer_that_panics_stops_the_store() {
    let store = KvStore::start(Failing::default(), Contents::in_memory(), Arc::new(NoFaults)).unwrap();
    let (_dir, entry) = entry().await;
    store.kv().panics.store(true, Ordering::SeqCst);
    assert!(matches!(
        store.record(entry.clone()).await,
        Err(StoreError::Stopped(_))
    ));
    store.close().await;
    assert!(matches!(store.pending(1).await, Err(StoreError::Stopped(_))));
    assert_eq!(store.health(), StoreHealth::Stopped);
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..3, 1..4)
}

fn changes() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4));
    proptest::collection::vec((key(), value), 0..12)
}

fn apply(txn: &mut Txn<'_>, model: &mut Model, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => {
                txn.put(&key, &value).unwrap();
                model.insert(key, value);
            }
            None => {
                txn.delete(&key).unwrap();
                model.remove(&key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Own changes over the group's over the map's read like one map, page by page.
    #[test]
    fn a_batch_in_progress_reads_like_one_map(
        stored in changes(), group in changes(), own in changes(),
        prefix in proptest::collection::vec(0u8..3, 0..2), after in proptest::option::of(key()), limit in 1usize..6,
    ) {
        let kv = MemoryKv::default();
        let (none, mut model) = (Batch::new(), Model::new());
        let mut txn = Txn::new(&kv, &none);
        apply(&mut txn, &mut model, stored);
        kv.commit(&txn.into_changes()).unwrap();
        let mut txn = Txn::new(&kv, &none);
        apply(&mut txn, &mut model, group);
        let group = txn.into_changes();
        let mut txn = Txn::new(&kv, &group);
        apply(&mut txn, &mut model, own);
        let expected: Vec<_> = model
            .iter()
            .filter(|(k, _)| k.starts_with(&prefix) && after.as_ref().is_none_or(|a| *k > a))
            .take(limit)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        prop_assert_eq!(txn.scan(&prefix, after.as_deref(), limit).unwrap(), expected);
        for (key, value) in &model {
            let found = txn.get(key).unwrap();
            prop_assert_eq!(found.as_ref(), Some(value));
        }
        let mut whole = group.clone();
        let own = txn.into_changes();
        whole.extend(own);
        kv.commit(&whole).unwrap();
        let committed = Committed(&kv);
        let all: Model = committed.scan(&[], None, 1_000).unwrap().into_iter().collect();
        prop_assert_eq!(all, model);
    }
}

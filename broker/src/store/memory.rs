//! The store in memory, for tests: nothing survives it, and its steps can be broken on purpose.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use schakel_proto::ids::Digest;
use tokio::sync::broadcast;

use super::content::Contents;
use super::error::StoreError;
use super::heard::{HEARD_MAX_COUNT, Heard};
use super::kv::{Batch, CommitError, Faults, Kv, KvStore, NoFaults, Rows, View};

/// A store in memory.
pub type MemoryStore = KvStore<MemoryKv>;

/// An ordered byte map in memory.
#[derive(Debug, Default)]
pub struct MemoryKv {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
    full: AtomicBool,
    /// Told what changes, if several brokers of this process share it.
    heard: Option<broadcast::Sender<Heard>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Result<Self, StoreError> {
        Self::with_faults(Arc::new(NoFaults))
    }

    /// An empty one whose commits `faults` may break.
    pub fn with_faults(faults: Arc<dyn Faults>) -> Result<Self, StoreError> {
        Self::start(MemoryKv::default(), Contents::in_memory(), faults)
    }

    /// An empty one that several brokers of this process use together, and hear each other's changes through.
    pub fn shared() -> Result<Self, StoreError> {
        let kv = MemoryKv {
            heard: Some(broadcast::Sender::new(HEARD_MAX_COUNT)),
            ..MemoryKv::default()
        };
        Self::start(kv, Contents::in_memory(), Arc::new(NoFaults))
    }

    /// Behaves as if the disk were full, or no longer.
    pub fn set_full(&self, full: bool) {
        self.kv().full.store(full, Ordering::SeqCst);
    }
}

impl MemoryKv {
    fn rows(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.rows();
        let range = rows.range::<[u8], _>((from, Bound::Unbounded));
        let found = range.take_while(|(k, _)| k.starts_with(prefix)).take(limit);
        Ok(found.map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}

impl Kv for MemoryKv {
    fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, change) in batch {
            match change {
                Some(record) => rows.insert(key.clone(), record.clone()),
                None => rows.remove(key),
            };
        }
        drop(rows);
        if let Some(heard) = &self.heard {
            for word in Heard::of_batch(batch) {
                // Nobody may be listening just now.
                let _unheard = heard.send(word);
            }
        }
        Ok(())
    }

    fn has_room(&self, _bytes: u64) -> bool {
        !self.full.load(Ordering::SeqCst)
    }

    fn tree_grew(&self, _size: u64, _root: &Digest) -> Result<(), StoreError> {
        Ok(())
    }

    fn heard(&self) -> Option<broadcast::Receiver<Heard>> {
        self.heard.as_ref().map(broadcast::Sender::subscribe)
    }

    fn close(&self) {}
}

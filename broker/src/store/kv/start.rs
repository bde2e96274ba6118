//! A store over an ordered byte map, and what it is put together from.

use std::sync::Arc;

use super::super::content::Contents;
use super::super::error::StoreError;
use super::engine::Engine;
use super::leases::{LeaseTable, Leases};
use super::{Faults, Ground};

/// A store over an ordered byte map. Named by its backend: `memory::MemoryStore`, `sled::SledStore`.
pub struct KvStore<K> {
    pub(in super::super) kv: Arc<K>,
    pub(in super::super) contents: Arc<Contents>,
    pub(super) leases: Arc<dyn LeaseTable>,
    pub(in super::super) engine: Arc<Engine>,
}

impl<K> std::fmt::Debug for KvStore<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KvStore")
    }
}

impl<K: Ground> KvStore<K> {
    pub(crate) fn start(kv: K, contents: Arc<Contents>, faults: Arc<dyn Faults>) -> Result<Self, StoreError> {
        Self::start_with(Arc::new(kv), contents, Arc::new(Leases::default()), faults)
    }

    /// The same, with leases that others share.
    pub(crate) fn start_with(
        kv: Arc<K>,
        contents: Arc<Contents>,
        leases: Arc<dyn LeaseTable>,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, StoreError> {
        let map: Arc<dyn Ground> = kv.clone();
        let engine = Arc::new(Engine::start(
            map,
            faults,
            Arc::clone(&contents),
            Arc::clone(&leases),
        )?);
        Ok(Self {
            kv,
            contents,
            leases,
            engine,
        })
    }

    /// Groups made durable so far, one sync each: many concurrent verbs share one.
    pub fn commits(&self) -> u64 {
        self.engine.commits()
    }

    pub(crate) fn kv(&self) -> &K {
        &self.kv
    }
}

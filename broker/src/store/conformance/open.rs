//! The backends that the suite runs on, opened.

use std::path::Path;
use std::sync::Arc;

use super::super::StoreError;
use super::super::memory::MemoryStore;
use super::super::postgres::{PostgresOptions, PostgresStore};
use super::super::sled::{SledOptions, SledStore};
use super::breaker::Breaker;

/// Which backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Sled,
    Postgres,
}

pub(crate) enum Open {
    Memory(Arc<MemoryStore>),
    Sled(Arc<SledStore>),
    Postgres(Arc<PostgresStore>, Box<PostgresOptions>),
}

pub(super) async fn open_sled(
    dir: &Path,
    breaker: &Arc<Breaker>,
    reserve: u64,
) -> Result<SledStore, StoreError> {
    let options = SledOptions {
        reserve_bytes: Some(reserve),
        cache_bytes: 8 * 1024 * 1024,
    };
    SledStore::open_with(&dir.join("store"), options, breaker.clone()).await
}

pub(super) async fn open_postgres(options: &PostgresOptions, breaker: &Arc<Breaker>) -> Open {
    let opened = PostgresStore::open_with(options.clone(), breaker.clone()).await;
    Open::Postgres(Arc::new(opened.unwrap()), Box::new(options.clone()))
}

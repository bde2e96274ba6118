//! Care of a store over the engine.

use async_trait::async_trait;
use schakel_proto::ids::Digest;
use schakel_proto::refusal::Refusal;
use schakel_proto::tlog::tree::Frontier;

use super::super::PAGE_MAX_COUNT;
use super::super::backup::{BackedUp, BackupOrder, write};
use super::super::care::{Care, Tell};
use super::super::check::{CheckedRows, FileState, Walked};
use super::super::error::StoreError;
use super::super::halt::Halt;
use super::super::verbs::{check, halt};
use super::txn::Read;
use super::{Ground, KvStore, keys};

impl<K: Ground> KvStore<K> {
    /// Its part files.
    pub(crate) fn contents(&self) -> &std::sync::Arc<super::super::content::Contents> {
        &self.contents
    }
}

#[cfg(test)]
impl<K: Ground> KvStore<K> {
    /// The writer and its readers.
    pub(crate) fn engine(&self) -> &std::sync::Arc<super::engine::Engine> {
        &self.engine
    }
}

#[async_trait]
impl<K: Ground> Care for KvStore<K> {
    async fn halted(&self) -> Result<Option<Halt>, StoreError> {
        self.engine.read(|r| halt::of(r)).await
    }

    async fn confirm(&self, halted: Halt) -> Result<bool, StoreError> {
        self.engine
            .write(false, move |step| halt::confirm(step, &halted))
            .await
    }

    async fn check_rows(&self, after: Option<Vec<u8>>, limit: usize) -> Result<CheckedRows, StoreError> {
        let limit = limit.min(PAGE_MAX_COUNT);
        self.engine
            .read(move |r| check::rows(r, after.as_deref(), limit))
            .await
    }

    async fn check_tree(&self, frontier: Frontier, size: u64, limit: usize) -> Result<Walked, StoreError> {
        let limit = limit.min(PAGE_MAX_COUNT);
        self.engine
            .read(move |r| check::tree(r, frontier, (size, limit)))
            .await
    }

    async fn check_file(&self, file: Digest) -> Result<FileState, StoreError> {
        let found = self.contents.is_whole(&file).await?;
        if found == FileState::Whole {
            return Ok(found);
        }
        // It may have been purged between the look at the row and this one.
        let named = self
            .engine
            .read(move |r| r.records(&keys::file_prefix(&file), None, 1))
            .await?;
        Ok(if named.is_empty() {
            FileState::Unneeded
        } else {
            found
        })
    }

    async fn backup(&self, order: &BackupOrder, told: Tell<'_>) -> Result<BackedUp, Refusal> {
        write::write(&self.engine, (&self.contents, self.kv.as_ref()), order, told).await
    }
}

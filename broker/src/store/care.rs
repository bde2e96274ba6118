//! What the operator does with a store beside its use: check it, back it up, confirm where its log ends.

use async_trait::async_trait;
use schakel_proto::ids::Digest;
use schakel_proto::refusal::Refusal;
use schakel_proto::tlog::tree::Frontier;

use super::backup::{BackedUp, BackupOrder};
use super::check::{CheckedRows, FileState, Walked};
use super::error::StoreError;
use super::halt::Halt;

/// Why something that is done with the folder of a store was not done. Unlike what crosses to another party it says where.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CareError {
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What was asked.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Hears how many bytes are done.
pub type Tell<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// Care of a store. The contract of [`Store`](super::Store) holds.
#[async_trait]
pub trait Care: Send + Sync {
    /// Why nothing is signed on this store, if it is so: then [`Store::integrate`](super::Store::integrate) refuses.
    async fn halted(&self) -> Result<Option<Halt>, StoreError>;

    /// The operator confirms that the log goes on here: takes that mark away. `false`: the mark is another, or there is
    /// none.
    async fn confirm(&self, halt: Halt) -> Result<bool, StoreError>;

    /// Checks the checksums of rows, in the order of their keys; at most `limit`.
    async fn check_rows(&self, after: Option<Vec<u8>>, limit: usize) -> Result<CheckedRows, StoreError>;

    /// Recomputes the tree from the entries, from a frontier on towards `size`; at most `limit` leaves.
    async fn check_tree(&self, frontier: Frontier, size: u64, limit: usize) -> Result<Walked, StoreError>;

    /// Reads a part file to its end.
    async fn check_file(&self, file: Digest) -> Result<FileState, StoreError>;

    /// Writes everything to a file while verbs go on. Everything that was answered before it began is in it. Dropping the
    /// future gives it up and leaves nothing.
    async fn backup(&self, order: &BackupOrder, told: Tell<'_>) -> Result<BackedUp, Refusal>;
}

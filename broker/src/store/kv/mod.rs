//! What the backends of this program share: an ordered byte map that commits whole batches durably, and
//! on it the writer thread (`engine`), the view of a batch in progress (`txn`), keys and rows.

use super::error::StoreError;

pub(crate) mod record;

pub(crate) mod keys;

pub(crate) mod rows;

pub(crate) mod txn;

pub(crate) mod leases;

pub(crate) mod engine;

pub(crate) mod serve;

pub(crate) mod tee;

mod care;

#[cfg(test)]
mod tests;

pub use serve::KvStore;

/// Disk taken by a batch, at most, as a multiple of its bytes (measured: 1.75).
pub(crate) const AMPLIFICATION: u64 = 4;

/// Changes to be made together: key, and the new record or its removal. Sorted, each key once.
pub type Batch = std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Keys with their records or values.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Why a batch was not confirmed.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// Nothing was changed, for want of room.
    Full,
    /// It may or may not have been saved, and the map must not be written or read any more.
    Fatal(String),
}

/// An ordered byte map. One thread writes; any number read.
pub trait Kv: Send + Sync + 'static {
    /// The record of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that begin with `prefix` and are greater than `after`, in order, with their records.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError>;

    /// Makes a batch durable, all or nothing. Never called by two threads at once.
    fn commit(&self, batch: &Batch) -> Result<(), CommitError>;

    /// Whether new packets and statements may take `bytes` more of the disk. Only a guard ahead of `commit`:
    /// evidence of what is under way is still taken when this says no.
    fn has_room(&self, bytes: u64) -> bool;

    /// Bytes that the rows take on the disk, as far as is known.
    fn row_bytes(&self) -> u64 {
        0
    }

    /// Called after a batch that put leaves into the tree, off the path of the answers.
    fn tree_grew(&self, size: u64, root: &schakel_proto::ids::Digest) -> Result<(), StoreError>;

    /// Releases files and locks. Nothing is called afterwards.
    fn close(&self);
}

/// Where a test breaks a step: see `conformance`. In production [`NoFaults`].
pub trait Faults: Send + Sync + 'static {
    /// Before a batch is given to the map. An error: the batch fails and is **not** saved.
    fn before_commit(&self) -> Result<(), String>;
    /// After a batch was made durable. An error: the caller is told it failed, but it **was** saved.
    fn after_commit(&self) -> Result<(), String>;
}

/// Nothing is broken on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn before_commit(&self) -> Result<(), String> {
        Ok(())
    }
    fn after_commit(&self) -> Result<(), String> {
        Ok(())
    }
}

//! What the backends of this program share: an ordered byte map that commits whole batches durably, and
//! on it the writer thread (`engine`), the view of a batch in progress (`txn`), keys and rows.

use super::error::StoreError;

pub(crate) mod record;

pub(crate) mod keys;

pub(crate) mod rows;

pub(crate) mod txn;

pub(crate) mod leases;

pub(crate) mod engine;

mod start;

mod serve;

pub(crate) mod tee;

mod care;

#[cfg(test)]
mod tests;

pub(crate) use keys::SCHEMA_VERSION;
pub use start::KvStore;

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
    /// It may or may not have been saved; the next group may be tried.
    Unknown(String),
    /// Nothing was changed; the next group may be tried.
    Away(String),
}

/// Reading an ordered byte map.
pub trait View {
    /// The record of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that begin with `prefix` and are greater than `after`, in order, with their records.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError>;

    /// Whether it is worth finding out beforehand what will be asked for: each question is a way.
    fn is_far(&self) -> bool {
        false
    }

    /// These keys will be asked for: where each question is a way, they are fetched together.
    fn ahead(&self, _keys: &[Vec<u8>]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A view for one read.
pub trait Reading: View {
    /// Ends the read. An error: what was seen may not be durable, and must not be answered with.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// A view for one group of verbs; nobody else commits while it stands. Dropped, it changes nothing.
pub trait Session: View {
    /// Makes the group durable, all or nothing.
    fn commit(self: Box<Self>, group: &Group<'_>) -> Result<(), CommitError>;

    /// Ends the session without a change. An error: what was seen may not be durable.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// What is committed together.
pub struct Group<'a> {
    /// The rows.
    pub batch: &'a Batch,
    /// Content that the rows name.
    pub(crate) keep: &'a [super::content::StoredContent],
    /// Work that needs no lease any more.
    pub(crate) ended: &'a [leases::Work],
}

/// What the engine stands on: an ordered byte map of this process alone ([`Kv`]), or one that is shared.
pub trait Ground: Send + Sync + 'static {
    /// A view of what is durable.
    fn view(&self) -> Result<Box<dyn Reading + '_>, StoreError>;

    /// A session for one group. [`StoreError::Away`]: not possible just now.
    fn begin(&self) -> Result<Box<dyn Session + '_>, StoreError>;

    /// Whether readers must wait while a group is being made durable: a view would show it too early.
    fn holds_readers(&self) -> bool;

    /// Whether new packets and statements may take `bytes` more of the disk.
    fn has_room(&self, bytes: u64) -> bool;

    /// Bytes that the rows take on a disk of this machine, as far as is known.
    fn row_bytes(&self) -> u64 {
        0
    }

    /// Whether it can be reached, as far as is known.
    fn is_reached(&self) -> bool;

    /// Called after a batch that put leaves into the tree, off the path of the answers.
    fn tree_grew(&self, size: u64, root: &schakel_proto::ids::Digest) -> Result<(), StoreError>;

    /// As [`Store::heard`](super::Store::heard).
    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<super::heard::Heard>>;

    /// Told once whom to wake when there are pending leaves, whoever committed them.
    fn ring(&self, pending: std::sync::Arc<tokio::sync::Notify>);

    /// Releases what it holds. Nothing is called afterwards.
    fn close(&self);
}

/// An ordered byte map of this process alone. One thread writes; any number read.
pub trait Kv: View + Send + Sync + 'static {
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

    /// As [`Store::heard`](super::Store::heard).
    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<super::heard::Heard>> {
        None
    }

    /// Releases files and locks. Nothing is called afterwards.
    fn close(&self);
}

/// A map of this process alone as a view, a read and a session: there is one writer, and the engine keeps readers away
/// while it commits.
struct Alone<'a, K>(&'a K);

impl<K: Kv> View for Alone<'_, K> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        self.0.scan(prefix, after, limit)
    }
}

impl<K: Kv> Reading for Alone<'_, K> {
    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<K: Kv> Session for Alone<'_, K> {
    fn commit(self: Box<Self>, group: &Group<'_>) -> Result<(), CommitError> {
        self.0.commit(group.batch)
    }
    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<K: Kv> Ground for K {
    fn view(&self) -> Result<Box<dyn Reading + '_>, StoreError> {
        Ok(Box::new(Alone(self)))
    }
    fn begin(&self) -> Result<Box<dyn Session + '_>, StoreError> {
        Ok(Box::new(Alone(self)))
    }
    fn holds_readers(&self) -> bool {
        true
    }
    fn has_room(&self, bytes: u64) -> bool {
        Kv::has_room(self, bytes)
    }
    fn row_bytes(&self) -> u64 {
        Kv::row_bytes(self)
    }
    fn is_reached(&self) -> bool {
        true
    }
    fn tree_grew(&self, size: u64, root: &schakel_proto::ids::Digest) -> Result<(), StoreError> {
        Kv::tree_grew(self, size, root)
    }
    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<super::heard::Heard>> {
        Kv::heard(self)
    }
    fn ring(&self, _pending: std::sync::Arc<tokio::sync::Notify>) {}
    fn close(&self) {
        Kv::close(self);
    }
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

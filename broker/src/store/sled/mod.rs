//! The store on one node: sled for rows, synced files for long content.
//!
//! sled 0.34.7 does not sync what it acknowledges (spacejam/sled#1452), so the rules here are fixed, and each
//! has a test: one thread writes; no background flush; after each batch `flush()` **and then** `fdatasync` of
//! sled's own file through a second handle; only then is anybody answered. Values stay below 64 KiB, for
//! sled never syncs its blob files. Whatever goes wrong in between ends writing until a restart: a failed sync
//! is never tried again and then trusted.
//!
//! To drive the store alone, without network (power-cut and kill tests): [`SledStore::open`] on a folder, then
//! `spool`/`accept`/`record` of [`Store`](super::Store); print an id when the call has returned `Ok`; after
//! the cut, open again and ask `known`, `packet`, `content`, `pending`. [`SledStore::open`] itself refuses a
//! store that lost something. `log::entry::EntryMaker` makes the entries, `log::sequencer::Sequencer` the
//! checkpoints.
//!
//! The folder: `LOCK` (exclusive), `STORE` (marker: this is a store, of this schema), `rows/` (sled), `parts/`
//! (content by SHA-256), `log-size` (the tree's size as last noted: an older store is refused).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use schakel_proto::ids::Digest;

use super::content::Contents;
use super::durable::write_durably;
use super::error::StoreError;
use super::kv::{AMPLIFICATION, Batch, CommitError, Faults, Kv, KvStore, NoFaults, Rows, View};

mod migrate;

mod open;

pub(super) use open::{is_known, lock};

mod scrub;

mod building;

mod compact;

mod care;

mod migrations;

pub use building::Building;
pub(crate) use care::open_checked;
pub use care::{Migrated, migrate};
pub use compact::{Compacted, compact};

#[cfg(feature = "raw-rows")]
pub mod raw;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod filing;

#[cfg(test)]
mod former;

#[cfg(test)]
mod kept;

/// A store on one node.
pub type SledStore = KvStore<SledKv>;

/// How the store uses its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SledOptions {
    /// Room kept for hand-overs, acknowledgements and checkpoints when new packets are refused already, in
    /// bytes. `None`: [`RESERVE_BYTES`], but at most an eighth of the file system.
    pub reserve_bytes: Option<u64>,
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            reserve_bytes: None,
            cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Room kept in reserve on a disk that is large enough, in bytes.
pub const RESERVE_BYTES: u64 = 32 * 1024 * 1024;
/// How often the size of the tree is noted outside sled.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// sled grows its file by this much at once, in bytes.
const SEGMENT_BYTES: u64 = 512 * 1024;

impl SledStore {
    /// Opens the store in a folder, or makes a new one if the folder is empty or missing. Takes an exclusive
    /// lock, checks every record and the whole tree. [`StoreError::Unusable`] says what to do.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, SledOptions::default(), Arc::new(NoFaults)).await
    }

    /// The same, with options, and commits that `faults` may break (tests).
    pub async fn open_with(
        folder: &Path,
        options: SledOptions,
        faults: Arc<dyn Faults>,
    ) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        let work = move || {
            let kv = open::open(&folder, options)?;
            migrate::bring_up(&kv)?;
            let contents = Contents::in_folder(&folder.join(PARTS))?;
            scrub::scrub(&kv, &contents)?;
            open::file_all(&kv)?;
            Self::start(kv, contents, faults)
        };
        let opened = tokio::task::spawn_blocking(work).await;
        opened.map_err(|_| StoreError::Unusable(damaged("opening it failed").into()))?
    }
}

impl SledStore {
    /// Opens a store in a folder without checking it, to find out what is wrong with it. Nothing is written to it that was
    /// not asked for.
    ///
    /// # Errors
    /// [`StoreError::Unusable`]: not even its rows can be opened.
    pub async fn open_unchecked(folder: &Path) -> Result<Self, StoreError> {
        let folder = folder.to_owned();
        let work = move || {
            let kv = open::open(&folder, SledOptions::default())?;
            migrate::must_be_current(&kv)?;
            let contents = Contents::in_folder(&folder.join(PARTS))?;
            Self::start(kv, contents, Arc::new(NoFaults))
        };
        let opened = tokio::task::spawn_blocking(work).await;
        opened.map_err(|_| StoreError::Unusable(damaged("opening it failed").into()))?
    }
}

const ROWS: &str = "rows";
const PARTS: &str = "parts";
const MARKER: &str = "STORE";
const LOCK: &str = "LOCK";
const MARK: &str = "log-size";

/// The instruction that goes with damage.
fn damaged(what: &str) -> String {
    format!(
        "{what}. Do not delete anything. Restore the newest backup of the whole folder into an empty place and \
         start with that; agents send again what it lacks"
    )
}

/// sled as an ordered byte map whose commits are durable.
pub struct SledKv {
    /// `None`: closed.
    rows: RwLock<Option<::sled::Db>>,
    /// sled's file, for the sync that sled does not do.
    file: File,
    folder: PathBuf,
    reserve_bytes: u64,
    marked: Mutex<Marked>,
    lock: Mutex<Option<File>>,
}

#[derive(Default)]
struct Marked {
    at: Option<Instant>,
    late: Option<(u64, Digest)>,
}

impl std::fmt::Debug for SledKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledKv")
    }
}

fn read_error(error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(source) => StoreError::io("its rows", source),
        other => StoreError::Corrupt(format!("its rows: {other}").into()),
    }
}

impl SledKv {
    fn db(&self) -> Result<::sled::Db, StoreError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.clone()
            .ok_or(StoreError::Stopped("the store is closed".into()))
    }

    /// Bytes free to this process for rows; the largest number if the system does not say.
    fn free_bytes(&self) -> u64 {
        free_bytes(&self.folder.join(ROWS))
    }

    fn write(&self, batch: &Batch) -> Result<(), String> {
        let db = self.db().map_err(|e| e.to_string())?;
        let mut rows = ::sled::Batch::default();
        for (key, change) in batch {
            match change {
                Some(record) => rows.insert(key.as_slice(), record.as_slice()),
                None => rows.remove(key.as_slice()),
            }
        }
        db.apply_batch(rows).map_err(|e| format!("writing failed: {e}"))?;
        db.flush().map_err(|e| format!("flushing failed: {e}"))?;
        self.file.sync_data().map_err(|e| format!("syncing failed: {e}"))
    }

    fn write_mark(&self, size: u64, root: &Digest) -> Result<(), StoreError> {
        write_durably(
            &self.folder.join(MARK),
            format!("{size} {root}\n").as_bytes(),
            0o600,
        )
    }
}

fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

fn length(batch: &Batch) -> u64 {
    let bytes = batch
        .iter()
        .map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len))
        .sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl View for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db()?.get(key).map_err(read_error)?.map(|v| v.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for row in self.db()?.range::<&[u8], _>((from, Bound::Unbounded)).take(limit) {
            let (key, value) = row.map_err(read_error)?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }
}

impl Kv for SledKv {
    fn commit(&self, batch: &Batch) -> Result<(), CommitError> {
        // A write that fails for want of room would end sled: look ahead.
        let needed = length(batch)
            .saturating_mul(AMPLIFICATION)
            .saturating_add(2 * SEGMENT_BYTES);
        if self.free_bytes() < needed {
            return Err(CommitError::Full);
        }
        self.write(batch).map_err(CommitError::Fatal)
    }

    fn has_room(&self, bytes: u64) -> bool {
        let needed = bytes.saturating_add(2 * SEGMENT_BYTES);
        // Rows may lie on a disk of their own.
        let free = self.free_bytes().min(free_bytes(&self.folder.join(PARTS)));
        free >= self.reserve_bytes.saturating_add(needed)
    }

    fn row_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |found| found.len())
    }

    fn tree_grew(&self, size: u64, root: &Digest) -> Result<(), StoreError> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.at.is_some_and(|at| at.elapsed() < MARK_INTERVAL) {
            marked.late = Some((size, *root));
            return Ok(());
        }
        marked.at = Some(Instant::now());
        marked.late = None;
        self.write_mark(size, root)
    }

    fn close(&self) {
        let late = self
            .marked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .late
            .take();
        if let Some((size, root)) = late
            && let Err(why) = self.write_mark(size, &root)
        {
            tracing::warn!(%why, "the mark of the log's size could not be written");
        }
        drop(self.rows.write().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

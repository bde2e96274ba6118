//! Sealed bytes: spooled to a temporary file while they arrive, checked, synced, renamed to the name of
//! their digest, and only then named by a packet. Short ones stay in the batch.
//!
//! A finished file that no packet names yet is *pinned* by its [`StoredContent`]; when that is dropped and
//! no row names the file, it is removed. What a crash leaves is swept at start-up.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::limits::CHUNK_MAX_BYTES;
use tokio::io::AsyncReadExt;

use super::PAGE_MAX_COUNT;
use super::durable::sync_folder;
use super::error::StoreError;

/// Longest content kept in the batch itself; longer ones become files. With its row well below
/// `limits::STORE_VALUE_MAX_BYTES`.
pub const INLINE_MAX_BYTES: u64 = 48 * 1024;

mod spool;

pub use spool::Spool;

enum Shelf {
    Memory(Mutex<HashMap<Digest, Bytes>>),
    Folder(PathBuf),
    Shared(Arc<dyn SharedShelf>),
}

/// Number of something that is being written, drawn at random.
pub(crate) type SpoolId = [u8; 16];

/// A shelf that several brokers share. Content lies in chunks of `CHUNK_MAX_BYTES`, the last one shorter.
#[async_trait]
pub(crate) trait SharedShelf: Send + Sync {
    /// Writes the next chunk.
    async fn put(&self, spool: SpoolId, number: u32, bytes: Bytes) -> Result<(), StoreError>;

    /// Puts what was written on the shelf, pinned by this spool.
    async fn finish(&self, spool: SpoolId, digest: Digest, length: u64) -> Result<(), StoreError>;

    /// What was written, or its pin, is not needed any more. It goes some time later.
    fn release(&self, spool: SpoolId);

    /// A chunk; `None`: it is not there.
    async fn chunk(&self, digest: Digest, number: u32) -> Result<Option<Bytes>, StoreError>;

    /// Removes content unless somebody has pinned it. Blocks.
    fn remove_unpinned(&self, digest: &Digest) -> Result<(), StoreError>;

    /// Every digest on the shelf after one, in order. Blocks.
    fn page(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, StoreError>;
}

/// Where finished content lies, and which of it is pinned.
pub(crate) struct Contents {
    shelf: Shelf,
    pins: Mutex<HashMap<Digest, u64>>,
    orphans: Mutex<Vec<Digest>>,
    on_orphan: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>,
    next_temporary: std::sync::atomic::AtomicU64,
    /// Bytes announced by open spools and not written yet.
    outstanding: Mutex<u64>,
}

/// Lock that outlives a panic of another holder: the maps are valid after every statement.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const TEMPORARY: &str = "tmp";

impl Contents {
    fn on(shelf: Shelf) -> Arc<Self> {
        Arc::new(Self {
            shelf,
            pins: Mutex::default(),
            orphans: Mutex::default(),
            on_orphan: std::sync::OnceLock::new(),
            next_temporary: std::sync::atomic::AtomicU64::new(0),
            outstanding: Mutex::default(),
        })
    }

    /// In memory, for tests.
    pub(crate) fn in_memory() -> Arc<Self> {
        Self::on(Shelf::Memory(Mutex::default()))
    }

    /// On a shelf that others share.
    pub(crate) fn shared(shelf: Arc<dyn SharedShelf>) -> Arc<Self> {
        Self::on(Shelf::Shared(shelf))
    }

    /// In a folder, made if it is missing; what unfinished spools left is removed.
    pub(crate) fn in_folder(folder: &Path) -> Result<Arc<Self>, StoreError> {
        let on = StoreError::on("the folder of part files");
        let temporary = folder.join(TEMPORARY);
        std::fs::create_dir_all(&temporary).map_err(&on)?;
        for entry in std::fs::read_dir(&temporary).map_err(&on)? {
            std::fs::remove_file(entry.map_err(&on)?.path()).map_err(&on)?;
        }
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)?;
        Ok(Self::on(Shelf::Folder(folder.to_owned())))
    }

    /// Called whenever something may have become an orphan.
    pub(crate) fn notify_orphans(&self, f: Box<dyn Fn() + Send + Sync>) {
        let _ = self.on_orphan.set(f);
    }

    /// A place to write at most `length` bytes, if `has_room` for them and all that was announced before.
    pub(crate) fn spool(
        self: &Arc<Self>,
        length: u64,
        has_room: impl Fn(u64) -> bool,
    ) -> Result<Spool, StoreError> {
        let mut outstanding = lock(&self.outstanding);
        let needed = outstanding.saturating_add(length);
        if !has_room(needed) {
            return Err(StoreError::Full);
        }
        *outstanding = needed;
        drop(outstanding);
        Ok(Spool::new(Arc::clone(self), length))
    }

    /// Bytes announced by open spools and not written yet.
    pub(crate) fn outstanding(&self) -> u64 {
        *lock(&self.outstanding)
    }

    fn written(&self, bytes: u64) {
        let mut outstanding = lock(&self.outstanding);
        *outstanding = outstanding.saturating_sub(bytes);
    }

    /// Content by its digest; its length is known from the row that names it.
    pub(crate) async fn open(&self, digest: Digest, length: u64) -> Result<ContentReader, StoreError> {
        match &self.shelf {
            Shelf::Memory(map) => {
                let bytes = lock(map).get(&digest).cloned();
                bytes
                    .map(|b| ContentReader::inline(b, digest))
                    .ok_or(StoreError::Missing("content"))
            }
            Shelf::Shared(shelf) => Ok(ContentReader {
                source: Source::Shared(Arc::clone(shelf), 0),
                left: length,
                hasher: Sha256::default(),
                digest,
            }),
            Shelf::Folder(folder) => {
                let file = tokio::fs::File::open(folder.join(name(&digest))).await;
                let file = file.map_err(|e| match e.kind() {
                    std::io::ErrorKind::NotFound => StoreError::Corrupt(format!("part file {digest}").into()),
                    _ => StoreError::io("a part file", e),
                })?;
                Ok(ContentReader {
                    source: Source::File(file),
                    left: length,
                    hasher: Sha256::default(),
                    digest,
                })
            }
        }
    }

    /// Digests that lost a pin or a row since the last call.
    pub(crate) fn take_orphans(&self) -> Vec<Digest> {
        std::mem::take(&mut *lock(&self.orphans))
    }

    /// Notes that a digest lost a row: looked at by whoever calls `take_orphans`.
    pub(crate) fn lost_row(&self, digest: Digest) {
        lock(&self.orphans).push(digest);
    }

    /// Removes content unless it is pinned. The caller has made sure that no row names it.
    pub(crate) fn remove_unpinned(&self, digest: &Digest) -> Result<(), StoreError> {
        let pins = lock(&self.pins);
        if pins.contains_key(digest) {
            return Ok(());
        }
        match &self.shelf {
            Shelf::Memory(map) => {
                lock(map).remove(digest);
            }
            Shelf::Shared(shelf) => shelf.remove_unpinned(digest)?,
            Shelf::Folder(folder) => match std::fs::remove_file(folder.join(name(digest))) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io("a part file", e)),
            },
        }
        drop(pins);
        Ok(())
    }

    /// Every digest that lies on the shelf.
    pub(crate) fn all(&self) -> Result<Vec<Digest>, StoreError> {
        let folder = match &self.shelf {
            Shelf::Memory(map) => return Ok(lock(map).keys().copied().collect()),
            Shelf::Shared(shelf) => {
                let mut all: Vec<Digest> = Vec::new();
                loop {
                    let page = shelf.page(all.last().copied(), PAGE_MAX_COUNT)?;
                    if page.is_empty() {
                        return Ok(all);
                    }
                    all.extend(page);
                }
            }
            Shelf::Folder(folder) => folder,
        };
        let on = StoreError::on("the folder of part files");
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(&on)? {
            let entry = entry.map_err(&on)?.file_name();
            if let Some(digest) = entry.to_str().and_then(|n| format!("sha256:{n}").parse().ok()) {
                all.push(digest);
            }
        }
        Ok(all)
    }

    fn pin(self: &Arc<Self>, digest: Digest, spool: SpoolId) -> Pin {
        *lock(&self.pins).entry(digest).or_default() += 1;
        Pin {
            contents: Arc::clone(self),
            digest,
            spool,
        }
    }
}

fn name(digest: &Digest) -> String {
    hex::encode(digest.as_bytes())
}

/// Keeps finished content on the shelf until a row names it.
#[derive(Clone)]
struct PinGuard(#[expect(dead_code, reason = "held for its drop")] Arc<Pin>);

struct Pin {
    contents: Arc<Contents>,
    digest: Digest,
    spool: SpoolId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = lock(&self.contents.pins);
        if let Some(count) = pins.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.digest);
            }
        }
        drop(pins);
        if let Shelf::Shared(shelf) = &self.contents.shelf {
            shelf.release(self.spool);
        }
        self.contents.lost_row(self.digest);
        if let Some(f) = self.contents.on_orphan.get() {
            f();
        }
    }
}

/// Content that is durable and checked, not named by any packet yet. Only [`Spool::finish`] makes one.
#[derive(Clone)]
pub struct StoredContent {
    digest: Digest,
    length: u64,
    inline: Option<Bytes>,
    _pin: Option<PinGuard>,
}

impl StoredContent {
    /// SHA-256 of the bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
    /// How many bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }
    /// The bytes themselves, if they are short enough for the batch.
    pub(super) const fn inline(&self) -> Option<&Bytes> {
        self.inline.as_ref()
    }
    /// SHA-256 of the bytes, as bytes.
    pub(super) const fn digest_bytes(&self) -> &[u8] {
        self.digest.as_bytes()
    }
}

impl std::fmt::Debug for StoredContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredContent({}, {} bytes)", self.digest, self.length)
    }
}

enum Source {
    Inline(Bytes),
    File(tokio::fs::File),
    Shared(Arc<dyn SharedShelf>, u32),
}

/// Stored content on its way out.
pub struct ContentReader {
    source: Source,
    left: u64,
    hasher: Sha256,
    digest: Digest,
}

impl std::fmt::Debug for ContentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentReader({} bytes left)", self.left)
    }
}

impl ContentReader {
    pub(crate) fn inline(bytes: Bytes, digest: Digest) -> Self {
        let left = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self {
            source: Source::Inline(bytes),
            left,
            hasher: Sha256::default(),
            digest,
        }
    }

    /// Bytes still to come.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The next chunk, of at most `limits::CHUNK_MAX_BYTES`; `None` at the end. The last chunk comes only if
    /// the digest of all of them is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let want = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(CHUNK_MAX_BYTES);
        let chunk = match &mut self.source {
            Source::Inline(bytes) => bytes.split_to(want.min(bytes.len())),
            Source::Shared(shelf, number) => {
                let chunk = Arc::clone(shelf).chunk(self.digest, *number).await?;
                *number = number.saturating_add(1);
                match chunk {
                    Some(chunk) if chunk.len() == want => chunk,
                    _ => return Err(self.corrupt()),
                }
            }
            Source::File(file) => {
                let mut chunk = vec![0; want];
                match file.read_exact(&mut chunk).await {
                    Ok(_) => Bytes::from(chunk),
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(self.corrupt()),
                    Err(e) => return Err(StoreError::io("a part file", e)),
                }
            }
        };
        self.hasher.update(&chunk);
        self.left -= u64::try_from(want).unwrap_or(u64::MAX);
        if self.left == 0 && std::mem::take(&mut self.hasher).finish() != self.digest {
            return Err(self.corrupt());
        }
        Ok(Some(chunk))
    }

    fn corrupt(&self) -> StoreError {
        StoreError::Corrupt(format!("part file {}", self.digest).into())
    }
}

#[cfg(test)]
mod tests;

//! Sealed bytes: spooled to a temporary file while they arrive, checked, synced, renamed to the name of
//! their digest, and only then named by a packet. Short ones stay in the batch.
//!
//! A finished file that no packet names yet is *pinned* by its [`StoredContent`]; when that is dropped and
//! no row names the file, it is removed. What a crash leaves is swept at start-up.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::limits::CHUNK_MAX_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::durable::sync_folder;
use super::error::StoreError;

/// Longest content kept in the batch itself; longer ones become files. With its row well below
/// `limits::STORE_VALUE_MAX_BYTES`.
pub const INLINE_MAX_BYTES: u64 = 48 * 1024;

enum Shelf {
    Memory(Mutex<HashMap<Digest, Bytes>>),
    Folder(PathBuf),
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
        Ok(Spool {
            contents: Arc::clone(self),
            limit: length,
            length: 0,
            noted: 0,
            hasher: Sha256::default(),
            held: Vec::new(),
            file: None,
        })
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

    fn pin(self: &Arc<Self>, digest: Digest) -> Pin {
        *lock(&self.pins).entry(digest).or_default() += 1;
        Pin {
            contents: Arc::clone(self),
            digest,
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
}

impl std::fmt::Debug for StoredContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredContent({}, {} bytes)", self.digest, self.length)
    }
}

/// A temporary file that goes when it is dropped without having been renamed.
struct Temporary {
    file: tokio::fs::File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Content on its way in.
pub struct Spool {
    contents: Arc<Contents>,
    limit: u64,
    length: u64,
    /// Bytes that are on the disk and no longer outstanding.
    noted: u64,
    hasher: Sha256,
    held: Vec<u8>,
    file: Option<Temporary>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} of {} bytes)", self.length, self.limit)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.contents.written(self.limit - self.noted);
    }
}

impl Spool {
    /// Takes the next bytes. [`StoreError::Full`]: no room; drop the spool.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if more > self.limit - self.length {
            return Err(StoreError::Misused("more content than announced"));
        }
        self.length += more;
        self.hasher.update(bytes);
        let in_memory = matches!(self.contents.shelf, Shelf::Memory(_)) || self.limit <= INLINE_MAX_BYTES;
        if in_memory {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(self.create().await?);
        }
        let Some(temporary) = &mut self.file else {
            return Err(StoreError::Misused("spool without a file"));
        };
        temporary
            .file
            .write_all(bytes)
            .await
            .map_err(StoreError::on("a part file"))?;
        self.noted += more;
        self.contents.written(more);
        Ok(())
    }

    async fn create(&self) -> Result<Temporary, StoreError> {
        let Shelf::Folder(folder) = &self.contents.shelf else {
            return Err(StoreError::Misused("a file in memory"));
        };
        let number = self
            .contents
            .next_temporary
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.join(TEMPORARY).join(number.to_string());
        let mut options = tokio::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path).await;
        Ok(Temporary {
            file: file.map_err(StoreError::on("a part file"))?,
            path,
        })
    }

    /// Checks the digest of all bytes, makes them durable, and gives the value that an acceptance takes.
    pub async fn finish(mut self, expected: Digest) -> Result<StoredContent, StoreError> {
        let digest = std::mem::take(&mut self.hasher).finish();
        if digest != expected {
            return Err(StoreError::Misused("content differs from its digest"));
        }
        let length = self.length;
        if length <= INLINE_MAX_BYTES && self.file.is_none() {
            let inline = Some(Bytes::from(std::mem::take(&mut self.held)));
            return Ok(StoredContent {
                digest,
                length,
                inline,
                _pin: None,
            });
        }
        let pin = PinGuard(Arc::new(self.contents.pin(digest)));
        match (&self.contents.shelf, self.file.take()) {
            (Shelf::Memory(map), _) => {
                lock(map).insert(digest, Bytes::from(std::mem::take(&mut self.held)));
            }
            (Shelf::Folder(folder), Some(mut temporary)) => {
                let on = StoreError::on("a part file");
                temporary.file.flush().await.map_err(&on)?;
                temporary.file.sync_all().await.map_err(&on)?;
                let (folder, target) = (folder.clone(), folder.join(name(&digest)));
                // Held until the file is in its place: if nobody waits for that any more, it is an orphan then.
                let held = pin.clone();
                let work = move || {
                    let moved = std::fs::rename(&temporary.path, target);
                    let done = moved
                        .map_err(StoreError::on("a part file"))
                        .and_then(|()| sync_folder(&folder));
                    drop(held);
                    done
                };
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|_| StoreError::Misused("spool"))??;
            }
            (Shelf::Folder(_), None) => return Err(StoreError::Misused("spool without a file")),
        }
        Ok(StoredContent {
            digest,
            length,
            inline: None,
            _pin: Some(pin),
        })
    }
}

enum Source {
    Inline(Bytes),
    File(tokio::fs::File),
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

mod survey;

#[cfg(test)]
mod tests;

//! Content on its way in: written, checked, made durable, put on the shelf.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::limits::CHUNK_MAX_BYTES;
use tokio::io::AsyncWriteExt;

use super::super::durable::sync_folder;
use super::super::error::StoreError;
use super::{
    Contents, INLINE_MAX_BYTES, PinGuard, SharedShelf, Shelf, SpoolId, StoredContent, TEMPORARY, lock, name,
};

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
    /// Chunks that are on a shared shelf.
    chunks: u32,
    id: SpoolId,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} of {} bytes)", self.length, self.limit)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What was finished is its pin's from then on.
        if let (Shelf::Shared(shelf), true) = (&self.contents.shelf, self.chunks > 0) {
            shelf.release(self.id);
        }
        self.contents.written(self.limit - self.noted);
    }
}

impl Spool {
    pub(super) fn new(contents: Arc<Contents>, limit: u64) -> Self {
        Self {
            contents,
            limit,
            length: 0,
            noted: 0,
            hasher: Sha256::default(),
            held: Vec::new(),
            file: None,
            chunks: 0,
            id: rand::Rng::random(&mut crate::clock::seeded_rng()),
        }
    }

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
        if let Shelf::Shared(shelf) = &self.contents.shelf {
            let shelf = Arc::clone(shelf);
            self.held.extend_from_slice(bytes);
            while self.held.len() >= CHUNK_MAX_BYTES {
                let rest = self.held.split_off(CHUNK_MAX_BYTES);
                let chunk = std::mem::replace(&mut self.held, rest);
                self.put(&shelf, chunk.into()).await?;
            }
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

    async fn put(&mut self, shelf: &Arc<dyn SharedShelf>, chunk: Bytes) -> Result<(), StoreError> {
        let written = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        let number = self.chunks;
        // Counted first: also a chunk whose writing failed may be there.
        self.chunks = self.chunks.saturating_add(1);
        shelf.put(self.id, number, chunk).await?;
        self.noted += written;
        self.contents.written(written);
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
        if length <= INLINE_MAX_BYTES && self.file.is_none() && self.chunks == 0 {
            let inline = Some(Bytes::from(std::mem::take(&mut self.held)));
            return Ok(StoredContent {
                digest,
                length,
                inline,
                _pin: None,
            });
        }
        let pin = PinGuard(Arc::new(self.contents.pin(digest, self.id)));
        match (&self.contents.shelf, self.file.take()) {
            (Shelf::Shared(shelf), _) => {
                let shelf = Arc::clone(shelf);
                let last = std::mem::take(&mut self.held);
                if !last.is_empty() {
                    self.put(&shelf, last.into()).await?;
                }
                shelf.finish(self.id, digest, length).await?;
                // From here on the pin releases it.
                self.chunks = 0;
            }
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

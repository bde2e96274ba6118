//! What lies on the shelf, seen from outside: lengths, for backups and checks.

use schakel_proto::ids::Digest;

use super::super::check::FileState;
use super::super::error::StoreError;
use super::{Contents, Shelf, lock, name};

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Contents {
    /// How long a file is; `None`: it is not there.
    pub(crate) async fn length(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match &self.shelf {
            Shelf::Shared(shelf) => shelf.length(*digest).await,
            _ => self.near(digest),
        }
    }

    /// The same, on a shelf of this machine.
    fn near(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match &self.shelf {
            Shelf::Memory(map) => Ok(lock(map).get(digest).map(|found| bytes(found.len()))),
            Shelf::Shared(_) => Ok(None),
            Shelf::Folder(folder) => match std::fs::metadata(folder.join(name(digest))) {
                Ok(found) => Ok(Some(found.len())),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(StoreError::io("a part file", e)),
            },
        }
    }

    /// Whether a file is there and is what its name says.
    pub(crate) async fn is_whole(&self, digest: &Digest) -> Result<FileState, StoreError> {
        let Some(length) = self.length(digest).await? else {
            return Ok(FileState::Missing);
        };
        let mut reader = match self.open(*digest, length).await {
            Ok(reader) => reader,
            Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => return Ok(FileState::Missing),
            Err(error) => return Err(error),
        };
        // No bytes have a digest, too, and a reader of none says nothing.
        if length == 0 && *digest != Digest::of(&[]) {
            return Ok(FileState::Damaged);
        }
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(FileState::Whole),
                Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => return Ok(FileState::Damaged),
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes of all files on a shelf of this machine.
    pub(crate) fn bytes(&self) -> Result<u64, StoreError> {
        if matches!(self.shelf, Shelf::Shared(_)) {
            return Ok(0);
        }
        let mut sum = 0_u64;
        for digest in self.all()? {
            // One that went meanwhile has none.
            sum = sum.saturating_add(self.near(&digest)?.unwrap_or(0));
        }
        Ok(sum)
    }
}

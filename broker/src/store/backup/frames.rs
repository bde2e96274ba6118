//! The file: the line `schakel store backup 1`, then frames: a letter, a length (four bytes, big-endian), that many bytes.
//!
//! | letter | bytes |
//! | --- | --- |
//! | `H` | header, JSON; the first |
//! | `R` | a page of rows, in the order of their keys |
//! | `B` | changes of one batch; a long batch takes several |
//! | `F` | a part file begins: digest (32 bytes), length (8) |
//! | `C` | the next bytes of it; batches may stand between them |
//! | `W` / `X` | it is whole / it is damaged in the store: not to be kept |
//! | `T` | trailer, JSON |
//! | `Z` | SHA-256 over all bytes before this frame; the last |
//!
//! A row or change: length of the key, key, 1 and length of the record and record, or 0 for a removal.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::refusal::{Fault, Refusal};
use tokio::io::AsyncWriteExt;

use super::super::durable::sync_folder;
use super::super::kv::Batch;

const MAGIC: &[u8] = b"schakel store backup 1\n";
/// Longest frame that is read.
const FRAME_MAX_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes of changes after which a frame ends.
const CHANGES_MAX_BYTES: usize = 1024 * 1024;
/// Bytes written at once.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What the name of a backup ends with that is being made.
const PARTIAL: &str = ".partial";

pub(super) const HEADER: u8 = b'H';
pub(super) const ROWS: u8 = b'R';
pub(super) const BATCH: u8 = b'B';
pub(super) const FILE: u8 = b'F';
pub(super) const CHUNK: u8 = b'C';
pub(super) const WHOLE: u8 = b'W';
pub(super) const DAMAGED: u8 = b'X';
pub(super) const TRAILER: u8 = b'T';
const END: u8 = b'Z';

/// No room where the backup is written.
pub(super) fn no_room() -> Refusal {
    let sentence = "There is no room for the backup";
    let remedy = "Name a file on a disk with more room: docs/operating/store.md says how much is needed.";
    Refusal::new(Fault::Exhausted, "BACKUP_NO_ROOM", sentence, remedy)
}

fn io(error: &std::io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => no_room(),
        kind => {
            let sentence = format!("The backup cannot be written or read ({kind})");
            let remedy = "Name a file that the broker's own user can use, and look at its disk.";
            Refusal::new(Fault::Unavailable, "BACKUP_IO", sentence, remedy)
        }
    }
}

fn exists() -> Refusal {
    let remedy = "Name a new file: no backup is ever overwritten.";
    Refusal::new(
        Fault::Conflict,
        "BACKUP_EXISTS",
        "There is such a file already",
        remedy,
    )
}

/// Not a backup, or not a whole one.
pub(super) fn damaged(what: &str) -> Refusal {
    let sentence = format!("This is not a whole backup: {what}");
    let remedy =
        "Nothing was restored from it. Take another backup, or copy this one anew from where it was kept.";
    Refusal::new(Fault::Invalid, "BACKUP_DAMAGED", sentence, remedy)
}

fn put(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    buffer.extend_from_slice(bytes);
}

/// Adds a row or change.
pub(super) fn change(buffer: &mut Vec<u8>, key: &[u8], record: Option<&[u8]>) {
    put(buffer, key);
    buffer.push(u8::from(record.is_some()));
    if let Some(record) = record {
        put(buffer, record);
    }
}

/// The frames of a batch.
pub(super) fn changes(batch: &Batch) -> Vec<Vec<u8>> {
    let mut frames = vec![Vec::new()];
    for (key, record) in batch {
        if let Some(last) = frames.last_mut() {
            change(last, key, record.as_deref());
            if last.len() >= CHANGES_MAX_BYTES {
                frames.push(Vec::new());
            }
        }
    }
    frames.retain(|frame| !frame.is_empty());
    frames
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(cut(bytes, 4)?.try_into().ok()?);
    cut(bytes, usize::try_from(length).ok()?)
}

fn parse<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let key = text(bytes)?;
    match cut(bytes, 1)? {
        [0] => Some((key, None)),
        [1] => Some((key, Some(text(bytes)?))),
        _ => None,
    }
}

type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The rows or changes of a frame.
pub(super) fn read_changes(mut bytes: &[u8]) -> Result<Vec<Change<'_>>, Refusal> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(parse(&mut bytes).ok_or_else(|| damaged("rows that do not parse"))?);
    }
    Ok(all)
}

/// A backup that is being written. Dropped before [`Out::keep`] it leaves nothing.
pub(super) struct Out {
    file: tokio::fs::File,
    temporary: PathBuf,
    target: PathBuf,
    buffer: Vec<u8>,
    hasher: Sha256,
    bytes: u64,
    kept: bool,
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl Out {
    /// Begins a file under a name of its own.
    pub(super) fn create(target: &Path) -> Result<Self, Refusal> {
        if target.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(PARTIAL);
        let temporary = PathBuf::from(temporary);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(&error)),
            _ => {}
        }
        // Not by another thread: a file that is made is one that is taken away again.
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(|error| io(&error))?;
        Ok(Self {
            file: tokio::fs::File::from_std(file),
            temporary,
            target: target.to_owned(),
            buffer: MAGIC.to_vec(),
            hasher: Sha256::default(),
            bytes: 0,
            kept: false,
        })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a frame.
    pub(super) async fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), Refusal> {
        self.buffer.push(kind);
        put(&mut self.buffer, payload);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        self.hasher.update(&self.buffer);
        let written = self.file.write_all(&self.buffer).await;
        written.map_err(|error| io(&error))?;
        self.bytes += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file: its digest, a sync, its name, a sync of the folder. Gives the digest and how many bytes it has.
    pub(super) async fn keep(mut self) -> Result<(Digest, u64), Refusal> {
        self.flush().await?;
        let digest = self.hasher.clone().finish();
        self.frame(END, digest.as_bytes()).await?;
        self.flush().await?;
        let synced = match self.file.flush().await {
            Ok(()) => self.file.sync_all().await,
            Err(error) => Err(error),
        };
        synced.map_err(|error| io(&error))?;
        rename(&self.temporary, &self.target)?;
        self.kept = true;
        sync_folder(folder_of(&self.target))?;
        Ok((digest, self.bytes))
    }
}

/// The folder that a file lies in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Gives a file its name, if there is none of that name.
fn rename(from: &Path, to: &Path) -> Result<(), Refusal> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists()),
        // File systems without that flag have links, which do not replace either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(from, to).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => exists(),
                _ => io(&error),
            })?;
            std::fs::remove_file(from).map_err(|error| io(&error))
        }
        Err(error) => Err(io(&error.into())),
    }
}

/// A backup that is being read.
pub(super) struct In {
    file: BufReader<File>,
    hasher: Sha256,
    digest: Option<Digest>,
}

impl In {
    /// Opens a file that says that it is a backup.
    pub(super) fn open(file: &Path) -> Result<Self, Refusal> {
        let file = File::open(file).map_err(|error| io(&error))?;
        let mut opened = Self {
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            hasher: Sha256::default(),
            digest: None,
        };
        let mut magic = [0; MAGIC.len()];
        opened.read(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        opened.hasher.update(&magic);
        Ok(opened)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged("it ends too early"),
            _ => io(&error),
        })
    }

    /// The next frame; `None`: that was all, and the digest of all of it is right.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, Refusal> {
        let mut head = [0; 5];
        self.read(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > FRAME_MAX_BYTES {
            return Err(damaged("a piece of it is too long"));
        }
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read(&mut payload)?;
        if kind == END {
            return self.end(&payload).map(|()| None);
        }
        self.hasher.update(&head);
        self.hasher.update(&payload);
        Ok(Some((kind, payload)))
    }

    fn end(&mut self, said: &[u8]) -> Result<(), Refusal> {
        let digest = self.hasher.clone().finish();
        if said != digest.as_bytes() {
            return Err(damaged("its digest is another"));
        }
        if !matches!(self.file.read(&mut [0]), Ok(0)) {
            return Err(damaged("something stands behind its end"));
        }
        self.digest = Some(digest);
        Ok(())
    }

    /// The digest of all of it, after its end.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

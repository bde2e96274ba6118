//! Backups: one file with everything that a store holds, made while the store is in use; and the way back.
//!
//! **Why it is consistent.** The writer notes each batch that it commits (`kv::tee`) while the backup reads page after page
//! of the rows, each page while nothing is being committed. Before a page is read, everything noted so far is in the file.
//! So the file holds pages and batches such that (1) no batch stands before a page that was read before it was committed,
//! and (2) all batches since the beginning are there, in their order. Applied from the front it gives, for every key, the
//! record after the last batch in the file: if a batch touched the key, the last such batch says so, or a page that was
//! read after it; if none did, every page that could have shown it shows the one record that it had all the time. That is
//! the store as it was at one moment after the beginning: what was answered before is in it. Batches set and remove, they
//! never add, so applying them to a page that shows them already changes nothing.
//!
//! Part files that a row named at any time since the beginning stay on the disk until the backup is made, and each is in
//! the file, behind the first page or batch that names it. Memory: one page, one chunk, the notes (at most 64 MiB, else the
//! backup is given up) and the digests of files still to come.
//!
//! The file: `frames`. It proves that it is whole, not who made it: keep the digest that the command prints elsewhere.

use std::path::PathBuf;

use schakel_proto::ids::Digest;
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

mod frames;

pub(super) mod write;

pub mod restore;

#[cfg(test)]
mod tests;

/// What is to be backed up where.
#[derive(Clone, Debug)]
pub struct BackupOrder {
    /// The file, which must not be there yet.
    pub file: PathBuf,
    /// The network whose store it is.
    pub network: NetworkName,
    /// Now.
    pub at: Timestamp,
}

/// What the file says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Schema of the rows.
    pub schema: u64,
    /// The network.
    pub network: String,
    /// When it was begun, in milliseconds since 1970.
    pub began_ms: i64,
    /// Version of the program that made it.
    pub program: String,
}

/// What the file says last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: String,
    /// Records written as pages.
    pub rows: u64,
    /// Bytes of them, and of the records in batches.
    pub row_bytes: u64,
    /// Batches that were committed meanwhile.
    pub batches: u64,
    /// Part files.
    pub files: u64,
    /// Bytes of them.
    pub file_bytes: u64,
    /// Part files that were missing or damaged in the store already.
    pub damaged_files: u64,
}

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// What it says last.
    pub trailer: Trailer,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 over everything before its last frame, which holds it.
    pub digest: Digest,
}

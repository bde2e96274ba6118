//! Rewrites the rows into a fresh folder and puts that in the place of the old one: sled's file never gets shorter by
//! itself. At every moment one of the two is there whole, and the next start takes it.
//!
//! Steps, each durable before the next: `rows.new` is filled and compared; `rows` becomes `rows.old`; `rows.new` becomes
//! `rows`; `rows.old` goes. Broken off before the second step: `rows` is untouched. After it: `rows.old` is put back. After
//! the third: the new rows are in place.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use super::super::care::{CareError, Tell};
use super::super::content::Contents;
use super::super::durable::sync_folder;
use super::super::error::StoreError;
use super::super::kv::Kv;
use super::super::moving::{self, Sink};
use super::open::{self, SLED_LOCK_PAUSE, SLED_LOCK_TRIES, unusable};
use super::{Marked, PARTS, ROWS, SledKv, SledOptions};

const NEW: &str = "rows.new";
const OLD: &str = "rows.old";

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Rows.
    pub rows: u64,
    /// Bytes that they took on the disk.
    pub before: u64,
    /// Bytes that they take now.
    pub after: u64,
}

/// Ends what a compaction that was broken off had begun: called under the store's lock, before the rows are opened.
pub(super) fn settle(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("its rows");
    let (rows, old, new) = (folder.join(ROWS), folder.join(OLD), folder.join(NEW));
    if !rows.exists() && old.exists() {
        std::fs::rename(&old, &rows).map_err(&on)?;
        sync_folder(folder)?;
    }
    if !rows.exists() {
        return Ok(());
    }
    for leftover in [new, old] {
        if leftover.exists() {
            std::fs::remove_dir_all(&leftover).map_err(&on)?;
            sync_folder(folder)?;
        }
    }
    Ok(())
}

/// Rewrites the rows of a store that nobody uses.
///
/// # Errors
/// Somebody uses it, a record is damaged, there is no room for both: the rows are as they were.
pub fn compact(folder: &Path, told: Tell<'_>) -> Result<Compacted, CareError> {
    let on = StoreError::on("its rows");
    let kv = open::open(folder, SledOptions::default())?;
    // No broker starts between here and the end.
    let lock = kv.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    let before = bytes(&folder.join(ROWS))?;
    let filled = fill(&kv, folder, told);
    let fresh = folder.join(NEW);
    Kv::close(&kv);
    drop(kv);
    let rows = match filled {
        Ok(rows) => rows,
        Err(refusal) => {
            // What cannot be removed goes at the next start.
            let _ = std::fs::remove_dir_all(&fresh);
            return Err(refusal);
        }
    };
    for name in [ROWS, NEW] {
        wait_for_sled(&folder.join(name))?;
    }
    let after = bytes(&fresh)?;
    std::fs::rename(folder.join(ROWS), folder.join(OLD)).map_err(&on)?;
    sync_folder(folder)?;
    std::fs::rename(&fresh, folder.join(ROWS)).map_err(&on)?;
    sync_folder(folder)?;
    std::fs::remove_dir_all(folder.join(OLD)).map_err(&on)?;
    sync_folder(folder)?;
    drop(lock);
    Ok(Compacted { rows, before, after })
}

/// Writes and compares the fresh rows.
fn fill(kv: &SledKv, folder: &Path, told: Tell<'_>) -> Result<u64, CareError> {
    let on = StoreError::on("its rows");
    let rows = folder.join(NEW);
    std::fs::create_dir(&rows).map_err(&on)?;
    let db = open::open_sled(&rows, SledOptions::default())?;
    let fresh = SledKv {
        rows: RwLock::new(Some(db)),
        file: File::open(rows.join("db")).map_err(&on)?,
        folder: folder.to_owned(),
        reserve_bytes: 0,
        marked: Mutex::new(Marked::default()),
        lock: Mutex::new(None),
    };
    let contents = Contents::in_folder(&folder.join(PARTS))?;
    let copied = moving::whole(kv, &mut Sink::new(&fresh, &contents), told);
    let settled = open::settle(folder, &rows);
    Kv::close(&fresh);
    let (copied, _) = copied?;
    settled?;
    Ok(copied.rows)
}

/// Waits until sled's threads have let go of a folder: what they write, they write by its name.
fn wait_for_sled(rows: &Path) -> Result<(), StoreError> {
    let file = File::open(rows.join("db")).map_err(StoreError::on("its rows"))?;
    for _ in 0..SLED_LOCK_TRIES {
        if file.try_lock().is_ok() {
            return Ok(());
        }
        std::thread::sleep(SLED_LOCK_PAUSE);
    }
    Err(unusable("the rows are still in use: try again"))
}

/// Bytes of the files in a folder.
fn bytes(folder: &Path) -> Result<u64, StoreError> {
    let on = StoreError::on("its rows");
    let mut sum = 0_u64;
    for entry in std::fs::read_dir(folder).map_err(&on)? {
        let found = entry.map_err(&on)?.metadata().map_err(&on)?;
        sum = sum.saturating_add(if found.is_file() { found.len() } else { 0 });
    }
    Ok(sum)
}

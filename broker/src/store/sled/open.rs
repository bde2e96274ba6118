//! Opening the folder: lock, marker, sled, and the first syncs of a new store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use super::super::durable::{sync_folder, write_durably};
use super::super::error::StoreError;
use super::super::kv::keys::SCHEMA_VERSION;
use super::super::kv::txn::{Committed, Read, Txn};
use super::super::kv::{Batch, CommitError, Kv, View, keys};
use super::super::verbs::filed;
use super::{LOCK, MARKER, Marked, RESERVE_BYTES, ROWS, SledKv, SledOptions, damaged, migrate};
use super::{building, compact};

pub(super) fn unusable(why: impl AsRef<str>) -> StoreError {
    StoreError::Unusable(why.as_ref().into())
}

/// Opens the rows. Everything but the scrub.
pub(super) fn open(folder: &Path, options: SledOptions) -> Result<SledKv, StoreError> {
    let on = StoreError::on("its folder");
    std::fs::create_dir_all(folder).map_err(&on)?;
    let lock = lock(folder)?;
    building::refuse_half_built(folder)?;
    compact::settle(folder)?;
    let rows = folder.join(ROWS);
    let marker = read_marker(folder)?;
    let has_rows = std::fs::metadata(rows.join("db")).is_ok_and(|m| m.len() > 0);
    if marker.is_some() && !has_rows {
        return Err(unusable(damaged(
            "the folder is marked as a store, but its rows are gone",
        )));
    }
    if !has_rows {
        forget_unmade(&rows)?;
    }
    std::fs::create_dir_all(&rows).map_err(&on)?;
    remove_half_snapshots(&rows)?;
    sync_as_found(&rows)?;
    let db = open_sled(&rows, options)?;
    let file = File::open(rows.join("db")).map_err(&on)?;
    let reserve_bytes = reserve(folder, options).min(reserve(&rows, options));
    let kv = SledKv {
        rows: RwLock::new(Some(db)),
        file,
        folder: folder.to_owned(),
        reserve_bytes,
        marked: Mutex::new(Marked::default()),
        lock: Mutex::new(Some(lock)),
    };
    let found = Committed(&kv).number(keys::SCHEMA)?;
    match (marker, found) {
        (Some(_), None) => {
            return Err(unusable(damaged(
                "the folder is marked as a store, but it is empty",
            )));
        }
        (_, Some(version)) if !is_known(version) => return Err(other_schema(version)),
        // Made, but not marked before a crash: nobody was answered, since marking comes before use.
        (None, Some(_)) if !only_schema(&kv)? => {
            return Err(unusable(damaged("the folder holds a store whose marker is gone")));
        }
        (Some(_), Some(_)) => return Ok(kv),
        (None, _) => {}
    }
    create(&kv, folder, &rows)?;
    Ok(kv)
}

/// Entries filed in one batch.
const FILED_AT_ONCE: u64 = 1_024;

/// Files the entries of a store that was written by a program without the files of cases and packets. Without room for
/// that the store is used as it is, and a later start files the rest.
pub(super) fn file_all(kv: &SledKv) -> Result<(), StoreError> {
    let none = Batch::new();
    let mut batches = 0_u64;
    loop {
        let mut txn = Txn::new(kv, &none);
        let more = filed::file_more(&mut txn, FILED_AT_ONCE).map_err(|error| match error {
            StoreError::Corrupt(what) => {
                unusable(damaged(&format!("the log cannot be filed: damage at {what}")))
            }
            other => other,
        })?;
        let changes = txn.into_changes();
        if !changes.is_empty() {
            // What is kept in reserve is kept for agencies.
            let committed = if kv.has_room(0) {
                kv.commit(&changes)
            } else {
                Err(CommitError::Full)
            };
            match committed {
                Ok(()) => batches += 1,
                Err(CommitError::Full) => {
                    tracing::error!(
                        "alarm: no room to file the log's entries: some are not found by case and packet"
                    );
                    break;
                }
                Err(CommitError::Fatal(why) | CommitError::Unknown(why) | CommitError::Away(why)) => {
                    return Err(unusable(why));
                }
            }
        }
        if !more {
            break;
        }
    }
    if batches > 0 {
        tracing::info!(
            entries_at_most = batches.saturating_mul(FILED_AT_ONCE),
            "entries of the log were filed by case and packet"
        );
    }
    Ok(())
}

pub(in super::super) fn lock(folder: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let path = folder.join(LOCK);
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = file.map_err(StoreError::on("its lock"))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A process that was just started by the former holder has it for a moment, until it runs its own program.
            Err(TryLockError::WouldBlock) => std::thread::sleep(SLED_LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(StoreError::io("its lock", source)),
        }
    }
    Err(unusable(
        "another broker uses this store: stop it first; two would fork the log",
    ))
}

/// What this program opens: a former one is brought up before it is used.
pub(in super::super) fn is_known(version: u64) -> bool {
    [migrate::FORMER, SCHEMA_VERSION].contains(&version)
}

pub(super) fn read_marker(folder: &Path) -> Result<Option<u64>, StoreError> {
    let text = match std::fs::read_to_string(folder.join(MARKER)) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("its marker", e)),
    };
    let version = text
        .strip_prefix("schakel store, schema ")
        .and_then(|t| t.trim_end().parse().ok());
    match version {
        Some(known) if is_known(known) => Ok(version),
        Some(other) => Err(other_schema(other)),
        None => Err(unusable(damaged("the store's marker is damaged"))),
    }
}

fn other_schema(version: u64) -> StoreError {
    unusable(format!(
        "the store has schema {version}, this program knows {SCHEMA_VERSION}: start the version that belongs to it"
    ))
}

/// Makes the rows durable as they are found, and lets the system forget what it holds of them in memory. A process that
/// was killed before its sync left rows that are read like any other and are on no disk; after a sync that failed the
/// system may go on showing what was never written. Neither may be answered from.
fn sync_as_found(rows: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("its rows");
    let file = match File::open(rows.join("db")) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(on(e)),
    };
    file.sync_all().map_err(&on)?;
    sync_folder(rows)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|e| on(e.into()))
}

/// Rows that a process was making when it was killed: without a marker nobody was answered, and without a single row there
/// is nothing in them. sled would not open what it wrote half.
fn forget_unmade(rows: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(rows) {
        Err(e) if e.kind() != ErrorKind::NotFound && e.kind() != ErrorKind::ResourceBusy => {
            Err(StoreError::io("its rows", e))
        }
        // A disk of its own that is mounted there stays; it is empty by now.
        _ => Ok(()),
    }
}

/// A snapshot that sled was writing when it was killed keeps it from opening (spacejam/sled#1527).
fn remove_half_snapshots(rows: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("its rows");
    for entry in std::fs::read_dir(rows).map_err(&on)? {
        let entry = entry.map_err(&on)?;
        let name = entry.file_name();
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("snap.") && n.ends_with(".generating"))
        {
            std::fs::remove_file(entry.path()).map_err(&on)?;
        }
    }
    Ok(())
}

/// Threads of sled's may hold its own lock for a moment after the last use in this process; ours is held
/// already, so no other process is in the way.
pub(super) const SLED_LOCK_TRIES: u32 = 250;
const LOCK_TRIES: u32 = 25;
pub(super) const SLED_LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn open_sled(rows: &Path, options: SledOptions) -> Result<::sled::Db, StoreError> {
    let config = ::sled::Config::new()
        .path(rows)
        .flush_every_ms(None)
        .use_compression(false)
        .cache_capacity(options.cache_bytes);
    let mut tries = 0;
    loop {
        // sled panics on some kinds of damage.
        let error = match std::panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) => error,
            Err(_) => return Err(unusable(damaged("its rows are damaged"))),
        };
        match error {
            ::sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
                tries += 1;
                if tries > SLED_LOCK_TRIES {
                    return Err(unusable("another process uses the store's rows: stop it first"));
                }
                std::thread::sleep(SLED_LOCK_PAUSE);
            }
            ::sled::Error::Io(source) if source.kind() != ErrorKind::UnexpectedEof => {
                return Err(StoreError::io("its rows", source));
            }
            error => return Err(unusable(damaged(&format!("its rows are damaged ({error})")))),
        }
    }
}

pub(super) fn reserve(folder: &Path, options: SledOptions) -> u64 {
    if let Some(bytes) = options.reserve_bytes {
        return bytes;
    }
    let eighth = rustix::fs::statvfs(folder).map_or(u64::MAX, |s| s.f_blocks.saturating_mul(s.f_frsize) / 8);
    RESERVE_BYTES.min(eighth)
}

fn only_schema(kv: &SledKv) -> Result<bool, StoreError> {
    let rows = kv.scan(&[], None, 2)?;
    Ok(rows.iter().all(|(key, _)| key == keys::SCHEMA))
}

/// Makes everything about a new store durable, the marker last.
fn create(kv: &SledKv, folder: &Path, rows: &Path) -> Result<(), StoreError> {
    let none = Batch::new();
    let mut txn = Txn::new(kv, &none);
    txn.put_number(keys::SCHEMA, SCHEMA_VERSION)?;
    kv.write(&txn.into_changes()).map_err(unusable)?;
    settle(folder, rows)?;
    write_marker(folder)
}

/// Makes the files and folders of new rows durable.
pub(super) fn settle(folder: &Path, rows: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("a file of the new store");
    for name in ["conf", "db"] {
        File::open(rows.join(name))
            .and_then(|f| f.sync_all())
            .map_err(&on)?;
    }
    sync_folder(rows)?;
    sync_folder(folder)?;
    let whole = std::fs::canonicalize(folder).map_err(&on)?;
    whole.parent().map_or(Ok(()), sync_folder)
}

/// Marks the folder as a store of this program's schema.
pub(super) fn write_marker(folder: &Path) -> Result<(), StoreError> {
    let text = format!("schakel store, schema {SCHEMA_VERSION}\n");
    write_durably(&folder.join(MARKER), text.as_bytes(), 0o600)
}

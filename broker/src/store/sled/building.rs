//! A store that is being filled from a backup or from another store. Until it is finished a mark says so: no broker opens
//! it, and the same command again begins anew. Its marker as a store comes last.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use super::super::content::Contents;
use super::super::durable::{sync_folder, write_durably};
use super::super::error::StoreError;
use super::super::kv::{Ground, Kv};
use super::migrate;
use super::open::{self, unusable};
use super::{LOCK, MARK, MARKER, Marked, PARTS, ROWS, SledKv, SledOptions, scrub};

/// The mark of a folder that is being filled.
const BUILDING: &str = "BUILDING";

/// Refuses a folder whose filling was broken off.
pub(super) fn refuse_half_built(folder: &Path) -> Result<(), StoreError> {
    match folder.join(BUILDING).symlink_metadata() {
        Ok(_) => Err(unusable(
            "a restore or move into this folder was broken off: give the same command again, it begins anew. There is \
             nothing in the folder that is not in the backup, or in the store that was to be moved",
        )),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::io("its folder", e)),
    }
}

/// A store that is being filled.
pub struct Building {
    folder: PathBuf,
    kv: SledKv,
    contents: Arc<Contents>,
}

impl std::fmt::Debug for Building {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Building")
    }
}

impl Building {
    /// Begins in a folder that is empty, missing, or was begun before.
    ///
    /// # Errors
    /// There is something in the folder, somebody uses it, or it cannot be written.
    pub fn begin(folder: &Path) -> Result<Self, StoreError> {
        let on = StoreError::on("its folder");
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(&on)?;
        let lock = open::lock(folder)?;
        if refuse_half_built(folder).is_err() {
            clear(folder)?;
        }
        must_be_empty(folder)?;
        write_durably(&folder.join(BUILDING), b"being restored or moved\n", 0o600)?;
        let rows = folder.join(ROWS);
        std::fs::create_dir(&rows).map_err(&on)?;
        let options = SledOptions::default();
        let db = open::open_sled(&rows, options)?;
        let file = File::open(rows.join("db")).map_err(&on)?;
        let kv = SledKv {
            rows: RwLock::new(Some(db)),
            file,
            folder: folder.to_owned(),
            reserve_bytes: open::reserve(folder, options),
            marked: Mutex::new(Marked::default()),
            lock: Mutex::new(Some(lock)),
        };
        Ok(Self {
            contents: Contents::in_folder(&folder.join(PARTS))?,
            folder: folder.to_owned(),
            kv,
        })
    }

    /// Its rows and files.
    pub(crate) fn inside(&self) -> (&dyn Ground, &Arc<Contents>) {
        (&self.kv, &self.contents)
    }

    /// Brings what was put into it to this program's schema.
    ///
    /// # Errors
    /// It is damaged, or there is no room.
    pub fn bring_up(&self) -> Result<(), StoreError> {
        migrate::bring_up(&self.kv)?;
        open::file_all(&self.kv)
    }

    /// Whether it is sound: as at every start.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<(), StoreError> {
        scrub::scrub(&self.kv, &self.contents)
    }

    /// Makes it a store, and lets go of it.
    ///
    /// # Errors
    /// It could not be made durable.
    pub fn finish(self) -> Result<(), StoreError> {
        let rows = self.folder.join(ROWS);
        open::settle(&self.folder, &rows)?;
        open::write_marker(&self.folder)?;
        std::fs::remove_file(self.folder.join(BUILDING)).map_err(StoreError::on("its folder"))?;
        sync_folder(&self.folder)?;
        Kv::close(&self.kv);
        Ok(())
    }
}

/// Takes away what a former attempt left. The mark stays until all of it is gone.
fn clear(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("its folder");
    let gone = |result: std::io::Result<()>| match result {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(on(e)),
        _ => Ok(()),
    };
    for name in [ROWS, PARTS] {
        gone(std::fs::remove_dir_all(folder.join(name)))?;
    }
    for name in [MARKER, MARK] {
        gone(std::fs::remove_file(folder.join(name)))?;
        // What was being written under its name.
        gone(std::fs::remove_file(folder.join(name).with_extension("tmp")))?;
    }
    sync_folder(folder)?;
    gone(std::fs::remove_file(folder.join(BUILDING)))
}

fn must_be_empty(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("its folder");
    for entry in std::fs::read_dir(folder).map_err(&on)? {
        let name = entry.map_err(&on)?.file_name();
        let half_written = name.to_str().is_some_and(|name| name.starts_with(BUILDING));
        if name != LOCK && !half_written {
            return Err(unusable(format!(
                "the folder {} is not empty: name an empty one, or move what is in it away first",
                folder.display()
            )));
        }
    }
    Ok(())
}

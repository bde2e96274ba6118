//! Durable files: every step of the agent's folders goes through here, so that each is synced and
//! each can be made to fail in a test.
//!
//! A file becomes visible only by a rename after its bytes are synced; the folder is synced after that.
//! A failed sync is never tried again: the step fails and whoever asked for it must begin anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::problem::Problem;

/// Begin of the names of files and folders that are not finished; swept at start.
pub const UNFINISHED: &str = ".new-";

/// The disk, possibly one that stops after a number of steps (fault injection).
#[derive(Clone, Default)]
pub struct Disk {
    steps_left: Option<Arc<AtomicI64>>,
    /// Whether only one step fails, and the next ones do not.
    once: bool,
}

impl Disk {
    /// A disk on which every step after the first `steps` fails, as if the process had died there.
    pub fn stopping_after(steps: i64) -> Self {
        Self {
            steps_left: Some(Arc::new(AtomicI64::new(steps))),
            once: false,
        }
    }

    /// A disk on which the one step after the first `steps` fails, and all others do not.
    pub fn failing_once_after(steps: i64) -> Self {
        Self {
            once: true,
            ..Self::stopping_after(steps)
        }
    }

    /// Whether this disk has stopped.
    pub fn has_stopped(&self) -> bool {
        self.steps_left
            .as_ref()
            .is_some_and(|left| !self.once && left.load(Ordering::SeqCst) < 0)
    }

    fn step(&self) -> io::Result<()> {
        let Some(left) = &self.steps_left else {
            return Ok(());
        };
        let before = left.fetch_sub(1, Ordering::SeqCst);
        if before > 0 || (self.once && before < 0) {
            return Ok(());
        }
        left.store(-1, Ordering::SeqCst);
        Err(io::Error::other("the disk stopped (fault injection)"))
    }

    fn run<T>(&self, path: &Path, work: impl FnOnce() -> io::Result<T>) -> Result<T, Problem> {
        self.step()
            .and_then(|()| work())
            .map_err(|e| Problem::io(&e, path))
    }

    /// Makes a folder (mode 0700) if it is missing, and syncs its parent: also of one that is there, as who made
    /// it may have stopped before that. Idempotent.
    pub fn make_dir(&self, path: &Path) -> Result<(), Problem> {
        if path.is_dir() {
            return match path.parent().map(File::open) {
                // A parent that only its owner may read: then who owns it has made this folder.
                Some(Err(e)) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                _ => self.sync_parent(path),
            };
        }
        self.run(path, || match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        })?;
        self.sync_parent(path)
    }

    /// Syncs the folder that holds `path`.
    pub fn sync_parent(&self, path: &Path) -> Result<(), Problem> {
        match path.parent() {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    /// Syncs a folder: renames, new and removed names in it become durable.
    pub fn sync_dir(&self, path: &Path) -> Result<(), Problem> {
        self.run(path, || File::open(path)?.sync_all())
    }

    /// Makes everything on the file system of `path` durable as it is found. A process that was killed before its sync
    /// left names and bytes that are read like any others and are on no disk: nothing may be answered from them before.
    pub fn settle(&self, path: &Path) -> Result<(), Problem> {
        self.run(path, || {
            rustix::fs::syncfs(File::open(path)?).map_err(io::Error::from)
        })
    }

    /// Makes a new file (mode 0600) that must not exist yet. Not durable before `seal_file`.
    pub fn create(&self, path: &Path) -> Result<File, Problem> {
        self.run(path, || {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })
    }

    /// Syncs a file's bytes.
    pub fn sync_file(&self, file: &File, path: &Path) -> Result<(), Problem> {
        self.run(path, || file.sync_all())
    }

    /// Moves a file or folder within one file system and syncs both folders.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), Problem> {
        self.run(to, || fs::rename(from, to))?;
        self.sync_parent(to)?;
        if from.parent() == to.parent() {
            Ok(())
        } else {
            self.sync_parent(from)
        }
    }

    /// Lets a finished folder appear under its name, durably. If that fails it has not appeared: whoever is told
    /// of the failure begins anew, and must not find it there twice.
    pub fn appear(&self, from: &Path, to: &Path) -> Result<(), Problem> {
        self.rename(from, to).inspect_err(|_| {
            if !self.has_stopped() && to.is_dir() && fs::rename(to, from).is_err() {
                tracing::error!("alarm: a folder that could not be synced could not be taken back either");
            }
        })
    }

    /// Writes a small file durably: new file, sync, rename over the old one, sync the folder.
    /// Atomic: after any crash the old or the new content is there.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Problem> {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let temporary = path.with_file_name(format!("{UNFINISHED}{name}"));
        remove_file_if_there(&temporary)?;
        let mut file = self.create(&temporary)?;
        self.run(&temporary, || file.write_all(bytes))?;
        self.sync_file(&file, &temporary)?;
        self.rename(&temporary, path)
    }

    /// Removes a file and syncs its folder. Idempotent.
    pub fn remove_file(&self, path: &Path) -> Result<(), Problem> {
        self.run(path, || match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })?;
        self.sync_parent(path)
    }

    /// Removes a folder with all it holds and syncs its parent. Idempotent; not atomic.
    pub fn remove_dir(&self, path: &Path) -> Result<(), Problem> {
        self.run(path, || match fs::remove_dir_all(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })?;
        self.sync_parent(path)
    }

    /// Removes a folder with all it holds: whole, or, if this stops in between, the next start ends it.
    pub fn forget_dir(&self, path: &Path) -> Result<(), Problem> {
        let leaving = path.with_file_name(format!("{UNFINISHED}{}", name_of(path)));
        self.rename(path, &leaving)?;
        self.remove_dir(&leaving)
    }

    /// Removes the unfinished files and folders directly in `path`; gives how many there were.
    pub fn sweep(&self, path: &Path) -> Result<usize, Problem> {
        let mut swept = 0;
        for entry in list(path)? {
            if !name_of(&entry).starts_with(UNFINISHED) {
                continue;
            }
            if entry.is_dir() {
                self.remove_dir(&entry)?
            } else {
                self.remove_file(&entry)?
            }
            swept += 1;
        }
        Ok(swept)
    }
}

fn remove_file_if_there(path: &Path) -> Result<(), Problem> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Problem::io(&e, path)),
        _ => Ok(()),
    }
}

/// The last component of a path, as text.
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// What a folder holds, sorted by name; empty if there is no such folder.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Problem::io(&e, path)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Problem::io(&e, path))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Reads a file of at most `max_bytes`; `None` if there is none.
pub fn read(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, Problem> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Problem::io(&e, path)),
    };
    let mut bytes = Vec::new();
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Problem::io(&e, path))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Problem::damaged(path, format!("longer than {max_bytes} bytes")));
    }
    Ok(Some(bytes))
}

/// Reads and parses a JSON file of at most 8 MiB; `None` if there is none.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Problem> {
    let Some(bytes) = read(path, 8 << 20)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Problem::damaged(path, e))
}

/// A value as the JSON that our own files hold.
pub fn to_json<T: serde::Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec_pretty(value).map_err(|e| Problem::damaged(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d14_a_file_is_old_or_new_after_a_stop_at_any_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        Disk::default().write(&path, b"old").unwrap();
        let mut stops = 0;
        loop {
            let disk = Disk::stopping_after(stops);
            let done = disk.write(&path, b"new").is_ok();
            let content = fs::read(&path).unwrap();
            assert!(content == b"old" || content == b"new", "{content:?}");
            if done {
                break;
            }
            assert!(disk.has_stopped());
            Disk::default().sweep(dir.path()).unwrap();
            Disk::default().write(&path, b"old").unwrap();
            stops += 1;
        }
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(
            stops >= 4,
            "create, write, sync, rename and folder sync are steps: {stops}"
        );
    }

    #[test]
    fn files_and_folders_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("f");
        Disk::default().make_dir(&folder).unwrap();
        Disk::default().write(&folder.join("x"), b"x").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("x")), 0o600);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, [0; 11]).unwrap();
        assert!(read(&path, 10).is_err());
        assert_eq!(read(&path, 11).unwrap().unwrap().len(), 11);
        assert!(read(&dir.path().join("none"), 1).unwrap().is_none());
    }
}

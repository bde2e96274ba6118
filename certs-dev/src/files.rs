//! Files and folders: never over an existing one, private ones readable by their owner only, replaced
//! whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::problem::Problem;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner only (0600).
    Private,
    /// Everybody (0644).
    Public,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Makes a folder (0700), which must not exist.
pub(crate) fn new_folder(path: &Path) -> Result<(), Problem> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(Problem::at(
        path,
        "Name a folder that does not exist yet, in one that does: nothing is overwritten.",
    ))
}

/// Writes a file, which must not exist.
pub(crate) fn new_file(path: &Path, bytes: &[u8], access: Access) -> Result<(), Problem> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(access.mode())
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(Problem::at(
        path,
        "Nothing is overwritten: name another folder, or see that there is room.",
    ))
}

/// Replaces a file, so that a reader finds the old or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Problem> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    if temporary.exists() {
        fs::remove_file(&temporary).map_err(Problem::at(
            &temporary,
            "Remove it: an interrupted change left it.",
        ))?;
    }
    new_file(&temporary, bytes, access)?;
    fs::rename(&temporary, path).map_err(Problem::at(path, "See that the folder can be written to."))
}

/// Reads a file of a network.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(Problem::at(path, "Name the folder that `certs-dev new` made."))
}

//! A copy of the repository to make things wrong in, with built third-party crates so that only ours are built again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use walkdir::WalkDir;

/// Begins the name of every package of this workspace, with `-` or `_` behind it: what is built of them is not taken over.
const OURS: &str = "schakel";

/// A copy, and where it is built.
pub struct Tree {
    /// The copy's root.
    pub root: PathBuf,
    /// Its target folder.
    pub target: PathBuf,
}

/// The folders within a target folder that hold what was built of third parties.
const BUILT: [&str; 3] = ["deps", "build", ".fingerprint"];

impl Tree {
    /// A copy of the files of `from` that git knows or would add, below `place`; kept from run to run, so that the next is
    /// faster. `seed` is a target folder whose third-party crates are taken over by hard links.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn copied(from: &Path, place: &Path, seed: &Path) -> Result<Self, String> {
        let tree = Self {
            root: place.join("tree"),
            target: place.join("target"),
        };
        let wanted = files_of(from)?;
        for file in &wanted {
            let bytes = std::fs::read(from.join(file)).map_err(said(&from.join(file)))?;
            write_if_other(&tree.root.join(file), &bytes)?;
            let mode = std::fs::metadata(from.join(file)).map_err(said(&from.join(file)))?;
            let to = tree.root.join(file);
            std::fs::set_permissions(&to, mode.permissions()).map_err(said(&to))?;
        }
        for entry in WalkDir::new(&tree.root) {
            let entry = entry.map_err(|e| e.to_string())?;
            let gone = |path: &Path| !wanted.contains(path);
            let path = entry.path().strip_prefix(&tree.root).unwrap_or(entry.path());
            if entry.file_type().is_file() && gone(path) {
                std::fs::remove_file(entry.path()).map_err(said(entry.path()))?;
            }
        }
        if !tree.target.is_dir() {
            for folder in BUILT {
                link_all(
                    &seed.join("debug").join(folder),
                    &tree.target.join("debug").join(folder),
                )?;
            }
        }
        Ok(tree)
    }

    /// A file's text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, file: &str) -> Result<String, String> {
        let path = self.root.join(file);
        std::fs::read_to_string(&path).map_err(said(&path))
    }

    /// Replaces a file's text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<(), String> {
        write_if_other(&self.root.join(file), text.as_bytes())
    }
}

fn said(path: &Path) -> impl Fn(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

fn files_of(root: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut git = Command::new("git");
    git.current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let done = git.output().map_err(|e| format!("git: {e}"))?;
    if !done.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&done.stderr)));
    }
    let names = String::from_utf8(done.stdout).map_err(|e| e.to_string())?;
    let files = names.split('\0').filter(|name| !name.is_empty());
    // A file that is deleted and not yet committed so is still in git's list.
    Ok(files
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect())
}

/// A file that has not changed keeps its time, so nothing is built again for it.
fn write_if_other(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(said(parent))?;
    }
    std::fs::write(path, bytes).map_err(said(path))
}

/// Links what is not ours; cargo and rustc replace files and do not change what is in them. Copies across file systems.
fn link_all(from: &Path, to: &Path) -> Result<(), String> {
    let named_ours = |path: &Path| {
        let first = path
            .components()
            .next()
            .map(|c| c.as_os_str().to_string_lossy().into_owned());
        first.is_some_and(|name| name.strip_prefix("lib").unwrap_or(&name).starts_with(OURS))
    };
    std::fs::create_dir_all(to).map_err(said(to))?;
    let walk = WalkDir::new(from).min_depth(1).into_iter();
    let below = |path: &Path| path.strip_prefix(from).unwrap_or(path).to_owned();
    // Without a folder to take over there is nothing to link: all is built.
    let there = walk
        .filter_entry(|entry| !named_ours(&below(entry.path())))
        .flatten();
    for entry in there {
        let target = to.join(below(entry.path()));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).map_err(said(&target))?;
        } else if std::fs::hard_link(entry.path(), &target).is_err() {
            std::fs::copy(entry.path(), &target).map_err(said(&target))?;
        }
    }
    Ok(())
}

//! The directories that were in force before. What was signed while one of them was in force is judged by
//! that one: an agency that has left since, or a key that has been replaced, was entitled then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::limits;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::disk;
use crate::problem::Problem;

/// How long a directory may still have been in use after a newer one was issued, in milliseconds: nobody
/// seals under one that is older.
const IN_USE_AFTER_MILLIS: i64 = limits::DIRECTORY_FRESH_MAX_MILLIS;

/// All directories on this disk, by version.
pub struct Former {
    dir: PathBuf,
    issued: RwLock<BTreeMap<u64, Timestamp>>,
}

impl Former {
    /// Finds them in `dir`. Nothing is verified here: each is when it is used.
    pub fn open(dir: PathBuf) -> Result<Self, Problem> {
        let mut issued = BTreeMap::new();
        for path in disk::list(&dir)? {
            let name = disk::name_of(&path);
            let version = name
                .strip_prefix("directory-")
                .and_then(|n| n.strip_suffix(".bin"));
            let Some(version) = version.and_then(|n| n.parse().ok()) else {
                continue;
            };
            let bytes = disk::read(&path, 2 * limits::DIRECTORY_MAX_BYTES as u64)?.unwrap_or_default();
            let said = wire::MultiSigned::decode(&*bytes).and_then(|s| wire::Directory::decode(&*s.bytes));
            match said {
                Ok(said) => drop(issued.insert(version, Timestamp::from_millis(said.issued_ms))),
                Err(_) => tracing::warn!(version, "a former directory does not read back"),
            }
        }
        let issued = RwLock::new(issued);
        Ok(Self { dir, issued })
    }

    /// The file of a version.
    pub fn path(&self, version: u64) -> PathBuf {
        self.dir.join(format!("directory-{version}.bin"))
    }

    /// A directory whose file is there from now on.
    pub fn note(&self, directory: &Directory) {
        let mut issued = self.issued.write().unwrap_or_else(PoisonError::into_inner);
        issued.insert(directory.version(), directory.issued());
    }

    /// Versions that may have been in force at `at`, newest first.
    pub fn in_force_at(&self, at: Timestamp) -> Vec<u64> {
        in_force(&self.issued.read().unwrap_or_else(PoisonError::into_inner), at)
    }
}

/// Of directories with the moments at which they were issued, those that may have been in force at `at`, newest first.
pub fn in_force(issued: &BTreeMap<u64, Timestamp>, at: Timestamp) -> Vec<u64> {
    let mut found = Vec::new();
    let mut next: Option<Timestamp> = None;
    for (version, since) in issued.iter().rev() {
        let begun = *since <= at.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS);
        let over = next.is_some_and(|next| at > next.plus_millis(IN_USE_AFTER_MILLIS));
        if over {
            break;
        }
        if begun {
            found.push(*version);
        }
        next = Some(*since);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MILLIS: i64 = 3_600_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + hours * HOUR_MILLIS)
    }

    #[test]
    fn a_moment_belongs_to_the_directories_that_were_in_force_then() {
        let issued = BTreeMap::from([(3, at(0)), (5, at(100)), (6, at(110)), (9, at(500))]);
        let former = Former {
            dir: PathBuf::new(),
            issued: RwLock::new(issued),
        };
        assert_eq!(former.in_force_at(at(-1)), [0_u64; 0], "before the first");
        assert_eq!(former.in_force_at(at(1)), [3]);
        assert_eq!(former.in_force_at(at(99)), [3]);
        assert_eq!(former.in_force_at(at(111)), [6, 5, 3], "the change is on its way");
        assert_eq!(former.in_force_at(at(130)), [6, 5]);
        assert_eq!(former.in_force_at(at(135)), [6]);
        assert_eq!(former.in_force_at(at(499)), [6]);
        assert_eq!(former.in_force_at(at(1000)), [9]);
    }
}

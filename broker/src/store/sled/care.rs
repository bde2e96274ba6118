//! What the operator does with the folder of a store that no broker uses.

use std::path::Path;
use std::sync::Arc;

use super::super::care::CareError;
use super::super::content::Contents;
use super::super::kv::Kv;
use super::super::kv::txn::Committed;
use super::migrate as migrate_rows;
use super::migrations::ALL;
use super::{PARTS, SledKv, SledOptions, open, scrub};

/// Opens a folder and checks it as at a start.
pub(crate) fn open_checked(folder: &Path) -> Result<(SledKv, Arc<Contents>), CareError> {
    let kv = open::open(folder, SledOptions::default())?;
    let contents = Contents::in_folder(&folder.join(PARTS))?;
    migrate_rows::bring_up(&kv)?;
    scrub::scrub(&kv, &contents)?;
    open::file_all(&kv)?;
    Ok((kv, contents))
}

/// A migration, and how much of it there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Its place in the order.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// How much was to be done.
    pub found: u64,
    /// How much is left.
    pub left: u64,
}

/// Does what a store of an older program still needs; with `only_look` it says what that is.
///
/// # Errors
/// Somebody uses the store, or it is damaged.
pub fn migrate(folder: &Path, only_look: bool) -> Result<Vec<Migrated>, CareError> {
    let kv = open::open(folder, SledOptions::default())?;
    let mut all = Vec::new();
    for migration in &ALL {
        let found = (migration.left)(&Committed(&kv))?;
        if found > 0 && !only_look {
            (migration.run)(&kv)?;
        }
        all.push(Migrated {
            number: migration.number,
            name: migration.name,
            what: migration.what,
            found,
            left: (migration.left)(&Committed(&kv))?,
        });
    }
    Kv::close(&kv);
    Ok(all)
}

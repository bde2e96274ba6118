//! What the operator does with the folder of a store that no broker uses: restore, move, migrate.

use std::path::Path;

use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};

use super::super::backup::restore::{self, Inspected};
use super::super::care::{CareError, Tell};
use super::super::content::Contents;
use super::super::error::StoreError;
use super::super::halt::{Halt, HaltCause};
use super::super::kv::txn::{Committed, Read, Txn};
use super::super::kv::{Batch, CommitError, Kv, keys};
use super::super::moving::{self, Moved};
use super::super::verbs::halt;
use super::building::Building;
use super::migrations::ALL;
use super::{PARTS, SledKv, SledOptions, open, scrub};

/// Bytes on the disk for a byte of rows, at most (measured: 1.75).
const ROWS_TAKE: u64 = 2;

/// Puts a backup into an empty folder, and makes a store of it on which nothing is signed until the operator confirms.
///
/// # Errors
/// It is no whole backup of this network, the folder is not empty, or there is no room.
pub async fn restore(
    (file, folder): (&Path, &Path),
    network: &NetworkName,
    told: Tell<'_>,
) -> Result<(Inspected, Halt), CareError> {
    let inspected = restore::inspect(file)?;
    let header = &inspected.header;
    if header.network != network.as_str() {
        let sentence = format!(
            "This is a backup of the network {}, not of {network}",
            header.network
        );
        let remedy = "Name the configuration of the broker that the backup is of.";
        return Err(Refusal::new(Fault::Precondition, "BACKUP_NETWORK", sentence, remedy).into());
    }
    if !open::knows(header.schema) {
        let sentence = format!("This is a backup of a store with schema {}", header.schema);
        let remedy = "Restore it with the version of the program that made it, then start this one.";
        return Err(Refusal::new(Fault::Precondition, "BACKUP_SCHEMA", sentence, remedy).into());
    }
    let building = Building::begin(folder)?;
    let (kv, contents) = building.inside();
    let trailer = &inspected.trailer;
    let needed = trailer.row_bytes.saturating_mul(ROWS_TAKE);
    if !kv.has_room(needed.saturating_add(trailer.file_bytes)) {
        return Err(StoreError::Full.into());
    }
    let marked = restore::apply(file, &inspected, (kv, contents), told).await?;
    if Committed(kv).number(keys::SCHEMA)? != Some(header.schema) {
        return Err(StoreError::Corrupt("the schema of the backup".into()).into());
    }
    if open::is_newest(header.schema) {
        building.check()?;
    }
    building.finish(inspected.header.schema)?;
    Ok((inspected, marked))
}

/// Opens a folder and checks it as at a start.
fn open_checked(folder: &Path) -> Result<(SledKv, std::sync::Arc<Contents>), StoreError> {
    let kv = open::open(folder, SledOptions::default())?;
    let contents = Contents::in_folder(&folder.join(PARTS))?;
    scrub::scrub(&kv, &contents)?;
    open::file_all(&kv)?;
    Ok((kv, contents))
}

/// Moves a store into another, empty folder; the former one signs no more, unless the operator confirms that.
///
/// # Errors
/// Somebody uses it, it must not sign already, the folder is not empty, or there is no room. Until the new store is
/// finished the former one is whole.
pub async fn move_to(from: &Path, to: &Path, told: Tell<'_>) -> Result<(Moved, Halt), CareError> {
    let (kv, contents) = open_checked(from)?;
    if let Some(halted) = halt::of(&Committed(&kv))? {
        return Err(halted.refusal().into());
    }
    let schema = Committed(&kv).number(keys::SCHEMA)?.unwrap_or_default();
    let building = Building::begin(to)?;
    let (target, files) = building.inside();
    let moved = moving::everything((&kv, &contents), (target, files), told).await?;
    let (size, root) = halt::end(super::super::verbs::log::latest_checkpoint(&Committed(target))?.as_ref());
    target.tree_grew(size, &root)?;
    building.check()?;
    // From here on the former one signs no more; only then may the new one.
    let none = Batch::new();
    let mut txn = Txn::new(&kv, &none);
    let marked = halt::set(&mut txn, HaltCause::Moved)?;
    kv.commit(&txn.into_changes()).map_err(|error| match error {
        CommitError::Full => StoreError::Full,
        other => StoreError::Stopped(format!("{other:?}").into()),
    })?;
    kv.close();
    building.finish(schema)?;
    Ok((moved, marked))
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
    kv.close();
    Ok(all)
}

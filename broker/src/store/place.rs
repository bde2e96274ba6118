//! Where a store is, and what goes from one place to another: a restore, a move. A place that is being filled is marked,
//! and no broker starts on it; the same command again begins anew.

use std::path::PathBuf;
use std::sync::Arc;

use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};

use super::Store;
use super::backup::restore::{self, Inspected};
use super::care::{CareError, Tell};
use super::content::Contents;
use super::error::StoreError;
use super::halt::{Halt, HaltCause};
use super::kv::txn::Read;
use super::kv::{Ground, SCHEMA_VERSION, keys};
use super::moving::{self, Moved, Sink, change, look};
use super::postgres::{PostgresOptions, PostgresStore};
use super::sled::{Building, SledKv, is_known, open_checked};
use super::verbs::{halt, log};

/// Bytes on the disk for a byte of rows, at most (measured: 1.75).
const ROWS_TAKE: u64 = 2;

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In a database.
    Database(Box<PostgresOptions>),
}

/// A store that everything is taken from.
enum Source {
    Folder(Box<SledKv>, Arc<Contents>),
    Database(Box<PostgresStore>),
}

impl Source {
    async fn open(place: &Place) -> Result<Self, CareError> {
        Ok(match place {
            Place::Folder(folder) => {
                let (kv, contents) = open_checked(folder)?;
                Self::Folder(Box::new(kv), contents)
            }
            Place::Database(options) => {
                Self::Database(Box::new(PostgresStore::open(options.as_ref().clone()).await?))
            }
        })
    }

    fn inside(&self) -> (&dyn Ground, &Arc<Contents>) {
        match self {
            Self::Folder(kv, contents) => (kv.as_ref(), contents),
            Self::Database(store) => (store.kv(), store.contents()),
        }
    }

    async fn close(self) {
        match self {
            Self::Folder(kv, _) => Ground::close(kv.as_ref()),
            Self::Database(store) => store.close().await,
        }
    }
}

/// A store that everything is put into.
enum Target {
    Folder(Box<Building>),
    Database(Box<PostgresStore>),
}

impl Target {
    /// Begins in a place that is empty, or was begun before.
    async fn begin(place: &Place) -> Result<Self, CareError> {
        let options = match place {
            Place::Folder(folder) => return Ok(Self::Folder(Box::new(Building::begin(folder)?))),
            Place::Database(options) => options.as_ref().clone(),
        };
        let store = PostgresStore::open(options).await?;
        let begun = prepare(store.kv());
        if begun.is_err() {
            store.close().await;
        }
        begun.map(|()| Self::Database(Box::new(store)))
    }

    fn inside(&self) -> (&dyn Ground, &Arc<Contents>) {
        match self {
            Self::Folder(building) => building.inside(),
            Self::Database(store) => (store.kv(), store.contents()),
        }
    }

    /// Whether rows of this schema may be put into it.
    fn knows(place: &Place, schema: u64) -> bool {
        match place {
            Place::Folder(_) => is_known(schema),
            Place::Database(_) => schema == SCHEMA_VERSION,
        }
    }

    /// Brings what was put into it to this program's schema, and looks whether it is sound: of a folder as at every start; of a database the rows were compared.
    fn check(&self) -> Result<(), CareError> {
        match self {
            Self::Folder(building) => {
                building.bring_up()?;
                Ok(building.check()?)
            }
            Self::Database(_) => Ok(()),
        }
    }

    /// From now on it is a store, on which nothing is signed if it was restored.
    async fn finish(self) -> Result<(), CareError> {
        match self {
            Self::Folder(building) => building.finish()?,
            Self::Database(store) => {
                let done = change(store.kv(), halt::filled);
                store.close().await;
                done?;
            }
        }
        Ok(())
    }
}

/// Marks an empty database as being filled, and empties one that was marked before.
fn prepare(ground: &dyn Ground) -> Result<(), CareError> {
    let halted = look(ground, |read| halt::of(read))?;
    if !halted.is_some_and(|halted| halted.cause == HaltCause::Filling) {
        let only_schema = |key: &[u8]| key == keys::SCHEMA;
        let found = moving::page(ground, &[], None)?;
        if !found.iter().all(|(key, _)| only_schema(key)) {
            let why = "the schema of the database is not empty: name another one in [store.postgres]";
            return Err(StoreError::Unusable(why.into()).into());
        }
        change(ground, |txn| halt::set(txn, HaltCause::Filling))?;
        return Ok(());
    }
    let contents = Contents::in_memory();
    let mut sink = Sink::new(ground, &contents);
    moving::each(ground, &mut |key, _| {
        if key == keys::SCHEMA || key == keys::HALT {
            return Ok(());
        }
        sink.put(key, None)
    })?;
    Ok(sink.flush()?)
}

/// Puts a backup into an empty place, and makes a store of it on which nothing is signed until the operator confirms.
///
/// # Errors
/// It is no whole backup of this network, the place is not empty, or there is no room.
pub async fn restore(
    file: &std::path::Path,
    place: &Place,
    network: &NetworkName,
    told: Tell<'_>,
) -> Result<(Inspected, Halt), CareError> {
    let inspected = restore::inspect(file)?;
    let header = &inspected.header;
    let refused = |code, sentence: String, remedy| Refusal::new(Fault::Precondition, code, sentence, remedy);
    if header.network != network.as_str() {
        let sentence = format!(
            "This is a backup of the network {}, not of {network}",
            header.network
        );
        let remedy = "Name the configuration of the broker that the backup is of.";
        return Err(refused("BACKUP_NETWORK", sentence, remedy).into());
    }
    if !Target::knows(place, header.schema) {
        let sentence = format!("This is a backup of a store with schema {}", header.schema);
        let remedy = "Restore it with the version of the program that made it, then start this one.";
        return Err(refused("BACKUP_SCHEMA", sentence, remedy).into());
    }
    let target = Target::begin(place).await?;
    let (ground, contents) = target.inside();
    let trailer = &inspected.trailer;
    let needed = trailer.row_bytes.saturating_mul(ROWS_TAKE);
    if !ground.has_room(needed.saturating_add(trailer.file_bytes)) {
        return Err(StoreError::Full.into());
    }
    let marked = restore::apply(file, &inspected, (ground, contents), told).await?;
    if look(ground, |read| read.number(keys::SCHEMA))? != Some(header.schema) {
        return Err(StoreError::Corrupt("the schema of the backup".into()).into());
    }
    target.check()?;
    target.finish().await?;
    Ok((inspected, marked))
}

/// Moves a store into another, empty place; the former one signs no more, unless the operator confirms that.
///
/// # Errors
/// Somebody uses it, it must not sign already, the new place is not empty, or there is no room. Until the new store is
/// finished the former one is whole.
pub async fn move_to(from: &Place, to: &Place, told: Tell<'_>) -> Result<(Moved, Halt), CareError> {
    let source = Source::open(from).await?;
    let moved = moved(&source, to, told).await;
    source.close().await;
    moved
}

async fn moved(source: &Source, to: &Place, told: Tell<'_>) -> Result<(Moved, Halt), CareError> {
    let (from, files) = source.inside();
    if let Some(halted) = look(from, |read| halt::of(read))? {
        return Err(halted.refusal().into());
    }
    let target = Target::begin(to).await?;
    let (ground, contents) = target.inside();
    let (moved, summed) = moving::everything((from, files), (ground, contents), told).await?;
    let (size, root) = look(ground, |read| {
        Ok(halt::end(log::latest_checkpoint(read)?.as_ref()))
    })?;
    ground.tree_grew(size, &root)?;
    target.check()?;
    // From here on the former one signs no more; only then may the new one.
    let marked = change(from, |txn| halt::set(txn, HaltCause::Moved))?;
    if !from.holds_readers() && moving::sum(from)? != summed {
        let sentence = "Something was written to the former store while it was moved";
        let remedy = "Stop every broker, give `store confirm` on the former store, and move it again.";
        return Err(Refusal::new(Fault::Precondition, "STORE_IN_USE", sentence, remedy).into());
    }
    target.finish().await?;
    Ok((moved, marked))
}

#[cfg(test)]
mod tests;

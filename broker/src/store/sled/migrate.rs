//! Brings a store of schema 1 to schema 2 when it is opened. There an entry lay under the hash of its leaf, and two more
//! tables said where it stood; now it lies under its number. A batch moves some entries and takes their former rows away:
//! what is left of the former tables is what is left to do, so a start goes on wherever the one before was killed.

use schakel_proto::ids::Digest;

use super::super::error::StoreError;
use super::super::kv::keys::{self, SCHEMA_VERSION};
use super::super::kv::txn::{Committed, Read, Txn};
use super::super::kv::{Batch, CommitError, Kv};
use super::{SledKv, damaged, open};

/// The schema before this program's.
pub(super) const FORMER: u64 = 1;
/// Hashes of leaves in the tree: position.
pub(super) const ORDER: u8 = b'A';
/// Hashes of leaves that wait: sequence, which is the position that they will have.
pub(super) const WAITING: u8 = b'N';

/// Entries moved in one batch, and bytes of them after which none is added.
const ENTRIES_AT_ONCE: usize = 1_024;
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// Where an entry lay in schema 1.
pub(super) fn former_entry(leaf: &Digest) -> Vec<u8> {
    [&[keys::ENTRY], leaf.as_bytes().as_slice()].concat()
}

fn is_of_former(kv: &SledKv) -> Result<bool, StoreError> {
    let read = Committed(kv);
    for table in [ORDER, WAITING] {
        if !read.records(&[table], None, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(read.number(keys::SCHEMA)? == Some(FORMER))
}

/// How many entries still lie as in the former schema; at least 1 if the store does not say that it is of this one.
pub(super) fn unmoved(read: &Committed<'_>) -> Result<u64, StoreError> {
    let mut count = 0_u64;
    for table in [ORDER, WAITING] {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = read.records(&[table], after.as_deref(), ENTRIES_AT_ONCE)?;
            count = count.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
            match page.last() {
                Some((key, _)) if page.len() == ENTRIES_AT_ONCE => after = Some(key.clone()),
                _ => break,
            }
        }
    }
    let former = read.number(keys::SCHEMA)? == Some(FORMER);
    Ok(count.max(u64::from(former)))
}

/// Refuses what only a start of the broker brings to this program's schema.
pub(super) fn must_be_current(kv: &SledKv) -> Result<(), StoreError> {
    if is_of_former(kv)? {
        return Err(open::unusable(format!(
            "the store is not in schema {SCHEMA_VERSION} yet: start the broker once, which brings it there. If the broker \
             refuses it, look at it with the version that wrote it"
        )));
    }
    Ok(())
}

/// Brings the store to this program's schema, if it is not there yet.
pub(super) fn bring_up(kv: &SledKv) -> Result<(), StoreError> {
    if is_of_former(kv)? {
        tracing::info!("the store is brought to schema {SCHEMA_VERSION}; this happens once");
        // First of all, so that the former program does not touch it any more.
        commit(kv, |txn| {
            txn.put_number(keys::SCHEMA, SCHEMA_VERSION)?;
            Ok(true)
        })?;
        while commit(kv, |txn| step(txn, ENTRIES_AT_ONCE))? {}
    }
    if open::read_marker(&kv.folder)? == Some(FORMER) {
        open::write_marker(&kv.folder)?;
    }
    Ok(())
}

/// Makes what a step changes durable; whether it says that there is more.
pub(super) fn commit(
    kv: &SledKv,
    step: impl FnOnce(&mut Txn<'_>) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let none = Batch::new();
    let mut txn = Txn::new(kv, &none);
    let more = step(&mut txn).map_err(|error| match error {
        StoreError::Corrupt(what) => open::unusable(damaged(&format!(
            "the store cannot be brought to schema {SCHEMA_VERSION}: damage at {what}"
        ))),
        other => other,
    })?;
    let changes = txn.into_changes();
    let committed = if changes.is_empty() {
        Ok(())
    } else if kv.has_room(0) {
        kv.commit(&changes)
    } else {
        // What is kept in reserve is kept for agencies.
        Err(CommitError::Full)
    };
    match committed {
        Ok(()) => Ok(more),
        Err(CommitError::Full) => Err(open::unusable(format!(
            "the disk has no room to bring the store to schema {SCHEMA_VERSION}: make room and start again; it goes on \
             where it stopped"
        ))),
        Err(CommitError::Fatal(why) | CommitError::Unknown(why) | CommitError::Away(why)) => {
            Err(open::unusable(why))
        }
    }
}

/// Moves the next entries, at most `limit`: those in the tree, then those that wait. False: there are none.
pub(super) fn step(txn: &mut Txn<'_>, limit: usize) -> Result<bool, StoreError> {
    let mut waits = false;
    let mut rows = txn.scan(&[ORDER], None, limit)?;
    if rows.is_empty() {
        waits = true;
        rows = txn.scan(&[WAITING], None, limit)?;
    }
    let order = || StoreError::Corrupt("the order of the log".into());
    let (more, mut bytes) = (!rows.is_empty(), 0);
    for (key, leaf) in rows {
        let number = keys::last_number(&key)
            .filter(|_| key.len() == 9)
            .ok_or_else(order)?;
        let before = number.checked_sub(1).map(keys::entry);
        if let Some(before) = before
            && txn.record(&before)?.is_none()
        {
            return Err(order());
        }
        let leaf = Digest::try_from(leaf.as_slice()).map_err(|_| order())?;
        let former = former_entry(&leaf);
        let entry = txn.get(&former)?.ok_or_else(order)?;
        bytes += entry.len();
        txn.erase(&former)?;
        txn.put(&keys::entry(number), &entry)?;
        if waits {
            txn.put_number(&keys::index(&leaf), number)?;
        }
        txn.delete(&key)?;
        if bytes > BYTES_AT_ONCE {
            break;
        }
    }
    Ok(more)
}

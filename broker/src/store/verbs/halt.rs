//! The mark of a store that must not sign.

use schakel_proto::tlog::tree::Frontier;

use super::super::entry::StoredCheckpoint;
use super::super::error::StoreError;
use super::super::halt::{Halt, HaltCause};
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::HaltRow;
use super::super::kv::txn::{Read, Txn};
use super::{id, log};

const RESTORED: u32 = 1;
const MOVED: u32 = 2;
const FILLING: u32 = 3;

/// The mark in a row.
pub(crate) fn parse(row: &HaltRow) -> Result<Halt, StoreError> {
    let cause = match row.cause {
        RESTORED => HaltCause::Restored,
        MOVED => HaltCause::Moved,
        FILLING => HaltCause::Filling,
        _ => {
            return Err(StoreError::Corrupt(
                "the mark of a store that must not sign".into(),
            ));
        }
    };
    Ok(Halt {
        cause,
        size: row.size,
        root: id(&row.root)?,
    })
}

/// The mark, if there is one.
pub(crate) fn of(read: &impl Read) -> Result<Option<Halt>, StoreError> {
    read.row::<HaltRow>(keys::HALT)?
        .map(|row| parse(&row))
        .transpose()
}

/// Sets the mark where the tree ends now.
pub(crate) fn set(txn: &mut Txn<'_>, cause: HaltCause) -> Result<Halt, StoreError> {
    let newest = log::latest_checkpoint(txn)?;
    let (size, root) = end(newest.as_ref());
    let row = HaltRow {
        cause: match cause {
            HaltCause::Restored => RESTORED,
            HaltCause::Moved => MOVED,
            HaltCause::Filling => FILLING,
        },
        size,
        root: root.to_vec(),
    };
    txn.put_row(keys::HALT, &row)?;
    Ok(Halt { cause, size, root })
}

/// Size and root of a tree that ends with a checkpoint, or is empty.
pub(crate) fn end(newest: Option<&StoredCheckpoint>) -> (u64, schakel_proto::ids::Digest) {
    newest.map_or_else(
        || (0, Frontier::default().root()),
        |newest| (newest.size, newest.root),
    )
}

/// Takes away the mark that a store is being filled.
pub(crate) fn filled(txn: &mut Txn<'_>) -> Result<(), StoreError> {
    if of(txn)?.is_some_and(|halted| halted.cause == HaltCause::Filling) {
        txn.delete(keys::HALT)?;
    }
    Ok(())
}

/// Takes the mark away, if it is this one; `false`: it is another, or there is none.
pub(crate) fn confirm(step: &mut Step<'_>, confirmed: &Halt) -> Result<bool, StoreError> {
    if confirmed.cause == HaltCause::Filling || of(&step.txn)?.as_ref() != Some(confirmed) {
        return Ok(false);
    }
    step.txn.delete(keys::HALT)?;
    Ok(true)
}

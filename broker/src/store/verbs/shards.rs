//! Shards of the log: which stretch of the tree is signed under which name, and that a frozen one stays as it is.

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;

use super::super::entry::{NewEntry, PendingLeaf, StoredCheckpoint};
use super::super::error::StoreError;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::ShardRow;
use super::super::kv::txn::{Read, Txn};
use super::super::shards::{NewShard, Shard, ShardChanged, ShardOpened};
use super::{id, log, log_entry, optional_digest};

/// Most shards that are read: the directory has room for fewer.
pub(crate) const SHARDS_MAX_COUNT: usize = 512;

fn damaged() -> StoreError {
    StoreError::Corrupt("a shard of the log".into())
}

fn to_shard(key: &[u8], row: ShardRow) -> Result<Shard, StoreError> {
    let end = if row.end_root.is_empty() {
        None
    } else {
        Some(StoredCheckpoint {
            size: row.end_size,
            root: id(&row.end_root)?,
            note: row.end_note,
        })
    };
    Ok(Shard {
        number: keys::last_number(key).ok_or_else(damaged)?,
        origin: row.origin,
        first: row.first,
        closing: optional_digest(&row.closing)?,
        end,
    })
}

fn put(txn: &mut Txn<'_>, shard: &Shard) -> Result<(), StoreError> {
    txn.put_row(&keys::shard(shard.number), &to_row(shard))
}

/// As it is written.
pub(crate) fn to_row(shard: &Shard) -> ShardRow {
    let end = shard.end.as_ref();
    ShardRow {
        origin: shard.origin.clone(),
        first: shard.first,
        closing: shard.closing.map(Digest::to_vec).unwrap_or_default(),
        end_size: end.map_or(0, |end| end.size),
        end_root: end.map(|end| end.root.to_vec()).unwrap_or_default(),
        end_note: end.map(|end| end.note.clone()).unwrap_or_default(),
    }
}

/// All of them, oldest first.
pub(crate) fn all(read: &impl Read) -> Result<Vec<Shard>, StoreError> {
    let keys = read.records(&[keys::SHARD], None, SHARDS_MAX_COUNT)?;
    let mut all = Vec::with_capacity(keys.len());
    for (key, _) in keys {
        let row: ShardRow = read.must(&key)?;
        all.push(to_shard(&key, row)?);
    }
    Ok(all)
}

/// The one in force. A store whose tree was begun before there were shards has its first under the name in its newest
/// checkpoint; an empty one under `origin`.
fn in_force(txn: &Txn<'_>, origin: &str) -> Result<Shard, StoreError> {
    if let Some(last) = all(txn)?.pop() {
        return Ok(last);
    }
    let newest = log::latest_checkpoint(txn)?;
    let signed = newest.as_ref().and_then(|newest| origin_of(&newest.note));
    Ok(Shard {
        number: 0,
        origin: signed.unwrap_or_else(|| origin.to_owned()),
        first: 0,
        closing: None,
        end: None,
    })
}

/// The first line of a note.
pub(crate) fn origin_of(note: &[u8]) -> Option<String> {
    let line = note.split(|byte| *byte == b'\n').next()?;
    String::from_utf8(line.to_vec()).ok()
}

/// What the tree's next step does to its shard; false: it may not be written to it.
pub(crate) fn grow(
    txn: &mut Txn<'_>,
    leaves: &[PendingLeaf],
    checkpoint: &SignedCheckpoint,
) -> Result<bool, StoreError> {
    let before = all(txn)?.pop();
    let mut shard = in_force(txn, checkpoint.origin())?;
    if shard.end.is_some() || shard.origin != checkpoint.origin() {
        return Ok(false);
    }
    let known = shard.clone();
    if let Some(closing) = shard.closing
        && leaves.iter().any(|leaf| leaf.leaf_hash == closing)
    {
        if leaves.last().map(|leaf| leaf.leaf_hash) != Some(closing) {
            return Ok(false);
        }
        shard.end = Some(StoredCheckpoint {
            size: checkpoint.size(),
            root: checkpoint.root(),
            note: bytes::Bytes::copy_from_slice(checkpoint.note()),
        });
    }
    if before.is_none() || shard != known {
        put(txn, &shard)?;
    }
    Ok(true)
}

/// Commits the entry that the shard ends with: no leaf comes behind it.
pub(crate) fn close(step: &mut Step<'_>, origin: &str, entry: &NewEntry) -> Result<ShardChanged, StoreError> {
    let mut shard = in_force(&step.txn, origin)?;
    if shard.origin != origin {
        return Ok(ShardChanged::Other);
    }
    if shard.closing.is_some() || shard.end.is_some() {
        return Ok(ShardChanged::Same);
    }
    log_entry(step, entry)?;
    shard.closing = Some(entry.leaf_hash());
    put(&mut step.txn, &shard)?;
    Ok(ShardChanged::Done)
}

/// Lets the shard go on that was to end, or has ended and has none after it.
pub(crate) fn reopen(step: &mut Step<'_>, origin: &str) -> Result<ShardChanged, StoreError> {
    let mut shard = in_force(&step.txn, origin)?;
    if shard.origin != origin {
        return Ok(ShardChanged::Other);
    }
    if shard.closing.is_none() && shard.end.is_none() {
        return Ok(ShardChanged::Same);
    }
    (shard.closing, shard.end) = (None, None);
    put(&mut step.txn, &shard)?;
    // What waited goes on.
    step.effects.leaves = true;
    Ok(ShardChanged::Done)
}

/// Freezes the shard in force at the newest checkpoint, and begins the next one behind it.
pub(crate) fn open(step: &mut Step<'_>, new: &NewShard) -> Result<ShardOpened, StoreError> {
    let newest = log::latest_checkpoint(&step.txn)?;
    let size = newest.as_ref().map_or(0, |newest| newest.size);
    let known = all(&step.txn)?;
    if known.last().is_some_and(|last| last.origin == new.origin) {
        return Ok(ShardOpened::Same);
    }
    let there = newest.filter(|newest| (newest.size, newest.root) == new.continues);
    let again = known.iter().any(|one| one.origin == new.origin);
    let (Some(newest), false) = (there, again || known.len() >= SHARDS_MAX_COUNT) else {
        return Ok(ShardOpened::Elsewhere { size });
    };
    let mut before = in_force(&step.txn, &new.origin)?;
    if before.end.is_none() {
        // It ends here by the directory's word alone: an end that was asked for is overtaken.
        (before.closing, before.end) = (None, Some(newest));
        put(&mut step.txn, &before)?;
    }
    let shard = Shard {
        number: before.number.saturating_add(1),
        origin: new.origin.clone(),
        first: size,
        closing: None,
        end: None,
    };
    put(&mut step.txn, &shard)?;
    log_entry(step, &new.entry)?;
    step.effects.leaves = true;
    Ok(ShardOpened::New)
}

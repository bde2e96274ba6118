//! The log's rows: pending leaves, the tree, and entries with their proofs.

use prost::Message;
use schakel_proto::ids::Digest;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::{self, MakeError};
use schakel_proto::tlog::tree::Node;

use super::super::entry::{Integrated, Integration, LoggedEntry, NewEntry, PendingLeaf, StoredCheckpoint};
use super::super::error::StoreError;
use super::super::halt as halted;
use super::super::kv::engine::Step;
use super::super::kv::rows::{CheckpointRow, EntryRow};
use super::super::kv::txn::Read;
use super::super::kv::{keys, record};
use super::{agency, filed, halt, id, log_entry, shards};

/// Commits an entry of an event without other state.
pub(crate) fn record(step: &mut Step<'_>, entry: &NewEntry) -> Result<Digest, StoreError> {
    log_entry(step, entry)?;
    Ok(entry.leaf_hash())
}

/// Entries read at once where only their leaves are wanted: an entry may be long.
const ENTRIES_AT_ONCE: usize = 64;

/// Leaves in the tree.
pub(crate) fn size(read: &impl Read) -> Result<u64, StoreError> {
    Ok(latest_checkpoint(read)?.map_or(0, |newest| newest.size))
}

/// Entries from a number on, in their order, none left out; at most `limit`.
pub(crate) fn rows(read: &impl Read, from: u64, limit: usize) -> Result<Vec<(u64, EntryRow)>, StoreError> {
    let after = from.checked_sub(1).map(keys::entry);
    let found = read.scan(&[keys::ENTRY], after.as_deref(), limit)?;
    let mut rows = Vec::with_capacity(found.len());
    for (number, (key, value)) in (from..).zip(found) {
        if key != keys::entry(number) {
            return Err(StoreError::Corrupt("the order of the log".into()));
        }
        let row = EntryRow::decode(value.as_slice());
        rows.push((
            number,
            row.map_err(|_| StoreError::Corrupt(record::place(&key).into()))?,
        ));
    }
    Ok(rows)
}

/// Leaves that are not in the tree yet.
pub(crate) fn pending(read: &impl Read, limit: usize) -> Result<Vec<PendingLeaf>, StoreError> {
    let mut next = size(read)?;
    let mut all = Vec::new();
    while all.len() < limit {
        let page = rows(read, next, ENTRIES_AT_ONCE.min(limit - all.len()))?;
        let Some((last, _)) = page.last() else { break };
        next = last.saturating_add(1);
        all.extend(page.iter().map(|(sequence, row)| PendingLeaf {
            sequence: *sequence,
            leaf_hash: leaf_hash(&row.leaf),
        }));
    }
    Ok(all)
}

/// The entry of a number, and its leaf, whether it is in the tree or waits.
pub(crate) fn numbered(read: &impl Read, number: u64) -> Result<Option<(Digest, EntryRow)>, StoreError> {
    let row: Option<EntryRow> = read.row(&keys::entry(number))?;
    Ok(row.map(|row| (leaf_hash(&row.leaf), row)))
}

/// The entry at a position of the tree, and its leaf: the one that the tree has there.
pub(crate) fn at(read: &impl Read, index: u64) -> Result<(Digest, EntryRow), StoreError> {
    let row: EntryRow = read.must(&keys::entry(index))?;
    Ok((standing(read, index, &row)?, row))
}

/// The leaf of an entry, if the tree has it at this position.
pub(crate) fn standing(read: &impl Read, index: u64, row: &EntryRow) -> Result<Digest, StoreError> {
    let leaf = leaf_hash(&row.leaf);
    if node(read, Node { level: 0, index })? == Some(leaf) {
        Ok(leaf)
    } else {
        Err(StoreError::Corrupt("a log entry".into()))
    }
}

/// The newest checkpoint.
pub(crate) fn latest_checkpoint(read: &impl Read) -> Result<Option<StoredCheckpoint>, StoreError> {
    let Some(row) = read.row::<CheckpointRow>(keys::CHECKPOINT)? else {
        return Ok(None);
    };
    Ok(Some(StoredCheckpoint {
        size: row.size,
        root: id(&row.root)?,
        note: row.note,
    }))
}

/// Puts pending leaves into the tree.
pub(crate) fn integrate(step: &mut Step<'_>, new: &Integration) -> Result<Integrated, StoreError> {
    if let Some(halt) = halt::of(&step.txn)? {
        return Err(halted::unconfirmed(&halt));
    }
    let size = size(&step.txn)?;
    if size != new.expected_size {
        return Ok(Integrated::Conflict { size });
    }
    let count = u64::try_from(new.leaves.len()).unwrap_or(u64::MAX);
    let fits = new.checkpoint.size() == size.saturating_add(count) && !new.leaves.is_empty();
    if !fits || pending(&step.txn, new.leaves.len())? != new.leaves {
        return Err(StoreError::Misused(
            "a checkpoint over other leaves than are pending",
        ));
    }
    if !shards::grow(&mut step.txn, &new.leaves, &new.checkpoint)? {
        return Ok(Integrated::Frozen);
    }
    for (node, hash) in &new.nodes {
        step.txn.put(&keys::node(*node), hash.as_bytes())?;
    }
    let entries = new.leaves.iter().map(|leaf| keys::entry(leaf.sequence));
    step.txn.ahead(&entries.collect::<Vec<_>>())?;
    for leaf in &new.leaves {
        // What waits begins where the tree ends, and leaves no number out: an entry's number is its position.
        let index = leaf.sequence;
        let entry: EntryRow = step.txn.must(&keys::entry(index))?;
        for concern in &entry.concerns {
            let key = keys::concern(&agency(&concern.agency)?, index);
            // Named twice (sender and recipient in one): it sees what either may.
            let same = entry.concerns.iter().filter(|c| c.agency == concern.agency);
            let sees_hidden = same.fold(false, |sees, c| sees | c.sees_hidden);
            step.txn.put(&key, &[u8::from(sees_hidden)])?;
        }
        for key in filed::places(&entry, index)? {
            step.txn.put(&key, &[])?;
        }
    }
    // Of a store that was not filed up to here, it stays unsaid: the next start files the rest.
    if step.txn.number(keys::FILED)?.unwrap_or(0) == size {
        step.txn.put_number(keys::FILED, new.checkpoint.size())?;
    }
    let (size, root) = (new.checkpoint.size(), new.checkpoint.root());
    let note = bytes::Bytes::copy_from_slice(new.checkpoint.note());
    let row = CheckpointRow {
        size,
        root: root.to_vec(),
        note: note.clone(),
    };
    step.txn.put_row(keys::CHECKPOINT, &row)?;
    step.effects.tree = Some(StoredCheckpoint { size, root, note });
    Ok(Integrated::Done { size })
}

/// Hash of a complete subtree.
pub(crate) fn node(read: &impl Read, node: Node) -> Result<Option<Digest>, StoreError> {
    read.get(&keys::node(node))?.map(|hash| id(&hash)).transpose()
}

/// Hashes of complete subtrees of one level, in order, up to the first that is not there.
pub(crate) fn nodes(read: &impl Read, first: Node, limit: usize) -> Result<Vec<Digest>, StoreError> {
    let mut all = Vec::new();
    let at = |index| keys::node(Node { index, ..first });
    read.ahead(&(first.index..).take(limit).map(at).collect::<Vec<_>>())?;
    for index in (first.index..).take(limit) {
        let Some(hash) = node(read, Node { index, ..first })? else {
            break;
        };
        all.push(hash);
    }
    Ok(all)
}

fn must_node(read: &impl Read, at: Node) -> Result<Digest, StoreError> {
    node(read, at)?.ok_or_else(|| StoreError::Corrupt("a node of the tree".into()))
}

fn made<T>(result: Result<T, MakeError<StoreError>>) -> Result<T, StoreError> {
    result.map_err(|error| match error {
        MakeError::Position => StoreError::Missing("position in the log"),
        MakeError::Read(error) => error,
    })
}

/// The consistency proof between two sizes.
pub(crate) fn consistency(read: &impl Read, from: u64, to: u64) -> Result<Vec<Digest>, StoreError> {
    if size(read)? < to {
        return Err(StoreError::Missing("position in the log"));
    }
    made(proof::consistency(from, to, &mut |node| must_node(read, node)))
}

/// Position of a leaf in the tree.
pub(crate) fn index_of(read: &impl Read, leaf: &Digest) -> Result<Option<u64>, StoreError> {
    let Some(number) = read.number(&keys::index(leaf))? else {
        return Ok(None);
    };
    Ok((number < size(read)?).then_some(number))
}

/// Leaf bytes in order.
pub(crate) fn leaves(read: &impl Read, from: u64, limit: usize) -> Result<Vec<bytes::Bytes>, StoreError> {
    let mut all = Vec::new();
    let wanted = (from..size(read)?).take(limit);
    let both = |index| [keys::entry(index), keys::node(Node { level: 0, index })];
    read.ahead(&wanted.clone().flat_map(both).collect::<Vec<_>>())?;
    for index in wanted {
        all.push(at(read, index)?.1.leaf);
    }
    Ok(all)
}

/// How much of an entry its reader may see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    All,
    Shown,
}

/// Everything that shows an entry.
fn ahead_of(read: &impl Read, index: u64, size: u64) -> Result<(), StoreError> {
    // Walking the proof hashes: twice only where that saves ways.
    if !read.is_far() {
        return Ok(());
    }
    let mut wanted = vec![keys::entry(index), keys::node(Node { level: 0, index })];
    let nowhere = proof::inclusion(index, size, &mut |node| {
        wanted.push(keys::node(node));
        Ok::<_, std::convert::Infallible>(Digest::from_bytes([0; 32]))
    });
    // A position beyond the tree is refused where the proof is made.
    drop(nowhere);
    read.ahead(&wanted)
}

fn logged(
    read: &impl Read,
    index: u64,
    view: View,
    checkpoint: &StoredCheckpoint,
) -> Result<LoggedEntry, StoreError> {
    ahead_of(read, index, checkpoint.size)?;
    let (_, row) = at(read, index)?;
    let inclusion = made(proof::inclusion(index, checkpoint.size, &mut |node| {
        must_node(read, node)
    }))?;
    Ok(LoggedEntry {
        leaf: row.leaf,
        body: row.body,
        case: if row.case.is_empty() {
            None
        } else {
            Some(id(&row.case)?)
        },
        index,
        shown: row.shown,
        hidden: row.hidden.filter(|_| view == View::All),
        attachment: row.attachment,
        inclusion,
        checkpoint: checkpoint.clone(),
    })
}

fn find(
    read: &impl Read,
    leaf: &Digest,
    view: impl Fn(u64) -> Result<Option<View>, StoreError>,
) -> Result<Option<LoggedEntry>, StoreError> {
    let Some(checkpoint) = latest_checkpoint(read)? else {
        return Ok(None);
    };
    let Some(index) = index_of(read, leaf)? else {
        return Ok(None);
    };
    let Some(view) = view(index)? else { return Ok(None) };
    let found = logged(read, index, view, &checkpoint)?;
    if leaf_hash(&found.leaf) == *leaf {
        Ok(Some(found))
    } else {
        Err(StoreError::Corrupt("a log entry".into()))
    }
}

fn parse_view(value: &[u8]) -> View {
    if value == [1] { View::All } else { View::Shown }
}

/// One entry as an agency may see it.
pub(crate) fn entry_for(
    read: &impl Read,
    agency: &AgencyId,
    leaf: &Digest,
) -> Result<Option<LoggedEntry>, StoreError> {
    find(read, leaf, |index| {
        Ok(read.get(&keys::concern(agency, index))?.map(|v| parse_view(&v)))
    })
}

/// The entry at a position, with everything that opens it.
pub(crate) fn whole(
    read: &impl Read,
    index: u64,
    checkpoint: &StoredCheckpoint,
) -> Result<LoggedEntry, StoreError> {
    logged(read, index, View::All, checkpoint)
}

/// One entry without the hidden decision.
pub(crate) fn entry(read: &impl Read, leaf: &Digest) -> Result<Option<LoggedEntry>, StoreError> {
    find(read, leaf, |_| Ok(Some(View::Shown)))
}

/// Entries that concern an agency, from a position on.
pub(crate) fn evidence_for(
    read: &impl Read,
    agency: &AgencyId,
    from: u64,
    limit: usize,
) -> Result<Vec<LoggedEntry>, StoreError> {
    let Some(checkpoint) = latest_checkpoint(read)? else {
        return Ok(Vec::new());
    };
    let after = from.checked_sub(1).map(|before| keys::concern(agency, before));
    let mut all = Vec::new();
    for (key, view) in read.scan(&keys::concern_prefix(agency), after.as_deref(), limit)? {
        let damaged = || StoreError::Corrupt("the index of evidence".into());
        let index = keys::last_number(&key).ok_or_else(damaged)?;
        all.push(logged(read, index, parse_view(&view), &checkpoint)?);
    }
    Ok(all)
}

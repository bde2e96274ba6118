//! The files of cases and packets: which entries of the tree are theirs.

use prost::Message;
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::wire;

use super::super::entry::Concern;
use super::super::error::StoreError;
use super::super::filed::{Filed, FiledEntry};
use super::super::kv::keys;
use super::super::kv::rows::EntryRow;
use super::super::kv::txn::{Read, Txn};
use super::super::oversight::Page;
use super::{agency, id, log};

fn damaged() -> StoreError {
    StoreError::Corrupt("the files of cases and packets".into())
}

/// Where an entry is filed beside its place in the tree.
pub(crate) fn places(entry: &EntryRow, index: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let body = wire::EvidenceBody::decode(&*entry.body).map_err(|_| damaged())?;
    let mut places = Vec::new();
    if !body.case_ref.is_empty() {
        places.push(keys::of_case(&id(&body.case_ref)?, index));
    }
    if !body.packet_id.is_empty() {
        places.push(keys::of_packet(&id(&body.packet_id)?, index));
    }
    Ok(places)
}

/// An entry, by its number and leaf.
fn load(index: u64, leaf_hash: Digest, row: EntryRow) -> Result<FiledEntry, StoreError> {
    let mut concerns = Vec::with_capacity(row.concerns.len());
    for concern in &row.concerns {
        concerns.push(Concern {
            agency: agency(&concern.agency)?,
            sees_hidden: concern.sees_hidden,
        });
    }
    Ok(FiledEntry {
        index,
        leaf_hash,
        leaf: row.leaf,
        body: row.body,
        case: if row.case.is_empty() {
            None
        } else {
            Some(id(&row.case)?)
        },
        shown: row.shown,
        hidden: row.hidden,
        attachment: row.attachment,
        concerns,
    })
}

/// Entries of the tree after a position.
pub(crate) fn filed(
    read: &impl Read,
    of: Filed,
    after: Option<u64>,
    limit: usize,
) -> Result<Page<FiledEntry, u64>, StoreError> {
    let (prefix, after) = match of {
        Filed::All => return all(read, after, limit),
        Filed::Case(case) => (keys::case_file(&case), after.map(|n| keys::of_case(&case, n))),
        Filed::Packet(packet) => {
            let after = after.map(|n| keys::of_packet(&packet, n));
            (keys::packet_file(&packet), after)
        }
        Filed::Pending => return pending(read, after, limit),
    };
    let rows = read.records(&prefix, after.as_deref(), limit)?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, _) in &rows {
        let index = keys::last_number(key).ok_or_else(damaged)?;
        let (leaf, row) = log::at(read, index)?;
        found.push(load(index, leaf, row)?);
    }
    Ok(page(found, limit))
}

/// Whether there may be more behind what was found.
fn page(found: Vec<FiledEntry>, limit: usize) -> Page<FiledEntry, u64> {
    let last = found.last().map(|last| last.index);
    Page {
        next: last.filter(|_| found.len() == limit),
        found,
    }
}

/// Entries of the tree, in its order.
fn all(read: &impl Read, after: Option<u64>, limit: usize) -> Result<Page<FiledEntry, u64>, StoreError> {
    let from = after.map_or(0, |after| after.saturating_add(1));
    let left = usize::try_from(log::size(read)?.saturating_sub(from)).unwrap_or(usize::MAX);
    let rows = log::rows(read, from, limit.min(left))?;
    if rows.len() < limit.min(left) {
        return Err(damaged());
    }
    let mut found = Vec::with_capacity(rows.len());
    for (index, row) in rows {
        found.push(load(index, log::standing(read, index, &row)?, row)?);
    }
    Ok(page(found, limit))
}

/// Entries on their way into the tree, at the positions that they will have.
pub(crate) fn pending(
    read: &impl Read,
    after: Option<u64>,
    limit: usize,
) -> Result<Page<FiledEntry, u64>, StoreError> {
    let from = after.map_or(0, |after| after.saturating_add(1));
    let mut found = Vec::new();
    for (number, row) in log::rows(read, from.max(log::size(read)?), limit)? {
        found.push(load(number, leaf_hash(&row.leaf), row)?);
    }
    Ok(page(found, limit))
}

/// The cases that have entries, each once, by jumping from one to the next.
pub(crate) fn cases(
    read: &impl Read,
    after: Option<CaseRef>,
    limit: usize,
) -> Result<Page<CaseRef, CaseRef>, StoreError> {
    let mut found: Vec<CaseRef> = Vec::new();
    let mut last = after;
    while found.len() < limit {
        let after = last.map(|case| keys::of_case(&case, u64::MAX));
        let rows = read.records(&[keys::CASE_FILE], after.as_deref(), 1)?;
        let Some((key, _)) = rows.first() else {
            return Ok(Page { found, next: None });
        };
        let case: CaseRef = id(key.get(1..17).ok_or_else(damaged)?)?;
        found.push(case);
        last = Some(case);
    }
    Ok(Page { found, next: last })
}

/// How many entries of the tree no program filed yet.
pub(crate) fn unfiled(read: &impl Read) -> Result<u64, StoreError> {
    let size = log::latest_checkpoint(read)?.map_or(0, |c| c.size);
    Ok(size.saturating_sub(read.number(keys::FILED)?.unwrap_or(0)))
}

/// Files entries of the tree that no program filed yet: at most `limit`; true: there are more.
pub(crate) fn file_more(txn: &mut Txn<'_>, limit: u64) -> Result<bool, StoreError> {
    let from = txn.number(keys::FILED)?.unwrap_or(0);
    let size = log::size(txn)?;
    let to = from.saturating_add(limit).min(size);
    if from >= size {
        return Ok(false);
    }
    for index in from..to {
        for key in places(&log::at(txn, index)?.1, index)? {
            txn.put(&key, &[])?;
        }
    }
    txn.put_number(keys::FILED, to)?;
    Ok(to < size)
}

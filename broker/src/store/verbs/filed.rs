//! The files of cases and packets: which entries of the tree are theirs.

use prost::Message;
use schakel_proto::ids::{CaseRef, Digest};
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

/// The entry at a position.
pub(crate) fn at(read: &impl Read, index: u64) -> Result<FiledEntry, StoreError> {
    let hash = read.get(&keys::leaf(index))?.ok_or_else(damaged)?;
    load(read, index, id(&hash)?)
}

/// The entry of a leaf at a position.
pub(crate) fn load(read: &impl Read, index: u64, leaf_hash: Digest) -> Result<FiledEntry, StoreError> {
    let row: EntryRow = read.must(&keys::entry(&leaf_hash))?;
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
        Filed::All => (vec![keys::LEAF], after.map(keys::leaf)),
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
        found.push(at(read, keys::last_number(key).ok_or_else(damaged)?)?);
    }
    let next = found.last().map(|last| last.index);
    Ok(Page {
        next: next.filter(|_| rows.len() == limit),
        found,
    })
}

/// Entries on their way into the tree. Leaves get their positions in the order of their sequence, without gap: both
/// are the same number.
pub(crate) fn pending(
    read: &impl Read,
    after: Option<u64>,
    limit: usize,
) -> Result<Page<FiledEntry, u64>, StoreError> {
    let rows = read.scan(&[keys::PENDING], after.map(keys::pending).as_deref(), limit)?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, leaf) in &rows {
        let sequence = keys::last_number(key).ok_or_else(damaged)?;
        found.push(load(read, sequence, id(leaf)?)?);
    }
    let next = found.last().map(|last| last.index);
    Ok(Page {
        next: next.filter(|_| rows.len() == limit),
        found,
    })
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
    let size = log::latest_checkpoint(txn)?.map_or(0, |c| c.size);
    let to = from.saturating_add(limit).min(size);
    if from >= size {
        return Ok(false);
    }
    for index in from..to {
        let hash = txn.get(&keys::leaf(index))?.ok_or_else(damaged)?;
        let entry: EntryRow = txn.must(&keys::entry(&id(&hash)?))?;
        for key in places(&entry, index)? {
            txn.put(&key, &[])?;
        }
    }
    txn.put_number(keys::FILED, to)?;
    Ok(to < size)
}

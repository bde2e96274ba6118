//! The store as it lies on the disk: each record against its checksum, the tree against the entries that lead to it.
//! Who signed what, and whether rows follow from the log, is looked at elsewhere (`admin::verify`, `audit`).

use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::tree::{Frontier, Node};

use super::super::check::{CheckedRows, Walked};
use super::super::error::StoreError;
use super::super::kv::rows::EntryRow;
use super::super::kv::txn::Read;
use super::super::kv::{keys, record};
use super::{id, log};

/// Checks the records after a key, at most `limit`.
pub(crate) fn rows(read: &impl Read, after: Option<&[u8]>, limit: usize) -> Result<CheckedRows, StoreError> {
    let mut checked = CheckedRows::default();
    let page = read.records(&[], after, limit)?;
    for (key, found) in &page {
        checked.rows += 1;
        match record::open(key, found) {
            Ok(_) => {}
            Err(StoreError::Corrupt(what)) => {
                checked.damaged.push(what.to_string());
                continue;
            }
            Err(error) => return Err(error),
        }
        if key.first() == Some(&keys::FILE)
            && let Ok(file) = id(key.get(1..33).unwrap_or_default())
            && checked.files.last() != Some(&file)
        {
            checked.files.push(file);
        }
    }
    let last = page.last().filter(|_| page.len() == limit);
    checked.next = last.map(|(key, _)| key.clone());
    Ok(checked)
}

/// Goes on over at most `limit` leaves, up to a tree of `size`.
pub(crate) fn tree(
    read: &impl Read,
    mut frontier: Frontier,
    (size, limit): (u64, usize),
) -> Result<Walked, StoreError> {
    let mut wrong = Vec::new();
    let end = frontier
        .size()
        .saturating_add(u64::try_from(limit).unwrap_or(u64::MAX))
        .min(size);
    for index in frontier.size()..end {
        let stored = corrupt(log::node(read, Node { level: 0, index }))?.ok().flatten();
        let entry: Option<EntryRow> = match corrupt(read.must(&keys::entry(index)))? {
            Ok(entry) => Some(entry),
            Err(what) => {
                wrong.push(format!("entry {index}: {what}"));
                None
            }
        };
        let leaf = entry.as_ref().map(|entry| leaf_hash(&entry.leaf));
        if leaf.is_some() && leaf != stored {
            wrong.push(format!("entry {index}: is not the leaf that stands in the tree"));
        }
        if let Some(leaf) = &leaf
            && corrupt(log::index_of(read, leaf))? != Ok(Some(index))
        {
            wrong.push(format!("entry {index}: is not found by its leaf"));
        }
        // Where the entry cannot be read the tree may still be whole: it goes on with the leaf that it has there.
        let Some(hash) = leaf.or(stored) else {
            wrong.push(format!("entry {index}: neither the entry nor its leaf is there"));
            frontier.append(schakel_proto::ids::Digest::from_bytes([0; 32]), &mut |_, _| {});
            continue;
        };
        let mut made = Vec::new();
        frontier.append(hash, &mut |node, hash| made.push((node, hash)));
        for (node, hash) in made {
            if corrupt(log::node(read, node))? != Ok(Some(hash)) {
                wrong.push(format!("node {} of level {} of the tree", node.index, node.level));
            }
        }
    }
    Ok(Walked { frontier, wrong })
}

/// Damage is something found, any other error ends the check.
fn corrupt<T>(result: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(StoreError::Corrupt(what)) => Ok(Err(what.to_string())),
        Err(error) => Err(error),
    }
}

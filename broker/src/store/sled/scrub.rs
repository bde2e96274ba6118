//! The check at every start: each record against its checksum, packets against their manifests, the tree
//! recomputed from its leaves against its nodes and the newest checkpoint. A store that fails is not used.

use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_proto::wire;

use super::super::content::Contents;
use super::super::error::StoreError;
use super::super::kv::rows::{EntryRow, PacketRow, PartRow};
use super::super::kv::txn::{Committed, Read};
use super::super::kv::{Kv, Rows, keys, record};
use super::super::verbs::log;
use super::{MARK, SledKv, damaged};

const PAGE: usize = 1_024;

fn refuse(what: &str) -> StoreError {
    StoreError::Unusable(damaged(what).into())
}

/// Checks the whole store, then removes part files that no row names.
pub(super) fn scrub(kv: &SledKv, contents: &Contents) -> Result<(), StoreError> {
    let read = Committed(kv);
    let result = records(kv)
        .and_then(|()| packets(&read))
        .and_then(|()| tree(kv, &read));
    result.map_err(|error| match error {
        StoreError::Corrupt(what) => refuse(&format!("damage was found at {what}")),
        other => other,
    })?;
    sweep(&read, contents)
}

/// Every record carries the right checksum.
fn records(kv: &SledKv) -> Result<(), StoreError> {
    pages(&mut |after| kv.scan(&[], after, PAGE), &mut |key, found| {
        record::open(key, found).map(drop)
    })
}

type ReadPage<'a> = &'a mut dyn FnMut(Option<&[u8]>) -> Result<Rows, StoreError>;
type EachRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// Goes through all rows, page by page.
fn pages(read: ReadPage<'_>, each: EachRow<'_>) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = read(after.as_deref())?;
        for (key, value) in &page {
            each(key, value)?;
        }
        match page.last() {
            Some((key, _)) => after = Some(key.clone()),
            None => return Ok(()),
        }
    }
}

/// Every packet has its manifest, its parts and its entry.
fn packets(read: &Committed<'_>) -> Result<(), StoreError> {
    pages(
        &mut |after| read.records(&[keys::PACKET], after, PAGE),
        &mut |key, _| {
            let packet = keys::last_packet(key).ok_or(StoreError::Corrupt("a packet's key".into()))?;
            let row: PacketRow = read.must(key)?;
            let manifest: wire::Signed = read.must(&keys::manifest(&packet))?;
            if Digest::of(&manifest.bytes).as_bytes().as_slice() != row.manifest_digest {
                return Err(StoreError::Corrupt(format!("the manifest of {packet}").into()));
            }
            let leaf = digest(&row.leaf)?;
            let _entry: EntryRow = read.must(&keys::entry(&leaf))?;
            parts(read, &packet, &row)
        },
    )
}

fn parts(read: &Committed<'_>, packet: &PacketId, row: &PacketRow) -> Result<(), StoreError> {
    for part in &row.parts {
        let part = part
            .as_slice()
            .try_into()
            .map_err(|_| StoreError::Corrupt("a part id".into()))?;
        let _part: PartRow = read.must(&keys::part(packet, &part))?;
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    Digest::try_from(bytes).map_err(|_| StoreError::Corrupt("a digest".into()))
}

/// The tree follows from its leaves, and ends where the checkpoint and the mark say.
fn tree(kv: &SledKv, read: &Committed<'_>) -> Result<(), StoreError> {
    let checkpoint = log::latest_checkpoint(read)?;
    let size = checkpoint.as_ref().map_or(0, |c| c.size);
    let mut frontier = Frontier::default();
    let mut wrong = None;
    pages(
        &mut |after| read.scan(&[keys::LEAF], after, PAGE),
        &mut |key, value| {
            let leaf = digest(value)?;
            if keys::last_number(key) != Some(frontier.size())
                || log::index_of(read, &leaf)? != Some(frontier.size())
            {
                return Err(StoreError::Corrupt("the order of the log's leaves".into()));
            }
            check_entry(read, &leaf)?;
            frontier.append(leaf, &mut |node, hash| {
                wrong = wrong.or(check_node(read, node, hash))
            });
            Ok(())
        },
    )?;
    if let Some(node) = wrong {
        return Err(StoreError::Corrupt(
            format!("node {} of level {} of the tree", node.index, node.level).into(),
        ));
    }
    let root = checkpoint.map(|c| c.root);
    if frontier.size() != size || root.is_some_and(|r| r != frontier.root()) {
        return Err(StoreError::Corrupt(
            "the tree: its leaves do not lead to the newest checkpoint".into(),
        ));
    }
    pages(
        &mut |after| read.scan(&[keys::PENDING], after, PAGE),
        &mut |_, value| check_entry(read, &digest(value)?),
    )?;
    check_mark(kv, read, size)
}

fn check_entry(read: &Committed<'_>, leaf: &Digest) -> Result<(), StoreError> {
    let entry: EntryRow = read.must(&keys::entry(leaf))?;
    if leaf_hash(&entry.leaf) == *leaf {
        Ok(())
    } else {
        Err(StoreError::Corrupt("a log entry".into()))
    }
}

/// The node, if it is not stored as computed.
fn check_node(read: &Committed<'_>, node: Node, hash: Digest) -> Option<Node> {
    let stored = log::node(read, node);
    if stored.is_ok_and(|s| s == Some(hash)) {
        None
    } else {
        Some(node)
    }
}

/// The log was at least as long before, and had the same leaves: a store put back in time is refused.
fn check_mark(kv: &SledKv, read: &Committed<'_>, size: u64) -> Result<(), StoreError> {
    let text = match std::fs::read_to_string(kv.folder.join(MARK)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::io("the mark of the log's size", e)),
    };
    let parsed = text
        .trim_end()
        .split_once(' ')
        .and_then(|(s, r)| Some((s.parse().ok()?, r.parse().ok()?)));
    let (marked, root): (u64, Digest) =
        parsed.ok_or_else(|| refuse("the mark of the log's size is damaged"))?;
    if marked > size {
        return Err(refuse(&format!(
            "the log had {marked} leaves and now has {size}: an older copy of the store was put back, or part of \
             it is lost"
        )));
    }
    let get = |node| log::node(read, node)?.ok_or_else(|| StoreError::Corrupt("a node of the tree".into()));
    if Frontier::read(marked, get)?.root() == root {
        Ok(())
    } else {
        Err(refuse("the log is not the one that was here before"))
    }
}

/// Removes part files that no row names, and tells of rows whose file is gone.
fn sweep(read: &Committed<'_>, contents: &Contents) -> Result<(), StoreError> {
    let all = contents.all()?;
    for digest in &all {
        if read.records(&keys::file_prefix(digest), None, 1)?.is_empty() {
            contents.remove_unpinned(digest)?;
        }
    }
    let here: std::collections::HashSet<Digest> = all.into_iter().collect();
    pages(
        &mut |after| read.records(&[keys::FILE], after, PAGE),
        &mut |key, _| {
            let named = digest(key.get(1..33).unwrap_or_default())?;
            if !here.contains(&named) {
                tracing::error!(file = %named, "a part file is missing: the packet that names it cannot be handed over");
            }
            Ok(())
        },
    )
}

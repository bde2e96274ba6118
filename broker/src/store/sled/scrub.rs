//! The check at every start: each record against its checksum, packets against their manifests, the tree
//! recomputed from its leaves against its nodes and the newest checkpoint. A store that fails is not used.

use prost::Message;
use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::tree::{Frontier, Node};
use schakel_proto::wire;

use super::super::content::Contents;
use super::super::error::StoreError;
use super::super::kv::rows::{EntryRow, PacketRow, PartRow};
use super::super::kv::txn::{Committed, Read};
use super::super::kv::{Rows, View, keys, record};
use super::super::verbs::{FORGOTTEN, log};
use super::{MARK, SledKv, damaged};

const PAGE: usize = 1_024;
/// Leaves whose order is held in memory at once, 32 bytes each.
const LEAVES_MAX_COUNT: usize = 1 << 22;

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
            let leaf = digest(&row.leaf)?;
            if read.record(&keys::index(&leaf))?.is_none() {
                return Err(StoreError::Corrupt(format!("the entry of {packet}").into()));
            }
            if row.stage == FORGOTTEN {
                return Ok(());
            }
            let manifest: wire::Signed = read.must(&keys::manifest(&packet))?;
            if Digest::of(&manifest.bytes).as_bytes().as_slice() != row.manifest_digest {
                return Err(StoreError::Corrupt(format!("the manifest of {packet}").into()));
            }
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

/// The tree follows from its leaves, and ends where the checkpoint and the mark say; what waits follows it.
fn tree(kv: &SledKv, read: &Committed<'_>) -> Result<(), StoreError> {
    let checkpoint = log::latest_checkpoint(read)?;
    let size = checkpoint.as_ref().map_or(0, |c| c.size);
    let mut frontier = Frontier::default();
    let (mut wrong, mut leaves, mut next) = (None, Vec::new(), 0_u64);
    pages(
        &mut |after| read.scan(&[keys::ENTRY], after, PAGE),
        &mut |key, value| {
            if *key != keys::entry(next) {
                return Err(order());
            }
            let damaged = || StoreError::Corrupt(record::place(key).into());
            let leaf = leaf_hash(&EntryRow::decode(value).map_err(|_| damaged())?.leaf);
            if next < size {
                frontier.append(leaf, &mut |node, hash| {
                    wrong = wrong.or(check_node(read, node, hash))
                });
            }
            next += 1;
            leaves.push(leaf);
            if leaves.len() == LEAVES_MAX_COUNT {
                check_leaves(read, next, &leaves)?;
                leaves.clear();
            }
            Ok(())
        },
    )?;
    let numbers = check_leaves(read, next, &leaves)?;
    if numbers != next || read.number(keys::NEXT_SEQUENCE)?.unwrap_or(0) != next {
        return Err(order());
    }
    if let Some(node) = wrong {
        return Err(StoreError::Corrupt(
            format!("node {} of level {} of the tree", node.index, node.level).into(),
        ));
    }
    let root = checkpoint.map(|c| c.root);
    let beyond = log::node(
        read,
        Node {
            level: 0,
            index: size,
        },
    )?;
    if frontier.size() != size || root.is_some_and(|r| r != frontier.root()) || beyond.is_some() {
        return Err(StoreError::Corrupt(
            "the tree: its leaves do not lead to the newest checkpoint".into(),
        ));
    }
    check_mark(kv, read, size)
}

/// The newest leaves, up to `end`: each has its number. All numbers are gone through in the order of their keys: looked
/// up one by one, they would be read all over the disk. Says how many there are in all.
fn check_leaves(read: &Committed<'_>, end: u64, leaves: &[Digest]) -> Result<u64, StoreError> {
    let first = end.saturating_sub(leaves.len() as u64);
    let (mut known, mut all) = (0, 0_u64);
    pages(
        &mut |after| read.scan(&[keys::INDEX], after, PAGE),
        &mut |key, value| {
            all += 1;
            let leaf = digest(key.get(1..).unwrap_or_default())?;
            let number = value.try_into().map(u64::from_be_bytes).map_err(|_| order())?;
            let place = number.checked_sub(first).and_then(|n| usize::try_from(n).ok());
            match place.filter(|place| *place < leaves.len()) {
                // Of leaves before or after these.
                None => Ok(()),
                Some(place) if leaves.get(place) == Some(&leaf) => {
                    known += 1;
                    Ok(())
                }
                _ => Err(order()),
            }
        },
    )?;
    if known == leaves.len() {
        Ok(all)
    } else {
        Err(order())
    }
}

fn order() -> StoreError {
    StoreError::Corrupt("the order of the log's leaves".into())
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

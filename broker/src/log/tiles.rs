//! The log as files that never change (C2SP tlog-tiles): which path names what, and what stands in a tile or in a
//! bundle of entries. Nothing is given out that the newest signed checkpoint does not cover.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::tree::Node;

use crate::store::{Store, StoreError};

/// Hashes in a full tile, entries in a full bundle.
const FULL_WIDTH: u16 = 256;
/// Levels of the tree that one level of tiles spans: 256 is 2 to the 8th.
const TILE_HEIGHT: u32 = 8;
/// Highest level of tiles that a path may name.
const LEVEL_MAX: u64 = 63;
/// Entries of a bundle that cost as much as a call: each is a row with all that was committed with it.
const ENTRIES_A_CALL: u16 = 16;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The newest checkpoint.
    Checkpoint,
    /// Hashes of one level of tiles.
    Tile(u8, Span),
    /// Leaves, as they are hashed.
    Entries(Span),
    /// What opens one leaf, for those concerned.
    Entry(u64),
}

/// A path: what it names, and of which shard; of none: of the whole tree as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The shard's number.
    pub shard: Option<u64>,
    /// What is asked for.
    pub resource: Resource,
}

impl Path {
    /// What a path behind the log's prefix names: of a shard, behind `shard/` and its number.
    ///
    /// # Errors
    /// As [`Resource::parse`].
    pub fn parse(path: &str) -> Result<Self, Refusal> {
        let Some((number, rest)) = path.strip_prefix("shard/").and_then(|rest| rest.split_once('/')) else {
            return Resource::parse(path).map(|resource| Self {
                shard: None,
                resource,
            });
        };
        let shard = Some(decimal(number).ok_or_else(malformed)?);
        // What opens a leaf is not a shard's: it comes with a proof under the newest checkpoint.
        let resource = Resource::parse(rest)?;
        if matches!(resource, Resource::Entry(_)) {
            return Err(unknown());
        }
        Ok(Self { shard, resource })
    }
}

/// Which tile of its level, or which bundle, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    index: u64,
    width: u16,
}

/// A decimal number as there is one way to write it.
fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl Span {
    /// `x001/x234/067`, and `.p/12` behind it if it is partial; only as [`fmt::Display`] writes it.
    fn parse(text: &str) -> Option<Self> {
        let (number, width) = match text.split_once(".p/") {
            None => (text, FULL_WIDTH),
            Some((number, width)) => {
                let width = u16::try_from(decimal(width)?).ok()?;
                (number, Some(width).filter(|w| (1..FULL_WIDTH).contains(w))?)
            }
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        let span = Self { index, width };
        // One name each: no `x` too many or too few, no group of zeros before the first.
        (span.to_string() == text).then_some(span)
    }

    /// Where it begins, if a level with `count` hashes (or leaves) has all of it.
    fn start_within(self, count: u64) -> Option<u64> {
        let start = self.index.checked_mul(u64::from(FULL_WIDTH))?;
        let end = start.checked_add(u64::from(self.width))?;
        (end <= count).then_some(start)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            text = format!("x{:03}/{text}", rest % 1_000);
            rest /= 1_000;
        }
        f.write_str(&text)?;
        if self.width < FULL_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(level, span) => write!(f, "tile/{level}/{span}"),
            Self::Entries(span) => write!(f, "tile/entries/{span}"),
            Self::Entry(index) => write!(f, "entry/{index}"),
        }
    }
}

impl Resource {
    /// What a path behind the log's prefix names.
    ///
    /// # Errors
    /// It names nothing of a log, or is not written as such a path is written.
    pub fn parse(path: &str) -> Result<Self, Refusal> {
        let named = match path.split_once('/') {
            None if path == "checkpoint" => Some(Self::Checkpoint),
            Some(("entry", index)) => decimal(index).map(Self::Entry),
            Some(("tile", rest)) => rest.split_once('/').and_then(|(kind, span)| {
                if kind == "entries" {
                    return Span::parse(span).map(Self::Entries);
                }
                let level = decimal(kind).filter(|level| *level <= LEVEL_MAX)?;
                Some(Self::Tile(u8::try_from(level).ok()?, Span::parse(span)?))
            }),
            _ => return Err(unknown()),
        };
        named.ok_or_else(malformed)
    }

    /// What it costs in calls that read; one at least.
    pub fn price(&self) -> u32 {
        match self {
            Self::Entries(span) => u32::from(span.width.div_ceil(ENTRIES_A_CALL)).max(1),
            _ => 1,
        }
    }

    /// Whether what it names is the same for ever.
    pub fn is_immutable(&self) -> bool {
        matches!(self, Self::Tile(..) | Self::Entries(_))
    }
}

fn unknown() -> Refusal {
    let sentence = "There is nothing of this name in the log";
    let remedy = "Ask for checkpoint, tile/LEVEL/N, tile/entries/N or entry/INDEX; of a former shard, behind shard/NUMBER/.";
    Refusal::new(Fault::NotFound, "LOG_PATH_UNKNOWN", sentence, remedy)
}

fn malformed() -> Refusal {
    let sentence = "This path is not written as a path of a tiled log is";
    let remedy = "Write N in groups of three digits (x001/x234/067), a partial width as .p/1 to .p/255, a level from \
                  0 to 63, an index without leading zeros, and nothing behind it.";
    Refusal::new(Fault::Invalid, "LOG_PATH_MALFORMED", sentence, remedy)
}

/// The hashes of a tile, one after the other; `None`: a tree of `size` leaves does not cover all of it.
pub async fn tile(
    store: &dyn Store,
    size: u64,
    (level, span): (u8, Span),
) -> Result<Option<Bytes>, StoreError> {
    let height = u32::from(level) * TILE_HEIGHT;
    let count = size.checked_shr(height).unwrap_or(0);
    let (Some(index), Ok(level)) = (span.start_within(count), u8::try_from(height)) else {
        return Ok(None);
    };
    let hashes = store
        .nodes(Node { level, index }, usize::from(span.width))
        .await?;
    if hashes.len() != usize::from(span.width) {
        return Err(StoreError::Corrupt("a node of the tree".into()));
    }
    Ok(Some(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()))
}

/// The leaves of a bundle, each behind its length in two bytes; `None`: a tree of `size` leaves does not cover all of it.
pub async fn entries(store: &dyn Store, size: u64, span: Span) -> Result<Option<Bytes>, StoreError> {
    let Some(start) = span.start_within(size) else {
        return Ok(None);
    };
    let leaves = store.leaves(start, usize::from(span.width)).await?;
    let damaged = || StoreError::Corrupt("a leaf of the log".into());
    if leaves.len() != usize::from(span.width) {
        return Err(damaged());
    }
    let mut bundle = BytesMut::new();
    for leaf in leaves {
        bundle.put_u16(u16::try_from(leaf.len()).map_err(|_| damaged())?);
        bundle.put_slice(&leaf);
    }
    Ok(Some(bundle.freeze()))
}

/// Leaves under the newest signed checkpoint.
pub async fn size(store: &dyn Store) -> Result<u64, StoreError> {
    Ok(store.latest_checkpoint().await?.map_or(0, |newest| newest.size))
}

#[cfg(test)]
mod tests;

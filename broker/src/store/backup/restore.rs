//! The way back: a backup is read to its end before anything is made of it, then put into an empty store, and marked: no
//! broker signs on it until the operator confirms where its log ends.

use std::path::Path;
use std::sync::Arc;

use schakel_proto::ids::Digest;
use schakel_proto::refusal::Refusal;

use super::super::care::{CareError, Tell};
use super::super::content::{Contents, Spool};
use super::super::error::StoreError;
use super::super::halt::{Halt, HaltCause};
use super::super::kv::{Ground, keys};
use super::super::moving::{Sink, change, look};
use super::super::verbs::{halt, log};
use super::frames::{self, In};
use super::{Header, Trailer};

/// What a whole backup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What it says first.
    pub header: Header,
    /// What it says last.
    pub trailer: Trailer,
    /// Its digest.
    pub digest: Digest,
}

/// Reads a backup to its end.
///
/// # Errors
/// It is none, or not whole.
pub fn inspect(file: &Path) -> Result<Inspected, Refusal> {
    let mut read = In::open(file)?;
    let (mut header, mut trailer) = (None, None);
    while let Some((kind, payload)) = read.next()? {
        match (kind, &header, &trailer) {
            (frames::HEADER, None, None) => header = Some(json(&payload)?),
            (_, None, _) => return Err(frames::damaged("it does not begin with its header")),
            (frames::TRAILER, Some(_), None) => trailer = Some(json(&payload)?),
            (_, _, Some(_)) => return Err(frames::damaged("something stands behind its trailer")),
            _ => {}
        }
    }
    match (header, trailer, read.digest()) {
        (Some(header), Some(trailer), Some(digest)) => Ok(Inspected {
            header,
            trailer,
            digest,
        }),
        _ => Err(frames::damaged("it has no header or no trailer")),
    }
}

fn json<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(payload).map_err(|_| frames::damaged("its header or trailer does not parse"))
}

/// Puts a backup into an empty store, and marks it.
///
/// # Errors
/// It is not the backup that was inspected, or the store cannot be written.
pub(crate) async fn apply(
    file: &Path,
    inspected: &Inspected,
    (ground, contents): (&dyn Ground, &Arc<Contents>),
    told: Tell<'_>,
) -> Result<Halt, CareError> {
    let mut sink = Sink::new(ground, contents);
    let mut read = In::open(file)?;
    let (mut part, mut bytes) = (None, 0_u64);
    while let Some((kind, payload)) = read.next()? {
        match kind {
            frames::ROWS | frames::BATCH => {
                // The mark of a store that was not confirmed itself is replaced by this one's.
                let changes = frames::read_changes(&payload)?.into_iter();
                for (key, record) in changes.filter(|(key, _)| *key != keys::HALT) {
                    sink.put(key, record)?;
                }
            }
            frames::FILE => {
                // Where several use the shelf, what no row names is taken away at once.
                sink.flush()?;
                part = Some(Part::begin(&payload, contents, ground)?);
            }
            frames::CHUNK | frames::WHOLE | frames::DAMAGED => {
                let begun = part
                    .take()
                    .ok_or_else(|| frames::damaged("a part file without its head"))?;
                part = begun.go_on(kind, &payload).await?;
            }
            _ => {}
        }
        bytes = bytes.saturating_add(u64::try_from(payload.len()).unwrap_or(u64::MAX));
        told(bytes);
    }
    if part.is_some() || read.digest() != Some(inspected.digest) {
        return Err(frames::damaged("it changed while it was read").into());
    }
    sink.flush()?;
    let (size, root) = look(ground, |read| {
        Ok(halt::end(log::latest_checkpoint(read)?.as_ref()))
    })?;
    if (size, root.to_string()) != (inspected.trailer.size, inspected.trailer.root.clone()) {
        return Err(frames::damaged("its log does not end where it says").into());
    }
    let marked = change(ground, |txn| halt::set(txn, HaltCause::Restored))?;
    ground.tree_grew(size, &root)?;
    Ok(marked)
}

/// A part file on its way back.
struct Part {
    spool: Spool,
    digest: Digest,
}

impl Part {
    fn begin(head: &[u8], contents: &Arc<Contents>, ground: &dyn Ground) -> Result<Self, CareError> {
        let bad = || frames::damaged("a part file without its head");
        let (digest, length) = head.split_at_checked(32).ok_or_else(bad)?;
        let length = u64::from_be_bytes(length.try_into().map_err(|_| bad())?);
        Ok(Self {
            spool: contents.spool(length, |bytes| ground.has_room(bytes))?,
            digest: digest.try_into().map_err(|_| bad())?,
        })
    }

    async fn go_on(mut self, kind: u8, payload: &[u8]) -> Result<Option<Self>, CareError> {
        match kind {
            frames::CHUNK => {
                self.spool.write(payload).await?;
                Ok(Some(self))
            }
            frames::WHOLE => {
                // On its shelf it stays: the row that names it is there already.
                if self.spool.finish(self.digest).await?.inline().is_some() {
                    return Err(StoreError::Misused("a part file that is too short to be one").into());
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

//! Everything of one store into another, empty one, record by record and file by file; then both are compared. The log
//! stays what it is: same leaves, same tree, same proofs.

use std::sync::Arc;

use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::refusal::{Fault, Refusal};

use super::care::{CareError, Tell};
use super::content::Contents;
use super::error::StoreError;
use super::kv::{Batch, CommitError, Kv, keys, record};

/// Rows read at once.
const PAGE: usize = 128;
/// Bytes of rows after which they are made durable.
const BATCH_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Rows on their way into a store that nobody uses yet.
pub(crate) struct Sink<'a> {
    kv: &'a dyn Kv,
    contents: &'a Arc<Contents>,
    batch: Batch,
    bytes: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(kv: &'a dyn Kv, contents: &'a Arc<Contents>) -> Self {
        Self {
            kv,
            contents,
            batch: Batch::new(),
            bytes: 0,
        }
    }

    /// Sets the record of a key, or takes the row away.
    pub(crate) fn put(&mut self, key: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        self.bytes += key.len() + record.map_or(0, <[u8]>::len);
        self.batch.insert(key.to_vec(), record.map(<[u8]>::to_vec));
        if self.bytes >= BATCH_MAX_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes durable what was put.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.kv.commit(&batch).map_err(|error| match error {
            CommitError::Full => StoreError::Full,
            other => StoreError::Stopped(format!("{other:?}").into()),
        })
    }

    /// Copies a part file; `false`: it is missing or damaged where it comes from.
    async fn file(&self, file: Digest, from: &Arc<Contents>) -> Result<bool, StoreError> {
        let Some(length) = from.length(&file)? else {
            return Ok(false);
        };
        let mut reader = match from.open(file, length).await {
            Ok(reader) => reader,
            Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut spool = self.contents.spool(length, |bytes| self.kv.has_room(bytes))?;
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => spool.write(&chunk).await?,
                Ok(None) => break,
                Err(StoreError::Corrupt(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let _stays_on_its_shelf = spool.finish(file).await?;
        Ok(true)
    }
}

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows.
    pub rows: u64,
    /// Part files.
    pub files: u64,
    /// Part files that were missing or damaged in the former store already.
    pub damaged_files: u64,
    /// Bytes of the rows.
    pub bytes: u64,
}

/// A digest over all rows, in the order of their keys.
#[derive(Default)]
struct Sum(Sha256);

impl Sum {
    fn add(&mut self, key: &[u8], record: &[u8]) {
        for one in [key, record] {
            self.0
                .update(&u64::try_from(one.len()).unwrap_or(u64::MAX).to_be_bytes());
            self.0.update(one);
        }
    }
}

/// Goes through all rows of a store.
fn each(kv: &dyn Kv, row: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = kv.scan(&[], after.as_deref(), PAGE)?;
        for (key, found) in &page {
            row(key, found)?;
        }
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(last.clone());
    }
}

/// Number and digest of all rows.
fn sum(kv: &dyn Kv) -> Result<(u64, Digest), StoreError> {
    let (mut count, mut sum) = (0, Sum::default());
    each(kv, &mut |key, found| {
        count += 1;
        sum.add(key, found);
        Ok(())
    })?;
    Ok((count, sum.0.finish()))
}

/// Copies all rows, checks them on the way, and compares both sides.
pub(super) fn whole(from: &dyn Kv, sink: &mut Sink<'_>, told: Tell<'_>) -> Result<Moved, CareError> {
    let (mut moved, mut source) = (Moved::default(), Sum::default());
    each(from, &mut |key, found| {
        let _whole = record::open(key, found)?;
        source.add(key, found);
        moved.rows += 1;
        moved.bytes += u64::try_from(key.len() + found.len()).unwrap_or(u64::MAX);
        told(moved.bytes);
        sink.put(key, Some(found))
    })?;
    sink.flush()?;
    if sum(sink.kv)? != (moved.rows, source.0.finish()) {
        let sentence = "The rows that were written are not those that were read";
        let remedy = "The former store is unchanged: look at the disk, empty the new folder, and try again.";
        return Err(Refusal::new(Fault::Internal, "STORE_COPY_DIFFERS", sentence, remedy).into());
    }
    Ok(moved)
}

/// Moves everything: rows, then the files that they name.
pub(crate) async fn everything(
    (from, files): (&dyn Kv, &Arc<Contents>),
    (to, contents): (&dyn Kv, &Arc<Contents>),
    told: Tell<'_>,
) -> Result<Moved, CareError> {
    let mut sink = Sink::new(to, contents);
    let mut moved = whole(from, &mut sink, told)?;
    let (mut after, mut last): (Option<Vec<u8>>, _) = (None, None);
    loop {
        let page = from.scan(&[keys::FILE], after.as_deref(), PAGE)?;
        for (key, _) in &page {
            let file: Option<Digest> = key.get(1..33).and_then(|digest| digest.try_into().ok());
            let file = file.ok_or(StoreError::Corrupt("the claim on a part file".into()))?;
            if last.replace(file) == Some(file) {
                continue;
            }
            if sink.file(file, files).await? {
                moved.files += 1;
            } else {
                moved.damaged_files += 1;
            }
        }
        let Some((key, _)) = page.last() else {
            return Ok(moved);
        };
        after = Some(key.clone());
    }
}

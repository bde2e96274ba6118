//! Everything of one store into another, empty one, record by record and file by file; then both are compared. The log
//! stays what it is: same leaves, same tree, same proofs. Between any two backends.

use std::sync::Arc;

use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::refusal::{Fault, Refusal};

use super::care::{CareError, Tell};
use super::content::Contents;
use super::error::StoreError;
use super::kv::txn::{Committed, Txn};
use super::kv::{Batch, CommitError, Ground, Group, Rows, keys, record};

/// Rows read at once.
const PAGE: usize = 128;
/// Bytes of rows after which they are made durable.
const BATCH_MAX_BYTES: usize = 2 * 1024 * 1024;

fn committed(result: Result<(), CommitError>) -> Result<(), StoreError> {
    result.map_err(|error| match error {
        CommitError::Full => StoreError::Full,
        CommitError::Fatal(why) | CommitError::Unknown(why) => StoreError::Stopped(why.into()),
        CommitError::Away(why) => StoreError::Away(why.into()),
    })
}

fn commit(ground: &dyn Ground, batch: &Batch) -> Result<(), StoreError> {
    let group = Group {
        batch,
        keep: &[],
        ended: &[],
    };
    // Maps that are elsewhere wait on this thread.
    tokio::task::block_in_place(|| committed(ground.begin()?.commit(&group)))
}

/// Looks at what is durable.
pub(crate) fn look<T>(
    ground: &dyn Ground,
    read: impl FnOnce(&Committed<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    tokio::task::block_in_place(|| {
        let view = ground.view()?;
        let found = read(&Committed(view.as_ref()));
        view.finish()?;
        found
    })
}

/// Changes a store that nobody else uses.
pub(crate) fn change<T>(
    ground: &dyn Ground,
    make: impl FnOnce(&mut Txn<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    tokio::task::block_in_place(|| {
        let session = ground.begin()?;
        let none = Batch::new();
        let mut txn = Txn::new(session.as_ref(), &none);
        let made = make(&mut txn)?;
        let batch = txn.into_changes();
        let group = Group {
            batch: &batch,
            keep: &[],
            ended: &[],
        };
        committed(session.commit(&group))?;
        Ok(made)
    })
}

/// Rows under a prefix, a page of them.
pub(super) fn page(ground: &dyn Ground, prefix: &[u8], after: Option<&[u8]>) -> Result<Rows, StoreError> {
    tokio::task::block_in_place(|| {
        let view = ground.view()?;
        let found = view.scan(prefix, after, PAGE);
        view.finish()?;
        found
    })
}

/// Rows on their way into a store that nobody uses yet.
pub(crate) struct Sink<'a> {
    ground: &'a dyn Ground,
    contents: &'a Arc<Contents>,
    batch: Batch,
    bytes: usize,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(ground: &'a dyn Ground, contents: &'a Arc<Contents>) -> Self {
        Self {
            ground,
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
        commit(self.ground, &batch)
    }

    /// Copies a part file; `false`: it is missing or damaged where it comes from.
    async fn file(&self, file: Digest, from: &Arc<Contents>) -> Result<bool, StoreError> {
        let Some(length) = from.length(&file).await? else {
            return Ok(false);
        };
        let mut reader = match from.open(file, length).await {
            Ok(reader) => reader,
            Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut spool = self.contents.spool(length, |bytes| self.ground.has_room(bytes))?;
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => spool.write(&chunk).await?,
                Ok(None) => break,
                Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        // The row that names it is there already: it stays on its shelf.
        let _stored = spool.finish(file).await?;
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

/// A digest over all rows, in the order of their keys; the mark of a store that must not sign left out.
#[derive(Default)]
struct Sum {
    hasher: Sha256,
    count: u64,
}

impl Sum {
    fn add(&mut self, key: &[u8], record: &[u8]) {
        if key == keys::HALT {
            return;
        }
        self.count += 1;
        for one in [key, record] {
            let length = u64::try_from(one.len()).unwrap_or(u64::MAX);
            self.hasher.update(&length.to_be_bytes());
            self.hasher.update(one);
        }
    }

    fn finish(self) -> (u64, Digest) {
        (self.count, self.hasher.finish())
    }
}

/// Called for each row: key and record.
type EachRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// Goes through all rows of a store.
pub(super) fn each(ground: &dyn Ground, row: EachRow<'_>) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = page(ground, &[], after.as_deref())?;
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
pub(super) fn sum(ground: &dyn Ground) -> Result<(u64, Digest), StoreError> {
    let mut sum = Sum::default();
    each(ground, &mut |key, found| {
        sum.add(key, found);
        Ok(())
    })?;
    Ok(sum.finish())
}

/// Copies all rows, checks them on the way, and compares both sides. Gives number and digest of the rows, too.
pub(super) fn whole(
    from: &dyn Ground,
    sink: &mut Sink<'_>,
    told: Tell<'_>,
) -> Result<(Moved, (u64, Digest)), CareError> {
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
    let source = source.finish();
    if sum(sink.ground)? != source {
        let sentence = "The rows that were written are not those that were read";
        let remedy = "The former store is unchanged: look at the disk, empty the new one, and try again.";
        return Err(Refusal::new(Fault::Internal, "STORE_COPY_DIFFERS", sentence, remedy).into());
    }
    Ok((moved, source))
}

/// Moves everything: rows, then the files that they name. Gives number and digest of the rows, too.
pub(super) async fn everything(
    (from, files): (&dyn Ground, &Arc<Contents>),
    (to, contents): (&dyn Ground, &Arc<Contents>),
    told: Tell<'_>,
) -> Result<(Moved, (u64, Digest)), CareError> {
    let mut sink = Sink::new(to, contents);
    let (mut moved, summed) = whole(from, &mut sink, told)?;
    let (mut after, mut last): (Option<Vec<u8>>, _) = (None, None);
    loop {
        let page = page(from, &[keys::FILE], after.as_deref())?;
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
            return Ok((moved, summed));
        };
        after = Some(key.clone());
    }
}

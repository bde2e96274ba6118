//! Makes a backup while the store is in use: see the module above for why it is consistent.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use schakel_proto::ids::Digest;
use schakel_proto::refusal::{Fault, Refusal};

use super::super::care::Tell;
use super::super::content::Contents;
use super::super::error::StoreError;
use super::super::kv::engine::Engine;
use super::super::kv::rows::CheckpointRow;
use super::super::kv::txn::Read;
use super::super::kv::{Batch, Ground, Rows, keys, record};
use super::super::verbs::halt;
use super::frames::{self, Out};
use super::{BackedUp, BackupOrder, Header, Trailer};

/// Rows read at once, of at most 64 KiB each: nothing is committed meanwhile.
const PAGE: usize = 128;
/// Part files whose copy is still to come; more than that is more than a backup can follow.
const TODO_MAX_COUNT: usize = 1 << 20;
/// Digests of files copied for batches that are remembered. A file that is forgotten is copied again, which does no harm.
const COPIED_MAX_COUNT: usize = 1 << 16;
/// Bytes between two words on how far it is, and between two looks at the room that is left.
const TOLD_EVERY_BYTES: u64 = 16 * 1024 * 1024;

fn refused(code: &'static str, sentence: &str, remedy: &'static str) -> Refusal {
    Refusal::new(Fault::Unavailable, code, sentence, remedy)
}

fn behind() -> Refusal {
    refused(
        "BACKUP_BEHIND",
        "The broker wrote faster than the backup could be written",
        "Name a file on a faster disk, or choose a quieter hour.",
    )
}

/// A backup of a damaged store would be refused when it is needed.
fn not_carried(error: StoreError) -> Refusal {
    let StoreError::Corrupt(what) = error else {
        return error.into();
    };
    let sentence = "The store is damaged, and a backup of it would not restore";
    let remedy = "Run `schakel-broker store check`, keep the newest backup that is good, and restore that.";
    Refusal::new(Fault::Internal, "BACKUP_STORE_DAMAGED", sentence, remedy).at(what.to_string())
}

/// Notes are taken while this stands, and no part file goes.
struct Noting(Arc<Engine>);

impl Noting {
    fn begin(engine: &Arc<Engine>) -> Result<Self, Refusal> {
        if engine.tee().begin() {
            return Ok(Self(Arc::clone(engine)));
        }
        let sentence = "Another backup is being made";
        Err(refused("BACKUP_RUNNING", sentence, "Wait until it is made."))
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.tee().end();
        // What should have gone meanwhile goes now.
        self.0.nudge();
    }
}

/// Makes a backup.
pub(crate) async fn write(
    engine: &Arc<Engine>,
    (contents, kv): (&Arc<Contents>, &dyn Ground),
    order: &BackupOrder,
    told: Tell<'_>,
) -> Result<BackedUp, Refusal> {
    if !kv.holds_readers() {
        let sentence = "This store is a database that several brokers use";
        let remedy = "Make the database's own backup: docs/operating/postgres.md.";
        return Err(refused("BACKUP_SHARED", sentence, remedy));
    }
    let survey = Arc::clone(contents);
    let files = tokio::task::spawn_blocking(move || survey.bytes()).await;
    let files = files.map_err(|_| StoreError::Stopped("a reader has failed".into()))??;
    let needed = files.saturating_add(kv.row_bytes());
    if free_bytes(order) < needed {
        return Err(frames::no_room());
    }
    let schema = engine.read(|r| r.number(keys::SCHEMA)).await?;
    let out = Out::create(&order.file)?;
    let noting = Noting::begin(engine)?;
    let mut writing = Writing {
        engine,
        contents,
        kv,
        out,
        told,
        counts: Counts::default(),
        newest: None,
        todo: VecDeque::new(),
        copied: HashSet::new(),
        last: None,
        had_room: kv.has_room(0),
        looked_at: 0,
    };
    let header = Header {
        // A map in memory has none.
        schema: schema.unwrap_or(0),
        network: order.network.to_string(),
        began_ms: order.at.millis(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    writing.json(frames::HEADER, &header).await?;
    writing.all().await?;
    let trailer = writing.trailer()?;
    writing.json(frames::TRAILER, &trailer).await?;
    let (digest, bytes) = writing.out.keep().await?;
    drop(noting);
    Ok(BackedUp {
        trailer,
        bytes,
        digest,
    })
}

/// Bytes free where the backup is to be written; the largest number if the system does not say.
fn free_bytes(order: &BackupOrder) -> u64 {
    let found = rustix::fs::statvfs(frames::folder_of(&order.file));
    found.map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

#[derive(Default)]
struct Counts {
    rows: u64,
    row_bytes: u64,
    batches: u64,
    files: u64,
    file_bytes: u64,
    damaged_files: u64,
}

struct Writing<'a> {
    engine: &'a Arc<Engine>,
    contents: &'a Arc<Contents>,
    kv: &'a dyn Ground,
    out: Out,
    told: Tell<'a>,
    counts: Counts,
    /// Record of the newest checkpoint that is in the file.
    newest: Option<Vec<u8>>,
    /// Part files to be copied.
    todo: VecDeque<Digest>,
    /// Those that batches named and that were copied, or are to be.
    copied: HashSet<Digest>,
    /// The part file that the last row of the pages named.
    last: Option<Digest>,
    /// The store had room for new packets when this began.
    had_room: bool,
    looked_at: u64,
}

impl Writing<'_> {
    async fn json(&mut self, kind: u8, value: &(impl serde::Serialize + Sync)) -> Result<(), Refusal> {
        let bytes = serde_json::to_vec(value).map_err(|_| StoreError::Misused("a header that is no JSON"))?;
        self.out.frame(kind, &bytes).await
    }

    /// Every page, every batch that was noted, every file that they name.
    async fn all(&mut self) -> Result<(), Refusal> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            self.noted(true).await?;
            let from = after.clone();
            let page = self
                .engine
                .read(move |r| r.records(&[], from.as_deref(), PAGE))
                .await?;
            self.page(&page).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            // Those that are known now: more may come as fast as they are copied.
            self.files(self.todo.len(), true).await?;
        }
        self.noted(false).await?;
        self.files(usize::MAX, false).await
    }

    /// Writes what was committed since the last time.
    async fn noted(&mut self, go_on: bool) -> Result<(), Refusal> {
        for batch in self.engine.tee().take(go_on).ok_or_else(behind)? {
            self.batch(&batch).await?;
        }
        Ok(())
    }

    async fn batch(&mut self, batch: &Batch) -> Result<(), Refusal> {
        self.counts.batches += 1;
        for frame in frames::changes(batch) {
            self.counts.row_bytes += bytes(frame.len());
            self.out.frame(frames::BATCH, &frame).await?;
        }
        if let Some(Some(record)) = batch.get(keys::CHECKPOINT) {
            self.newest = Some(record.clone());
        }
        for (key, record) in batch {
            if let (Some(file), true) = (file_of(key), record.is_some()) {
                if self.copied.len() >= COPIED_MAX_COUNT {
                    self.copied.clear();
                }
                if self.copied.insert(file) {
                    self.later(file)?;
                }
            }
        }
        self.look()
    }

    async fn page(&mut self, page: &Rows) -> Result<(), Refusal> {
        let mut frame = Vec::new();
        for (key, found) in page {
            // What is damaged is not carried on in silence.
            let _whole = record::open(key, found).map_err(not_carried)?;
            frames::change(&mut frame, key, Some(found));
            if key.as_slice() == keys::CHECKPOINT {
                self.newest = Some(found.clone());
            }
            if let Some(file) = file_of(key)
                && self.last != Some(file)
            {
                self.last = Some(file);
                if !self.copied.contains(&file) {
                    self.later(file)?;
                }
            }
        }
        self.counts.rows += bytes(page.len());
        self.counts.row_bytes += bytes(frame.len());
        self.out.frame(frames::ROWS, &frame).await?;
        self.look()
    }

    fn later(&mut self, file: Digest) -> Result<(), Refusal> {
        if self.todo.len() >= TODO_MAX_COUNT {
            return Err(behind());
        }
        self.todo.push_back(file);
        Ok(())
    }

    /// Copies part files, at most so many; meanwhile it writes what is committed, if that is noted still.
    async fn files(&mut self, count: usize, noting: bool) -> Result<(), Refusal> {
        for _ in 0..count {
            let Some(file) = self.todo.pop_front() else { break };
            self.file(&file, noting).await?;
        }
        Ok(())
    }

    async fn file(&mut self, file: &Digest, noting: bool) -> Result<(), Refusal> {
        let Some(length) = self.contents.length(file).await? else {
            self.counts.damaged_files += 1;
            return Ok(());
        };
        let mut reader = match self.contents.open(*file, length).await {
            Ok(reader) => reader,
            Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => {
                self.counts.damaged_files += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let head = [file.as_bytes().as_slice(), &length.to_be_bytes()].concat();
        self.out.frame(frames::FILE, &head).await?;
        let end = loop {
            match reader.next().await {
                Ok(Some(chunk)) => {
                    self.counts.file_bytes += bytes(chunk.len());
                    self.out.frame(frames::CHUNK, &chunk).await?;
                    if noting {
                        self.noted(true).await?;
                    }
                    self.look()?;
                }
                Ok(None) => break frames::WHOLE,
                Err(StoreError::Corrupt(_)) => break frames::DAMAGED,
                Err(error) => return Err(error.into()),
            }
        };
        self.out.frame(end, &[]).await?;
        if end == frames::WHOLE {
            self.counts.files += 1;
        } else {
            self.counts.damaged_files += 1;
        }
        Ok(())
    }

    /// Says how far it is, and gives up before agencies are refused for want of room.
    fn look(&mut self) -> Result<(), Refusal> {
        let done = self.out.bytes();
        if done < self.looked_at.saturating_add(TOLD_EVERY_BYTES) {
            return Ok(());
        }
        self.looked_at = done;
        (self.told)(done);
        if self.had_room && !self.kv.has_room(0) {
            return Err(frames::no_room());
        }
        Ok(())
    }

    fn trailer(&self) -> Result<Trailer, Refusal> {
        let newest = self.newest.as_deref().map(tree_of).transpose()?;
        let (size, root) = newest.unwrap_or_else(|| halt::end(None));
        Ok(Trailer {
            size,
            root: root.to_string(),
            rows: self.counts.rows,
            row_bytes: self.counts.row_bytes,
            batches: self.counts.batches,
            files: self.counts.files,
            file_bytes: self.counts.file_bytes,
            damaged_files: self.counts.damaged_files,
        })
    }
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The part file that a row names.
fn file_of(key: &[u8]) -> Option<Digest> {
    if key.first() != Some(&keys::FILE) {
        return None;
    }
    Digest::try_from(key.get(1..33)?).ok()
}

/// Size and root in the record of a checkpoint.
fn tree_of(found: &[u8]) -> Result<(u64, Digest), StoreError> {
    use prost::Message;
    let bad = || StoreError::Corrupt("the newest checkpoint".into());
    let value = record::open(keys::CHECKPOINT, found)?;
    let (0, row) = value
        .split_first()
        .map(|(frame, row)| (*frame, row))
        .ok_or_else(bad)?
    else {
        return Err(bad());
    };
    let row = CheckpointRow::decode(row).map_err(|_| bad())?;
    let root = Digest::try_from(row.root.as_slice()).map_err(|_| bad())?;
    Ok((row.size, root))
}

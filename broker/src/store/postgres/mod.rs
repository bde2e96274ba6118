//! The store in PostgreSQL: any number of brokers on one database, with a standby that has everything before anybody is
//! answered.
//!
//! The rows are the same ordered byte map as on one machine (`kv`), so every verb, every check of `log verify` and every
//! record's checksum are the same; what a database does better is done by it. One broker commits at a time, under a lock
//! of the database that ends with the connection; a group of verbs is one transaction. Reads are snapshots and wait for
//! nobody. Leases are rows of an unlogged table, claimed with `FOR UPDATE SKIP LOCKED`. Brokers hear of each other's commits
//! by `LISTEN`. Content of large parts lies in chunks beside the rows. docs/operating/postgres.md is for the operator,
//! docs/decisions/0027 says why.
//!
//! What rests on the database: `fsync` and `full_page_writes` (asked at each connection), `synchronous_commit`, and, where
//! a standby is required, the standby's own word (`standby`). What does not: nothing is believed because it was read, as
//! every record carries its checksum and the log its tree.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Object, Pool};
use schakel_proto::ids::Digest;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, broadcast, oneshot};
use tokio_postgres::error::SqlState;

use super::content::Contents;
use super::durable::write_durably;
use super::error::StoreError;
use super::heard::{HEARD_MAX_COUNT, Heard};
use super::kv::keys::SCHEMA_VERSION;
use super::kv::txn::{Committed, Read, Txn};
use super::kv::{Batch, Faults, Ground, Group, KvStore, NoFaults, Reading, Session, keys};

mod lock;

mod settings;

mod connect;

mod strays;

mod pool;

mod migrations;

mod standby;

mod map;

mod leases;

mod contents;

mod heard;

#[cfg(any(test, feature = "raw-rows"))]
pub mod cluster;

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod private;

pub use migrations::Standing;
pub use settings::{CONFIRM_MAX, Host, POOL_MAX_COUNT, PostgresOptions, Privacy, Standby, is_schema_name};

/// A store in PostgreSQL.
pub type PostgresStore = KvStore<PgKv>;

/// How long new packets are refused after the database had no room: what is under way goes first.
const FULL_FOR: Duration = Duration::from_secs(5);
/// How often what was released is removed at least.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// How long opening waits until this broker is heard of.
const OPEN_MAX: Duration = Duration::from_secs(20);
/// How often the size of the tree is noted in data_dir.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// The note of the tree's size.
const MARK: &str = "log-size";

/// What the parts of the store share.
pub(super) struct Base {
    connector: Arc<connect::Connector>,
    pool: Pool<pool::Links>,
    writer: Mutex<Option<connect::Link>>,
    horizon: standby::Horizon,
    writer_key: i64,
    class: i32,
    owner: i32,
    handle: Handle,
    is_reached: AtomicBool,
    full_until: Mutex<Option<Instant>>,
    ring: OnceLock<Arc<Notify>>,
    settle: Notify,
}

impl Base {
    /// Runs work of the database on this thread, which must not be one that serves.
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }

    /// Work within the limit: the network may swallow any answer.
    async fn within<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let late = || Err(StoreError::Away("the database does not answer".into()));
        tokio::time::timeout(self.horizon.limit(), work)
            .await
            .unwrap_or_else(|_| late())
    }

    fn standby(&self) -> Standby {
        self.connector.options().standby
    }

    async fn link(&self) -> Result<Object<pool::Links>, StoreError> {
        let link = pool::link(&self.pool).await;
        self.reached(link.is_ok());
        link
    }

    /// Notes whether the database could be reached.
    fn reached(&self, is_reached: bool) {
        let was = self.is_reached.swap(is_reached, Ordering::SeqCst);
        if was && !is_reached {
            tracing::error!("alarm: the database is not reached; nothing is accepted until it is");
        } else if !was && is_reached {
            tracing::info!("the database is reached again");
        }
    }

    fn filled(&self) {
        tracing::error!("alarm: the database has no room left");
        *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + FULL_FOR);
    }

    fn full_or_away(&self, error: tokio_postgres::Error) -> StoreError {
        if error.code().is_some_and(|code| *code == SqlState::DISK_FULL) {
            self.filled();
            return StoreError::Full;
        }
        connect::away(error)
    }
}

/// The ordered byte map in the database.
pub struct PgKv {
    base: Arc<Base>,
    heard: broadcast::Sender<Heard>,
    marked: Mutex<Option<Instant>>,
    shelf: Arc<contents::PgShelf>,
    /// Of `data_dir`: two brokers do not note in one place.
    lock: Mutex<Option<std::fs::File>>,
    /// Ended in the background: it may be dropped by a thread that serves.
    runtime: Mutex<Option<Runtime>>,
}

impl std::fmt::Debug for PgKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgKv")
    }
}

impl Drop for PgKv {
    fn drop(&mut self) {
        self.end();
    }
}

impl PgKv {
    fn end(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.base.pool.close();
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }

    /// Takes the steps of the schema that are missing; gives how far it was, and is.
    ///
    /// # Errors
    /// The database is not reached, or was made by a newer program.
    pub async fn migrate(options: PostgresOptions) -> Result<(Standing, Standing), StoreError> {
        let connector = connect::Connector::new(options)?;
        let mut client = connector.bare(None).await?;
        migrations::take(&mut client, &connector.options().schema).await
    }

    /// How far the schema is, without a step taken.
    ///
    /// # Errors
    /// The database is not reached, or was made by a newer program.
    pub async fn standing(options: PostgresOptions) -> Result<Standing, StoreError> {
        let connector = connect::Connector::new(options)?;
        migrations::look(&connector.bare(None).await?).await
    }

    /// Behaves as if the database had no room, or had again.
    #[cfg(test)]
    pub(super) fn set_full(&self, full: bool) {
        let until = full.then(|| Instant::now() + Duration::from_secs(3_600));
        *self
            .base
            .full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn mark_path(&self) -> std::path::PathBuf {
        self.base.connector.options().notes_dir.join(MARK)
    }
}

impl PostgresStore {
    /// Opens the store in a database. [`StoreError::Unusable`] says what to do.
    ///
    /// # Errors
    /// It cannot be reached, or must not be used as it is.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        Self::open_with(options, Arc::new(NoFaults)).await
    }

    /// The same, with commits that `faults` may break (tests).
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(options: PostgresOptions, faults: Arc<dyn Faults>) -> Result<Self, StoreError> {
        let work = move || open(options, faults);
        let opened = tokio::task::spawn_blocking(work).await;
        opened.map_err(|_| StoreError::Unusable("opening the database's store failed".into()))?
    }
}

fn open(options: PostgresOptions, faults: Arc<dyn Faults>) -> Result<PostgresStore, StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("database")
        .enable_all()
        .build();
    let runtime = runtime.map_err(StoreError::on("a thread for the database"))?;
    let schema = options.schema.clone();
    let lock = super::sled::lock(&options.notes_dir)?;
    let (migrate, pool_max_count, confirm_max) =
        (options.migrate, options.pool_max_count, options.confirm_max);
    let connector = Arc::new(connect::Connector::new(options)?);
    runtime.block_on(async {
        let mut client = connector.bare(None).await?;
        if migrate {
            migrations::take(&mut client, &schema).await?;
        }
        migrations::check(&client).await.map(drop)
    })?;
    let base = Arc::new(Base {
        pool: pool::pool(Arc::clone(&connector), pool_max_count)?,
        connector,
        writer: Mutex::default(),
        horizon: standby::Horizon::new(confirm_max),
        writer_key: lock::key(&schema, lock::WRITER),
        class: lock::class(&schema),
        owner: rand::Rng::random_range(&mut crate::clock::seeded_rng(), 1..i32::MAX),
        handle: runtime.handle().clone(),
        is_reached: AtomicBool::new(true),
        full_until: Mutex::default(),
        ring: OnceLock::new(),
        settle: Notify::new(),
    });
    let heard = broadcast::Sender::new(HEARD_MAX_COUNT);
    let (listening, listens) = oneshot::channel();
    runtime.spawn(heard::listen(Arc::downgrade(&base), heard.clone(), listening));
    let listens = runtime.block_on(async { tokio::time::timeout(OPEN_MAX, listens).await });
    if !matches!(listens, Ok(Ok(()))) {
        runtime.shutdown_background();
        return Err(StoreError::Away(
            "the database does not let this broker listen".into(),
        ));
    }
    let shelf = Arc::new(contents::PgShelf {
        base: Arc::clone(&base),
        released: Mutex::default(),
    });
    let swept = runtime.block_on(base.within(shelf.sweep()))?;
    if swept > 0 {
        tracing::info!(
            chunks = swept,
            "what brokers that ended had begun to write was removed"
        );
    }
    runtime.spawn(settle(Arc::downgrade(&shelf)));
    let kv = Arc::new(PgKv {
        base: Arc::clone(&base),
        heard,
        marked: Mutex::default(),
        shelf: Arc::clone(&shelf),
        lock: Mutex::new(Some(lock)),
        runtime: Mutex::new(Some(runtime)),
    });
    begin(&kv)?;
    let leases = Arc::new(leases::PgLeases(base));
    PostgresStore::start_with(kv, Contents::shared(shelf), leases, faults)
}

/// Removes now and then what was released.
async fn settle(shelf: std::sync::Weak<contents::PgShelf>) {
    while let Some(strong) = shelf.upgrade() {
        if let Err(why) = strong.settle().await {
            tracing::warn!(%why, "content that nobody needs could not be removed yet");
        }
        let base = Arc::clone(&strong.base);
        drop(strong);
        let _ = tokio::time::timeout(SETTLE_EVERY, base.settle.notified()).await;
    }
}

/// The schema of the rows, and that the log is not behind what this broker has seen of it.
fn begin(kv: &Arc<PgKv>) -> Result<(), StoreError> {
    let session = kv.begin()?;
    let found = Committed(session.as_ref()).number(keys::SCHEMA)?;
    match found {
        Some(SCHEMA_VERSION) => {}
        Some(other) => {
            let why = format!(
                "the store has schema {other}, this program knows {SCHEMA_VERSION}: start the version that belongs to it"
            );
            return Err(StoreError::Unusable(why.into()));
        }
        None => {
            let none = Batch::new();
            let mut txn = Txn::new(session.as_ref(), &none);
            txn.put_number(keys::SCHEMA, SCHEMA_VERSION)?;
            let batch = txn.into_changes();
            let group = Group {
                batch: &batch,
                keep: &[],
                ended: &[],
            };
            return session
                .commit(&group)
                .map_err(|_| StoreError::Away("the new store could not be written".into()));
        }
    }
    let size =
        super::verbs::log::latest_checkpoint(&Committed(session.as_ref()))?.map_or(0, |newest| newest.size);
    session.finish()?;
    let mark = match std::fs::read_to_string(kv.mark_path()) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("the mark of the log's size", error)),
    };
    let marked = mark
        .split_once(' ')
        .and_then(|(size, _)| size.parse::<u64>().ok());
    match marked {
        Some(marked) if marked <= size => Ok(()),
        Some(marked) => Err(StoreError::Unusable(
            format!(
                "the log in the database has {size} entries, and this broker has seen {marked}: it is an older copy. \
                 Start the newest one; docs/operating/postgres.md says what to do if there is none"
            )
            .into(),
        )),
        None => Err(StoreError::Unusable(
            "the file `log-size` in data_dir is damaged: make sure that the database is the newest, then remove it".into(),
        )),
    }
}

impl Ground for PgKv {
    fn view(&self) -> Result<Box<dyn Reading + '_>, StoreError> {
        Ok(Box::new(map::PgView {
            base: &self.base,
            fetched: map::Fetched::default(),
            link: Some(self.base.run(self.base.link())?),
            begun: OnceLock::new(),
            touched: std::cell::Cell::new(false),
        }))
    }

    fn begin(&self) -> Result<Box<dyn Session + '_>, StoreError> {
        Ok(Box::new(map::PgSession::begin(&self.base)?))
    }

    fn holds_readers(&self) -> bool {
        false
    }

    fn has_room(&self, _bytes: u64) -> bool {
        let until = *self
            .base
            .full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until < Instant::now())
    }

    fn is_reached(&self) -> bool {
        self.base.is_reached.load(Ordering::SeqCst)
    }

    fn tree_grew(&self, size: u64, root: &Digest) -> Result<(), StoreError> {
        let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
        if marked.is_some_and(|at| at.elapsed() < MARK_INTERVAL) {
            return Ok(());
        }
        *marked = Some(Instant::now());
        write_durably(&self.mark_path(), format!("{size} {root}\n").as_bytes(), 0o600)
    }

    fn heard(&self) -> Option<broadcast::Receiver<Heard>> {
        Some(self.heard.subscribe())
    }

    fn ring(&self, pending: Arc<Notify>) {
        let _ = self.base.ring.set(pending);
    }

    fn close(&self) {
        *self.base.writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let handle = self.base.handle.clone();
        let shelf = Arc::clone(&self.shelf);
        // On a thread of its own: this one may belong to a runtime.
        let settle =
            move || handle.block_on(async { tokio::time::timeout(SETTLE_EVERY, shelf.settle()).await });
        let settled = std::thread::Builder::new()
            .spawn(settle)
            .map(std::thread::JoinHandle::join);
        if !matches!(settled, Ok(Ok(Ok(Ok(()))))) {
            tracing::warn!("content that nobody needs is left to the next start");
        }
        self.end();
    }
}

//! The one thread that writes. It takes verbs from a bounded queue, runs each on the view of the batch in
//! progress, commits the whole group with one sync, and only then answers. What is read is always durable: on a map of
//! this process alone nobody reads while a group is being made durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use schakel_proto::ids::Digest;
use tokio::sync::{Notify, mpsc, oneshot};

use super::super::content::{Contents, StoredContent};
use super::super::entry::StoredCheckpoint;
use super::super::error::StoreError;
use super::leases::{LeaseTable, Work};
use super::txn::{Committed, Read, Txn};
use super::{AMPLIFICATION, Batch, CommitError, Faults, Ground, Session, keys};

/// Verbs waiting for the writer; more wait at the door.
const QUEUE_MAX_COUNT: usize = 1_024;
/// Verbs in one group.
const GROUP_MAX_COUNT: usize = 256;
/// Bytes in one group after which no verb is added.
const GROUP_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What a verb asks to be done once it is durable.
#[derive(Default)]
pub(crate) struct Effects {
    /// Content named by the new rows: pinned until they are durable.
    pub(crate) keep: Vec<StoredContent>,
    /// Part files that lost a row.
    pub(crate) lost_files: Vec<Digest>,
    /// Work that needs no lease any more.
    pub(crate) ended: Vec<Work>,
    /// There are new pending leaves.
    pub(crate) leaves: bool,
    /// The tree has grown.
    pub(crate) tree: Option<StoredCheckpoint>,
}

impl Effects {
    fn add(&mut self, other: Self) {
        self.keep.extend(other.keep);
        self.lost_files.extend(other.lost_files);
        self.ended.extend(other.ended);
        self.leaves |= other.leaves;
        self.tree = other.tree.or(self.tree.take());
    }
}

/// What a verb works with.
pub(crate) struct Step<'a> {
    /// The rows.
    pub(crate) txn: Txn<'a>,
    /// What is to follow.
    pub(crate) effects: Effects,
    /// The leases.
    pub(crate) leases: &'a dyn LeaseTable,
}

type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Without a step nothing is done: the answer is given why.
type Verb = Box<dyn FnOnce(Option<&mut Step<'_>>) -> (bool, Answer) + Send>;

struct Job {
    /// Takes room for something new, so it is refused first when room gets short.
    growth: bool,
    verb: Verb,
}

struct Shared {
    kv: Arc<dyn Ground>,
    faults: Arc<dyn Faults>,
    contents: Arc<Contents>,
    leases: Arc<dyn LeaseTable>,
    gate: RwLock<()>,
    stopped: Mutex<Option<Arc<str>>>,
    commits: AtomicU64,
    pending: Arc<Notify>,
}

impl Shared {
    fn stopped(&self) -> Option<Arc<str>> {
        self.stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn stop(&self, why: &str) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
    }

    fn check(&self) -> Result<(), StoreError> {
        self.stopped().map_or(Ok(()), |why| Err(StoreError::Stopped(why)))
    }
}

/// The writer and its readers.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Engine {
    /// Starts the writer.
    pub(crate) fn start(
        kv: Arc<dyn Ground>,
        faults: Arc<dyn Faults>,
        contents: Arc<Contents>,
        leases: Arc<dyn LeaseTable>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            kv,
            faults,
            contents: Arc::clone(&contents),
            leases,
            gate: RwLock::new(()),
            stopped: Mutex::default(),
            commits: AtomicU64::new(0),
            pending: Arc::new(Notify::new()),
        });
        shared.kv.ring(Arc::clone(&shared.pending));
        let (sender, receiver) = mpsc::channel(QUEUE_MAX_COUNT);
        let weak = sender.downgrade();
        contents.notify_orphans(Box::new(move || {
            if let Some(sender) = weak.upgrade() {
                let verb: Verb = Box::new(|_| (false, Box::new(|_| {})));
                // A full queue means that the writer is about to run anyway.
                let _ = sender.try_send(Job { growth: false, verb });
            }
        }));
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&writer, receiver));
        let thread = thread.map_err(StoreError::on("a thread for the store"))?;
        Ok(Self {
            shared,
            jobs: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs a verb on the writer; the answer comes when it is durable.
    pub(crate) async fn write<R: Send + 'static>(
        &self,
        growth: bool,
        verb: impl FnOnce(&mut Step<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.shared.check()?;
        let sender = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || StoreError::Stopped("the store is closed".into());
        let sender = sender.ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let verb: Verb = Box::new(move |work| {
            let result = work.map_or_else(|| Err(StoreError::Misused("a verb that was not run")), verb);
            let good = result.is_ok();
            let done = move |durable: Result<(), StoreError>| {
                // The caller may have gone away: the change stands all the same.
                let _ = answer.send(durable.and(result));
            };
            (good, Box::new(done))
        });
        sender.send(Job { growth, verb }).await.map_err(|_| closed())?;
        drop(sender);
        answered
            .await
            .map_err(|_| StoreError::Stopped("the writer is gone".into()))?
    }

    /// Reads what is durable, off the threads that serve.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Committed<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let held = shared.kv.holds_readers();
            let _gate = held.then(|| shared.gate.read().unwrap_or_else(PoisonError::into_inner));
            shared.check()?;
            let view = shared.kv.view()?;
            let found = read(&Committed(view.as_ref()));
            // Also "there is none" is an answer.
            view.finish()?;
            found
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| StoreError::Stopped("a reader has failed".into()))?
    }

    /// Rings when there are new pending leaves.
    pub(crate) fn pending(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.pending)
    }

    /// Groups made durable so far.
    pub(crate) fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::SeqCst)
    }

    /// Why the writer has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        self.shared.stopped()
    }

    /// Finishes what is queued and ends the writer. Blocks.
    pub(crate) fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
            let _gate = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            if self.shared.stopped().is_none() {
                self.shared.stop("the store is closed");
            }
            self.shared.kv.close();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Default)]
struct Group {
    batch: Batch,
    bytes: u64,
    effects: Effects,
    answers: Vec<Answer>,
}

/// A writer that panics must not leave readers with what may not be durable.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the writer has failed");
        }
    }
}

fn run(shared: &Shared, mut jobs: mpsc::Receiver<Job>) {
    let _guard = StopOnPanic(shared);
    while let Some(first) = jobs.blocking_recv() {
        let session = match shared.kv.begin() {
            Ok(session) => session,
            Err(why) => {
                // Whoever waits already waits for the same thing.
                let waiting = std::iter::from_fn(|| jobs.try_recv().ok()).take(QUEUE_MAX_COUNT);
                for job in std::iter::once(first).chain(waiting) {
                    let (_, answer) = (job.verb)(None);
                    answer(Err(why.clone()));
                }
                continue;
            }
        };
        let mut group = Group::default();
        add(shared, session.as_ref(), &mut group, first);
        while group.answers.len() < GROUP_MAX_COUNT && group.bytes < GROUP_MAX_BYTES {
            let Ok(job) = jobs.try_recv() else { break };
            add(shared, session.as_ref(), &mut group, job);
        }
        finish(shared, session, group);
        remove_orphans(shared);
    }
}

/// Runs one verb; what fails leaves nothing in the group.
fn add(shared: &Shared, session: &dyn Session, group: &mut Group, job: Job) {
    let txn = Txn::new(session, &group.batch);
    let mut work = Step {
        txn,
        effects: Effects::default(),
        leases: shared.leases.as_ref(),
    };
    let (good, answer) = (job.verb)(Some(&mut work));
    if let Some(why) = shared.stopped() {
        return answer(Err(StoreError::Stopped(why)));
    }
    if !good {
        // Also a verb that says no has looked: it is answered when the group is.
        group.answers.push(answer);
        return;
    }
    let bytes = work.txn.bytes();
    let needed = group.bytes.saturating_add(bytes).saturating_mul(AMPLIFICATION);
    let needed = needed.saturating_add(shared.contents.outstanding());
    if job.growth && bytes > 0 && !shared.kv.has_room(needed) {
        return answer(Err(StoreError::Full));
    }
    let (effects, changes) = (work.effects, work.txn.into_changes());
    group.batch.extend(changes);
    group.bytes = group.bytes.saturating_add(bytes);
    group.effects.add(effects);
    group.answers.push(answer);
}

/// Makes the group durable, then answers.
fn finish(shared: &Shared, session: Box<dyn Session + '_>, group: Group) {
    let result = if group.batch.is_empty() {
        session.finish()
    } else {
        commit(shared, session, &group)
    };
    if result.is_ok() {
        for work in &group.effects.ended {
            shared.leases.end(work);
        }
    }
    for digest in &group.effects.lost_files {
        shared.contents.lost_row(*digest);
    }
    for answer in group.answers {
        answer(result.clone());
    }
    if group.effects.leaves {
        shared.pending.notify_one();
    }
    if let (Ok(()), Some(tree)) = (&result, &group.effects.tree)
        && let Err(why) = shared.kv.tree_grew(tree.size, &tree.root)
    {
        tracing::warn!(%why, "the mark of the log's size could not be written");
    }
}

fn commit(shared: &Shared, session: Box<dyn Session + '_>, group: &Group) -> Result<(), StoreError> {
    let unconfirmed = |why: String| StoreError::Unconfirmed(why.into());
    shared.faults.before_commit().map_err(unconfirmed)?;
    let result = {
        let held = shared.kv.holds_readers();
        let _gate = held.then(|| shared.gate.write().unwrap_or_else(PoisonError::into_inner));
        let result = session.commit(&super::Group {
            batch: &group.batch,
            keep: &group.effects.keep,
            ended: &group.effects.ended,
        });
        if let Err(CommitError::Fatal(why)) = &result {
            tracing::error!(%why, "the store has stopped");
            shared.stop(why);
        }
        result
    };
    match result {
        Ok(()) => {
            shared.commits.fetch_add(1, Ordering::SeqCst);
            shared.faults.after_commit().map_err(unconfirmed)
        }
        Err(CommitError::Full) => Err(StoreError::Full),
        Err(CommitError::Fatal(why)) => Err(StoreError::Stopped(why.into())),
        Err(CommitError::Unknown(why)) => Err(unconfirmed(why)),
        Err(CommitError::Away(why)) => Err(StoreError::Away(why.into())),
    }
}

/// Removes content that lost its last row or its pin. Only this thread adds rows, so none can appear
/// between the look and the removal; a pin protects what is about to get one.
fn remove_orphans(shared: &Shared) {
    if shared.stopped().is_some() {
        return;
    }
    let orphans = shared.contents.take_orphans();
    if orphans.is_empty() {
        return;
    }
    // While the session stands nobody else can name what is about to go.
    let session = match shared.kv.begin() {
        Ok(session) => session,
        Err(_) => return orphans.into_iter().for_each(|one| shared.contents.lost_row(one)),
    };
    for digest in orphans {
        let named = Committed(session.as_ref()).records(&keys::file_prefix(&digest), None, 1);
        let removed = match named {
            Ok(rows) if rows.is_empty() => shared.contents.remove_unpinned(&digest),
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        };
        if let Err(why) = removed {
            tracing::warn!(%why, "a part file that nobody needs could not be removed");
        }
    }
}

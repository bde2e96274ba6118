//! The log's only writer: puts pending leaves into the tree in the order of their commits, signs a
//! checkpoint over it, and wakes whoever waits for a leaf. It compares and swaps the tree's size: when
//! anybody else has written, it stops loudly, for a second writer would fork the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::tree::Frontier;
use tokio::sync::{Notify, watch};

use crate::beats::{Beats, Monitor};
use crate::store::{Integrated, Integration, PAGE_MAX_COUNT, Shard, Store, StoreError, StoredCheckpoint};

/// Longest wait of a pending leaf for its checkpoint when nobody rings, in milliseconds.
const INTERVAL_MILLIS: u64 = 200;
/// Pause after a write that could not be confirmed, in milliseconds.
const RETRY_MILLIS: u64 = 100;

/// Where the log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// The newest checkpoint has this many leaves.
    Running {
        /// Leaves in the tree.
        size: u64,
    },
    /// The shard is frozen and has no successor yet: what is committed waits.
    Frozen {
        /// Leaves in the tree.
        size: u64,
    },
    /// The sequencer has stopped; nothing gets under a checkpoint any more.
    Stopped(Arc<str>),
}

/// The keys that checkpoints may be signed with: of the shard in force, and of the one that is to follow.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<Vec<Arc<LogSecret>>>>);

impl Keys {
    fn add(&self, secret: LogSecret) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|one| one.public().origin() != secret.public().origin());
        keys.push(Arc::new(secret));
    }

    fn of(&self, origin: &str) -> Option<Arc<LogSecret>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = keys.iter();
        keys.find(|one| one.public().origin() == origin).map(Arc::clone)
    }
}

/// For whoever waits for leaves. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    store: Arc<dyn Store>,
    keys: Keys,
    state: watch::Receiver<LogState>,
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogHandle({:?})", *self.state.borrow())
    }
}

impl LogHandle {
    /// Where the log stands.
    pub fn state(&self) -> LogState {
        self.state.borrow().clone()
    }

    /// Whether nothing gets under a checkpoint until the log's next shard is in force.
    pub fn is_frozen(&self) -> bool {
        matches!(*self.state.borrow(), LogState::Frozen { .. })
    }

    /// Takes the key of another shard: it signs once the store says that its shard is in force.
    pub fn add_key(&self, secret: LogSecret) {
        self.keys.add(secret);
    }

    /// A receiver that changes with every new checkpoint (for `FollowEvidence`).
    pub fn watch(&self) -> watch::Receiver<LogState> {
        self.state.clone()
    }

    /// Waits until a committed leaf stands under a signed, durable checkpoint; gives its position. Bound the
    /// wait with a timeout of your own if the leaf may not exist.
    pub async fn wait_for(&self, leaf_hash: Digest) -> Result<u64, StoreError> {
        let mut state = self.state.clone();
        loop {
            let seen = state.borrow_and_update().clone();
            if let Some(index) = self.store.index_of(leaf_hash).await? {
                return Ok(index);
            }
            if let LogState::Stopped(why) = seen {
                return Err(StoreError::Stopped(why));
            }
            if state.changed().await.is_err() {
                return Err(StoreError::Stopped("the sequencer is gone".into()));
            }
        }
    }
}

/// The running sequencer. Dropping it does not stop it; [`Sequencer::stop`] does.
#[derive(Debug)]
pub struct Sequencer {
    stop: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Sequencer {
    /// Starts it on a store. Refused if the store's newest checkpoint was not signed by this key, unless it is the end of
    /// the shard before this key's.
    pub async fn start(store: Arc<dyn Store>, secret: LogSecret) -> Result<(Self, LogHandle), StoreError> {
        Self::start_beating(store, secret, Arc::default()).await
    }

    /// The same, heard of while it runs.
    ///
    /// # Errors
    /// As [`Sequencer::start`].
    pub async fn start_beating(
        store: Arc<dyn Store>,
        secret: LogSecret,
        beats: Arc<Beats>,
    ) -> Result<(Self, LogHandle), StoreError> {
        let keys = Keys::default();
        let mut writer = Writer {
            store: Arc::clone(&store),
            first: secret.public().origin().to_owned(),
            keys: keys.clone(),
            frontier: Frontier::default(),
            beats,
            frozen: false,
        };
        keys.add(secret);
        writer.reload().await?;
        let (sender, state) = watch::channel(writer.state());
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(writer.run(sender, Arc::clone(&stop)));
        Ok((Self { stop, task }, LogHandle { store, keys, state }))
    }

    /// Puts what is pending under a checkpoint, then ends.
    pub async fn stop(self) {
        self.stop.notify_one();
        let _ = self.task.await;
    }
}

struct Writer {
    store: Arc<dyn Store>,
    /// Name of the first shard, for an empty store.
    first: String,
    keys: Keys,
    frontier: Frontier,
    beats: Arc<Beats>,
    /// The shard is frozen and has no successor.
    frozen: bool,
}

impl Writer {
    fn state(&self) -> LogState {
        let size = self.frontier.size();
        if self.frozen {
            LogState::Frozen { size }
        } else {
            LogState::Running { size }
        }
    }

    /// Whether a checkpoint is by one of our keys, or the end of the shard that ours continues.
    fn is_ours(&self, stored: &StoredCheckpoint, shards: &[Shard]) -> bool {
        let name = stored
            .note
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let name = std::str::from_utf8(name).unwrap_or_default();
        if let Some(secret) = self.keys.of(name) {
            let signed = SignedCheckpoint::open(&stored.note, secret.public());
            return signed.is_ok_and(|signed| signed.size() == stored.size && signed.root() == stored.root);
        }
        let mut newest = shards.iter().rev();
        let (last, before) = (newest.next(), newest.next());
        let ours = last.is_some_and(|last| self.keys.of(&last.origin).is_some());
        ours && before.is_some_and(|before| before.end.as_ref() == Some(stored))
    }

    /// Takes up the tree as the store has it; the newest checkpoint must be this key's and match the tree.
    async fn reload(&mut self) -> Result<(), StoreError> {
        let shards = self.store.shards().await?;
        self.frozen = shards.last().is_some_and(|last| last.end.is_some());
        let Some(stored) = self.store.latest_checkpoint().await? else {
            self.frontier = Frontier::default();
            return Ok(());
        };
        if !self.is_ours(&stored, &shards) {
            let text = "the log's newest checkpoint is not signed by this log key: configure the key that \
                 belongs to this store";
            return Err(StoreError::Unusable(text.into()));
        }
        let mut nodes = std::collections::HashMap::new();
        for node in Frontier::peaks_of(stored.size) {
            let hash = self
                .store
                .node(node)
                .await?
                .ok_or(StoreError::Corrupt("a node of the tree".into()))?;
            nodes.insert(node, hash);
        }
        let frontier = Frontier::read(stored.size, |n| nodes.get(&n).copied().ok_or(n));
        let frontier = frontier.map_err(|_| StoreError::Corrupt("the tree".into()))?;
        if frontier.root() != stored.root {
            return Err(StoreError::Corrupt(
                "the tree: it does not lead to its newest checkpoint".into(),
            ));
        }
        self.frontier = frontier;
        Ok(())
    }

    /// Integrates one page of pending leaves; `true`: there may be more.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let mut leaves = self.store.pending(PAGE_MAX_COUNT).await?;
        // After the leaves: the one that the shard is to end with is known to be that.
        let shard = self.store.shards().await?.pop();
        self.frozen = shard.as_ref().is_some_and(|shard| shard.end.is_some());
        if self.frozen || leaves.is_empty() {
            return Ok(false);
        }
        let full = leaves.len() == PAGE_MAX_COUNT;
        let closing = shard.as_ref().and_then(|shard| shard.closing);
        let last = leaves.iter().position(|leaf| Some(leaf.leaf_hash) == closing);
        if let Some(last) = last {
            leaves.truncate(last.saturating_add(1));
        }
        let origin = shard.map_or_else(|| self.first.clone(), |shard| shard.origin);
        let secret = self.keys.of(&origin).ok_or_else(|| {
            let text = format!("the log is in its shard {origin}, and its key is not configured");
            StoreError::Stopped(text.into())
        })?;
        let mut frontier = self.frontier.clone();
        let mut nodes = Vec::new();
        for leaf in &leaves {
            frontier.append(leaf.leaf_hash, &mut |node, hash| nodes.push((node, hash)));
        }
        let checkpoint = secret.sign(frontier.size(), frontier.root());
        let expected_size = self.frontier.size();
        let step = Integration {
            expected_size,
            leaves,
            nodes,
            checkpoint,
        };
        match self.store.integrate(step).await? {
            Integrated::Done { .. } => {
                self.frontier = frontier;
                self.frozen = last.is_some();
            }
            // It changed since it was looked at.
            Integrated::Frozen => return Ok(true),
            Integrated::Conflict { size } => {
                let text = format!(
                    "another writer has extended the log to {size} leaves where this one expected \
                     {expected_size}: only one broker may write a log. Stop the other one, then restart"
                );
                return Err(StoreError::Stopped(text.into()));
            }
        }
        Ok(full && last.is_none())
    }

    async fn run(mut self, state: watch::Sender<LogState>, stop: Arc<Notify>) {
        let signal = self.store.pending_signal();
        loop {
            let stopping = tokio::select! {
                () = signal.notified() => false,
                () = tokio::time::sleep(Duration::from_millis(INTERVAL_MILLIS)) => false,
                () = stop.notified() => true,
            };
            if let Err(why) = self.drain(&state).await {
                tracing::error!(%why, "the log has stopped");
                state.send_replace(LogState::Stopped(why.to_string().into()));
                return;
            }
            if stopping {
                state.send_replace(LogState::Stopped("the broker is shutting down".into()));
                return;
            }
        }
    }

    /// Integrates everything pending. A write that could not be confirmed is looked up, never assumed;
    /// any error but that one and a full store ends the sequencer.
    async fn drain(&mut self, state: &watch::Sender<LogState>) -> Result<(), StoreError> {
        loop {
            self.beats.beat(Monitor::Sequencer);
            let more = match self.step().await {
                Ok(more) => more,
                Err(StoreError::Unconfirmed(why)) => {
                    tracing::warn!(%why, "a checkpoint could not be confirmed; looking it up");
                    tokio::time::sleep(Duration::from_millis(RETRY_MILLIS)).await;
                    self.reload().await?;
                    true
                }
                Err(StoreError::Full) => return Ok(()),
                Err(why) => return Err(why),
            };
            let new = self.state();
            state.send_if_modified(|s| {
                let changed = *s != new;
                *s = new;
                changed
            });
            if !more {
                return Ok(());
            }
        }
    }
}

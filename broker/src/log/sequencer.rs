//! The log's only writer: puts pending leaves into the tree in the order of their commits, signs a
//! checkpoint over it, and wakes whoever waits for a leaf. It compares and swaps the tree's size: when
//! anybody else has written, it stops loudly, for a second writer would fork the log.

use std::sync::Arc;
use std::time::Duration;

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::tree::Frontier;
use tokio::sync::{Notify, watch};

use crate::beats::{Beats, Monitor};
use crate::store::{Integrated, Integration, PAGE_MAX_COUNT, Store, StoreError};

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
    /// The sequencer has stopped; nothing gets under a checkpoint any more.
    Stopped(Arc<str>),
}

/// For whoever waits for leaves. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    store: Arc<dyn Store>,
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
    /// Starts it on a store. Refused if the store's newest checkpoint was not signed by this key.
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
        let mut writer = Writer {
            store: Arc::clone(&store),
            secret,
            frontier: Frontier::default(),
            beats,
        };
        writer.reload().await?;
        let (sender, state) = watch::channel(LogState::Running {
            size: writer.frontier.size(),
        });
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(writer.run(sender, Arc::clone(&stop)));
        Ok((Self { stop, task }, LogHandle { store, state }))
    }

    /// Puts what is pending under a checkpoint, then ends.
    pub async fn stop(self) {
        self.stop.notify_one();
        let _ = self.task.await;
    }
}

struct Writer {
    store: Arc<dyn Store>,
    secret: LogSecret,
    frontier: Frontier,
    beats: Arc<Beats>,
}

impl Writer {
    /// Takes up the tree as the store has it; the newest checkpoint must be this key's and match the tree.
    async fn reload(&mut self) -> Result<(), StoreError> {
        let Some(stored) = self.store.latest_checkpoint().await? else {
            self.frontier = Frontier::default();
            return Ok(());
        };
        let signed = SignedCheckpoint::open(&stored.note, self.secret.public()).map_err(|_| {
            let text = "the log's newest checkpoint is not signed by this log key: configure the key that \
                 belongs to this store";
            StoreError::Unusable(text.into())
        })?;
        let mut nodes = std::collections::HashMap::new();
        for node in Frontier::peaks_of(signed.size()) {
            let hash = self
                .store
                .node(node)
                .await?
                .ok_or(StoreError::Corrupt("a node of the tree".into()))?;
            nodes.insert(node, hash);
        }
        let frontier = Frontier::read(signed.size(), |n| nodes.get(&n).copied().ok_or(n));
        let frontier = frontier.map_err(|_| StoreError::Corrupt("the tree".into()))?;
        if frontier.root() != signed.root() {
            return Err(StoreError::Corrupt(
                "the tree: it does not lead to its newest checkpoint".into(),
            ));
        }
        self.frontier = frontier;
        Ok(())
    }

    /// Integrates one page of pending leaves; `true`: there may be more.
    async fn step(&mut self) -> Result<bool, StoreError> {
        let leaves = self.store.pending(PAGE_MAX_COUNT).await?;
        if leaves.is_empty() {
            return Ok(false);
        }
        let full = leaves.len() == PAGE_MAX_COUNT;
        let mut frontier = self.frontier.clone();
        let mut nodes = Vec::new();
        for leaf in &leaves {
            frontier.append(leaf.leaf_hash, &mut |node, hash| nodes.push((node, hash)));
        }
        let checkpoint = self.secret.sign(frontier.size(), frontier.root());
        let expected_size = self.frontier.size();
        let step = Integration {
            expected_size,
            leaves,
            nodes,
            checkpoint,
        };
        match self.store.integrate(step).await? {
            Integrated::Done { .. } => self.frontier = frontier,
            Integrated::Conflict { size } => {
                let text = format!(
                    "another writer has extended the log to {size} leaves where this one expected \
                     {expected_size}: only one broker may write a log. Stop the other one, then restart"
                );
                return Err(StoreError::Stopped(text.into()));
            }
        }
        Ok(full)
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
            let size = self.frontier.size();
            state.send_if_modified(|s| {
                let new = LogState::Running { size };
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

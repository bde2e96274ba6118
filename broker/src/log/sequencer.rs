//! The log's only writer: puts pending leaves into the tree in the order of their commits, signs a
//! checkpoint over it, and wakes whoever waits for a leaf. It compares and swaps the tree's size: when
//! anybody else has written, it stops loudly, for a second writer would fork the log.
//!
//! On a store that several brokers share each has one of these, and the same comparison lets one of them write at a
//! time: whoever finds that another has written takes up the tree anew and follows, until leaves wait and nobody
//! writes. A checkpoint leaves this process only out of the store: what a loser signed is dropped unseen.

use std::sync::Arc;
use std::time::Duration;

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::tree::Frontier;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::beats::{Beats, Monitor};
use crate::clock::seeded_rng;
use crate::log::key::Keys;
use crate::store::{
    Ear, Heard, Integrated, Integration, PAGE_MAX_COUNT, Shard, Store, StoreError, StoredCheckpoint,
};

/// Longest wait of a pending leaf for its checkpoint when nobody rings, in milliseconds.
const INTERVAL_MILLIS: u64 = 200;
/// Pause after a write that could not be confirmed, in milliseconds.
const RETRY_MILLIS: u64 = 100;
/// How often one that follows looks at the tree by itself, in milliseconds.
const FOLLOW_MILLIS: u64 = 500;
/// How long leaves wait, while another may write, before one that follows tries: shortest and longest, in milliseconds.
const PATIENCE_MILLIS: (u64, u64) = (500, 1_000);
/// How often that doubles when another was faster each time.
const DOUBLED_MAX_COUNT: u32 = 2;

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
        // Whoever comes to a tree that others write lets them.
        let following = store.is_shared().then(Follower::default);
        let mut writer = Writer {
            ear: Ear::on(store.as_ref()),
            store: Arc::clone(&store),
            first: secret.public().origin().to_owned(),
            keys: keys.clone(),
            frontier: Frontier::default(),
            beats,
            frozen: false,
            following,
            lost: 0,
        };
        keys.add(secret);
        writer.reload().await?;
        if let Some(following) = &mut writer.following {
            following.size = writer.frontier.size();
        }
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

/// One that lets another write.
#[derive(Debug, Default)]
struct Follower {
    /// Leaves in the tree at the last look.
    size: u64,
    /// When it tries itself, if leaves wait and the tree has not grown until then.
    tries: Option<Instant>,
    /// It was said that the newest checkpoint is by a key that is not here.
    told: bool,
}

struct Writer {
    store: Arc<dyn Store>,
    /// What others change, on a store that is shared.
    ear: Ear,
    /// Name of the first shard, for an empty store.
    first: String,
    keys: Keys,
    frontier: Frontier,
    beats: Arc<Beats>,
    /// The shard is frozen and has no successor.
    frozen: bool,
    /// Another broker writes, as far as is known.
    following: Option<Follower>,
    /// How often another was faster since this one has written.
    lost: u32,
}

impl Writer {
    fn state(&self) -> LogState {
        let following = self.following.as_ref();
        let size = following.map_or_else(|| self.frontier.size(), |one| one.size);
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
        let Some(secret) = self.keys.of(&origin) else {
            if self.store.is_shared() {
                // Another broker has brought that shard into force: its directory is on its way to this one.
                self.follow();
                return Ok(true);
            }
            let text = format!("the log is in its shard {origin}, and its key is not configured");
            return Err(StoreError::Stopped(text.into()));
        };
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
                self.lost = 0;
                self.frozen = last.is_some();
            }
            // It changed since it was looked at.
            Integrated::Frozen => return Ok(true),
            Integrated::Conflict { .. } if self.store.is_shared() => {
                // Nothing of this step was seen by anybody: another broker has written.
                self.follow();
                return Ok(true);
            }
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

    /// Lets another write from now on.
    fn follow(&mut self) {
        tracing::info!(size = self.frontier.size(), "another broker writes the log");
        self.lost = self.lost.saturating_add(1);
        self.following = Some(Follower {
            size: self.frontier.size(),
            ..Follower::default()
        });
    }

    /// Looks how far another has come, without taking up the tree. A checkpoint by a key that is not here (of a shard
    /// that the directory here does not name yet) is not gone by: what it covers waits for the directory.
    async fn glance(&mut self) -> Result<(), StoreError> {
        let shards = self.store.shards().await?;
        self.frozen = shards.last().is_some_and(|last| last.end.is_some());
        let newest = self.store.latest_checkpoint().await?;
        let known = newest
            .as_ref()
            .is_none_or(|newest| self.is_known(newest, &shards));
        if let Some(newest) = newest
            .as_ref()
            .filter(|newest| known && !self.is_ours(newest, &shards))
        {
            let text = format!(
                "the log's newest checkpoint, of {} leaves, is forged",
                newest.size
            );
            return Err(StoreError::Unusable(text.into()));
        }
        let Some(following) = &mut self.following else {
            return Ok(());
        };
        if !known && !following.told {
            tracing::error!("alarm: the log goes on under a key that is not configured here");
        }
        following.told = !known;
        let size = newest.map_or(0, |newest| newest.size);
        if known && size != following.size {
            (following.size, following.tries) = (size, None);
        }
        Ok(())
    }

    /// Whether the key that a checkpoint names is here, or that of the shard which goes on from it.
    fn is_known(&self, stored: &StoredCheckpoint, shards: &[Shard]) -> bool {
        let line = stored.note.split(|byte| *byte == b'\n').next();
        let name = line.and_then(|name| std::str::from_utf8(name).ok());
        let named = name.is_some_and(|name| self.keys.of(name).is_some());
        named
            || shards
                .last()
                .is_some_and(|last| self.keys.of(&last.origin).is_some())
    }

    /// Whether it is time to write instead of following: leaves have waited, and nobody has written meanwhile.
    async fn takes_over(&mut self) -> Result<bool, StoreError> {
        let waits = !self.frozen && !self.store.pending(1).await?.is_empty();
        let Some(following) = &mut self.following else {
            return Ok(true);
        };
        if !waits || following.told {
            following.tries = None;
            return Ok(false);
        }
        let (shortest, longest) = PATIENCE_MILLIS;
        let patience = rand::Rng::random_range(&mut seeded_rng(), shortest..=longest);
        let patience = patience << self.lost.saturating_sub(1).min(DOUBLED_MAX_COUNT);
        let tries = *following
            .tries
            .get_or_insert_with(|| Instant::now() + Duration::from_millis(patience));
        if Instant::now() < tries {
            return Ok(false);
        }
        self.reload().await?;
        self.following = None;
        tracing::info!(size = self.frontier.size(), "this broker writes the log");
        Ok(true)
    }

    /// Waits until there may be something to do; true: the broker stops.
    async fn wait(&mut self, signal: &Notify, stop: &Notify) -> bool {
        let rest = match &self.following {
            None => Duration::from_millis(INTERVAL_MILLIS),
            Some(following) => {
                let tries = following
                    .tries
                    .map(|at| at.saturating_duration_since(Instant::now()));
                let rest = Duration::from_millis(FOLLOW_MILLIS);
                tries.map_or(rest, |tries| rest.min(tries))
            }
        };
        let end = tokio::time::sleep(rest);
        tokio::pin!(end);
        loop {
            tokio::select! {
                // Who follows is not woken by each leaf: the tree that grows says it.
                () = signal.notified(), if self.following.is_none() => return false,
                () = &mut end => return false,
                () = stop.notified() => return true,
                word = self.ear.next() => {
                    // One's own checkpoints are no news.
                    if self.following.is_some() && matches!(word, Heard::Tree | Heard::Everything) {
                        return false;
                    }
                }
            }
        }
    }

    async fn run(mut self, state: watch::Sender<LogState>, stop: Arc<Notify>) {
        let signal = self.store.pending_signal();
        loop {
            let stopping = self.wait(&signal, &stop).await;
            // What is pending when one stops that follows is another's to write.
            let leaves = stopping && self.following.is_some();
            if !leaves && let Err(why) = self.drain(&state).await {
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

    /// One round: as a follower a look, else a step; `true`: there may be more.
    async fn round(&mut self) -> Result<bool, StoreError> {
        if self.following.is_some() {
            self.glance().await?;
            if !self.takes_over().await? {
                return Ok(false);
            }
        }
        self.step().await
    }

    /// Integrates everything pending, or looks how far another has come. A write that could not be confirmed is looked
    /// up, never assumed; any error but that one, a full store, and one of a shared store that passes, ends the sequencer.
    async fn drain(&mut self, state: &watch::Sender<LogState>) -> Result<(), StoreError> {
        loop {
            self.beats.beat(Monitor::Sequencer);
            let more = match self.round().await {
                Ok(more) => more,
                Err(StoreError::Unconfirmed(why)) => {
                    tracing::warn!(%why, "a checkpoint could not be confirmed; looking it up");
                    tokio::time::sleep(Duration::from_millis(RETRY_MILLIS)).await;
                    if self.store.is_shared() {
                        self.follow();
                        return Ok(());
                    }
                    self.reload().await?;
                    true
                }
                Err(why) if self.passes(&why) => return Ok(()),
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

    /// Whether it is tried again with the next round: nothing was assumed, and the comparison guards what comes.
    fn passes(&self, why: &StoreError) -> bool {
        let stays = matches!(
            why,
            StoreError::Corrupt(_)
                | StoreError::Unusable(_)
                | StoreError::Stopped(_)
                | StoreError::Misused(_)
        );
        matches!(why, StoreError::Full) || (self.store.is_shared() && !stays)
    }
}

#[cfg(test)]
mod tests;

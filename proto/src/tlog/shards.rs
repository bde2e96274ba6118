//! Shards: one tree, whose checkpoints are signed under one origin and key for a stretch of it and under the next ones
//! from there on. A former shard is frozen: the directory names its last checkpoint, and nothing that its key signs beyond
//! that is accepted, whoever has the key. docs/decisions/0021 says why.

use super::checkpoint::{CheckpointError, LogKey, SignedCheckpoint};
use crate::ids::Digest;

/// Most former shards of a log.
pub const FROZEN_MAX_COUNT: usize = 256;
/// Longest last checkpoint of a former shard, in bytes: the log's own line only.
pub const FROZEN_NOTE_MAX_BYTES: usize = 1024;

/// What tells whether the log signed a checkpoint.
pub trait Opens {
    /// Reads a signed note and checks that the log signed it, and that it might.
    ///
    /// # Errors
    /// It did not, or had no business to.
    fn open(&self, note: &[u8]) -> Result<SignedCheckpoint, CheckpointError>;
}

/// One key by itself: nothing is known of when it ended.
impl Opens for LogKey {
    fn open(&self, note: &[u8]) -> Result<SignedCheckpoint, CheckpointError> {
        SignedCheckpoint::open(note, self)
    }
}

/// A former shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    key: LogKey,
    last: SignedCheckpoint,
}

impl Frozen {
    /// With its last checkpoint, as its own key signed it.
    ///
    /// # Errors
    /// The key did not sign it.
    pub fn new(key: LogKey, note: &[u8]) -> Result<Self, CheckpointError> {
        let last = SignedCheckpoint::open(note, &key)?;
        Ok(Self { key, last })
    }

    /// Its key.
    pub const fn key(&self) -> &LogKey {
        &self.key
    }

    /// Its last checkpoint.
    pub const fn last(&self) -> &SignedCheckpoint {
        &self.last
    }
}

/// All shards of a log, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shards {
    frozen: Vec<Frozen>,
    current: LogKey,
}

/// What a frozen shard's key signed beyond its end: proof that somebody else has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forged<'a> {
    /// The shard, with its last checkpoint.
    pub shard: &'a Frozen,
    /// What is not of it.
    pub checkpoint: SignedCheckpoint,
}

/// Of a log that was never frozen.
impl From<LogKey> for Shards {
    fn from(current: LogKey) -> Self {
        let frozen = Vec::new();
        Self { frozen, current }
    }
}

impl Shards {
    /// The former shards, oldest first, and the key of the one in force.
    ///
    /// # Errors
    /// Says in words what does not fit: too many, an origin or key twice, sizes that do not grow.
    pub fn new(frozen: Vec<Frozen>, current: LogKey) -> Result<Self, &'static str> {
        if frozen.len() > FROZEN_MAX_COUNT {
            return Err("more former shards than a log may have");
        }
        let keys = || frozen.iter().map(Frozen::key).chain([&current]);
        for (number, one) in keys().enumerate() {
            let same = |other: &LogKey| other.origin() == one.origin() || other.public() == one.public();
            if keys().take(number).any(same) {
                return Err("two shards have one origin or one key");
            }
        }
        let mut before = 0;
        for size in frozen.iter().map(|one| one.last.size()) {
            if size <= before {
                return Err("a shard does not end behind the one before it");
            }
            before = size;
        }
        Ok(Self { frozen, current })
    }

    /// The key of the shard in force.
    pub const fn current(&self) -> &LogKey {
        &self.current
    }

    /// Name of the shard in force.
    pub fn origin(&self) -> &str {
        self.current.origin()
    }

    /// The former ones, oldest first.
    pub fn frozen(&self) -> &[Frozen] {
        &self.frozen
    }

    /// The last of the former ones, which the shard in force continues.
    pub fn predecessor(&self) -> Option<&Frozen> {
        self.frozen.last()
    }

    /// Whether a name is that of one of the shards.
    pub fn knows(&self, origin: &str) -> bool {
        self.number(origin).is_some()
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &LogKey> {
        self.frozen.iter().map(Frozen::key).chain([&self.current])
    }

    /// Whether a key is that of a shard which is, or comes after, the one of an earlier key.
    pub fn follows(&self, key: &LogKey, earlier: &LogKey) -> bool {
        let place = |one: &LogKey| self.keys().position(|key| key == one);
        place(key)
            .zip(place(earlier))
            .is_some_and(|(key, earlier)| earlier <= key)
    }

    /// The key of the shard with this name.
    pub fn key(&self, origin: &str) -> Option<&LogKey> {
        self.keys().find(|key| key.origin() == origin)
    }

    fn number(&self, origin: &str) -> Option<usize> {
        self.keys().position(|key| key.origin() == origin)
    }

    /// Whether a checkpoint of this size and root may be one of this shard.
    ///
    /// # Errors
    /// The name is no shard's, or the size or root is not within it.
    pub fn within(&self, origin: &str, size: u64, root: &Digest) -> Result<(), CheckpointError> {
        let number = self.number(origin).ok_or(CheckpointError::Origin)?;
        let before = number.checked_sub(1).and_then(|before| self.frozen.get(before));
        if before.is_some_and(|before| size <= before.last.size()) {
            return Err(CheckpointError::Before);
        }
        let end = self.frozen.get(number).map(Frozen::last);
        if end.is_some_and(|end| size > end.size() || (size == end.size() && *root != end.root())) {
            return Err(CheckpointError::Frozen);
        }
        Ok(())
    }

    /// What a former shard's key signed and is not of that shard; none: it signed nothing of the kind here.
    pub fn forged(&self, note: &[u8]) -> Option<Forged<'_>> {
        for shard in &self.frozen {
            if let Ok(checkpoint) = SignedCheckpoint::open(note, &shard.key) {
                let (size, root) = (checkpoint.size(), checkpoint.root());
                let beyond = self.within(shard.key.origin(), size, &root) == Err(CheckpointError::Frozen);
                return beyond.then_some(Forged { shard, checkpoint });
            }
        }
        None
    }

    /// Whether `next` goes on where this one is: it freezes what was in force, and forgets and changes nothing.
    pub fn continued_by(&self, next: &Self) -> bool {
        let count = self.frozen.len();
        let same = next.frozen.get(..count) == Some(self.frozen.as_slice());
        same && next.keys().nth(count) == Some(&self.current)
    }
}

impl Opens for Shards {
    fn open(&self, note: &[u8]) -> Result<SignedCheckpoint, CheckpointError> {
        let mut found = Err(CheckpointError::Origin);
        for key in self.keys() {
            match SignedCheckpoint::open(note, key) {
                Err(CheckpointError::Origin) => {}
                opened => {
                    found = opened;
                    break;
                }
            }
        }
        let signed = found?;
        self.within(signed.origin(), signed.size(), &signed.root())?;
        Ok(signed)
    }
}

#[cfg(test)]
mod tests;

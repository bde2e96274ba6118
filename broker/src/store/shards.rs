//! Shards of the log, as the store knows them: which stretch of the one tree is signed under which name.

use schakel_proto::ids::Digest;

use super::entry::{NewEntry, StoredCheckpoint};

/// A stretch of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Counted from 0.
    pub number: u64,
    /// Its name (C2SP origin).
    pub origin: String,
    /// Leaves of the tree before it.
    pub first: u64,
    /// The leaf that it ends with, once its end was asked for.
    pub closing: Option<Digest>,
    /// Its last checkpoint, once it is frozen.
    pub end: Option<StoredCheckpoint>,
}

/// The beginning of a shard.
#[derive(Clone, Debug)]
pub struct NewShard {
    /// Its name.
    pub origin: String,
    /// Size and root that it continues: those of the newest checkpoint, or nothing is changed.
    pub continues: (u64, Digest),
    /// The entry that says so.
    pub entry: NewEntry,
}

/// What became of a [`NewShard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardOpened {
    /// It is in force.
    New,
    /// It was before.
    Same,
    /// The tree does not end there, or a shard of this name was before: nothing was changed.
    Elsewhere {
        /// Leaves in the tree.
        size: u64,
    },
}

/// What became of the wish to end a shard, or to take that back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardChanged {
    /// Done.
    Done,
    /// It was so before.
    Same,
    /// Another shard is in force, or none.
    Other,
}

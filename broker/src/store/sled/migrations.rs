//! What a store of an older program still needs, in the order in which it is done. Each is done in batches that are durable
//! one after the other and say how far they are: broken off anywhere, the same again goes on.

use super::super::error::StoreError;
use super::super::kv::txn::Committed;
use super::super::verbs::filed;
use super::SledKv;
use super::{migrate, open};

/// A migration.
pub(super) struct Migration {
    /// Its place in the order.
    pub(super) number: u32,
    /// Its name.
    pub(super) name: &'static str,
    /// What it does, for the operator.
    pub(super) what: &'static str,
    /// How much of it is left: 0 is nothing.
    pub(super) left: fn(&Committed<'_>) -> Result<u64, StoreError>,
    /// Does what is left.
    pub(super) run: fn(&SledKv) -> Result<(), StoreError>,
}

/// All of them.
pub(super) const ALL: [Migration; 2] = [
    Migration {
        number: 1,
        name: "numbers",
        what: "entries of the log lie under their numbers (schema 2)",
        left: |read| migrate::unmoved(read),
        run: migrate::bring_up,
    },
    Migration {
        number: 2,
        name: "files",
        what: "entries of the log are filed by case and packet",
        left: |read| filed::unfiled(read),
        run: open::file_all,
    },
];

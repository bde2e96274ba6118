//! Rows as they lie on the disk, for tests of what somebody with the disk can do: read, changed, taken away, under any
//! checksum. Not in a broker that is built for use.

use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::tree::Frontier;

use super::super::entry::{Integrated, Integration, NewEntry};
use super::super::error::StoreError;
use super::super::kv::engine::{Effects, Step};
use super::super::kv::leases::Leases;
use super::super::kv::txn::Txn;
use super::super::kv::{Batch, CommitError, Kv, Rows, View, record};
use super::super::verbs::log;
use super::SledStore;

/// Bytes of the checksum that a record begins with.
pub const CHECK_BYTES: usize = 8;

/// The record of a value under a key, with the right checksum.
pub fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    record::seal(key, value)
}

impl SledStore {
    /// All keys with their records.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn raw_rows(&self) -> Result<Rows, StoreError> {
        self.kv().scan(&[], None, usize::MAX)
    }

    /// Commits entries and puts them into the tree, by the verbs that do it in a broker, in two batches whatever their size;
    /// for a store that is to be large before it is looked at. Nobody else writes.
    ///
    /// # Errors
    /// The rows cannot be read or written, or somebody else wrote.
    pub fn raw_fill(
        &self,
        entries: &[NewEntry],
        secret: &LogSecret,
        frontier: &mut Frontier,
    ) -> Result<(), StoreError> {
        self.raw_step(|step| {
            for entry in entries {
                log::record(step, entry)?;
            }
            Ok(())
        })?;
        self.raw_step(|step| {
            let leaves = log::pending(&step.txn, entries.len())?;
            let (expected_size, mut nodes) = (frontier.size(), Vec::new());
            for leaf in &leaves {
                frontier.append(leaf.leaf_hash, &mut |node, hash| nodes.push((node, hash)));
            }
            let checkpoint = secret.sign(frontier.size(), frontier.root());
            let new = Integration {
                expected_size,
                leaves,
                nodes,
                checkpoint,
            };
            match log::integrate(step, &new)? {
                Integrated::Done { .. } => Ok(()),
                _ => Err(StoreError::Misused("somebody else writes to the log")),
            }
        })?;
        self.kv().tree_grew(frontier.size(), &frontier.root())
    }

    fn raw_step(&self, work: impl FnOnce(&mut Step<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let (none, leases) = (Batch::new(), Leases::default());
        let mut step = Step {
            txn: Txn::new(self.kv(), &none),
            effects: Effects::default(),
            leases: &leases,
        };
        work(&mut step)?;
        self.raw_commit(&step.txn.into_changes())
    }

    fn raw_commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.kv().commit(batch).map_err(|error| match error {
            CommitError::Full => StoreError::Full,
            CommitError::Fatal(why) | CommitError::Unknown(why) | CommitError::Away(why) => {
                StoreError::Stopped(why.into())
            }
        })
    }

    /// Sets the record of a key, or takes the row away; behind the back of everything else.
    ///
    /// # Errors
    /// The rows cannot be written.
    pub fn raw_put(&self, key: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        let batch = Batch::from([(key.to_vec(), record.map(<[u8]>::to_vec))]);
        self.raw_commit(&batch)
    }
}

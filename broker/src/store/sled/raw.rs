//! Rows as they lie on the disk, for tests of what somebody with the disk can do: read, changed, taken away, under any
//! checksum. Not in a broker that is built for use.

use super::super::error::StoreError;
use super::super::kv::{Batch, CommitError, Kv, Rows, View, record};
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

    /// Sets the record of a key, or takes the row away; behind the back of everything else.
    ///
    /// # Errors
    /// The rows cannot be written.
    pub fn raw_put(&self, key: &[u8], record: Option<&[u8]>) -> Result<(), StoreError> {
        let batch = Batch::from([(key.to_vec(), record.map(<[u8]>::to_vec))]);
        self.kv().commit(&batch).map_err(|error| match error {
            CommitError::Full => StoreError::Full,
            CommitError::Fatal(why) | CommitError::Unknown(why) | CommitError::Away(why) => {
                StoreError::Stopped(why.into())
            }
        })
    }
}

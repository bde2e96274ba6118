//! The view of a batch in progress: own changes over the group's over the map's.

use std::collections::BTreeMap;

use prost::Message;

use super::super::error::StoreError;
use super::{Batch, Rows, View, keys, record};

/// Reading rows, whether committed or in progress.
pub(crate) trait Read {
    /// The record of a key.
    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that begin with `prefix` and are greater than `after`, in order, with their records.
    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError>;

    /// Whether it is worth finding out beforehand what will be asked for.
    fn is_far(&self) -> bool;

    /// These keys will be asked for: a hint, which changes no answer.
    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError>;

    /// The value of a key, its checksum checked, its pieces joined.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.record(key)?.map(|r| self.value(key, &r)).transpose()
    }

    /// The value in a record.
    fn value(&self, key: &[u8], found: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Corrupt(record::place(key).into());
        let value = record::open(key, found)?;
        match value.split_first().ok_or_else(damaged)? {
            (0, rest) => Ok(rest.to_vec()),
            (1, rest) => {
                let count = u16::from_be_bytes(rest.try_into().map_err(|_| damaged())?);
                let mut whole = Vec::new();
                for number in 0..count {
                    let key = keys::piece(key, number);
                    let piece = self.record(&key)?.ok_or_else(damaged)?;
                    whole.extend_from_slice(&record::open(&key, &piece)?);
                }
                Ok(whole)
            }
            _ => Err(damaged()),
        }
    }

    /// Keys and values under a prefix.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        let open = |(key, found): (Vec<u8>, Vec<u8>)| self.value(&key, &found).map(|value| (key, value));
        self.records(prefix, after, limit)?
            .into_iter()
            .map(open)
            .collect()
    }

    /// A row.
    fn row<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, StoreError>
    where
        Self: Sized,
    {
        let decode =
            |v: Vec<u8>| M::decode(v.as_slice()).map_err(|_| StoreError::Corrupt(record::place(key).into()));
        self.get(key)?.map(decode).transpose()
    }

    /// A row that another row says is there.
    fn must<M: Message + Default>(&self, key: &[u8]) -> Result<M, StoreError>
    where
        Self: Sized,
    {
        self.row(key)?
            .ok_or_else(|| StoreError::Corrupt(record::place(key).into()))
    }

    /// A number.
    fn number(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        let damaged = || StoreError::Corrupt(record::place(key).into());
        let parse = |v: Vec<u8>| v.try_into().map(u64::from_be_bytes).map_err(|_| damaged());
        self.get(key)?.map(parse).transpose()
    }
}

/// What is durable.
pub(crate) struct Committed<'a>(pub(crate) &'a dyn View);

impl Read for Committed<'_> {
    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }
    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        self.0.scan(prefix, after, limit)
    }
    fn is_far(&self) -> bool {
        self.0.is_far()
    }
    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        self.0.ahead(keys)
    }
}

/// One verb's changes, over those of the verbs before it in the same group.
pub(crate) struct Txn<'a> {
    kv: &'a dyn View,
    group: &'a Batch,
    own: Batch,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(kv: &'a dyn View, group: &'a Batch) -> Self {
        Self {
            kv,
            group,
            own: Batch::new(),
        }
    }

    /// The changes made.
    pub(crate) fn into_changes(self) -> Batch {
        self.own
    }

    /// Bytes of the changes made.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |(k, v): (&Vec<u8>, &Option<Vec<u8>>)| k.len() + v.as_ref().map_or(0, Vec::len);
        u64::try_from(self.own.iter().map(size).sum::<usize>()).unwrap_or(u64::MAX)
    }

    fn put_record(&mut self, key: Vec<u8>, value: &[u8]) {
        let sealed = record::seal(&key, value);
        self.own.insert(key, Some(sealed));
    }

    /// Sets a value; a long one is cut into pieces. (A long value is never replaced but after [`Txn::erase`].)
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if value.len() <= record::PIECE_MAX_BYTES {
            let mut framed = Vec::with_capacity(value.len() + 1);
            framed.push(0);
            framed.extend_from_slice(value);
            self.put_record(key.to_vec(), &framed);
            return Ok(());
        }
        let pieces = value.chunks(record::PIECE_MAX_BYTES);
        let count =
            u16::try_from(pieces.len()).map_err(|_| StoreError::Misused("a value too long to store"))?;
        for (number, piece) in (0..count).zip(pieces) {
            self.put_record(keys::piece(key, number), piece);
        }
        let [a, b] = count.to_be_bytes();
        self.put_record(key.to_vec(), &[1, a, b]);
        Ok(())
    }

    /// Sets a row.
    pub(crate) fn put_row(&mut self, key: &[u8], row: &impl Message) -> Result<(), StoreError> {
        self.put(key, &row.encode_to_vec())
    }

    /// Sets a number.
    pub(crate) fn put_number(&mut self, key: &[u8], number: u64) -> Result<(), StoreError> {
        self.put(key, &number.to_be_bytes())
    }

    /// Removes a key, if it is there, with the pieces of its value.
    pub(crate) fn erase(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let Some(found) = self.record(key)? else {
            return Ok(());
        };
        if let [1, a, b] = record::open(key, &found)?.as_slice() {
            for number in 0..u16::from_be_bytes([*a, *b]) {
                self.delete(&keys::piece(key, number))?;
            }
        }
        self.delete(key)
    }

    /// Removes a key, if it is there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        if self.record(key)?.is_some() {
            self.own.insert(key.to_vec(), None);
        }
        Ok(())
    }
}

impl Read for Txn<'_> {
    fn is_far(&self) -> bool {
        self.kv.is_far()
    }

    fn ahead(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        self.kv.ahead(keys)
    }

    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.own.get(key).or_else(|| self.group.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.kv.get(key),
        }
    }

    fn records(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows, StoreError> {
        let wanted = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|a| key > a);
        let mut changes: BTreeMap<&[u8], &Option<Vec<u8>>> = BTreeMap::new();
        for batch in [self.group, &self.own] {
            let from = batch
                .range(prefix.to_vec()..)
                .take_while(|(k, _)| k.starts_with(prefix));
            changes.extend(from.filter(|(k, _)| wanted(k)).map(|(k, v)| (k.as_slice(), v)));
        }
        let removed = changes.values().filter(|v| v.is_none()).count();
        let stored = self.kv.scan(prefix, after, limit.saturating_add(removed))?;
        // Beyond the last stored key of a full page nothing is known of the map.
        let full = stored.len() == limit.saturating_add(removed);
        let horizon = if full {
            stored.last().map(|(k, _)| k.clone())
        } else {
            None
        };
        let mut all: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for (key, change) in changes {
            match change {
                Some(_) if horizon.as_deref().is_some_and(|h| key > h) => {}
                Some(value) => {
                    all.insert(key.to_vec(), value.clone());
                }
                None => {
                    all.remove(key);
                }
            }
        }
        Ok(all.into_iter().take(limit).collect())
    }
}

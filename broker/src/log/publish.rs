//! Gives out evidence: stored entries with their salts, openings as the reader may see them, inclusion
//! proof and checkpoint.

use bytes::Bytes;
use schakel_proto::ids::Digest;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;

use crate::erasure::ErasureKeys;
use crate::store::{LoggedEntry, Store, StoreError};

/// Makes wire evidence of stored entries.
#[derive(Clone, Debug)]
pub struct Evidences {
    keys: ErasureKeys,
}

impl Evidences {
    /// With the keys that salt the leaves.
    pub const fn new(keys: ErasureKeys) -> Self {
        Self { keys }
    }

    /// Wire evidence of one entry; `None`: its case's erasure key is gone, and with it the meaning, or its
    /// retention had ended.
    pub async fn publish(&self, entry: LoggedEntry) -> Result<Option<wire::Evidence>, StoreError> {
        if entry.body.is_empty() {
            return Ok(None);
        }
        let Some(key) = self.keys.existing(entry.case).await? else {
            return Ok(None);
        };
        let salt = Bytes::copy_from_slice(key.salt(&entry.body).as_bytes());
        let inclusion = entry
            .inclusion
            .iter()
            .map(|h| Bytes::copy_from_slice(h.as_bytes()))
            .collect();
        Ok(Some(wire::Evidence {
            leaf: entry.leaf,
            salt,
            body: entry.body,
            index: entry.index,
            tree_size: entry.checkpoint.size,
            inclusion,
            checkpoint: entry.checkpoint.note,
            shown: entry.shown,
            hidden: entry.hidden,
            attachment: entry.attachment,
        }))
    }

    /// One entry as an agency may see it; `None`: not under a checkpoint, not its business, or erased.
    pub async fn of(
        &self,
        store: &dyn Store,
        agency: &AgencyId,
        leaf_hash: Digest,
    ) -> Result<Option<wire::Evidence>, StoreError> {
        match store.entry_for(agency, leaf_hash).await? {
            Some(entry) => self.publish(entry).await,
            None => Ok(None),
        }
    }

    /// The acceptance of a packet, to be shown to its recipient inside the hand-over.
    pub async fn submission(
        &self,
        store: &dyn Store,
        leaf_hash: Digest,
    ) -> Result<Option<wire::Evidence>, StoreError> {
        match store.entry(leaf_hash).await? {
            Some(entry) => self.publish(entry).await,
            None => Ok(None),
        }
    }

    /// What an auditor is shown of the entry at a position: that it is there, and what it says; neither decisions nor
    /// what was signed. `None`: not under a checkpoint, or erased.
    pub async fn audited(&self, store: &dyn Store, index: u64) -> Result<Option<wire::Evidence>, StoreError> {
        let Some(leaf_hash) = store.node(Node { level: 0, index }).await? else {
            return Ok(None);
        };
        let Some(entry) = store.entry(leaf_hash).await? else {
            return Ok(None);
        };
        self.publish(LoggedEntry {
            shown: None,
            hidden: None,
            attachment: None,
            ..entry
        })
        .await
    }

    /// Everything that concerns an agency from a position on, at most `limit` entries; and the position to
    /// go on from.
    pub async fn since(
        &self,
        store: &dyn Store,
        agency: &AgencyId,
        from_index: u64,
        limit: usize,
    ) -> Result<(Vec<wire::Evidence>, u64), StoreError> {
        let (mut all, mut next) = (Vec::new(), from_index);
        for entry in store.evidence_for(agency, from_index, limit).await? {
            next = entry.index + 1;
            all.extend(self.publish(entry).await?);
        }
        Ok((all, next))
    }
}

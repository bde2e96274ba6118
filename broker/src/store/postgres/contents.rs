//! Content of large parts in the database, in chunks. A chunk is written without a sync of its own: the commit that names
//! the content comes later in the same log of the database, and is refused if the content is not there any more.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use schakel_proto::ids::Digest;

use super::Base;
use super::connect::away;
use crate::store::content::{SharedShelf, SpoolId};
use crate::store::error::StoreError;

/// Released spools that are removed together.
const RELEASED_AT_ONCE: usize = 64;

/// The shelf in the database.
pub(super) struct PgShelf {
    pub(super) base: Arc<Base>,
    pub(super) released: Mutex<Vec<SpoolId>>,
}

impl PgShelf {
    /// Removes the pins that were released and, where nothing was finished, what had been written.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        const UNPIN: &str = "DELETE FROM content_pin WHERE spool = ANY($1)";
        const CHUNKS: &str = "DELETE FROM content_chunk c WHERE c.spool = ANY($1) \
                              AND NOT EXISTS (SELECT 1 FROM content f WHERE f.spool = c.spool)";
        const SPOOLS: &str = "DELETE FROM content_spool WHERE spool = ANY($1)";
        loop {
            let some: Vec<SpoolId> = {
                let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
                let count = released.len().min(RELEASED_AT_ONCE);
                released.drain(..count).collect()
            };
            if some.is_empty() {
                return Ok(());
            }
            let spools: Vec<&[u8]> = some.iter().map(<[u8; 16]>::as_slice).collect();
            let mut link = self.base.link().await?;
            let done = async {
                let transaction = link.client.transaction().await?;
                for statement in [UNPIN, CHUNKS, SPOOLS] {
                    transaction.execute(statement, &[&spools]).await?;
                }
                transaction.commit().await
            };
            if let Err(error) = done.await {
                self.released
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(some);
                return Err(away(error));
            }
        }
    }

    /// Removes what brokers that no longer live have begun, and content that nobody names or holds. Under the writer's lock,
    /// so that none is named meanwhile.
    pub(super) async fn sweep(&self) -> Result<u64, StoreError> {
        const DEAD: &str = "owner::bigint NOT IN (SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' \
                            AND classid = $1::int8::oid AND objsubid = 2 AND granted)";
        let class = i64::from(self.base.class);
        let mut link = self.base.link().await?;
        let swept = async {
            let transaction = link.client.transaction().await?;
            let lock = "SELECT pg_advisory_xact_lock($1)";
            transaction.query_one(lock, &[&self.base.writer_key]).await?;
            transaction
                .execute(&format!("DELETE FROM content_pin WHERE {DEAD}"), &[&class])
                .await?;
            let chunks = format!(
                "DELETE FROM content_chunk c USING content_spool s WHERE c.spool = s.spool AND s.{DEAD} \
                 AND NOT EXISTS (SELECT 1 FROM content f WHERE f.spool = c.spool)"
            );
            let mut count = transaction.execute(&chunks, &[&class]).await?;
            transaction
                .execute(&format!("DELETE FROM content_spool WHERE {DEAD}"), &[&class])
                .await?;
            // A row that names content begins with the table's letter and the digest.
            let unnamed = "DELETE FROM content f WHERE NOT EXISTS (SELECT 1 FROM content_pin p WHERE p.digest = f.digest) \
                 AND NOT EXISTS (SELECT 1 FROM row WHERE k > $1::bytea || f.digest AND k < $1::bytea || f.digest || '\\xff'::bytea)";
            transaction
                .execute(unnamed, &[&[crate::store::kv::keys::FILE].as_slice()])
                .await?;
            let chunks = "DELETE FROM content_chunk c WHERE NOT EXISTS (SELECT 1 FROM content f WHERE f.spool = c.spool) \
                 AND NOT EXISTS (SELECT 1 FROM content_spool s WHERE s.spool = c.spool)";
            count += transaction.execute(chunks, &[]).await?;
            transaction.commit().await?;
            Ok(count)
        };
        swept.await.map_err(away)
    }
}

#[async_trait]
impl SharedShelf for PgShelf {
    async fn put(&self, spool: SpoolId, number: u32, bytes: Bytes) -> Result<(), StoreError> {
        const BEGIN: &str = "INSERT INTO content_spool (spool, owner) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        const PUT: &str = "INSERT INTO content_chunk (spool, number, bytes) VALUES ($1, $2, $3)";
        let number = i32::try_from(number).map_err(|_| StoreError::Misused("too many chunks"))?;
        let (spool, bytes) = (spool.as_slice(), bytes.as_ref());
        let mut link = self.base.link().await?;
        let put = async {
            let transaction = link.client.transaction().await?;
            // Nothing rests on it yet.
            transaction
                .batch_execute("SET LOCAL synchronous_commit = off")
                .await?;
            if number == 0 {
                transaction.execute(BEGIN, &[&spool, &self.base.owner]).await?;
            }
            transaction.execute(PUT, &[&spool, &number, &bytes]).await?;
            transaction.commit().await
        };
        let put = async { put.await.map_err(|error| self.base.full_or_away(error)) };
        self.base.within(put).await
    }

    async fn finish(&self, spool: SpoolId, digest: Digest, length: u64) -> Result<(), StoreError> {
        const PIN: &str = "INSERT INTO content_pin (digest, spool, owner) VALUES ($1, $2, $3)";
        const FINISH: &str =
            "INSERT INTO content (digest, spool, length) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        const DROP: &str = "DELETE FROM content_chunk WHERE spool = $1 \
                            AND NOT EXISTS (SELECT 1 FROM content WHERE spool = $1)";
        const DONE: &str = "DELETE FROM content_spool WHERE spool = $1";
        let length = i64::try_from(length).map_err(|_| StoreError::Misused("content too long"))?;
        let (spool, digest) = (spool.as_slice(), digest.as_bytes().as_slice());
        let mut link = self.base.link().await?;
        let finish = async {
            let transaction = link.client.transaction().await?;
            transaction
                .execute(PIN, &[&digest, &spool, &self.base.owner])
                .await?;
            transaction.execute(FINISH, &[&digest, &spool, &length]).await?;
            // The same content was there already: that one serves both.
            transaction.execute(DROP, &[&spool]).await?;
            transaction.execute(DONE, &[&spool]).await?;
            transaction.commit().await
        };
        let finish = async { finish.await.map_err(|error| self.base.full_or_away(error)) };
        self.base.within(finish).await
    }

    fn release(&self, spool: SpoolId) {
        self.released
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spool);
        self.base.settle.notify_one();
    }

    async fn chunk(&self, digest: Digest, number: u32) -> Result<Option<Bytes>, StoreError> {
        const READ: &str = "SELECT c.bytes FROM content f JOIN content_chunk c USING (spool) \
                            WHERE f.digest = $1 AND c.number = $2";
        let number = i32::try_from(number).map_err(|_| StoreError::Misused("too many chunks"))?;
        let read = async {
            let link = self.base.link().await?;
            let found = link
                .client
                .query_opt(READ, &[&digest.as_bytes().as_slice(), &number])
                .await;
            Ok(found
                .map_err(away)?
                .map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))))
        };
        self.base.within(read).await
    }

    fn remove_unpinned(&self, digest: &Digest) -> Result<(), StoreError> {
        const REMOVE: &str = "WITH gone AS (DELETE FROM content f WHERE f.digest = $1 \
                                AND NOT EXISTS (SELECT 1 FROM content_pin p WHERE p.digest = f.digest) RETURNING spool) \
                              DELETE FROM content_chunk c USING gone WHERE c.spool = gone.spool";
        self.base.run(self.base.within(async {
            // Pins of this process that were let go of are not to hold it.
            self.settle().await?;
            let link = self.base.link().await?;
            let removed = link
                .client
                .execute(REMOVE, &[&digest.as_bytes().as_slice()])
                .await;
            removed.map(drop).map_err(away)
        }))
    }

    fn page(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, StoreError> {
        const PAGE: &str = "SELECT digest FROM content WHERE digest > $1 ORDER BY digest LIMIT $2";
        let after = after.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.base.run(self.base.within(async {
            let link = self.base.link().await?;
            let rows = link.client.query(PAGE, &[&after, &limit]).await.map_err(away)?;
            let damaged = |_| StoreError::Corrupt("the list of contents".into());
            rows.iter()
                .map(|row| Digest::try_from(row.get::<_, &[u8]>(0)).map_err(damaged))
                .collect()
        }))
    }
}

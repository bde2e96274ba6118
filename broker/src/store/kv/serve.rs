//! The seam over the engine: each verb is handed to the writer or to a reader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;

use super::super::audit::{Audited, Cursor};
use super::super::content::{ContentReader, Spool};
use super::super::cosigned::{HeldUp, NewCandidate};
use super::super::delivery::{
    Acknowledged, Acknowledging, DuePacket, Expired, Expiring, HandOver, HandedOver, Lease, LeaseRequest,
    Recall, Recalling, Waiting,
};
use super::super::entry::{Integrated, Integration, LoggedEntry, NewEntry, PendingLeaf, StoredCheckpoint};
use super::super::error::StoreError;
use super::super::facts::{Ceiling, CeilingOf, Ceilings, Facts, NewStatement, Raised, StatementAdded};
use super::super::filed::{Filed, FiledEntry};
use super::super::forget::{Acts, EndedPacket, Forgetting, Forgot};
use super::super::heard::Heard;
use super::super::oversight::{Kept, LastContact, OpenDelivery, OpenReview, Page};
use super::super::packet::{Acceptance, Accepted, Known, Outcome, StoredPacket};
use super::super::shards::{NewShard, Shard, ShardChanged, ShardOpened};
use super::super::verbs::{
    accept, acknowledge, audit, cosigned, endings, facts, filed, forget, hand_over, lease, log, oversight,
    packets, shards,
};
use super::super::{PAGE_MAX_COUNT, Store, StoreHealth};
use super::txn::Committed;
use super::{Ground, KvStore};

/// How long a page of an audit goes on with further rows: nothing is committed meanwhile.
const AUDIT_MAX: Duration = Duration::from_millis(10);

fn page(limit: usize) -> usize {
    limit.min(PAGE_MAX_COUNT)
}

#[async_trait]
impl<K: Ground> Store for KvStore<K> {
    async fn known(&self, packet: PacketId, manifest_digest: Digest) -> Result<Known, StoreError> {
        self.engine
            .read(move |r| accept::known(r, &packet, &manifest_digest))
            .await
    }

    async fn spool(&self, length: u64) -> Result<Spool, StoreError> {
        self.contents.spool(length, |bytes| self.kv.has_room(bytes))
    }

    async fn accept(&self, acceptance: Acceptance) -> Result<Accepted, StoreError> {
        self.engine
            .write(true, move |step| accept::accept(step, acceptance))
            .await
    }

    async fn packet(&self, packet: PacketId) -> Result<Option<StoredPacket>, StoreError> {
        self.engine.read(move |r| packets::packet(r, &packet)).await
    }

    async fn outcome(&self, packet: PacketId) -> Result<Option<Outcome>, StoreError> {
        self.engine.read(move |r| packets::outcome(r, &packet)).await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, StoreError> {
        let mut leased = Vec::new();
        let mut rest = Some((request.tokens.clone(), None));
        let request = Arc::new(request);
        while let Some(next) = rest.take().filter(|(tokens, _)| !tokens.is_empty()) {
            let (leases, request) = (Arc::clone(&self.leases), Arc::clone(&request));
            let claimed = self
                .engine
                .read(move |r| lease::lease(r, leases.as_ref(), &request, &next));
            let (some, more) = claimed.await?;
            leased.extend(some);
            rest = more;
        }
        Ok(leased)
    }

    async fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.leases.renew(token, now, until).await
    }

    async fn release(&self, token: DeliveryId) -> Result<(), StoreError> {
        self.leases.release(token).await
    }

    async fn content(
        &self,
        packet: PacketId,
        part: PartId,
        profile: wire::Profile,
    ) -> Result<ContentReader, StoreError> {
        let place = || {
            self.engine
                .read(move |r| packets::content(r, &packet, &part, profile))
        };
        match place().await? {
            packets::Place::Inline(bytes, digest) => Ok(ContentReader::inline(bytes, digest)),
            packets::Place::File(digest, length) => match self.contents.open(digest, length).await {
                // It may have been purged between the look and the opening; then this says so.
                Err(StoreError::Corrupt(what)) => place().await.and(Err(StoreError::Corrupt(what))),
                other => other,
            },
        }
    }

    async fn hand_over(&self, hand_over: HandOver) -> Result<HandedOver, StoreError> {
        self.engine
            .write(false, move |step| hand_over::hand_over(step, &hand_over))
            .await
    }

    async fn acknowledge(&self, acknowledging: Acknowledging) -> Result<Acknowledged, StoreError> {
        self.engine
            .write(false, move |step| acknowledge::acknowledge(step, &acknowledging))
            .await
    }

    async fn recall(&self, recalling: Recalling) -> Result<Recall, StoreError> {
        self.engine
            .write(false, move |step| endings::recall(step, &recalling))
            .await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DuePacket>, StoreError> {
        self.engine.read(move |r| endings::due(r, now, page(limit))).await
    }

    async fn expire(&self, expiring: Expiring) -> Result<Expired, StoreError> {
        self.engine
            .write(false, move |step| endings::expire(step, &expiring))
            .await
    }

    async fn waiting(&self, recipient: &AgencyId) -> Result<Waiting, StoreError> {
        let recipient = recipient.clone();
        self.engine.read(move |r| lease::waiting(r, &recipient)).await
    }

    async fn reconsider(&self, case: Option<CaseRef>) -> Result<Vec<AgencyId>, StoreError> {
        self.engine
            .write(false, move |step| endings::reconsider(step, case.as_ref()))
            .await
    }

    async fn add_statement(&self, statement: NewStatement) -> Result<StatementAdded, StoreError> {
        self.engine
            .write(true, move |step| facts::add_statement(step, &statement))
            .await
    }

    async fn facts(&self, case: CaseRef) -> Result<Facts, StoreError> {
        self.engine.read(move |r| facts::facts(r, &case)).await
    }

    async fn ceilings(&self) -> Result<Ceilings, StoreError> {
        self.engine.read(|r| facts::ceilings(r)).await
    }

    async fn raise(&self, of: CeilingOf, ceiling: Ceiling, entry: NewEntry) -> Result<Raised, StoreError> {
        self.engine
            .write(false, move |step| facts::raise(step, of, ceiling, &entry))
            .await
    }

    async fn record(&self, entry: NewEntry) -> Result<Digest, StoreError> {
        self.engine
            .write(true, move |step| log::record(step, &entry))
            .await
    }

    fn pending_signal(&self) -> Arc<tokio::sync::Notify> {
        self.engine.pending()
    }

    async fn pending(&self, limit: usize) -> Result<Vec<PendingLeaf>, StoreError> {
        self.engine.read(move |r| log::pending(r, page(limit))).await
    }

    async fn integrate(&self, integration: Integration) -> Result<Integrated, StoreError> {
        self.engine
            .write(false, move |step| log::integrate(step, &integration))
            .await
    }

    async fn shards(&self) -> Result<Vec<Shard>, StoreError> {
        self.engine.read(|r| shards::all(r)).await
    }

    async fn close_shard(&self, origin: &str, entry: NewEntry) -> Result<ShardChanged, StoreError> {
        let origin = origin.to_owned();
        self.engine
            .write(true, move |step| shards::close(step, &origin, &entry))
            .await
    }

    async fn reopen_shard(&self, origin: &str) -> Result<ShardChanged, StoreError> {
        let origin = origin.to_owned();
        self.engine
            .write(false, move |step| shards::reopen(step, &origin))
            .await
    }

    async fn open_shard(&self, new: NewShard) -> Result<ShardOpened, StoreError> {
        self.engine
            .write(false, move |step| shards::open(step, &new))
            .await
    }

    async fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, StoreError> {
        self.engine.read(|r| log::latest_checkpoint(r)).await
    }

    async fn node(&self, node: Node) -> Result<Option<Digest>, StoreError> {
        self.engine.read(move |r| log::node(r, node)).await
    }

    async fn nodes(&self, first: Node, limit: usize) -> Result<Vec<Digest>, StoreError> {
        self.engine.read(move |r| log::nodes(r, first, page(limit))).await
    }

    async fn index_of(&self, leaf_hash: Digest) -> Result<Option<u64>, StoreError> {
        self.engine.read(move |r| log::index_of(r, &leaf_hash)).await
    }

    async fn leaves(&self, from_index: u64, limit: usize) -> Result<Vec<bytes::Bytes>, StoreError> {
        self.engine
            .read(move |r| log::leaves(r, from_index, page(limit)))
            .await
    }

    async fn entry_for(
        &self,
        agency: &AgencyId,
        leaf_hash: Digest,
    ) -> Result<Option<LoggedEntry>, StoreError> {
        let agency = agency.clone();
        self.engine
            .read(move |r| log::entry_for(r, &agency, &leaf_hash))
            .await
    }

    async fn entry(&self, leaf_hash: Digest) -> Result<Option<LoggedEntry>, StoreError> {
        self.engine.read(move |r| log::entry(r, &leaf_hash)).await
    }

    async fn evidence_for(
        &self,
        agency: &AgencyId,
        from_index: u64,
        limit: usize,
    ) -> Result<Vec<LoggedEntry>, StoreError> {
        let agency = agency.clone();
        self.engine
            .read(move |r| log::evidence_for(r, &agency, from_index, page(limit)))
            .await
    }

    async fn consistency(&self, from: u64, to: u64) -> Result<Vec<Digest>, StoreError> {
        self.engine.read(move |r| log::consistency(r, from, to)).await
    }

    async fn keep(&self, of: CeilingOf, ceiling: Ceiling, signed: bytes::Bytes) -> Result<(), StoreError> {
        let known = move |r: &Committed<'_>| oversight::kept(r, of, ceiling.version);
        if self.engine.read(known).await?.is_some() {
            return Ok(());
        }
        let length = signed.len() as u64;
        let mut spool = self.contents.spool(length, |bytes| self.kv.has_room(bytes))?;
        spool.write(&signed).await?;
        let stored = spool.finish(Digest::of(&signed)).await?;
        self.engine
            .write(false, move |step| oversight::keep(step, of, ceiling, &stored))
            .await
    }

    async fn kept(&self, of: CeilingOf, version: u64) -> Result<Option<Kept>, StoreError> {
        let row = self.engine.read(move |r| oversight::kept(r, of, version)).await?;
        let Some(row) = row else { return Ok(None) };
        oversight::whole(row, &self.contents).await.map(Some)
    }

    async fn records(&self, from_index: u64, limit: usize) -> Result<Vec<LoggedEntry>, StoreError> {
        self.engine
            .read(move |r| oversight::records(r, from_index, page(limit)))
            .await
    }

    async fn filed(
        &self,
        of: Filed,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page<FiledEntry, u64>, StoreError> {
        self.engine
            .read(move |r| filed::filed(r, of, after, page(limit)))
            .await
    }

    async fn cases(
        &self,
        after: Option<CaseRef>,
        limit: usize,
    ) -> Result<Page<CaseRef, CaseRef>, StoreError> {
        self.engine
            .read(move |r| filed::cases(r, after, page(limit)))
            .await
    }

    async fn audit(
        &self,
        network: &NetworkName,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Audited, StoreError> {
        let network = network.clone();
        self.engine
            .read(move |r| {
                let began = Instant::now();
                audit::rows(
                    r,
                    &network,
                    after,
                    (page(limit), &|| began.elapsed() >= AUDIT_MAX),
                )
            })
            .await
    }

    async fn packets_of(
        &self,
        case: CaseRef,
        after: Option<PacketId>,
        limit: usize,
    ) -> Result<Page<PacketId, PacketId>, StoreError> {
        self.engine
            .read(move |r| oversight::packets_of(r, &case, after, page(limit)))
            .await
    }

    async fn deliveries(
        &self,
        before: Timestamp,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page<OpenDelivery, Vec<u8>>, StoreError> {
        self.engine
            .read(move |r| oversight::deliveries(r, before, after.as_deref(), page(limit)))
            .await
    }

    async fn contacts(
        &self,
        after: Option<CaseRef>,
        limit: usize,
    ) -> Result<Page<LastContact, CaseRef>, StoreError> {
        self.engine
            .read(move |r| oversight::contacts(r, after, page(limit)))
            .await
    }

    async fn reviews(
        &self,
        after: Option<(CaseRef, PacketId)>,
        limit: usize,
    ) -> Result<Page<OpenReview, (CaseRef, PacketId)>, StoreError> {
        self.engine
            .read(move |r| oversight::reviews(r, after, page(limit)))
            .await
    }

    async fn ended(
        &self,
        before: Timestamp,
        after: Option<PacketId>,
        limit: usize,
    ) -> Result<Page<EndedPacket, PacketId>, StoreError> {
        self.engine
            .read(move |r| forget::ended(r, before, after, page(limit)))
            .await
    }

    async fn acts(&self, before: Timestamp, limit: usize) -> Result<Acts, StoreError> {
        self.engine
            .read(move |r| forget::acts(r, before, page(limit)))
            .await
    }

    async fn of_case(&self, case: CaseRef) -> Result<Vec<u64>, StoreError> {
        self.engine.read(move |r| forget::of_case(r, &case)).await
    }

    async fn forget(&self, forgetting: Forgetting, entry: Option<NewEntry>) -> Result<Forgot, StoreError> {
        self.engine
            .write(false, move |step| {
                forget::forget(step, &forgetting, entry.as_ref())
            })
            .await
    }

    async fn held_up(&self) -> Result<Vec<HeldUp>, StoreError> {
        self.engine.read(|r| cosigned::held_up(r)).await
    }

    async fn hold_up(&self, candidate: NewCandidate) -> Result<bool, StoreError> {
        self.engine
            .write(false, move |step| cosigned::hold_up(step, &candidate))
            .await
    }

    async fn keep_cosignature(&self, size: u64, agency: &AgencyId, line: String) -> Result<bool, StoreError> {
        let agency = agency.clone();
        self.engine
            .write(false, move |step| cosigned::keep(step, size, &agency, &line))
            .await
    }

    fn heard(&self) -> Option<tokio::sync::broadcast::Receiver<Heard>> {
        self.kv.heard()
    }

    fn health(&self) -> StoreHealth {
        if self.engine.stopped().is_some() {
            StoreHealth::Stopped
        } else if !self.kv.is_reached() {
            StoreHealth::Away
        } else if self.kv.has_room(0) {
            StoreHealth::Ready
        } else {
            StoreHealth::Full
        }
    }

    async fn close(&self) {
        let engine = Arc::clone(&self.engine);
        // A panic of the writer was reported by the writer itself.
        let _ = tokio::task::spawn_blocking(move || engine.close()).await;
    }
}

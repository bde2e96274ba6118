//! The bench that the suite runs on: a backend that can be reopened and broken, packets, entries, a log key.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId, StatementId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::wire;

use super::super::memory::MemoryStore;
use super::super::postgres::tests::fresh;
use super::super::*;
use super::breaker::Breaker;
pub(crate) use super::open::{Backend, Open};
use super::open::{open_postgres, open_sled};
use crate::erasure::ErasureKeys;
use crate::log::entry::{DecisionDraft, EntryDraft, EntryMaker};

/// A backend with what a broker has around it.
pub(crate) struct Bench {
    pub(crate) backend: Backend,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) open: Open,
    pub(crate) network: NetworkName,
    pub(crate) keys: ErasureKeys,
    pub(crate) maker: EntryMaker,
    pub(crate) rng: StdRng,
    pub(crate) now: Timestamp,
    pub(crate) case: CaseRef,
}

pub(crate) fn agency(name: &str) -> AgencyId {
    AgencyId::new(name).unwrap()
}

/// The leaf of a committed hand-over.
pub(crate) fn leaf(handed: &HandedOver) -> Digest {
    match handed {
        HandedOver::Committed {
            leaf_hash: Some(leaf),
            ..
        } => *leaf,
        other => panic!("{other:?}"),
    }
}

pub(crate) const SENDER: &str = "pz-rupel";
pub(crate) const WELFARE: &str = "caw-rupel";
pub(crate) const JUSTICE: &str = "jh-antwerpen-dader";
pub(crate) const SMALL: usize = 4 * 1024;
pub(crate) const LARGE: usize = 70 * 1024;

impl Bench {
    pub(crate) async fn new(backend: Backend) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let breaker = Arc::new(Breaker::default());
        let open = match backend {
            Backend::Memory => Open::Memory(Arc::new(MemoryStore::with_faults(breaker.clone()).unwrap())),
            Backend::Sled => Open::Sled(Arc::new(open_sled(dir.path(), &breaker, 0).await.unwrap())),
            Backend::Postgres => open_postgres(&fresh(dir.path()), &breaker).await,
        };
        let network = NetworkName::new("rupel").unwrap();
        let keys = ErasureKeys::open(&dir.path().join("erasure")).unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let case = CaseRef::random(&mut rng);
        let maker = EntryMaker::new(network.clone(), keys.clone());
        let now = Timestamp::from_millis(1_795_278_600_000);
        Self {
            backend,
            dir,
            breaker,
            open,
            network,
            keys,
            maker,
            rng,
            now,
            case,
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.open {
            Open::Memory(store) => store.clone(),
            Open::Sled(store) => store.clone(),
            Open::Postgres(store, _) => store.clone(),
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        match &self.open {
            Open::Memory(store) => store.commits(),
            Open::Sled(store) => store.commits(),
            Open::Postgres(store, _) => store.commits(),
        }
    }

    /// Closes the store and opens it again, where it outlives that.
    pub(crate) async fn reopen(&mut self) {
        match &self.open {
            Open::Memory(_) => {}
            Open::Sled(store) => {
                store.close().await;
                self.open = Open::Sled(Arc::new(
                    open_sled(self.dir.path(), &self.breaker, 0).await.unwrap(),
                ));
            }
            Open::Postgres(store, options) => {
                store.close().await;
                self.open = open_postgres(&options.clone(), &self.breaker).await;
            }
        }
    }

    /// Makes the store full, or no longer: on the disk by keeping everything in reserve.
    pub(crate) async fn set_full(&mut self, full: bool) {
        match &self.open {
            Open::Memory(store) => store.set_full(full),
            Open::Postgres(store, _) => store.kv().set_full(full),
            Open::Sled(store) => {
                store.close().await;
                let reserve = if full { u64::MAX / 2 } else { 0 };
                let opened = open_sled(self.dir.path(), &self.breaker, reserve).await;
                self.open = Open::Sled(Arc::new(opened.unwrap()));
            }
        }
    }

    pub(crate) fn secret(&self) -> LogSecret {
        LogSecret::generate("rupel.example/log", &mut StdRng::seed_from_u64(99)).unwrap()
    }

    pub(crate) fn token(&mut self) -> DeliveryId {
        DeliveryId::random(&mut self.rng)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn opening(&mut self) -> wire::Opening {
        let (nonce, descriptor) = (self.bytes(32), self.bytes(200));
        wire::Opening {
            nonce: nonce.into(),
            descriptor: descriptor.into(),
        }
    }

    pub(crate) fn signed(&mut self, length: usize) -> wire::Signed {
        let (bytes, signature) = (self.bytes(length), self.bytes(154));
        wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        }
    }

    pub(crate) async fn entry(&mut self, draft: EntryDraft) -> NewEntry {
        self.maker.make(draft, &mut self.rng).await.unwrap()
    }

    pub(crate) async fn spooled(&self, bytes: &[u8]) -> StoredContent {
        let mut spool = self
            .store()
            .spool(u64::try_from(bytes.len()).unwrap())
            .await
            .unwrap();
        for chunk in bytes.chunks(10_000) {
            spool.write(chunk).await.unwrap();
        }
        spool.finish(Digest::of(bytes)).await.unwrap()
    }

    /// A packet whose parts each go to the recipients named, with content of the lengths named.
    pub(crate) async fn packet(&mut self, recipients: &[&str], parts: &[(usize, &[&str])]) -> Acceptance {
        let packet = PacketId::new(self.now, &mut self.rng);
        let manifest = self.signed(1_000);
        let mut new_parts = Vec::new();
        let mut key_packets = Vec::new();
        for (length, to) in parts {
            let part = PartId::random(&mut self.rng);
            let content = self.bytes(*length);
            let content = self.spooled(&content).await;
            let sealings = vec![NewSealing {
                profile: wire::Profile::V6,
                content,
            }];
            for recipient in *to {
                let packet = self.bytes(120).into();
                let part_id = bytes::Bytes::copy_from_slice(part.as_bytes());
                key_packets.push(wire::KeyPacket {
                    part_id,
                    recipient: (*recipient).to_owned(),
                    packet,
                });
            }
            let recipients = to.iter().map(|r| agency(r)).collect();
            new_parts.push(NewPart {
                part,
                opening: self.opening(),
                recipients,
                sealings,
            });
        }
        let mut new_recipients = Vec::new();
        for recipient in recipients {
            new_recipients.push(NewRecipient {
                agency: agency(recipient),
                opening: self.opening(),
            });
        }
        let entry = self
            .about(Event::SubmissionAcceptance, packet, None, None, None)
            .await;
        Acceptance {
            packet,
            manifest_digest: Digest::of(&manifest.bytes),
            case: self.case,
            sender: agency(SENDER),
            manifest,
            accepted_at: self.now,
            expires: self.now.plus_millis(3_600_000),
            priority: 2,
            follow_up: FollowUp::default(),
            recipients: new_recipients,
            parts: new_parts,
            key_packets,
            entry,
        }
    }

    /// A second acceptance of the same packet, as a retry makes it: another entry, contents spooled again.
    pub(crate) async fn again(&mut self, of: &Acceptance) -> Acceptance {
        let entry = self
            .about(Event::SubmissionAcceptance, of.packet, None, None, None)
            .await;
        let mut parts = Vec::new();
        for part in &of.parts {
            let sealings = part.sealings.iter();
            let sealings = sealings
                .map(|s| NewSealing {
                    profile: s.profile,
                    content: s.content.clone(),
                })
                .collect();
            let (opening, recipients) = (part.opening.clone(), part.recipients.clone());
            parts.push(NewPart {
                part: part.part,
                opening,
                recipients,
                sealings,
            });
        }
        Acceptance {
            packet: of.packet,
            manifest_digest: of.manifest_digest,
            case: of.case,
            sender: of.sender.clone(),
            manifest: of.manifest.clone(),
            accepted_at: self.now,
            expires: of.expires,
            priority: of.priority,
            follow_up: of.follow_up,
            recipients: of.recipients.clone(),
            parts,
            key_packets: of.key_packets.clone(),
            entry,
        }
    }

    /// An entry about a packet of this case.
    pub(crate) async fn about(
        &mut self,
        event: Event,
        packet: PacketId,
        recipient: Option<&AgencyId>,
        decision: Option<DecisionDraft>,
        attachment: Option<wire::Signed>,
    ) -> NewEntry {
        let mut draft = EntryDraft::new(event, self.now).concerning(&agency(SENDER), true);
        draft.case = Some(self.case);
        draft.packet = Some(packet);
        draft.sender = Some(agency(SENDER));
        draft.recipient = recipient.cloned();
        draft.decision = decision;
        draft.attachment = attachment;
        let told = !matches!(event, Event::ContentWithheld | Event::Recalled | Event::Expired);
        if let (Some(recipient), true) = (recipient, told) {
            draft = draft.concerning(recipient, false);
        }
        self.entry(draft).await
    }

    pub(crate) async fn lease(&mut self, recipient: &str, count: usize) -> Vec<Lease> {
        let tokens = (0..count).map(|_| self.token()).collect();
        let request = LeaseRequest {
            recipient: agency(recipient),
            now: self.now,
            lease_millis: 60_000,
            tokens,
        };
        self.store().lease(request).await.unwrap()
    }

    /// The hand-over of a lease: `verdict` decides each open part, on the facts as they are.
    pub(crate) async fn decide(
        &mut self,
        lease: &Lease,
        verdict: impl Fn(&PartState) -> Verdict,
    ) -> HandOver {
        let facts = self.store().facts(self.case).await.unwrap();
        let open: Vec<_> = lease.parts.iter().filter(|p| !p.stage.is_final()).collect();
        let decided = |state: &&PartState| DecidedPart {
            part: state.part,
            verdict: verdict(state),
            reason: "ALLOW_TEST".to_owned(),
            obligations: vec!["review".to_owned()],
        };
        let parts: Vec<DecidedPart> = open.iter().map(decided).collect();
        let delivers = parts.iter().any(|p| p.verdict == Verdict::Deliver);
        let event = if delivers {
            Event::ContentConsignment
        } else {
            Event::ContentWithheld
        };
        let both = open.iter().zip(&parts);
        let still_held = { both }.all(|(s, p)| s.stage == Stage::Held && p.verdict == Verdict::Hold);
        let draft = DecisionDraft::split(self.decision(lease, &facts, &parts));
        let packet = lease.packet.packet;
        let entry = match still_held {
            true => None,
            false => Some(
                self.about(event, packet, Some(&lease.recipient), Some(draft), None)
                    .await,
            ),
        };
        HandOver {
            token: lease.token,
            packet,
            recipient: lease.recipient.clone(),
            facts_head: facts.head,
            facts_count: facts.count(),
            bundle_version: 1,
            directory_version: 1,
            parts,
            entry,
            at: self.now,
        }
    }

    fn decision(&self, lease: &Lease, facts: &Facts, parts: &[DecidedPart]) -> wire::Decision {
        let outcome = |verdict| match verdict {
            Verdict::Deliver => "deliver",
            Verdict::Withhold => "withhold",
            Verdict::Hold => "hold-for-consent",
        };
        let part = |p: &DecidedPart| wire::PartDecision {
            part_id: bytes::Bytes::copy_from_slice(p.part.as_bytes()),
            outcome: outcome(p.verdict).to_owned(),
            reason: p.reason.clone(),
            ..Default::default()
        };
        let head = facts.head.map(|h| bytes::Bytes::copy_from_slice(h.as_bytes()));
        wire::Decision {
            packet_id: bytes::Bytes::copy_from_slice(lease.packet.packet.as_bytes()),
            recipient: lease.recipient.to_string(),
            at_ms: self.now.millis(),
            bundle_digest: bytes::Bytes::copy_from_slice(Digest::of(b"bundle").as_bytes()),
            bundle_version: 1,
            directory_version: 1,
            facts_head: head.unwrap_or_default(),
            facts_count: facts.count(),
            parts: parts.iter().map(part).collect(),
            ..Default::default()
        }
    }

    /// The acknowledgement of a committed hand-over's delivered parts.
    pub(crate) async fn ack(
        &mut self,
        handed: &HandOver,
        consignment: Digest,
        outcome: AckOutcome,
    ) -> Acknowledging {
        let event = match outcome {
            AckOutcome::Refused => Event::ContentHandoverFailure,
            AckOutcome::Fulfilled => Event::ObligationFulfilled,
            _ => Event::ContentHandover,
        };
        let attachment = self.signed(300);
        let entry = self
            .about(
                event,
                handed.packet,
                Some(&handed.recipient),
                None,
                Some(attachment),
            )
            .await;
        let delivered = handed.parts.iter().filter(|p| p.verdict == Verdict::Deliver);
        Acknowledging {
            packet: handed.packet,
            recipient: handed.recipient.clone(),
            consignment,
            outcome,
            reason: if outcome == AckOutcome::Refused {
                "quarantined".to_owned()
            } else {
                String::new()
            },
            obligation: String::new(),
            parts: delivered.map(|p| p.part).collect(),
            entry,
            at: self.now,
        }
    }

    pub(crate) async fn recalling(&mut self, packet: PacketId) -> Recalling {
        let attachment = self.signed(200);
        let entry = self
            .about(Event::Recalled, packet, None, None, Some(attachment))
            .await;
        Recalling {
            packet,
            sender: agency(SENDER),
            reason: "sent_in_error".to_owned(),
            entry,
            at: self.now,
        }
    }

    pub(crate) async fn expiring(&mut self, packet: PacketId) -> Expiring {
        let entry = self.about(Event::Expired, packet, None, None, None).await;
        Expiring {
            packet,
            entry,
            at: self.now,
        }
    }

    /// The next statement of the case, judged on the facts as they are.
    pub(crate) async fn statement(&mut self) -> NewStatement {
        let facts = self.store().facts(self.case).await.unwrap();
        let signed = self.signed(500);
        let mut draft = EntryDraft::new(Event::StatementAccepted, self.now).concerning(&agency(SENDER), true);
        draft.case = Some(self.case);
        draft.attachment = Some(signed.clone());
        NewStatement {
            entry: self.entry(draft).await,
            reviews: None,
            statement: StatementId::new(self.now, &mut self.rng),
            case: self.case,
            agency: agency(SENDER),
            head: Digest::of_all(&[b"head", &signed.bytes]),
            signed,
            expected_head: facts.head,
            expected_count: facts.count(),
            roster_version: facts.roster_version + 1,
            bundle_version: 1,
            directory_version: 1,
            accepted_at: self.now,
        }
    }

    pub(crate) async fn stages(&self, packet: PacketId, recipient: &str) -> Vec<Stage> {
        let parts = self.store().outcome(packet).await.unwrap().unwrap().parts;
        let mine = |p: &&PartState| p.recipient == agency(recipient);
        parts.iter().filter(mine).map(|p| p.stage).collect()
    }

    pub(crate) async fn read_all(&self, packet: PacketId, part: PartId) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.store().content(packet, part, wire::Profile::V6).await?;
        let mut all = Vec::new();
        while let Some(chunk) = reader.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// Part files on the disk; of those in memory none are counted.
    pub(crate) fn part_files(&self) -> usize {
        let dir = self.dir.path().join("store/parts");
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_file()).count()
    }
}

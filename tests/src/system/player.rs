//! An agency played by the test itself: its real keys, the real protocol, and none of the agent's restraint.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, SubjectRef};
use schakel_proto::openpgp::{SealingKey, SecretKeys};
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::packet::manifest::{LegalBasis, ManifestFields};
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, MemorySink, SealedPacket, seal};
use schakel_proto::party::{AgencyId, Code, NetworkName};
use schakel_proto::statement::{RosterEntry, StatementBody, StatementDraft};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::{limits, wire};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use prost::Message;

use super::network::{Town, agency, now};
use super::peer::{self, Client};

/// Longest wait for a frame that must come.
const FRAME_LIMIT: Duration = Duration::from_secs(30);

/// A code of the domain.
pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// An agency in the hands of a test.
pub struct Player {
    network: NetworkName,
    agency: AgencyId,
    keys: SecretKeys,
    directory: Directory,
    /// Its connection to the broker.
    pub client: Client,
    /// Its randomness.
    pub rng: StdRng,
}

/// A part to be sealed by a player.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// Category code.
    pub category: &'a str,
    /// Agencies that it is sealed to.
    pub to: &'a [&'a str],
    /// Content.
    pub content: &'a [u8],
}

/// A sealed packet with its ciphertext in memory.
#[derive(Clone)]
pub struct Sealed {
    /// Manifest, openings, key packets.
    pub packet: SealedPacket,
    /// The frames that follow head and key packets.
    pub chunks: Vec<wire::SubmitChunk>,
}

impl Sealed {
    /// The packet's id.
    pub fn id(&self) -> PacketId {
        self.packet.packet_id
    }

    /// All frames of the submission, in order.
    pub fn frames(&self) -> Vec<wire::SubmitFrame> {
        use wire::submit_frame::Frame;
        let keys = wire::SubmitKeyPackets {
            key_packets: self.packet.key_packets.clone(),
        };
        let first = [Frame::Head(self.packet.head()), Frame::KeyPackets(keys)];
        let chunks = self.chunks.iter().cloned().map(Frame::Chunk);
        first
            .into_iter()
            .chain(chunks)
            .map(|frame| wire::SubmitFrame { frame: Some(frame) })
            .collect()
    }
}

/// Everything a recipient was sent of one delivery, up to the hand-over.
pub struct Delivery {
    /// The frames as they came.
    pub frames: Vec<wire::ReceiveFrame>,
    /// The last of them.
    pub hand_over: wire::HandOver,
    /// The first of them.
    pub offer: wire::Offer,
}

impl Delivery {
    /// The parts that were handed over.
    pub fn part_ids(&self) -> Vec<PartId> {
        let opened = self
            .hand_over
            .parts
            .iter()
            .map(|p| p.part.as_ref().unwrap().descriptor.clone());
        let part = |bytes| wire::PartDescriptor::decode(bytes).unwrap().part_id;
        opened
            .map(|bytes| PartId::try_from(part(bytes).as_ref()).unwrap())
            .collect()
    }
}

/// An open stream of deliveries.
pub struct Session {
    requests: mpsc::Sender<wire::ReceiveRequest>,
    frames: Streaming<wire::ReceiveFrame>,
}

impl Player {
    /// Takes an agency's keys and its TLS identity.
    pub fn of(town: &Town, id: &str, rng: StdRng) -> Self {
        let agency = agency(id);
        Self::with(town, id, peer::as_agency(town, &agency), rng)
    }

    /// Takes an agency's keys, over somebody else's connection.
    pub fn with(town: &Town, id: &str, client: Client, rng: StdRng) -> Self {
        let (network, agency) = (town.network(), agency(id));
        Self {
            network: network.spec().network.clone(),
            keys: network.agency_keys(&agency).unwrap(),
            directory: network.directory(now()).unwrap(),
            agency,
            client,
            rng,
        }
    }

    /// The key to which another agency wants parts sealed.
    pub fn sealing_key(&self, id: &str) -> SealingKey {
        let listed = self.directory.agency(&agency(id)).unwrap();
        listed.sealing_key().unwrap().clone()
    }

    /// Opens a case whose roster is these agencies.
    pub async fn open_case(&mut self, roster: &[&str]) -> CaseRef {
        let case = CaseRef::random(&mut self.rng);
        let roster = roster.iter().map(|id| RosterEntry::active(agency(id))).collect();
        let body = StatementBody::CaseOpened {
            case_type: code("partner_violence"),
            region: code("vlg"),
            roster,
        };
        self.state(case, body).await.unwrap();
        case
    }

    /// Signs and submits a statement.
    pub async fn state(
        &mut self,
        case_ref: CaseRef,
        body: StatementBody,
    ) -> Result<wire::SubmitStatementAnswer, Status> {
        let signed = self.statement(case_ref, body);
        self.submit_statement(signed).await
    }

    /// A signed statement, whoever is entitled to it.
    pub fn statement(&mut self, case_ref: CaseRef, body: StatementBody) -> wire::Signed {
        let draft = StatementDraft {
            network: self.network.clone(),
            case_ref,
            agency: self.agency.clone(),
            body,
        };
        draft.sign(&self.keys, now(), &mut self.rng).unwrap().1
    }

    /// Submits a statement as it is.
    pub async fn submit_statement(
        &mut self,
        signed: wire::Signed,
    ) -> Result<wire::SubmitStatementAnswer, Status> {
        let request = wire::SubmitStatementRequest {
            statement: Some(signed),
        };
        self.client
            .submit_statement(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// What the manifest says, for the purpose and on the basis given.
    pub fn manifest(&mut self, case_ref: CaseRef, purpose: &str, basis: &str) -> ManifestFields {
        let created = now();
        ManifestFields {
            network: self.network.clone(),
            packet_id: PacketId::new(created, &mut self.rng),
            case_ref,
            roster_version_seen: Some(1),
            sender: self.agency.clone(),
            sender_key: self.keys.fingerprint(),
            created,
            expires: created.plus_millis(limits::PACKET_LIFE_DEFAULT_MILLIS),
            purpose: code(purpose),
            legal_basis: LegalBasis::plain(code(basis)),
            urgency: code("routine"),
            break_glass: None,
            in_reply_to: None,
            checkpoint_seen: None,
        }
    }

    /// Seals pieces under a manifest, whatever the policy would say.
    pub fn seal(&mut self, manifest: ManifestFields, pieces: &[Piece<'_>]) -> Sealed {
        let agencies: BTreeSet<&str> = pieces.iter().flat_map(|p| p.to).copied().collect();
        let recipients = agencies
            .iter()
            .map(|id| DraftRecipient {
                agency: agency(id),
                key: self.sealing_key(id),
            })
            .collect();
        let mut contents: Vec<&[u8]> = pieces.iter().map(|p| p.content).collect();
        let parts = pieces
            .iter()
            .zip(&mut contents)
            .map(|(piece, content)| DraftPart {
                part_id: PartId::random(&mut self.rng),
                category: code(piece.category),
                subjects: vec![Subject {
                    subject_ref: SubjectRef::random(&mut self.rng),
                    role: code("victim"),
                    age_class: code("adult"),
                }],
                source_secrecy: code("none"),
                release_ref: None,
                measure_ref: None,
                relevant: None,
                pseudonymous: false,
                file_name: "verslag.txt".to_owned(),
                media_type: "text/plain".to_owned(),
                title: "Verslag".to_owned(),
                content_length: content.len() as u64,
                content,
                recipients: piece.to.iter().map(|id| agency(id)).collect(),
            });
        let parts = parts.collect();
        let draft = Draft {
            manifest,
            recipients,
            parts,
        };
        let mut sink = MemorySink::default();
        let packet = seal(draft, &self.keys, now(), &mut self.rng, &mut sink).unwrap();
        let chunks = packet.sealings.iter().flat_map(|sealing| {
            let bytes = sink.get(&sealing.part_id, sealing.profile).unwrap();
            let (part, profile) = (sealing.part_id, sealing.profile.to_wire());
            let chunk = move |(n, data): (usize, &[u8])| wire::SubmitChunk {
                part_id: part.to_vec().into(),
                profile,
                offset: (n * limits::CHUNK_MAX_BYTES) as u64,
                data: data.to_vec().into(),
            };
            bytes
                .chunks(limits::CHUNK_MAX_BYTES)
                .enumerate()
                .map(chunk)
                .collect::<Vec<_>>()
        });
        Sealed {
            chunks: chunks.collect(),
            packet,
        }
    }

    /// Seals and submits pieces; the packet must be accepted.
    pub async fn send(&mut self, case: CaseRef, purpose: &str, basis: &str, pieces: &[Piece<'_>]) -> Sealed {
        let manifest = self.manifest(case, purpose, basis);
        let sealed = self.seal(manifest, pieces);
        let answer = self.submit(sealed.frames()).await.unwrap();
        assert_eq!(answer.packet_id.as_ref(), sealed.id().as_bytes());
        sealed
    }

    /// Submits frames as they are.
    pub async fn submit(&mut self, frames: Vec<wire::SubmitFrame>) -> Result<wire::SubmitAnswer, Status> {
        self.client
            .submit(tokio_stream::iter(frames))
            .await
            .map(tonic::Response::into_inner)
    }

    /// Signs any bytes with the agency's key.
    pub fn sign(&self, bytes: Vec<u8>) -> wire::Signed {
        self.sign_at(bytes, now())
    }

    /// Signs any bytes with the agency's key, dated as one likes.
    pub fn sign_at(&self, bytes: Vec<u8>, at: Timestamp) -> wire::Signed {
        let signature = self.keys.sign(&bytes, at).unwrap().into();
        wire::Signed {
            bytes: bytes.into(),
            signature,
        }
    }

    /// Opens a stream of deliveries.
    pub async fn receive(&mut self, packets: u32) -> Session {
        let (requests, stream) = mpsc::channel(16);
        let credit = wire::receive_request::Request::Credit(wire::Credit { packets });
        requests
            .send(wire::ReceiveRequest {
                request: Some(credit),
            })
            .await
            .unwrap();
        let frames = self
            .client
            .receive(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        Session { requests, frames }
    }

    /// The acknowledgement of a delivery, signed.
    pub fn acknowledgement(&self, delivery: &Delivery, outcome: &str, reason: &str) -> wire::Signed {
        let mut said = self.said_of(delivery, outcome);
        reason.clone_into(&mut said.reason);
        self.sign(said.encode_to_vec())
    }

    /// What an acknowledgement of a delivery says, to be changed and signed.
    pub fn said_of(&self, delivery: &Delivery, outcome: &str) -> wire::Acknowledgement {
        let manifest = delivery.offer.manifest.as_ref().unwrap();
        let fields = wire::Manifest::decode(manifest.bytes.clone()).unwrap();
        let consignment = delivery.hand_over.consignment.as_ref().unwrap();
        wire::Acknowledgement {
            r#type: "schakel.v1.Acknowledgement".to_owned(),
            network: self.network.to_string(),
            packet_id: fields.packet_id,
            recipient: self.agency.to_string(),
            recipient_key: self.keys.fingerprint().to_vec().into(),
            manifest_digest: Digest::of(&manifest.bytes).to_vec().into(),
            consignment_leaf: leaf_hash(&consignment.leaf).to_vec().into(),
            outcome: outcome.to_owned(),
            part_ids: delivery.part_ids().iter().map(|id| id.to_vec().into()).collect(),
            made_ms: now().millis(),
            ..Default::default()
        }
    }
}

impl Session {
    /// The next frame; none if the broker has nothing to say for `limit`.
    pub async fn next_within(&mut self, limit: Duration) -> Option<wire::ReceiveFrame> {
        tokio::time::timeout(limit, self.frames.message())
            .await
            .ok()?
            .unwrap()
    }

    /// The next frame, which must come.
    pub async fn next(&mut self) -> wire::receive_frame::Frame {
        self.next_within(FRAME_LIMIT)
            .await
            .expect("a frame in time")
            .frame
            .unwrap()
    }

    /// All of the next delivery, up to the hand-over, which must come.
    pub async fn delivery(&mut self) -> Delivery {
        self.delivery_within(FRAME_LIMIT)
            .await
            .expect("a delivery in time")
    }

    /// All of the next delivery; none if there is no frame of one for `limit`.
    pub async fn delivery_within(&mut self, limit: Duration) -> Option<Delivery> {
        use wire::receive_frame::Frame;
        let mut frames = Vec::new();
        let mut offer = None;
        loop {
            let frame = self.next_within(limit).await?.frame.unwrap();
            frames.push(wire::ReceiveFrame {
                frame: Some(frame.clone()),
            });
            match frame {
                Frame::Offer(o) => offer = Some(o),
                Frame::HandOver(hand_over) => {
                    return Some(Delivery {
                        frames,
                        hand_over,
                        offer: offer.expect("an offer first"),
                    });
                }
                Frame::Dropped(_) => (frames, offer) = (Vec::new(), None),
                Frame::Chunk(_) | Frame::Settled(_) => {}
            }
        }
    }

    /// Asks for more deliveries.
    pub async fn credit(&mut self, packets: u32) {
        let request = wire::receive_request::Request::Credit(wire::Credit { packets });
        self.requests
            .send(wire::ReceiveRequest {
                request: Some(request),
            })
            .await
            .unwrap();
    }

    /// Sends an acknowledgement.
    pub async fn acknowledge(&mut self, signed: wire::Signed) {
        let request = wire::receive_request::Request::Acknowledgement(signed);
        self.requests
            .send(wire::ReceiveRequest {
                request: Some(request),
            })
            .await
            .unwrap();
    }
}

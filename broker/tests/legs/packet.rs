//! Cases and packets for the tests.

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, SubjectRef};
use schakel_proto::limits;
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::packet::manifest::{BreakGlass, CheckpointSeen, LegalBasis, ManifestFields};
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, MemorySink, SealedPacket, seal};
use schakel_proto::party::Code;
use schakel_proto::statement::{RosterEntry, StatementBody, StatementDraft};
use schakel_proto::time::Timestamp;
use schakel_proto::wire::broker_client::BrokerClient;
use schakel_proto::wire::{self, submit_frame::Frame};
use tonic::transport::Channel;

use crate::peer::{Ground, agency, now};

pub type Client = BrokerClient<Channel>;

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// One part of a test packet: category, content, for whom.
pub type Wanted<'a> = (&'a str, &'a [u8], &'a [&'a str]);

/// A sealed packet and its ciphertext.
pub struct Sealed {
    pub packet: SealedPacket,
    pub ids: Vec<PartId>,
    sink: MemorySink,
}

impl Ground {
    pub fn statement(&self, by: &str, case: CaseRef, body: StatementBody) -> wire::Signed {
        let network = self.network.spec().network.clone();
        let draft = StatementDraft {
            network,
            case_ref: case,
            agency: agency(by),
            body,
        };
        draft
            .sign(&self.keys(by), now(), &mut StdRng::from_os_rng())
            .unwrap()
            .1
    }

    pub fn opening(&self, by: &str, case: CaseRef, roster: &[&str]) -> wire::Signed {
        let roster = roster.iter().map(|id| RosterEntry::active(agency(id))).collect();
        let (case_type, region) = (code("partner_violence"), code("vlg"));
        self.statement(
            by,
            case,
            StatementBody::CaseOpened {
                case_type,
                region,
                roster,
            },
        )
    }

    /// With a second participant that takes part until a moment.
    pub fn opening_until(&self, by: &str, case: CaseRef, (id, until): (&str, Timestamp)) -> wire::Signed {
        let until = RosterEntry {
            until: Some(until),
            ..RosterEntry::active(agency(id))
        };
        let roster = vec![RosterEntry::active(agency(by)), until];
        let (case_type, region) = (code("partner_violence"), code("vlg"));
        self.statement(
            by,
            case,
            StatementBody::CaseOpened {
                case_type,
                region,
                roster,
            },
        )
    }

    pub fn roster(&self, by: &str, case: CaseRef, version: u64, roster: &[&str]) -> wire::Signed {
        let roster = roster.iter().map(|id| RosterEntry::active(agency(id))).collect();
        self.statement(
            by,
            case,
            StatementBody::RosterChanged {
                roster_version: version,
                roster,
            },
        )
    }

    /// A packet taken back by its sender.
    pub fn recall(&self, sender: &str, sealed: &Sealed) -> wire::RecallRequest {
        let keys = self.keys(sender);
        let recall = wire::Recall {
            r#type: "schakel.v1.Recall".into(),
            network: self.network.spec().network.to_string(),
            packet_id: sealed.packet.packet_id.to_vec().into(),
            sender: sender.into(),
            sender_key: keys.fingerprint().as_bytes().to_vec().into(),
            made_ms: now().millis(),
            reason: "sent_in_error".into(),
        };
        let bytes = prost::Message::encode_to_vec(&recall);
        let signature = keys.sign(&bytes, now()).unwrap().into();
        let recall = Some(wire::Signed {
            bytes: bytes.into(),
            signature,
        });
        wire::RecallRequest { recall }
    }

    /// As `seal_as`, with a new id.
    pub fn seal(&self, sender: &str, case: CaseRef, recipients: &[&str], parts: &[Wanted<'_>]) -> Sealed {
        let id = PacketId::new(now(), &mut StdRng::from_os_rng());
        self.seal_as(id, sender, case, (recipients, parts))
    }

    fn manifest(&self, (id, case): (PacketId, CaseRef), sender: &str, at: Timestamp) -> ManifestFields {
        ManifestFields {
            network: self.network.spec().network.clone(),
            packet_id: id,
            case_ref: case,
            roster_version_seen: Some(1),
            sender: agency(sender),
            sender_key: self.keys(sender).fingerprint(),
            created: at,
            expires: at.plus_millis(limits::PACKET_LIFE_DEFAULT_MILLIS),
            purpose: code("safety_protection"),
            legal_basis: LegalBasis::plain(code("public_interest_task")),
            urgency: code("routine"),
            break_glass: None,
            in_reply_to: None,
            checkpoint_seen: None,
        }
    }

    /// Seals a packet of `sender`, for the police's public task and the protection of the victim.
    pub fn seal_as(
        &self,
        id: PacketId,
        sender: &str,
        case: CaseRef,
        wanted: (&[&str], &[Wanted<'_>]),
    ) -> Sealed {
        let subject = SubjectRef::random(&mut StdRng::from_os_rng());
        self.seal_with((id, subject), sender, case, wanted)
    }

    /// As `seal`, about a victim of that reference.
    pub fn seal_about(
        &self,
        subject: SubjectRef,
        sender: &str,
        case: CaseRef,
        wanted: (&[&str], &[Wanted<'_>]),
    ) -> Sealed {
        let id = PacketId::new(now(), &mut StdRng::from_os_rng());
        self.seal_with((id, subject), sender, case, wanted)
    }

    /// As `seal`, of a sender that says that it saw this of the log.
    pub fn seal_seen(
        &self,
        seen: CheckpointSeen,
        sender: &str,
        case: CaseRef,
        wanted: (&[&str], &[Wanted<'_>]),
    ) -> Sealed {
        let mut rng = StdRng::from_os_rng();
        let manifest = ManifestFields {
            checkpoint_seen: Some(seen),
            ..self.manifest((PacketId::new(now(), &mut rng), case), sender, now())
        };
        self.seal_manifest(manifest, SubjectRef::random(&mut rng), wanted)
    }

    fn seal_with(
        &self,
        (id, subject): (PacketId, SubjectRef),
        sender: &str,
        case: CaseRef,
        wanted: (&[&str], &[Wanted<'_>]),
    ) -> Sealed {
        self.seal_manifest(self.manifest((id, case), sender, now()), subject, wanted)
    }

    /// A packet that breaks the glass, due to be reviewed within two days; `change` may spoil its record.
    pub fn seal_emergency(
        &self,
        (sender, reviewer): (&str, &str),
        case: CaseRef,
        wanted: (&[&str], &[Wanted<'_>]),
        change: impl FnOnce(&mut BreakGlass),
    ) -> Sealed {
        let mut rng = StdRng::from_os_rng();
        let mut manifest = self.manifest((PacketId::new(now(), &mut rng), case), sender, now());
        let mut record = BreakGlass {
            actor: code("shift-lead"),
            danger_to: vec![code("victim")],
            reviewer: agency(reviewer),
            review_by: now().plus_millis(48 * 3_600_000),
            justification_chars: 64,
            justification_commitment: Digest::of(b"salted"),
        };
        change(&mut record);
        manifest.legal_basis = LegalBasis::plain(code("emergency"));
        manifest.urgency = code("immediate");
        manifest.break_glass = Some(record);
        self.seal_manifest(manifest, SubjectRef::random(&mut rng), wanted)
    }

    fn seal_manifest(
        &self,
        manifest: ManifestFields,
        subject: SubjectRef,
        (recipients, parts): (&[&str], &[Wanted<'_>]),
    ) -> Sealed {
        let mut rng = StdRng::from_os_rng();
        let (keys, at) = (self.keys(manifest.sender.as_str()), now());
        let directory = self.network.directory(at).unwrap();
        let to = |id: &&str| DraftRecipient {
            agency: agency(id),
            key: directory
                .agency(&agency(id))
                .unwrap()
                .sealing_key()
                .unwrap()
                .clone(),
        };
        let ids: Vec<PartId> = parts.iter().map(|_| PartId::random(&mut rng)).collect();
        let victim = Subject {
            subject_ref: subject,
            role: code("victim"),
            age_class: code("adult"),
        };
        let mut contents: Vec<&[u8]> = parts.iter().map(|part| part.1).collect();
        let drafts = parts
            .iter()
            .zip(&ids)
            .zip(&mut contents)
            .map(|((part, id), content)| DraftPart {
                part_id: *id,
                category: code(part.0),
                subjects: vec![victim.clone()],
                source_secrecy: code("none"),
                release_ref: None,
                measure_ref: None,
                relevant: None,
                pseudonymous: false,
                file_name: "verslag.txt".into(),
                media_type: "text/plain".into(),
                title: "Verslag".into(),
                content_length: u64::try_from(content.len()).unwrap(),
                content,
                recipients: part.2.iter().map(|id| agency(id)).collect(),
            });
        let draft = Draft {
            manifest,
            recipients: recipients.iter().map(to).collect(),
            parts: drafts.collect(),
        };
        let mut sink = MemorySink::default();
        let packet = seal(draft, &keys, at, &mut rng, &mut sink).unwrap();
        Sealed { packet, ids, sink }
    }
}

impl Sealed {
    /// All frames of its submission.
    pub fn frames(&self) -> Vec<wire::SubmitFrame> {
        let frame = |frame| wire::SubmitFrame { frame: Some(frame) };
        let keys = wire::SubmitKeyPackets {
            key_packets: self.packet.key_packets.clone(),
        };
        let mut frames = vec![
            frame(Frame::Head(self.packet.head())),
            frame(Frame::KeyPackets(keys)),
        ];
        for info in &self.packet.sealings {
            let bytes = self.sink.get(&info.part_id, info.profile).unwrap();
            for (n, data) in bytes.chunks(limits::CHUNK_MAX_BYTES).enumerate() {
                frames.push(frame(Frame::Chunk(wire::SubmitChunk {
                    part_id: info.part_id.to_vec().into(),
                    profile: info.profile.to_wire(),
                    offset: u64::try_from(n * limits::CHUNK_MAX_BYTES).unwrap(),
                    data: data.to_vec().into(),
                })));
            }
        }
        frames
    }
}

pub async fn submit(
    client: &mut Client,
    frames: Vec<wire::SubmitFrame>,
) -> Result<wire::SubmitAnswer, tonic::Status> {
    client
        .submit(tokio_stream::iter(frames))
        .await
        .map(tonic::Response::into_inner)
}

pub async fn state(
    client: &mut Client,
    statement: wire::Signed,
) -> Result<wire::SubmitStatementAnswer, tonic::Status> {
    let request = wire::SubmitStatementRequest {
        statement: Some(statement),
    };
    client
        .submit_statement(request)
        .await
        .map(tonic::Response::into_inner)
}

pub fn refusal(status: &tonic::Status) -> wire::Refusal {
    schakel_proto::refusal::from_status(status).expect("every error carries a refusal")
}

pub fn new_case() -> CaseRef {
    CaseRef::random(&mut StdRng::from_os_rng())
}

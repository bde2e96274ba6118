//! A packet from the police to the prosecutor, and the frames in which a broker hands it over: honest
//! unless the test bends them.

use bytes::Bytes;
use prost::Message;
use schakel_agent::clock::randomness;
use schakel_policy::bundle::SignedBundle;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId, SubjectRef};
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::packet::manifest::{LegalBasis, ManifestFields};
use schakel_proto::packet::parse::ParsedSubmission;
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, MemorySink, SealedPacket, seal};
use schakel_proto::statement::{RosterEntry, StatementBody, StatementDraft, fact_head};
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;

use super::ledger::{Ledger, body};
use super::town::{Town, agency, code, now};

/// What the content of every test packet holds.
pub const CONTENT: &[u8] = b"Fictief verslag: op straat gevonden, niemand gewond.";
/// Sender of every test packet.
pub const SENDER: &str = "pz-rupel";
/// Recipient of every test packet.
pub const RECIPIENT: &str = "parket-antwerpen";

/// A sealed packet with its ciphertext.
pub struct Parcel {
    pub case: CaseRef,
    pub sealed: SealedPacket,
    pub sink: MemorySink,
    pub parts: Vec<PartId>,
}

/// Seals a packet of `count` parts for the prosecutor.
pub fn parcel(town: &Town, case: CaseRef, count: usize) -> Parcel {
    parcel_to(town, case, count, (RECIPIENT, "prosecution"))
}

/// Seals a packet of `count` parts for one recipient and purpose.
pub fn parcel_to(town: &Town, case: CaseRef, count: usize, (to, purpose): (&str, &str)) -> Parcel {
    parcel_by(town, case, count, (to, purpose, "legal_duty"))
}

/// The same on another legal basis.
pub fn parcel_by(
    town: &Town,
    case: CaseRef,
    count: usize,
    (to, purpose, basis): (&str, &str, &str),
) -> Parcel {
    let (directory, keys, mut rng) = (town.directory(), town.keys(SENDER), randomness());
    let at = now();
    let manifest = ManifestFields {
        network: directory.network().clone(),
        packet_id: PacketId::new(at, &mut rng),
        case_ref: case,
        roster_version_seen: Some(1),
        sender: agency(SENDER),
        sender_key: keys.fingerprint(),
        created: at,
        expires: at.plus_millis(86_400_000),
        purpose: code(purpose),
        legal_basis: LegalBasis::plain(code(basis)),
        urgency: code("routine"),
        break_glass: None,
        in_reply_to: None,
        checkpoint_seen: None,
    };
    let ids: Vec<_> = (0..count).map(|_| PartId::random(&mut rng)).collect();
    let mut contents: Vec<_> = (0..count).map(|_| CONTENT).collect();
    let recipient = directory.agency(&agency(to)).unwrap();
    let subject = SubjectRef::random(&mut rng);
    let parts = ids.iter().zip(&mut contents).map(|(id, content)| DraftPart {
        part_id: *id,
        category: code("facts_summary"),
        subjects: vec![Subject {
            subject_ref: subject,
            role: code("victim"),
            age_class: code("adult"),
        }],
        source_secrecy: code("investigation"),
        release_ref: None,
        measure_ref: None,
        relevant: None,
        pseudonymous: false,
        file_name: "verslag.txt".to_owned(),
        media_type: "text/plain".to_owned(),
        title: "Verslag".to_owned(),
        content_length: CONTENT.len() as u64,
        content,
        recipients: vec![agency(to)],
    });
    let key = recipient.sealing_key().unwrap().clone();
    let recipients = vec![DraftRecipient {
        agency: agency(to),
        key,
    }];
    let draft = Draft {
        manifest,
        recipients,
        parts: parts.collect(),
    };
    let mut sink = MemorySink::default();
    let sealed = seal(draft, &keys, at, &mut rng, &mut sink).unwrap();
    Parcel {
        case,
        sealed,
        sink,
        parts: ids,
    }
}

impl Parcel {
    /// The same packet, but the sender commits to another content of the first part than it sealed.
    pub fn with_wrong_commitment(mut self, town: &Town) -> Self {
        let old = self.sealed.parts[0].clone();
        let mut descriptor = wire::PartDescriptor::decode(&*old.descriptor).unwrap();
        descriptor.commitment = Bytes::copy_from_slice(Digest::of(b"something else").as_bytes());
        self.sealed.parts[0].descriptor = descriptor.encode_to_vec().into();
        let digest = |o: &wire::Opening| Digest::of_all(&[&o.nonce, &o.descriptor]).to_vec();
        let (from, to) = (digest(&old), digest(&self.sealed.parts[0]));
        let mut manifest = wire::Manifest::decode(&*self.sealed.manifest.bytes).unwrap();
        for one in &mut manifest.part_digests {
            if **one == *from {
                *one = to.clone().into();
            }
        }
        let bytes = manifest.encode_to_vec();
        let signature = town.keys(SENDER).sign(&bytes, now()).unwrap();
        self.sealed.manifest = wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        };
        self
    }

    fn about(&self, event: Event) -> wire::EvidenceBody {
        wire::EvidenceBody {
            case_ref: self.case.to_vec().into(),
            packet_id: self.sealed.packet_id.to_vec().into(),
            manifest_digest: Digest::of(&self.sealed.manifest.bytes).to_vec().into(),
            sender: SENDER.to_owned(),
            ..body(event)
        }
    }

    /// Logs that the broker took the packet.
    pub fn submit(&self, ledger: &mut Ledger) -> u64 {
        ledger.add(self.about(Event::SubmissionAcceptance), None, None, None)
    }

    /// Logs a hand-over with this decision; gives its position.
    pub fn consign(
        &self,
        ledger: &mut Ledger,
        decision: wire::Decision,
        bend: impl FnOnce(&mut wire::EvidenceBody),
    ) -> u64 {
        let network = ledger.network().clone();
        let nothing = wire::Decision {
            parts: Vec::new(),
            ..decision.clone()
        };
        let (shown, shown_digest) = evidence::conceal(&network, decision, &mut randomness());
        let (_, hidden_digest) = evidence::conceal(&network, nothing, &mut randomness());
        let mut entry = wire::EvidenceBody {
            recipient: RECIPIENT.to_owned(),
            shown_digest: shown_digest.to_vec().into(),
            hidden_digest: hidden_digest.to_vec().into(),
            ..self.about(Event::ContentConsignment)
        };
        bend(&mut entry);
        ledger.add(entry, Some(shown), None, None)
    }

    /// An honest decision to deliver all parts.
    pub fn decision(&self, town: &Town, facts: &wire::CaseFacts) -> wire::Decision {
        let bundle = bundle(town);
        let bundle = schakel_policy::bundle::Bundle::from_archive(&bundle.archive).unwrap();
        let part = |id: &PartId| wire::PartDecision {
            part_id: id.to_vec().into(),
            outcome: "deliver".to_owned(),
            reason: "OK_LEGAL_DUTY".to_owned(),
            obligations: ["log-access", "purpose-bound", "mark-fact-vs-opinion"]
                .map(str::to_owned)
                .to_vec(),
            ..Default::default()
        };
        wire::Decision {
            packet_id: self.sealed.packet_id.to_vec().into(),
            recipient: RECIPIENT.to_owned(),
            at_ms: now().millis(),
            bundle_digest: bundle.digest().to_vec().into(),
            bundle_version: bundle.version(),
            facts_head: facts.entries.last().map(|e| e.head.clone()).unwrap_or_default(),
            facts_count: facts.entries.len() as u64,
            directory_version: town.directory().version(),
            parts: self.parts.iter().map(part).collect(),
            ..Default::default()
        }
    }

    /// The frames of one hand-over, honest.
    pub fn hand_over(&self, ledger: &Ledger, submission: u64, consignment: u64) -> Vec<Frame> {
        let delivery: Bytes = DeliveryId::random(&mut randomness()).to_vec().into();
        let profile = schakel_proto::packet::Profile::V6;
        let ciphertexts: Vec<_> = self
            .parts
            .iter()
            .map(|p| self.sink.get(p, profile).unwrap())
            .collect();
        let numbered = || (1_u32..).zip(&ciphertexts);
        let streams = numbered()
            .map(|(stream, c)| wire::OfferedStream {
                stream,
                length: c.len() as u64,
            })
            .collect();
        let manifest = Some(self.sealed.manifest.clone());
        let mut frames = vec![Frame::Offer(wire::Offer {
            delivery: delivery.clone(),
            manifest,
            streams,
        })];
        for (stream, ciphertext) in numbered() {
            for (n, data) in ciphertext.chunks(2048).enumerate() {
                let (delivery, data) = (delivery.clone(), Bytes::copy_from_slice(data));
                frames.push(Frame::Chunk(wire::Chunk {
                    delivery,
                    stream,
                    offset: n as u64 * 2048,
                    data,
                }));
            }
        }
        let keys = &self.sealed.key_packets;
        let parts = (1_u32..)
            .zip(&self.sealed.parts)
            .zip(keys)
            .map(|((stream, part), key)| wire::HandedPart {
                stream,
                part: Some(part.clone()),
                key_packet: key.packet.clone(),
            });
        frames.push(Frame::HandOver(wire::HandOver {
            delivery,
            recipient: Some(self.sealed.recipients[0].clone()),
            parts: parts.collect(),
            submission: Some(ledger.evidence(submission)),
            consignment: Some(ledger.evidence(consignment)),
        }));
        frames
    }

    /// The same packet, of which only these parts are handed over.
    pub fn only(&self, parts: std::ops::Range<usize>) -> Self {
        let mut sealed = self.sealed.clone();
        sealed.parts = sealed.parts[parts.clone()].to_vec();
        sealed.key_packets = sealed.key_packets[parts.clone()].to_vec();
        Self {
            case: self.case,
            sealed,
            sink: self.sink.clone(),
            parts: self.parts[parts].to_vec(),
        }
    }

    /// Whether the head passes our own parser; a bent packet is still well-formed.
    pub fn parses(&self) -> bool {
        ParsedSubmission::parse(&self.sealed.head()).is_ok()
    }
}

/// The bundle that was minted.
pub fn bundle(town: &Town) -> SignedBundle {
    SignedBundle::from_bytes(&std::fs::read(town.network.bundle_file()).unwrap()).unwrap()
}

/// The same rules as another version, signed by the same two officers.
pub fn bundle_of_version(town: &Town, version: u64) -> SignedBundle {
    let minted = bundle(town);
    let mut files = schakel_policy::bundle::Bundle::built_in_files();
    let about = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    let about = about.replacen("version = 1", &format!("version = {version}"), 1);
    files.insert("bundle.toml".to_owned(), about.into_bytes());
    let next = schakel_policy::bundle::Bundle::from_files(files).unwrap();
    let mut signed = SignedBundle::unsigned(&next);
    for signature in &minted.signatures {
        let keys = town.network.officer_keys(&signature.officer).unwrap();
        let network = &town.network.spec().network;
        signed.sign(network, &signature.officer, &keys, now()).unwrap();
    }
    signed
}

/// The facts of a case just opened by the police with this roster.
pub fn facts(town: &Town, case: CaseRef, roster: &[&str]) -> wire::CaseFacts {
    let nothing = wire::CaseFacts {
        case_ref: case.to_vec().into(),
        entries: Vec::new(),
    };
    and_then(town, nothing, roster, 0)
}

/// The facts with a further one: another roster, accepted so many milliseconds ago.
pub fn and_then(town: &Town, mut facts: wire::CaseFacts, roster: &[&str], ago: i64) -> wire::CaseFacts {
    let number = facts.entries.len() as u64 + 1;
    let roster = roster.iter().map(|id| RosterEntry::active(agency(id))).collect();
    let body = match number {
        1 => StatementBody::CaseOpened {
            case_type: code("partner_violence"),
            region: code("vlg"),
            roster,
        },
        roster_version => StatementBody::RosterChanged {
            roster_version,
            roster,
        },
    };
    let draft = StatementDraft {
        network: town.network.spec().network.clone(),
        case_ref: CaseRef::try_from(&*facts.case_ref).unwrap(),
        agency: agency(SENDER),
        body,
    };
    let (_, signed) = draft.sign(&town.keys(SENDER), now(), &mut randomness()).unwrap();
    let before = facts.entries.last().map(|e| Digest::try_from(&*e.head).unwrap());
    facts.entries.push(wire::FactEntry {
        number,
        head: fact_head(before, &signed).to_vec().into(),
        statement: Some(signed),
        accepted_ms: now().millis() - ago,
        ..wire::FactEntry::default()
    });
    facts
}

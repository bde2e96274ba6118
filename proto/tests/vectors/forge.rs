//! Takes a good packet apart, so that recipes can change what they like and sign it again.

use std::cell::Cell;
use std::io::{Cursor, Read};

use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, SubjectRef};
use schakel_proto::openpgp::{Profile, SecretKeys};
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::packet::manifest::{LegalBasis, ManifestFields};
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, MemorySink, seal};
use schakel_proto::party::{AgencyId, Code};
use schakel_proto::time::Timestamp;
use schakel_proto::vectors::{
    Base64, Content, KeyPacket, NOW, Opening, PacketVector, Sealing, Signed, World,
};
use schakel_proto::wire;

thread_local! {
    /// Differs from recipe to recipe, so that no two vectors are packets of one id.
    static RECIPE: Cell<u64> = const { Cell::new(0) };
}

/// What is forged from now on belongs to this recipe.
pub fn begin(recipe: &str) {
    let digest = Digest::of(recipe.as_bytes());
    let number = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    RECIPE.set(u64::from_be_bytes(number));
}

pub fn agency(id: &str) -> AgencyId {
    AgencyId::new(id).unwrap()
}

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

/// A descriptor with its nonce and its place in the manifest's list.
#[derive(Clone)]
pub struct Slot<M> {
    pub nonce: Vec<u8>,
    pub message: M,
    /// Other bytes than the message's own.
    pub raw: Option<Vec<u8>>,
    /// `None`: not committed to.
    pub at: Option<usize>,
}

impl<M: Message> Slot<M> {
    fn opening(&self) -> Opening {
        let descriptor = self.raw.clone().unwrap_or_else(|| self.message.encode_to_vec());
        Opening {
            nonce: Base64(self.nonce.clone()),
            descriptor: Base64(descriptor),
        }
    }
}

pub struct Forge<'w> {
    pub world: &'w World,
    pub caller: AgencyId,
    pub reader: AgencyId,
    pub now: Timestamp,
    pub signer: SecretKeys,
    pub sign_at: Timestamp,
    pub manifest: wire::Manifest,
    pub recipients: Vec<Slot<wire::RecipientDescriptor>>,
    pub parts: Vec<Slot<wire::PartDescriptor>>,
    pub key_packets: Vec<wire::KeyPacket>,
    pub sealings: Vec<Sealing>,
    pub contents: Vec<Content>,
}

/// A part of a good packet: its content and who gets it.
pub type PartOf<'a> = (&'a [u8], &'a [&'a str]);

pub fn fields(world: &World, sender: &str, rng: &mut StdRng) -> ManifestFields {
    ManifestFields {
        network: world.network.clone(),
        packet_id: PacketId::new(NOW, rng),
        case_ref: CaseRef::random(rng),
        roster_version_seen: Some(1),
        sender: agency(sender),
        sender_key: world.keys(&agency(sender))[0].fingerprint(),
        created: NOW,
        expires: NOW.plus_millis(14 * 86_400_000),
        purpose: code("safety_protection"),
        legal_basis: LegalBasis::plain(code("public_interest_task")),
        urgency: code("routine"),
        break_glass: None,
        in_reply_to: None,
        checkpoint_seen: None,
    }
}

fn draft_part<'a>(
    n: usize,
    content: &'a mut dyn Read,
    length: usize,
    to: &[&str],
    rng: &mut StdRng,
) -> DraftPart<'a> {
    let subject = Subject {
        subject_ref: SubjectRef::random(rng),
        role: code("victim"),
        age_class: code("adult"),
    };
    DraftPart {
        part_id: PartId::random(rng),
        category: code("facts_summary"),
        subjects: vec![subject],
        source_secrecy: code("none"),
        release_ref: None,
        measure_ref: None,
        relevant: Some(true),
        pseudonymous: false,
        file_name: format!("verslag-{n}.txt"),
        media_type: "text/plain; charset=utf-8".to_owned(),
        title: format!("Verslag {n} (verzonnen)"),
        content,
        content_length: length as u64,
        recipients: to.iter().map(|id| agency(id)).collect(),
    }
}

impl<'w> Forge<'w> {
    /// The packet that most recipes change: police to prosecutor, one part.
    pub fn plain(world: &'w World) -> Self {
        Self::good(
            world,
            "pz-rupel",
            &[(b"Verzonnen verslag.\n", &["parket-antwerpen"])],
            "parket-antwerpen",
            1,
        )
    }

    /// The same to the partner that uses GnuPG.
    pub fn plain_v4(world: &'w World) -> Self {
        let to = "jh-antwerpen-dader";
        Self::good(world, "pz-rupel", &[(b"Verzonnen verslag.\n", &[to])], to, 2)
    }

    pub fn good(world: &'w World, sender: &str, parts: &[PartOf<'_>], reader: &str, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ RECIPE.get());
        let fields = fields(world, sender, &mut rng);
        Self::good_with(world, fields, parts, reader, rng)
    }

    pub fn good_with(
        world: &'w World,
        fields: ManifestFields,
        parts: &[PartOf<'_>],
        reader: &str,
        mut rng: StdRng,
    ) -> Self {
        let sender = fields.sender.clone();
        let signer = world.keys(&sender)[0].clone();
        let mut contents: Vec<_> = parts.iter().map(|(content, _)| Cursor::new(*content)).collect();
        let drafts = contents.iter_mut().zip(parts).enumerate();
        let drafts: Vec<_> = drafts
            .map(|(n, (reader, (content, to)))| draft_part(n + 1, reader, content.len(), to, &mut rng))
            .collect();
        let mut ids: Vec<&str> = parts.iter().flat_map(|(_, to)| to.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let recipient = |id: &&str| DraftRecipient {
            agency: agency(id),
            key: world.keys(&agency(id))[0]
                .certificate()
                .sealing_key_at(NOW)
                .unwrap(),
        };
        let listed: Vec<Content> = drafts
            .iter()
            .zip(parts)
            .filter(|(_, (_, to))| to.contains(&reader))
            .map(|(draft, (content, _))| Content {
                part_id: Base64(draft.part_id.to_vec()),
                file_name: draft.file_name.clone(),
                media_type: draft.media_type.clone(),
                title: draft.title.clone(),
                content: Base64(content.to_vec()),
            })
            .collect();
        let draft = Draft {
            manifest: fields,
            recipients: ids.iter().map(recipient).collect(),
            parts: drafts,
        };
        let mut sink = MemorySink::default();
        let sealed = seal(draft, &signer, NOW, &mut rng, &mut sink).unwrap();
        let manifest = wire::Manifest::decode(sealed.manifest.bytes.clone()).unwrap();
        let sealings = sealed.sealings.iter().map(|s| Sealing {
            part_id: Base64(s.part_id.to_vec()),
            profile: if s.profile == Profile::V6 { 6 } else { 4 },
            data: Base64(sink.get(&s.part_id, s.profile).unwrap()),
        });
        Self {
            world,
            caller: sender,
            reader: agency(reader),
            now: NOW,
            signer,
            sign_at: NOW,
            recipients: slots(&sealed.recipients, &manifest.recipient_digests),
            parts: slots(&sealed.parts, &manifest.part_digests),
            key_packets: sealed.key_packets,
            sealings: sealings.collect(),
            contents: listed,
            manifest,
        }
    }

    /// Writes the digests of all descriptors into the manifest.
    fn commit(&mut self) {
        for slot in &self.recipients {
            write(&mut self.manifest.recipient_digests, slot);
        }
        for slot in &self.parts {
            write(&mut self.manifest.part_digests, slot);
        }
    }

    pub fn signed(mut self) -> PacketVector {
        self.commit();
        let bytes = self.manifest.encode_to_vec();
        self.signed_as(bytes)
    }

    /// Signs other bytes than the manifest's own.
    pub fn signed_as(self, bytes: Vec<u8>) -> PacketVector {
        let signature = self.signer.sign(&bytes, self.sign_at).unwrap();
        self.vector(bytes, signature)
    }

    /// With a signature made otherwise.
    pub fn signed_with(mut self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> PacketVector {
        self.commit();
        let bytes = self.manifest.encode_to_vec();
        let signature = sign(&bytes);
        self.vector(bytes, signature)
    }

    fn vector(self, bytes: Vec<u8>, signature: Vec<u8>) -> PacketVector {
        PacketVector {
            name: String::new(),
            what: String::new(),
            caller: self.caller,
            reader: self.reader,
            now_ms: self.now.millis(),
            submit: None,
            open: None,
            manifest: Signed {
                bytes: Base64(bytes),
                signature: Base64(signature),
            },
            recipients: self.recipients.iter().map(Slot::opening).collect(),
            parts: self.parts.iter().map(Slot::opening).collect(),
            key_packets: self
                .key_packets
                .iter()
                .map(|k| KeyPacket {
                    part_id: Base64(k.part_id.to_vec()),
                    recipient: k.recipient.clone(),
                    packet: Base64(k.packet.to_vec()),
                })
                .collect(),
            sealings: self.sealings,
            contents: self.contents,
        }
    }

    /// Replaces a sealing's bytes, and says so in the descriptor.
    pub fn set_sealing(&mut self, n: usize, data: Vec<u8>) {
        let profile = i32::from(self.sealings[n].profile == 4) + 1;
        let part = &self.sealings[n].part_id.0;
        let slot = self
            .parts
            .iter_mut()
            .find(|s| s.message.part_id.as_ref() == part.as_slice())
            .unwrap();
        let described = slot
            .message
            .sealings
            .iter_mut()
            .find(|s| s.profile == profile)
            .unwrap();
        described.length = data.len() as u64;
        described.sha256 = Digest::of(&data).to_vec().into();
        self.sealings[n].data = Base64(data);
    }

    /// Replaces a key packet, and says so in the descriptor.
    pub fn set_key_packet(&mut self, n: usize, packet: Vec<u8>) {
        let old = Digest::of(&self.key_packets[n].packet).to_vec();
        for digest in self
            .parts
            .iter_mut()
            .flat_map(|p| &mut p.message.sealings)
            .flat_map(|s| &mut s.key_packet_digests)
        {
            if digest.as_ref() == old.as_slice() {
                *digest = Digest::of(&packet).to_vec().into();
            }
        }
        self.key_packets[n].packet = packet.into();
    }
}

fn slots<M: Message + Default>(openings: &[wire::Opening], digests: &[bytes::Bytes]) -> Vec<Slot<M>> {
    let slot = |o: &wire::Opening| {
        let digest = Digest::of_all(&[&o.nonce, &o.descriptor]).to_vec();
        Slot {
            nonce: o.nonce.to_vec(),
            message: M::decode(o.descriptor.clone()).unwrap(),
            raw: None,
            at: digests.iter().position(|d| d.as_ref() == digest.as_slice()),
        }
    };
    openings.iter().map(slot).collect()
}

fn write<M: Message>(digests: &mut [bytes::Bytes], slot: &Slot<M>) {
    let opening = slot.opening();
    if let Some(digest) = slot.at.and_then(|at| digests.get_mut(at)) {
        *digest = Digest::of_all(&[&opening.nonce.0, &opening.descriptor.0])
            .to_vec()
            .into();
    }
}

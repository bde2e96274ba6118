//! A small network for these tests: agencies with fresh keys, and packets between them.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use schakel_proto::ids::{CaseRef, PacketId, PartId, SubjectRef};
use schakel_proto::openpgp::{Fingerprint, KeyKind, SecretKeys, SigningKeys};
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::packet::manifest::{LegalBasis, ManifestFields};
use schakel_proto::packet::open::{Ciphertext, OpenedPart, open_part};
use schakel_proto::packet::parse::{ParsedSubmission, SealingCheck};
use schakel_proto::packet::seal::{Draft, DraftPart, DraftRecipient, MemorySink, SealedPacket, seal};
use schakel_proto::packet::verify::{
    CompleteSubmission, DirectoryView, HandedContext, KeyStanding, VerifiedHanded, VerifyContext, verify,
    verify_handed,
};
use schakel_proto::packet::{OpenError, PacketError, Profile};
use schakel_proto::party::{AgencyId, Code, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

pub const NOW: Timestamp = Timestamp::from_millis(1_795_278_600_000);
pub const MADE: Timestamp = Timestamp::from_millis(1_795_278_600_000 - 86_400_000);

pub struct Member {
    pub keys: SecretKeys,
    signing: SigningKeys,
}

/// Agencies by id.
pub struct World {
    pub network: NetworkName,
    pub members: BTreeMap<AgencyId, Member>,
}

pub fn agency(id: &str) -> AgencyId {
    AgencyId::new(id).unwrap()
}

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

impl World {
    pub fn new(members: &[(&str, KeyKind)]) -> Self {
        let member = |(id, kind): &(&str, KeyKind)| {
            let keys = SecretKeys::generate(*kind, &format!("{id} <{id}@rupel.example>"), MADE).unwrap();
            let signing = keys.certificate().signing_keys_at(NOW).unwrap();
            (agency(id), Member { keys, signing })
        };
        Self {
            network: NetworkName::new("rupel").unwrap(),
            members: members.iter().map(member).collect(),
        }
    }

    pub fn keys(&self, id: &str) -> &SecretKeys {
        &self.members[&agency(id)].keys
    }

    /// One packet from `sender`: each part is its content and its recipients.
    pub fn seal(&self, sender: &str, parts: &[(&[u8], &[&str])], seed: u64) -> (SealedPacket, MemorySink) {
        let mut readers: Vec<_> = parts
            .iter()
            .map(|(content, _)| Cursor::new(content.to_vec()))
            .collect();
        let parts = parts.iter().zip(&mut readers).map(|((content, to), reader)| {
            let reader: &mut dyn Read = reader;
            (reader, content.len() as u64, *to)
        });
        let mut sink = MemorySink::default();
        let sealed = self.seal_to(sender, parts, seed, &mut sink);
        (sealed, sink)
    }

    pub fn seal_to<'a>(
        &self,
        sender: &str,
        parts: impl Iterator<Item = (&'a mut dyn Read, u64, &'a [&'a str])>,
        seed: u64,
        sink: &mut dyn schakel_proto::packet::seal::SealSink,
    ) -> SealedPacket {
        let mut rng = StdRng::seed_from_u64(seed);
        let draft = self.draft(sender, parts, &mut rng);
        seal(draft, self.keys(sender), NOW, &mut rng, sink).unwrap()
    }

    pub fn draft<'a>(
        &self,
        sender: &str,
        parts: impl Iterator<Item = (&'a mut dyn Read, u64, &'a [&'a str])>,
        rng: &mut dyn RngCore,
    ) -> Draft<'a> {
        let mut names: Vec<&str> = Vec::new();
        let mut drafts = Vec::new();
        for (content, content_length, to) in parts {
            names.extend(to);
            drafts.push(draft_part(content, content_length, to, rng));
        }
        names.sort_unstable();
        names.dedup();
        let recipient = |id: &&str| DraftRecipient {
            agency: agency(id),
            key: self.keys(id).certificate().sealing_key_at(NOW).unwrap(),
        };
        Draft {
            manifest: self.fields(sender, rng),
            recipients: names.iter().map(recipient).collect(),
            parts: drafts,
        }
    }

    fn fields(&self, sender: &str, rng: &mut dyn RngCore) -> ManifestFields {
        ManifestFields {
            network: self.network.clone(),
            packet_id: PacketId::new(NOW, rng),
            case_ref: CaseRef::random(rng),
            roster_version_seen: Some(1),
            sender: agency(sender),
            sender_key: self.keys(sender).fingerprint(),
            created: NOW,
            expires: NOW.plus_millis(86_400_000),
            purpose: code("protect_victim"),
            legal_basis: LegalBasis::plain(code("legal_duty")),
            urgency: code("routine"),
            break_glass: None,
            in_reply_to: None,
            checkpoint_seen: None,
        }
    }

    pub fn submit(
        &self,
        caller: &str,
        sealed: &SealedPacket,
        sink: &MemorySink,
    ) -> Result<CompleteSubmission, PacketError> {
        let parsed = ParsedSubmission::parse(&sealed.head())?.with_key_packets(sealed.key_packets.clone())?;
        let tls_agency = agency(caller);
        let context = VerifyContext {
            network: &self.network,
            tls_agency: &tls_agency,
            directory: self,
            now: NOW,
        };
        let verified = verify(parsed, context)?;
        let mut checked = Vec::new();
        for sealing in verified.parsed().sealings() {
            let mut check = SealingCheck::new(sealing);
            for chunk in sink
                .get(&sealing.part_id, sealing.profile)
                .unwrap_or_default()
                .chunks(1000)
            {
                check.update(chunk)?;
            }
            checked.push(check.finish()?);
        }
        verified.complete(&checked)
    }

    /// What the broker hands to `reader`: everything addressed to it.
    pub fn handed(&self, reader: &str, sealed: &SealedPacket) -> Result<VerifiedHanded, PacketError> {
        let parsed = ParsedSubmission::parse(&sealed.head())?.with_key_packets(sealed.key_packets.clone())?;
        let id = agency(reader);
        let mine = parsed
            .recipients()
            .iter()
            .find(|r| *r.agency() == id)
            .unwrap()
            .opening()
            .clone();
        let parts = parsed
            .parts()
            .iter()
            .filter(|p| parsed.key_packet(&p.id(), &id).is_some());
        let parts: Vec<_> = parts.map(|p| p.opening().clone()).collect();
        self.verify_handed(reader, &sealed.manifest, &mine, &parts)
    }

    pub fn verify_handed(
        &self,
        reader: &str,
        manifest: &wire::Signed,
        recipient: &wire::Opening,
        parts: &[wire::Opening],
    ) -> Result<VerifiedHanded, PacketError> {
        let id = agency(reader);
        let context = HandedContext {
            network: &self.network,
            recipient: &id,
            directory: self,
            now: NOW,
        };
        verify_handed(manifest, recipient, parts, context)
    }

    /// Opens one part as `reader`.
    pub fn open(
        &self,
        reader: &str,
        sealed: &SealedPacket,
        part: &PartId,
        ciphertext: &[u8],
    ) -> Result<(Vec<u8>, OpenedPart), OpenError> {
        let handed = self.handed(reader, sealed)?;
        let key_packet = key_packet(sealed, part, reader);
        let mut out = Vec::new();
        let bytes = ciphertext.to_vec();
        let mut again = || Ok(Box::new(Cursor::new(bytes.clone())) as Ciphertext<'static>);
        let opened = open_part(
            &handed,
            part,
            &key_packet,
            &mut again,
            self.keys(reader),
            &mut out,
        )?;
        Ok((out, opened))
    }

    pub fn profile(&self, reader: &str) -> Profile {
        self.keys(reader)
            .certificate()
            .sealing_key_at(NOW)
            .unwrap()
            .profile()
    }
}

pub fn key_packet(sealed: &SealedPacket, part: &PartId, reader: &str) -> Vec<u8> {
    let mine = |k: &&wire::KeyPacket| k.part_id.as_ref() == part.as_bytes() && k.recipient == reader;
    sealed.key_packets.iter().find(mine).unwrap().packet.to_vec()
}

fn draft_part<'a>(
    content: &'a mut dyn Read,
    content_length: u64,
    to: &[&str],
    rng: &mut dyn RngCore,
) -> DraftPart<'a> {
    DraftPart {
        part_id: PartId::random(rng),
        category: code("facts_summary"),
        subjects: vec![Subject {
            subject_ref: SubjectRef::random(rng),
            role: code("victim"),
            age_class: code("adult"),
        }],
        source_secrecy: code("none"),
        release_ref: None,
        measure_ref: None,
        relevant: None,
        pseudonymous: false,
        file_name: "verslag.pdf".to_owned(),
        media_type: "application/pdf".to_owned(),
        title: "Verslag van de vaststellingen".to_owned(),
        content,
        content_length,
        recipients: to.iter().map(|id| agency(id)).collect(),
    }
}

impl DirectoryView for World {
    fn is_member(&self, agency: &AgencyId) -> bool {
        self.members.contains_key(agency)
    }

    fn signing_keys(&self, agency: &AgencyId, certificate: &Fingerprint) -> Option<&SigningKeys> {
        let signing = &self.members.get(agency)?.signing;
        (signing.certificate() == certificate).then_some(signing)
    }

    fn encryption_key(&self, agency: &AgencyId, key: &Fingerprint) -> Option<KeyStanding> {
        let keys = self.members.get(agency)?.keys.certificate();
        keys.encryption_fingerprints()
            .contains(key)
            .then_some(KeyStanding::Current)
    }
}

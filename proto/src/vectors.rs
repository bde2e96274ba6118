//! Golden and hostile packets by name (`proto/vectors/`), and how to push each through the library.
//! Test material: broker, agent and attack tests push the same packets through every entry point.
#![expect(
    clippy::expect_used,
    reason = "a broken vector file must stop the test that reads it"
)]

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::ids::PartId;
use crate::openpgp::{Certificate, Fingerprint, SecretKeys, SigningKeys};
use crate::packet::open::{Ciphertext, OpenedPart, open_part};
use crate::packet::parse::{ParsedSubmission, SealingCheck};
use crate::packet::verify::{
    CompleteSubmission, DirectoryView, HandedContext, KeyStanding, VerifyContext, verify, verify_handed,
};
use crate::packet::{Defect, OpenError, PacketError, Profile};
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::wire;

mod list;

const WORLD: &str = include_str!("../vectors/world.json");

/// Bytes, written as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The network of the vectors, as in `world.json`. Its secret keys are public: never use them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorldFile {
    /// Network name.
    pub network: NetworkName,
    /// Members.
    pub agencies: Vec<AgencyFile>,
}

/// A member, as in `world.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgencyFile {
    /// Its id.
    pub id: AgencyId,
    /// Transferable secret keys (RFC 9580), binary; the first takes new seals, the others are superseded, expired or
    /// revoked.
    pub secret_keys: Vec<Base64>,
}

/// The network of the vectors, ready for use as a directory.
pub struct World {
    /// Its name.
    pub network: NetworkName,
    members: Vec<Member>,
}

struct Member {
    id: AgencyId,
    keys: Vec<SecretKeys>,
    signing: Vec<SigningKeys>,
    current: Fingerprint,
    encryption: Vec<Fingerprint>,
}

impl Member {
    fn new(file: AgencyFile) -> Self {
        let key = |k: &Base64| SecretKeys::parse(&k.0).expect("a secret key in world.json");
        let keys: Vec<_> = file.secret_keys.iter().map(key).collect();
        let certificates: Vec<Certificate> = keys.iter().map(SecretKeys::certificate).collect();
        let now = NOW;
        // As in a directory: a certificate that was revoked is listed, and signs nothing.
        let signing = |c: &Certificate| c.signing_keys_at(now).ok();
        let first = certificates.first().expect("a key for each member");
        let current = first
            .sealing_key_at(now)
            .expect("an encryption key in world.json");
        Self {
            signing: certificates.iter().filter_map(signing).collect(),
            current: current.fingerprint().clone(),
            encryption: certificates
                .iter()
                .flat_map(Certificate::encryption_fingerprints)
                .collect(),
            id: file.id,
            keys,
        }
    }
}

/// The moment at which the world's keys are judged: 2026-11-21T16:30:00Z.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_278_600_000);

impl World {
    /// The world as checked in.
    pub fn load() -> Self {
        Self::new(serde_json::from_str(WORLD).expect("world.json parses"))
    }

    /// A world from its description.
    pub fn new(file: WorldFile) -> Self {
        Self {
            network: file.network,
            members: file.agencies.into_iter().map(Member::new).collect(),
        }
    }

    /// A member's secret keys, the current ones first.
    pub fn keys(&self, id: &AgencyId) -> &[SecretKeys] {
        self.member(id).map(|m| m.keys.as_slice()).unwrap_or_default()
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &AgencyId> {
        self.members.iter().map(|m| &m.id)
    }

    fn member(&self, id: &AgencyId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == *id)
    }
}

impl DirectoryView for World {
    fn is_member(&self, agency: &AgencyId) -> bool {
        self.member(agency).is_some()
    }

    fn signing_keys(&self, agency: &AgencyId, certificate: &Fingerprint) -> Option<&SigningKeys> {
        self.member(agency)?
            .signing
            .iter()
            .find(|s| s.certificate() == certificate)
    }

    fn encryption_key(&self, agency: &AgencyId, key: &Fingerprint) -> Option<KeyStanding> {
        let member = self.member(agency)?;
        match member.encryption.contains(key) {
            true if member.current == *key => Some(KeyStanding::Current),
            true => Some(KeyStanding::Superseded),
            false => None,
        }
    }
}

/// One packet, as in `packets/<name>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketVector {
    /// Its name: the file's.
    pub name: String,
    /// What it is, in one sentence.
    pub what: String,
    /// The agency whose connection submits it.
    pub caller: AgencyId,
    /// The agency that what is addressed to it is handed to.
    pub reader: AgencyId,
    /// The moment of both, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Code of the broker's refusal; none: it is accepted.
    pub submit: Option<String>,
    /// Code of the reader's refusal, if a broker hands it over all the same; none: all parts open.
    pub open: Option<String>,
    /// The signed manifest.
    pub manifest: Signed,
    /// Openings of recipients.
    pub recipients: Vec<Opening>,
    /// Openings of parts.
    pub parts: Vec<Opening>,
    /// Key packets.
    pub key_packets: Vec<KeyPacket>,
    /// Ciphertext, in the order in which it is streamed.
    pub sealings: Vec<Sealing>,
    /// What the reader finds, in the order of the parts handed to it.
    pub contents: Vec<Content>,
}

/// A manifest and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The bytes signed.
    pub bytes: Base64,
    /// The signature packet.
    pub signature: Base64,
}

/// An opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Normally 32 random bytes.
    pub nonce: Base64,
    /// The descriptor.
    pub descriptor: Base64,
}

/// A recipient's key packet for a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPacket {
    /// The part.
    pub part_id: Base64,
    /// The recipient.
    pub recipient: String,
    /// The PKESK packet.
    pub packet: Base64,
}

/// The ciphertext of a part in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// The part.
    pub part_id: Base64,
    /// 6 or 4.
    pub profile: u8,
    /// The encrypted-data packet.
    pub data: Base64,
}

/// What is in a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The part.
    pub part_id: Base64,
    /// From the sealed header.
    pub file_name: String,
    /// From the sealed header.
    pub media_type: String,
    /// From the sealed header.
    pub title: String,
    /// The content itself.
    pub content: Base64,
}

/// All packets, by name.
pub fn all() -> Vec<PacketVector> {
    list::FILES
        .iter()
        .map(|text| serde_json::from_str(text).expect("a vector file parses"))
        .collect()
}

/// One packet by its name.
pub fn named(name: &str) -> PacketVector {
    all()
        .into_iter()
        .find(|v| v.name == name)
        .expect("a vector of this name")
}

impl PacketVector {
    /// The head as it goes over the wire.
    pub fn head(&self) -> wire::SubmitHead {
        wire::SubmitHead {
            manifest: Some(self.manifest.to_wire()),
            recipients: self.recipients.iter().map(Opening::to_wire).collect(),
            parts: self.parts.iter().map(Opening::to_wire).collect(),
        }
    }

    /// The key packets as they go over the wire.
    pub fn wire_key_packets(&self) -> Vec<wire::KeyPacket> {
        let packet = |k: &KeyPacket| wire::KeyPacket {
            part_id: Bytes::from(k.part_id.0.clone()),
            recipient: k.recipient.clone(),
            packet: Bytes::from(k.packet.0.clone()),
        };
        self.key_packets.iter().map(packet).collect()
    }

    /// Whether it is one of the good ones.
    pub fn is_good(&self) -> bool {
        self.submit.is_none() && self.open.is_none()
    }

    /// Pushes it through what the broker does.
    ///
    /// # Errors
    /// What the broker refuses it with.
    pub fn submit(&self, world: &World) -> Result<CompleteSubmission, PacketError> {
        let parsed = ParsedSubmission::parse(&self.head())?.with_key_packets(self.wire_key_packets())?;
        let now = Timestamp::from_millis(self.now_ms);
        let context = VerifyContext {
            network: &world.network,
            tls_agency: &self.caller,
            directory: world,
            now,
        };
        let verified = verify(parsed, context)?;
        let mut checked = Vec::new();
        let mut streams = self.sealings.iter();
        for sealing in verified.parsed().sealings() {
            let stream = streams
                .next()
                .ok_or_else(|| PacketError::from(Defect::SealingMissing))?;
            let mut check = SealingCheck::new(sealing);
            for chunk in stream.data.0.chunks(1000) {
                check.update(chunk)?;
            }
            checked.push(check.finish()?);
        }
        verified.complete(&checked)
    }

    /// Hands everything addressed to the reader to it, as a broker that checks nothing would, and
    /// opens it there.
    ///
    /// # Errors
    /// What the reader refuses it with.
    pub fn open(&self, world: &World) -> Result<Vec<(OpenedPart, Vec<u8>)>, OpenError> {
        let mine = |o: &&Opening| {
            wire::RecipientDescriptor::decode(o.descriptor.0.as_slice())
                .is_ok_and(|d| d.agency == self.reader.as_str())
        };
        let recipient = self.recipients.iter().find(mine).or(self.recipients.first());
        let recipient = recipient.map(Opening::to_wire).unwrap_or_default();
        let handed_to_me = |o: &&Opening| match o.part_id() {
            Some(id) => self.key_packet(&id).is_some(),
            None => true,
        };
        let parts: Vec<_> = self
            .parts
            .iter()
            .filter(handed_to_me)
            .map(Opening::to_wire)
            .collect();
        let now = Timestamp::from_millis(self.now_ms);
        let context = HandedContext {
            network: &world.network,
            recipient: &self.reader,
            directory: world,
            now,
        };
        let handed = verify_handed(&self.manifest.to_wire(), &recipient, &parts, context)?;
        let ids: Vec<_> = handed
            .parts()
            .iter()
            .map(crate::packet::parse::Part::id)
            .collect();
        ids.iter().map(|id| self.open_part(world, &handed, id)).collect()
    }

    fn open_part(
        &self,
        world: &World,
        handed: &crate::packet::verify::VerifiedHanded,
        id: &PartId,
    ) -> Result<(OpenedPart, Vec<u8>), OpenError> {
        let key_packet = self.key_packet(id).unwrap_or_default();
        let profile = match handed.recipient().profile() {
            Profile::V6 => 6,
            Profile::V4 => 4,
        };
        let mine = |s: &&Sealing| s.part_id.0 == id.as_bytes() && s.profile == profile;
        let data = self
            .sealings
            .iter()
            .find(mine)
            .map(|s| s.data.0.clone())
            .unwrap_or_default();
        let mut again = || Ok(Box::new(Cursor::new(data.clone())) as Ciphertext<'static>);
        let mut out = Vec::new();
        let mut refused = OpenError::from(Defect::SecretKeyMissing);
        // A member with superseded keys tries each; what counts is the one that the part is sealed to.
        for keys in world.keys(&self.reader) {
            match open_part(handed, id, key_packet, &mut again, keys, &mut out) {
                Ok(opened) => return Ok((opened, out)),
                Err(error) if error.defect() == Defect::SecretKeyMissing => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        if out.is_empty() {
            Err(refused)
        } else {
            Err(OpenError::new(Defect::WriteFailed, "released early"))
        }
    }

    fn key_packet(&self, id: &PartId) -> Option<&[u8]> {
        let mine = |k: &&KeyPacket| k.part_id.0 == id.as_bytes() && k.recipient == self.reader.as_str();
        self.key_packets.iter().find(mine).map(|k| k.packet.0.as_slice())
    }
}

impl Signed {
    /// As a wire message.
    pub fn to_wire(&self) -> wire::Signed {
        wire::Signed {
            bytes: Bytes::from(self.bytes.0.clone()),
            signature: Bytes::from(self.signature.0.clone()),
        }
    }
}

impl Opening {
    /// As a wire message.
    pub fn to_wire(&self) -> wire::Opening {
        wire::Opening {
            nonce: Bytes::from(self.nonce.0.clone()),
            descriptor: Bytes::from(self.descriptor.0.clone()),
        }
    }

    fn part_id(&self) -> Option<PartId> {
        let descriptor = wire::PartDescriptor::decode(self.descriptor.0.as_slice()).ok()?;
        PartId::try_from(descriptor.part_id.as_ref()).ok()
    }
}

//! From the wire to our types, without cryptography but for digests: sizes, types, canonical fields,
//! openings against the manifest, key packets against the descriptors, ciphertext against both.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::descriptor::{PartFields, RecipientFields, Sealing};
use super::manifest::{Manifest, ManifestFields};
pub use super::streamed::{CheckedSealing, SealingCheck};
use crate::defect::{Defect, PacketError};
use crate::ids::{Digest, PartId};
use crate::limits;
use crate::openpgp::{KeyPacketHead, Profile};
use crate::party::AgencyId;
use crate::wire;

/// Length of an opening's nonce, in bytes.
pub const NONCE_BYTES: usize = 32;

/// A recipient: its descriptor, and the opening that proves the sender committed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    fields: RecipientFields,
    opening: wire::Opening,
}

/// A part: its descriptor, and the opening that proves the sender committed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    fields: PartFields,
    opening: wire::Opening,
}

impl Recipient {
    /// The agency.
    pub fn agency(&self) -> &AgencyId {
        &self.fields.agency
    }

    /// Fingerprint of the key it is sealed to.
    pub fn key(&self) -> &crate::openpgp::Fingerprint {
        &self.fields.key
    }

    /// The profile it is sealed in.
    pub fn profile(&self) -> Profile {
        self.fields.key.profile()
    }

    /// What opens its digest in the manifest.
    pub fn opening(&self) -> &wire::Opening {
        &self.opening
    }
}

impl Part {
    /// Its id.
    pub fn id(&self) -> PartId {
        self.fields.part_id
    }

    /// What its sender says about it.
    pub fn descriptor(&self) -> &PartFields {
        &self.fields
    }

    /// What opens its digest in the manifest.
    pub fn opening(&self) -> &wire::Opening {
        &self.opening
    }
}

/// A recipient's session key for one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPacket {
    /// The part.
    pub part_id: PartId,
    /// Whose it is.
    pub recipient: AgencyId,
    /// One PKESK packet.
    pub packet: Bytes,
}

/// The head of a submission, parsed.
#[derive(Clone, Debug)]
pub struct ParsedHead {
    signed: wire::Signed,
    digest: Digest,
    manifest: Manifest,
    recipients: Vec<Recipient>,
    parts: Vec<Part>,
}

/// A submission but for its ciphertext, parsed: everything matches what the manifest commits to.
/// Nothing says yet that the sender signed it.
#[derive(Clone, Debug)]
pub struct ParsedSubmission {
    head: ParsedHead,
    key_packets: Vec<KeyPacket>,
    /// Which of them is for whom.
    addressed: Addressed,
}

type Addressed = BTreeMap<(PartId, AgencyId), usize>;

impl ParsedHead {
    /// Parses the signed bytes and the openings. A hand-over has some of the openings only; `whole`
    /// demands at least one recipient and one part.
    pub(super) fn parse(
        signed: &wire::Signed,
        recipients: &[wire::Opening],
        parts: &[wire::Opening],
    ) -> Result<Self, PacketError> {
        if signed.signature.len() > limits::SIGNATURE_MAX_BYTES {
            return Err(Defect::SignatureTooLong.into());
        }
        let manifest = Manifest::parse(&signed.bytes).map_err(|e| e.within("manifest"))?;
        if !(1..=limits::RECIPIENTS_MAX_COUNT).contains(&recipients.len()) {
            return Err(Defect::RecipientsCountWrong.into());
        }
        if !(1..=limits::PARTS_MAX_COUNT).contains(&parts.len()) {
            return Err(Defect::PartsCountWrong.into());
        }
        let recipients = open_recipients(&manifest, recipients)?;
        let parts = open_parts(&manifest, parts)?;
        Ok(Self {
            digest: Digest::of(&signed.bytes),
            signed: signed.clone(),
            manifest,
            recipients,
            parts,
        })
    }

    /// Takes the key packets: each is one PKESK, for a part and recipient of this packet, names that
    /// recipient's key and is committed to; each part, sealing and recipient has one.
    ///
    /// # Errors
    /// One of the `KeyPacket…` defects.
    pub fn with_key_packets(self, packets: Vec<wire::KeyPacket>) -> Result<ParsedSubmission, PacketError> {
        let mut addressed = Addressed::new();
        let mut key_packets = Vec::with_capacity(packets.len().min(limits::PARTS_MAX_COUNT));
        for packet in packets {
            let packet = self.check_key_packet(packet)?;
            let number = key_packets.len();
            if addressed
                .insert((packet.part_id, packet.recipient.clone()), number)
                .is_some()
            {
                let place = format!("{} for {}", packet.part_id, packet.recipient);
                return Err(PacketError::new(Defect::KeyPacketRepeated, place));
            }
            key_packets.push(packet);
        }
        self.check_all_have_key_packets(&addressed)?;
        Ok(ParsedSubmission {
            head: self,
            key_packets,
            addressed,
        })
    }

    /// Whether `packet` is the key packet of a part for a recipient: one PKESK that names the recipient's key, and that
    /// the sender committed to.
    ///
    /// # Errors
    /// One of the `KeyPacket…` defects.
    pub fn check_key_packet_of(
        &self,
        part: &PartId,
        recipient: &AgencyId,
        packet: &[u8],
    ) -> Result<(), PacketError> {
        let stray = || PacketError::new(Defect::KeyPacketStray, "key_packets");
        let part = self.parts.iter().find(|p| p.id() == *part).ok_or_else(stray)?;
        let mut recipients = self.recipients.iter();
        let recipient = recipients.find(|r| r.agency() == recipient).ok_or_else(stray)?;
        check_key_packet(&part.fields, recipient, packet)
    }

    fn check_key_packet(&self, wire: wire::KeyPacket) -> Result<KeyPacket, PacketError> {
        let stray = || PacketError::new(Defect::KeyPacketStray, "key_packets");
        let part_id = PartId::try_from(wire.part_id.as_ref()).map_err(|_| stray())?;
        let part = self.parts.iter().find(|p| p.id() == part_id).ok_or_else(stray)?;
        let recipient = self
            .recipients
            .iter()
            .find(|r| r.agency().as_str() == wire.recipient)
            .ok_or_else(stray)?;
        check_key_packet(&part.fields, recipient, &wire.packet)?;
        Ok(KeyPacket {
            part_id,
            recipient: recipient.agency().clone(),
            packet: wire.packet,
        })
    }

    fn check_all_have_key_packets(&self, addressed: &Addressed) -> Result<(), PacketError> {
        for part in &self.parts {
            for sealing in &part.fields.sealings {
                let wanted = |r: &&Recipient| r.profile() == sealing.profile;
                let has = |r: &Recipient| addressed.contains_key(&(part.id(), r.agency().clone()));
                if !self.recipients.iter().filter(wanted).any(has) {
                    return Err(PacketError::new(Defect::KeyPacketMissing, part.id().to_string()));
                }
            }
        }
        for recipient in &self.recipients {
            if !addressed.keys().any(|(_, agency)| agency == recipient.agency()) {
                return Err(PacketError::new(
                    Defect::KeyPacketMissing,
                    recipient.agency().to_string(),
                ));
            }
        }
        Ok(())
    }

    /// What the manifest says in the open.
    pub fn manifest(&self) -> &ManifestFields {
        &self.manifest.fields
    }

    /// The manifest's bytes and signature, as they came.
    pub fn signed(&self) -> &wire::Signed {
        &self.signed
    }

    /// SHA-256 of the manifest's bytes.
    pub fn manifest_digest(&self) -> Digest {
        self.digest
    }

    /// The recipients that were opened.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The parts that were opened.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// A part by its id.
    pub fn part(&self, id: &PartId) -> Option<&Part> {
        self.parts.iter().find(|p| p.id() == *id)
    }

    /// All sealings in the order in which they are streamed: by part as opened, v6 before v4.
    pub fn sealings(&self) -> impl Iterator<Item = &Sealing> {
        self.parts.iter().flat_map(|p| &p.fields.sealings)
    }
}

impl ParsedSubmission {
    /// Parses a submission's head; the key packets follow.
    ///
    /// # Errors
    /// The first defect found.
    pub fn parse(head: &wire::SubmitHead) -> Result<ParsedHead, PacketError> {
        let signed = head.manifest.as_ref();
        let signed = signed.ok_or_else(|| PacketError::new(Defect::FieldMissing, "manifest"))?;
        ParsedHead::parse(signed, &head.recipients, &head.parts)
    }

    /// The head.
    pub fn head(&self) -> &ParsedHead {
        &self.head
    }

    /// What the manifest says in the open.
    pub fn manifest(&self) -> &ManifestFields {
        self.head.manifest()
    }

    /// The manifest's bytes, as they were signed.
    pub fn manifest_bytes(&self) -> &Bytes {
        &self.head.signed.bytes
    }

    /// The manifest's bytes and signature, as they came.
    pub fn signed(&self) -> &wire::Signed {
        self.head.signed()
    }

    /// SHA-256 of the manifest's bytes.
    pub fn manifest_digest(&self) -> Digest {
        self.head.manifest_digest()
    }

    /// The recipients.
    pub fn recipients(&self) -> &[Recipient] {
        self.head.recipients()
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        self.head.parts()
    }

    /// A part by its id.
    pub fn part(&self, id: &PartId) -> Option<&Part> {
        self.head.part(id)
    }

    /// The key packets, in the order they came.
    pub fn key_packets(&self) -> &[KeyPacket] {
        &self.key_packets
    }

    /// A recipient's key packet for a part: present exactly if the part is addressed to it.
    pub fn key_packet(&self, part: &PartId, recipient: &AgencyId) -> Option<&KeyPacket> {
        self.addressed
            .get(&(*part, recipient.clone()))
            .and_then(|number| self.key_packets.get(*number))
    }

    /// All sealings in the order in which they are streamed: by part, v6 before v4.
    pub fn sealings(&self) -> impl Iterator<Item = &Sealing> {
        self.head.sealings()
    }
}

/// One key packet against the descriptors of its part and recipient.
pub(super) fn check_key_packet(
    part: &PartFields,
    recipient: &Recipient,
    packet: &[u8],
) -> Result<(), PacketError> {
    let wrong = |d: Defect| PacketError::new(d, format!("{} for {}", part.part_id, recipient.agency()));
    if packet.len() > limits::KEY_PACKET_MAX_BYTES {
        return Err(wrong(Defect::KeyPacketTooLong));
    }
    let profile = recipient.profile();
    let head = KeyPacketHead::parse(packet, profile).map_err(wrong)?;
    if !head.reference().names(recipient.key()) {
        return Err(wrong(Defect::KeyPacketOtherRecipient));
    }
    let digest = Digest::of(packet);
    let committed = part
        .sealing(profile)
        .is_some_and(|s| s.key_packet_digests.contains(&digest));
    if committed {
        Ok(())
    } else {
        Err(wrong(Defect::KeyPacketNotCommitted))
    }
}

fn check_opening(opening: &wire::Opening, digests: &[Digest], place: &str) -> Result<(), PacketError> {
    if opening.nonce.len() != NONCE_BYTES {
        return Err(PacketError::new(Defect::OpeningNonceWrong, place.to_owned()));
    }
    if opening.descriptor.len() > limits::DESCRIPTOR_MAX_BYTES {
        return Err(PacketError::new(Defect::DescriptorTooLong, place.to_owned()));
    }
    if digests.contains(&opening_digest(opening)) {
        Ok(())
    } else {
        Err(PacketError::new(Defect::OpeningNotInManifest, place.to_owned()))
    }
}

/// The digest that an opening opens: SHA-256(nonce || descriptor).
pub fn opening_digest(opening: &wire::Opening) -> Digest {
    Digest::of_all(&[&opening.nonce, &opening.descriptor])
}

pub(super) fn open_recipients(
    manifest: &Manifest,
    openings: &[wire::Opening],
) -> Result<Vec<Recipient>, PacketError> {
    let mut recipients: Vec<Recipient> = Vec::with_capacity(openings.len());
    for (n, opening) in openings.iter().enumerate() {
        let place = format!("recipients[{n}]");
        check_opening(opening, &manifest.recipient_digests, &place)?;
        let fields = RecipientFields::parse(&opening.descriptor).map_err(|e| e.within(&place))?;
        if recipients
            .iter()
            .any(|r| r.fields.agency == fields.agency || r.fields.key == fields.key)
        {
            return Err(PacketError::new(Defect::RecipientRepeated, place));
        }
        recipients.push(Recipient {
            fields,
            opening: opening.clone(),
        });
    }
    Ok(recipients)
}

pub(super) fn open_parts(manifest: &Manifest, openings: &[wire::Opening]) -> Result<Vec<Part>, PacketError> {
    let mut parts: Vec<Part> = Vec::with_capacity(openings.len());
    let mut sealed = BTreeSet::new();
    for (n, opening) in openings.iter().enumerate() {
        let place = format!("parts[{n}]");
        check_opening(opening, &manifest.part_digests, &place)?;
        let fields = PartFields::parse(&opening.descriptor).map_err(|e| e.within(&place))?;
        if parts.iter().any(|p| p.fields.part_id == fields.part_id) {
            return Err(PacketError::new(Defect::PartRepeated, place));
        }
        if !fields.sealings.iter().all(|s| sealed.insert(s.sha256)) {
            return Err(PacketError::new(Defect::SealingRepeated, place));
        }
        parts.push(Part {
            fields,
            opening: opening.clone(),
        });
    }
    Ok(parts)
}

/// Encodes a message as the descriptor or manifest bytes that are committed to.
pub(super) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

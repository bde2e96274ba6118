//! Descriptors: what the manifest commits to about one recipient or one part, opened only to those
//! who may see it. Both directions.

use super::field;
use crate::defect::{Defect, PacketError};
use crate::ids::{Digest, PartId, StatementId, SubjectRef};
use crate::limits;
use crate::openpgp::{Fingerprint, Profile};
use crate::party::{AgencyId, Code};
use crate::wire;

/// The type that a recipient descriptor names first.
pub const RECIPIENT_TYPE: &str = "schakel.v1.RecipientDescriptor";
/// The type that a part descriptor names first.
pub const PART_TYPE: &str = "schakel.v1.PartDescriptor";

/// Shortest sealing: the smallest padded part, encrypted.
const SEALING_MIN_BYTES: u64 = 4 << 10;
/// Longest sealing: the largest padded part with an AEAD tag of 16 bytes for every KiB.
const SEALING_MAX_BYTES: u64 = (1 << 30) + (16 << 20);

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientFields {
    /// The agency.
    pub agency: AgencyId,
    /// Fingerprint of the encryption key that its parts are sealed to.
    pub key: Fingerprint,
}

/// One part, as its sender describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFields {
    /// Its id, random.
    pub part_id: PartId,
    /// Category code.
    pub category: Code,
    /// Whom it is about, at most 32.
    pub subjects: Vec<Subject>,
    /// Secrecy of the source: `none`, `professional`, `medical`, `investigation`, `consultation`.
    pub source_secrecy: Code,
    /// The release (statement) from the secrecy of the investigation.
    pub release_ref: Option<StatementId>,
    /// The measure (statement) it reports on.
    pub measure_ref: Option<StatementId>,
    /// The sender judged it relevant; unset: did not say.
    pub relevant: Option<bool>,
    /// Names were replaced.
    pub pseudonymous: bool,
    /// Commitment to salt, sealed header and content.
    pub commitment: Digest,
    /// One per profile in use, v6 before v4.
    pub sealings: Vec<Sealing>,
}

/// A person a part is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Pseudonym within the case.
    pub subject_ref: SubjectRef,
    /// Role in the case.
    pub role: Code,
    /// Age class.
    pub age_class: Code,
}

/// One encryption of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The part.
    pub part_id: PartId,
    /// How it is encrypted.
    pub profile: Profile,
    /// Length of the encrypted-data packet, in bytes.
    pub length: u64,
    /// SHA-256 of the encrypted-data packet.
    pub sha256: Digest,
    /// SHA-256 of each recipient's key packet, among dummies.
    pub key_packet_digests: Vec<Digest>,
}

impl Profile {
    /// From the wire.
    pub fn from_wire(value: i32) -> Option<Self> {
        match wire::Profile::try_from(value) {
            Ok(wire::Profile::V6) => Some(Self::V6),
            Ok(wire::Profile::V4) => Some(Self::V4),
            Ok(wire::Profile::Unspecified) | Err(_) => None,
        }
    }

    /// As the wire's number.
    pub fn to_wire(self) -> i32 {
        match self {
            Self::V6 => wire::Profile::V6.into(),
            Self::V4 => wire::Profile::V4.into(),
        }
    }
}

fn check_length(descriptor: &[u8]) -> Result<(), PacketError> {
    if descriptor.len() > limits::DESCRIPTOR_MAX_BYTES {
        return Err(Defect::DescriptorTooLong.into());
    }
    Ok(())
}

impl RecipientFields {
    pub(super) fn parse(descriptor: &[u8]) -> Result<Self, PacketError> {
        check_length(descriptor)?;
        let wire: wire::RecipientDescriptor = field::decode(descriptor, Defect::DescriptorMalformed)?;
        field::type_is(&wire.r#type, RECIPIENT_TYPE)?;
        Ok(Self {
            agency: field::name(&wire.agency, "agency")?,
            key: field::id(&wire.key, "key")?,
        })
    }

    pub(super) fn to_wire(&self) -> wire::RecipientDescriptor {
        wire::RecipientDescriptor {
            r#type: RECIPIENT_TYPE.to_owned(),
            agency: self.agency.to_string(),
            key: field::bytes(self.key.as_bytes()),
        }
    }
}

impl PartFields {
    pub(super) fn parse(descriptor: &[u8]) -> Result<Self, PacketError> {
        check_length(descriptor)?;
        let wire: wire::PartDescriptor = field::decode(descriptor, Defect::DescriptorMalformed)?;
        field::type_is(&wire.r#type, PART_TYPE)?;
        let part_id = field::id(&wire.part_id, "part_id")?;
        Ok(Self {
            part_id,
            category: field::name(&wire.category, "category")?,
            subjects: parse_subjects(&wire.subjects)?,
            source_secrecy: field::name(&wire.source_secrecy, "source_secrecy")?,
            release_ref: field::optional_id(&wire.release_ref, "release_ref")?,
            measure_ref: field::optional_id(&wire.measure_ref, "measure_ref")?,
            relevant: wire.relevant,
            pseudonymous: wire.pseudonymous,
            commitment: field::id(&wire.commitment, "commitment")?,
            sealings: parse_sealings(part_id, &wire.sealings)?,
        })
    }

    pub(super) fn to_wire(&self) -> wire::PartDescriptor {
        let id = |id: &Option<StatementId>| field::optional_bytes(id.as_ref().map(StatementId::as_bytes));
        let subject = |s: &Subject| wire::Subject {
            subject_ref: field::bytes(s.subject_ref.as_bytes()),
            role: s.role.to_string(),
            age_class: s.age_class.to_string(),
        };
        wire::PartDescriptor {
            r#type: PART_TYPE.to_owned(),
            part_id: field::bytes(self.part_id.as_bytes()),
            category: self.category.to_string(),
            subjects: self.subjects.iter().map(subject).collect(),
            source_secrecy: self.source_secrecy.to_string(),
            release_ref: id(&self.release_ref),
            measure_ref: id(&self.measure_ref),
            relevant: self.relevant,
            pseudonymous: self.pseudonymous,
            commitment: field::bytes(self.commitment.as_bytes()),
            sealings: self.sealings.iter().map(Sealing::to_wire).collect(),
        }
    }

    /// The sealing of a profile, if the part has one.
    pub fn sealing(&self, profile: Profile) -> Option<&Sealing> {
        self.sealings.iter().find(|s| s.profile == profile)
    }
}

fn parse_subjects(list: &[wire::Subject]) -> Result<Vec<Subject>, PacketError> {
    if list.len() > limits::SUBJECTS_MAX_COUNT {
        return Err(PacketError::new(Defect::SubjectsCountWrong, "subjects"));
    }
    let mut subjects: Vec<Subject> = Vec::with_capacity(list.len());
    for wire in list {
        let subject = Subject {
            subject_ref: field::id(&wire.subject_ref, "subjects.subject_ref")?,
            role: field::name(&wire.role, "subjects.role")?,
            age_class: field::name(&wire.age_class, "subjects.age_class")?,
        };
        if subjects.iter().any(|s| s.subject_ref == subject.subject_ref) {
            return Err(PacketError::new(Defect::SubjectRepeated, "subjects"));
        }
        subjects.push(subject);
    }
    Ok(subjects)
}

fn parse_sealings(part_id: PartId, list: &[wire::Sealing]) -> Result<Vec<Sealing>, PacketError> {
    let sealings: Result<Vec<_>, _> = list.iter().map(|wire| Sealing::parse(part_id, wire)).collect();
    let sealings = sealings?;
    let profiles: Vec<_> = sealings.iter().map(|s| s.profile).collect();
    match profiles.as_slice() {
        [_] | [Profile::V6, Profile::V4] => Ok(sealings),
        _ => Err(PacketError::new(Defect::SealingsWrong, "sealings")),
    }
}

impl Sealing {
    fn parse(part_id: PartId, wire: &wire::Sealing) -> Result<Self, PacketError> {
        let profile = Profile::from_wire(wire.profile);
        let profile = profile.ok_or_else(|| PacketError::new(Defect::SealingsWrong, "sealings.profile"))?;
        if !(SEALING_MIN_BYTES..=SEALING_MAX_BYTES).contains(&wire.length) {
            return Err(PacketError::new(Defect::SealingLengthWrong, "sealings.length"));
        }
        let count = wire.key_packet_digests.len();
        let range = limits::KEY_PACKET_DIGESTS_MIN_COUNT..=limits::RECIPIENTS_MAX_COUNT;
        if !count.is_power_of_two() || !range.contains(&count) {
            return Err(PacketError::new(
                Defect::KeyPacketDigestsWrong,
                "sealings.key_packet_digests",
            ));
        }
        Ok(Self {
            part_id,
            profile,
            length: wire.length,
            sha256: field::id(&wire.sha256, "sealings.sha256")?,
            key_packet_digests: field::digests(&wire.key_packet_digests, "sealings.key_packet_digests")?,
        })
    }

    fn to_wire(&self) -> wire::Sealing {
        wire::Sealing {
            profile: self.profile.to_wire(),
            length: self.length,
            sha256: field::bytes(self.sha256.as_bytes()),
            key_packet_digests: self
                .key_packet_digests
                .iter()
                .map(|d| field::bytes(d.as_bytes()))
                .collect(),
        }
    }
}

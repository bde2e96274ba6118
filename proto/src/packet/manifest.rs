//! The manifest: what the sender signs about a packet. Both directions.

use bytes::Bytes;

use super::field;
use crate::defect::{Defect, PacketError};
use crate::ids::{CaseRef, Digest, PacketId, StatementId};
use crate::limits;
use crate::openpgp::Fingerprint;
use crate::party::{AgencyId, Code, NetworkName};
use crate::time::Timestamp;
use crate::wire;

/// The type that a manifest names first.
pub const MANIFEST_TYPE: &str = "schakel.v1.Manifest";

/// What a manifest says in the open, but for its two digest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFields {
    /// The network it belongs to.
    pub network: NetworkName,
    /// Made by the sender, UUIDv7.
    pub packet_id: PacketId,
    /// The case it is about.
    pub case_ref: CaseRef,
    /// The case's roster version that the sender saw.
    pub roster_version_seen: Option<u64>,
    /// The sending agency.
    pub sender: AgencyId,
    /// Fingerprint of the sender's certificate (primary key).
    pub sender_key: Fingerprint,
    /// When it was made.
    pub created: Timestamp,
    /// When it loses its force.
    pub expires: Timestamp,
    /// Purpose code.
    pub purpose: Code,
    /// Legal basis and what it refers to.
    pub legal_basis: LegalBasis,
    /// `routine`, `urgent` or `immediate`.
    pub urgency: Code,
    /// The break-glass record, if the sender breaks the glass.
    pub break_glass: Option<BreakGlass>,
    /// The packet that this one answers.
    pub in_reply_to: Option<PacketId>,
    /// The last log checkpoint that the sender saw.
    pub checkpoint_seen: Option<CheckpointSeen>,
}

impl ManifestFields {
    /// From a manifest's signed bytes. The signature is not looked at.
    ///
    /// # Errors
    /// Names what is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        Manifest::parse(bytes).map(|manifest| manifest.fields)
    }
}

/// Legal basis with its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegalBasis {
    /// Basis code, e.g. `legal_duty`.
    pub basis: Code,
    /// The consultation (statement).
    pub consultation_ref: Option<StatementId>,
    /// The mandate (statement).
    pub mandate_ref: Option<StatementId>,
    /// The measure (statement).
    pub measure_ref: Option<StatementId>,
    /// Conditions of the right to report.
    pub report: Option<ReportConditions>,
}

impl LegalBasis {
    /// A basis without references.
    pub fn plain(basis: Code) -> Self {
        Self {
            basis,
            consultation_ref: None,
            mandate_ref: None,
            measure_ref: None,
            report: None,
        }
    }
}

/// What the right to report asks the reporter to state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportConditions {
    /// Class of victim.
    pub victim_class: Code,
    /// Kind of danger.
    pub danger: Code,
    /// The reporter cannot protect the victim otherwise.
    pub cannot_protect_otherwise: bool,
}

/// An emergency override, to be reviewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// Function at the agency, never a name.
    pub actor: Code,
    /// Endangered roles, 1 to 8.
    pub danger_to: Vec<Code>,
    /// The reviewing agency.
    pub reviewer: AgencyId,
    /// Review due.
    pub review_by: Timestamp,
    /// Length of the justification, in characters.
    pub justification_chars: u32,
    /// SHA-256 commitment to the justification; its text is sealed to the reviewer.
    pub justification_commitment: Digest,
}

/// A log checkpoint that a party saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSeen {
    /// The log's origin line.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root hash.
    pub root: Digest,
}

/// A manifest as parsed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) fields: ManifestFields,
    pub(super) recipient_digests: Vec<Digest>,
    pub(super) part_digests: Vec<Digest>,
}

impl Manifest {
    /// Parses the signed bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() > limits::MANIFEST_MAX_BYTES {
            return Err(Defect::ManifestTooLong.into());
        }
        let wire: wire::Manifest = field::decode(bytes, Defect::ManifestMalformed)?;
        field::type_is(&wire.r#type, MANIFEST_TYPE)?;
        let fields = parse_fields(&wire)?;
        check_times(&fields)?;
        Ok(Self {
            fields,
            recipient_digests: digest_list(&wire.recipient_digests, "recipient_digests")?,
            part_digests: digest_list(&wire.part_digests, "part_digests")?,
        })
    }

    /// As a wire message, to be encoded and signed.
    pub(super) fn to_wire(&self) -> wire::Manifest {
        let fields = &self.fields;
        wire::Manifest {
            r#type: MANIFEST_TYPE.to_owned(),
            network: fields.network.to_string(),
            packet_id: field::bytes(fields.packet_id.as_bytes()),
            case_ref: field::bytes(fields.case_ref.as_bytes()),
            roster_version_seen: fields.roster_version_seen,
            sender: fields.sender.to_string(),
            sender_key: field::bytes(fields.sender_key.as_bytes()),
            created_ms: fields.created.millis(),
            expires_ms: fields.expires.millis(),
            purpose: fields.purpose.to_string(),
            legal_basis: Some(basis_to_wire(&fields.legal_basis)),
            urgency: fields.urgency.to_string(),
            break_glass: fields.break_glass.as_ref().map(break_glass_to_wire),
            in_reply_to: field::optional_bytes(fields.in_reply_to.as_ref().map(PacketId::as_bytes)),
            checkpoint_seen: fields.checkpoint_seen.as_ref().map(CheckpointSeen::to_wire),
            recipient_digests: self
                .recipient_digests
                .iter()
                .map(|d| field::bytes(d.as_bytes()))
                .collect(),
            part_digests: self
                .part_digests
                .iter()
                .map(|d| field::bytes(d.as_bytes()))
                .collect(),
        }
    }
}

fn parse_fields(wire: &wire::Manifest) -> Result<ManifestFields, PacketError> {
    let packet_id: PacketId = field::id(&wire.packet_id, "packet_id")?;
    if !packet_id.is_v7() {
        return Err(PacketError::new(Defect::PacketIdNotV7, "packet_id"));
    }
    let basis = wire.legal_basis.as_ref();
    let basis = basis.ok_or_else(|| PacketError::new(Defect::FieldMissing, "legal_basis"))?;
    Ok(ManifestFields {
        network: field::name(&wire.network, "network")?,
        packet_id,
        case_ref: field::id(&wire.case_ref, "case_ref")?,
        roster_version_seen: wire.roster_version_seen,
        sender: field::name(&wire.sender, "sender")?,
        sender_key: field::id(&wire.sender_key, "sender_key")?,
        created: field::moment(wire.created_ms, "created_ms")?,
        expires: field::moment(wire.expires_ms, "expires_ms")?,
        purpose: field::name(&wire.purpose, "purpose")?,
        legal_basis: parse_basis(basis).map_err(|e| e.within("legal_basis"))?,
        urgency: field::name(&wire.urgency, "urgency")?,
        break_glass: wire.break_glass.as_ref().map(parse_break_glass).transpose()?,
        in_reply_to: field::optional_id(&wire.in_reply_to, "in_reply_to")?,
        checkpoint_seen: wire
            .checkpoint_seen
            .as_ref()
            .map(CheckpointSeen::parse)
            .transpose()?,
    })
}

/// Created before it expires, and not for longer than allowed.
fn check_times(fields: &ManifestFields) -> Result<(), PacketError> {
    let life = fields.expires.millis_since(fields.created);
    if life <= 0 {
        return Err(PacketError::new(Defect::TimesWrong, "expires_ms"));
    }
    if life > limits::PACKET_LIFE_MAX_MILLIS {
        return Err(PacketError::new(Defect::LifeTooLong, "expires_ms"));
    }
    Ok(())
}

fn digest_list(list: &[Bytes], place: &'static str) -> Result<Vec<Digest>, PacketError> {
    if list.len() != limits::DIGESTS_COUNT {
        return Err(PacketError::new(Defect::DigestsCountWrong, place));
    }
    field::digests(list, place)
}

fn parse_basis(wire: &wire::LegalBasis) -> Result<LegalBasis, PacketError> {
    let report = |r: &wire::ReportConditions| -> Result<_, PacketError> {
        Ok(ReportConditions {
            victim_class: field::name(&r.victim_class, "report.victim_class")?,
            danger: field::name(&r.danger, "report.danger")?,
            cannot_protect_otherwise: r.cannot_protect_otherwise,
        })
    };
    Ok(LegalBasis {
        basis: field::name(&wire.basis, "basis")?,
        consultation_ref: field::optional_id(&wire.consultation_ref, "consultation_ref")?,
        mandate_ref: field::optional_id(&wire.mandate_ref, "mandate_ref")?,
        measure_ref: field::optional_id(&wire.measure_ref, "measure_ref")?,
        report: wire.report.as_ref().map(report).transpose()?,
    })
}

fn basis_to_wire(basis: &LegalBasis) -> wire::LegalBasis {
    let id = |id: &Option<StatementId>| field::optional_bytes(id.as_ref().map(StatementId::as_bytes));
    wire::LegalBasis {
        basis: basis.basis.to_string(),
        consultation_ref: id(&basis.consultation_ref),
        mandate_ref: id(&basis.mandate_ref),
        measure_ref: id(&basis.measure_ref),
        report: basis.report.as_ref().map(|r| wire::ReportConditions {
            victim_class: r.victim_class.to_string(),
            danger: r.danger.to_string(),
            cannot_protect_otherwise: r.cannot_protect_otherwise,
        }),
    }
}

fn parse_break_glass(wire: &wire::BreakGlass) -> Result<BreakGlass, PacketError> {
    let max = limits::ENDANGERED_MAX_COUNT;
    let danger_to: Vec<Code> = field::names(&wire.danger_to, max, "break_glass.danger_to")?;
    if danger_to.is_empty() {
        return Err(PacketError::new(Defect::FieldMissing, "break_glass.danger_to"));
    }
    Ok(BreakGlass {
        actor: field::name(&wire.actor, "break_glass.actor")?,
        danger_to,
        reviewer: field::name(&wire.reviewer, "break_glass.reviewer")?,
        review_by: field::moment(wire.review_by_ms, "break_glass.review_by_ms")?,
        justification_chars: wire.justification_chars,
        justification_commitment: field::id(
            &wire.justification_commitment,
            "break_glass.justification_commitment",
        )?,
    })
}

fn break_glass_to_wire(record: &BreakGlass) -> wire::BreakGlass {
    wire::BreakGlass {
        actor: record.actor.to_string(),
        danger_to: record.danger_to.iter().map(Code::to_string).collect(),
        reviewer: record.reviewer.to_string(),
        review_by_ms: record.review_by.millis(),
        justification_chars: record.justification_chars,
        justification_commitment: field::bytes(record.justification_commitment.as_bytes()),
    }
}

impl CheckpointSeen {
    /// From the wire.
    ///
    /// # Errors
    /// `FieldMissing` or `FieldInvalid`.
    pub fn parse(wire: &wire::CheckpointSeen) -> Result<Self, PacketError> {
        if wire.origin.is_empty() {
            return Err(PacketError::new(Defect::FieldMissing, "checkpoint_seen.origin"));
        }
        if !field::text_fits(&wire.origin, limits::SEALED_NAME_MAX_BYTES) {
            return Err(PacketError::new(Defect::FieldInvalid, "checkpoint_seen.origin"));
        }
        let root = field::id(&wire.root, "checkpoint_seen.root")?;
        Ok(Self {
            origin: wire.origin.clone(),
            size: wire.size,
            root,
        })
    }

    /// As a wire message.
    pub fn to_wire(&self) -> wire::CheckpointSeen {
        wire::CheckpointSeen {
            origin: self.origin.clone(),
            size: self.size,
            root: field::bytes(self.root.as_bytes()),
        }
    }
}

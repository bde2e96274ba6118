//! What the local API is asked, in the form that the CLI sends and a program of the agency may send.

use std::path::PathBuf;

use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId, StatementId, SubjectRef};
use schakel_proto::packet::descriptor::Subject;
use schakel_proto::party::{AgencyId, Code};
use serde::{Deserialize, Serialize};

/// A packet to be sealed and sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// The case.
    pub case: CaseRef,
    /// The recipients; a part goes to all of them unless it names its own.
    pub to: Vec<AgencyId>,
    /// Purpose code.
    pub purpose: Code,
    /// Legal basis code.
    pub basis: Code,
    /// `routine`, `urgent` or `immediate`.
    pub urgency: Code,
    /// Life of the packet, in hours; none: 14 days.
    #[serde(default)]
    pub expires_hours: Option<u32>,
    /// The packet that this one answers.
    #[serde(default)]
    pub in_reply_to: Option<PacketId>,
    /// The consultation (statement) that the basis refers to.
    #[serde(default)]
    pub consultation: Option<StatementId>,
    /// The mandate (statement) that the basis refers to.
    #[serde(default)]
    pub mandate: Option<StatementId>,
    /// The measure (statement) that the basis refers to.
    #[serde(default)]
    pub measure: Option<StatementId>,
    /// Conditions of the right to report, if that is the basis.
    #[serde(default)]
    pub report: Option<ReportRequest>,
    /// The emergency record, if the glass is broken.
    #[serde(default)]
    pub break_glass: Option<BreakGlassRequest>,
    /// The parts, 1 to 64.
    pub parts: Vec<PartRequest>,
}

/// Evidence of a packet to be written to a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRequest {
    /// The packet, sent or received.
    pub packet: PacketId,
    /// The new file, an absolute path.
    pub out: PathBuf,
    /// Leave contents and ciphertext out; their commitments stay.
    #[serde(default)]
    pub without_content: bool,
    /// Ask the broker for nothing: what is here must do.
    #[serde(default)]
    pub offline: bool,
    /// Parts whose content goes into it although an obligation binds it to where it is.
    #[serde(default)]
    pub with_bound: Vec<PartId>,
}

/// The conditions of the right to report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportRequest {
    /// Class of victim.
    pub victim_class: Code,
    /// Kind of danger.
    pub danger: Code,
    /// The reporter cannot protect the victim otherwise.
    pub cannot_protect_otherwise: bool,
}

/// The record of an emergency. The justification's text is sealed to the reviewer apart; the packet
/// carries its length and commitment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRequest {
    /// Function at the agency, never a name.
    pub actor: Code,
    /// Endangered roles.
    pub danger_to: Vec<Code>,
    /// The reviewing agency.
    pub reviewer: AgencyId,
    /// Review due, in milliseconds since 1970.
    pub review_by_ms: i64,
    /// Length of the justification, in characters.
    pub justification_chars: u32,
    /// SHA-256 commitment to the justification.
    pub justification_commitment: Digest,
}

/// One part: a file of ours and what is said of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRequest {
    /// Category code.
    pub category: Code,
    /// Absolute path of the file; the daemon (same user) reads it.
    pub file: PathBuf,
    /// File name inside the seal; none: the last component of `file`.
    #[serde(default)]
    pub name: Option<String>,
    /// Media type inside the seal; none: `application/octet-stream`.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Title inside the seal.
    #[serde(default)]
    pub title: String,
    /// Whom it is about.
    #[serde(default)]
    pub subjects: Vec<SubjectRequest>,
    /// Secrecy of the source: `none`, `professional`, `medical`, `investigation`, `consultation`.
    pub secrecy: Code,
    /// Recipients of this part; empty: all of the packet's.
    #[serde(default)]
    pub to: Vec<AgencyId>,
    /// The release (statement) from the secrecy of the investigation.
    #[serde(default)]
    pub release: Option<StatementId>,
    /// The measure (statement) it reports on.
    #[serde(default)]
    pub measure: Option<StatementId>,
    /// Judged relevant by the sender.
    #[serde(default)]
    pub relevant: Option<bool>,
    /// Names were replaced.
    #[serde(default)]
    pub pseudonymous: bool,
}

impl PartRequest {
    /// The file name that goes inside the seal.
    pub fn sealed_name(&self) -> String {
        let own = || self.file.file_name().map(|n| n.to_string_lossy().into_owned());
        self.name.clone().or_else(own).unwrap_or_default()
    }

    /// The recipients of this part among those of the packet.
    pub fn recipients<'a>(&'a self, packet: &'a [AgencyId]) -> &'a [AgencyId] {
        if self.to.is_empty() { packet } else { &self.to }
    }
}

/// A person a part is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectRequest {
    /// Role in the case.
    pub role: Code,
    /// Age class.
    pub age_class: Code,
    /// Pseudonym within the case.
    pub subject: SubjectRef,
}

impl SubjectRequest {
    /// As a descriptor names the person.
    pub fn described(&self) -> Subject {
        Subject {
            subject_ref: self.subject,
            role: self.role.clone(),
            age_class: self.age_class.clone(),
        }
    }
}

/// One participant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterRequest {
    /// The agency.
    pub agency: AgencyId,
    /// `active`, `suspended` or `left`.
    pub status: Code,
    /// From when, in milliseconds since 1970; none: from the statement on.
    #[serde(default)]
    pub from_ms: Option<i64>,
    /// Until when, in milliseconds since 1970; none: no end.
    #[serde(default)]
    pub until_ms: Option<i64>,
    /// Also serves the perpetrator in this case.
    #[serde(default)]
    pub perp_side: bool,
}

/// A packet to be taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallRequest {
    /// The packet.
    pub packet: PacketId,
    /// `sent_in_error`, `superseded` or `other`.
    pub reason: Code,
}

/// A part of the inbox to be written out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The packet.
    pub packet: PacketId,
    /// The part.
    pub part: schakel_proto::ids::PartId,
    /// Absolute path of the new file.
    pub out: PathBuf,
}

/// An obligation of a received part that the agency's people carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FulfilledRequest {
    /// The packet.
    pub packet: PacketId,
    /// The part.
    pub part: schakel_proto::ids::PartId,
    /// The obligation, as the inbox shows it.
    pub obligation: String,
}

//! Statements as the agency asks for them: the same type is the command line's arguments and the local API's JSON.

use clap::{Args, Subcommand};
use schakel_proto::ids::{CaseRef, Digest, PacketId, StatementId, SubjectRef};
use schakel_proto::party::{AgencyId, Code, OfficerId};
use schakel_proto::statement::{
    Audience, Consent, Consultation, Mandate, RosterEntry, RosterStatus, StatementBody,
};
use schakel_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cli::parse;
use crate::problem::{Kind, Problem};
use crate::request::RosterRequest;

/// A statement to be signed and submitted.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StatementRequest {
    /// Open a case with its first roster.
    OpenCase {
        /// The case; make one with `ref case`.
        #[arg(long)]
        case: CaseRef,
        /// Kind of violence, e.g. partner_violence.
        #[arg(long = "type", value_name = "CODE")]
        case_type: Code,
        /// Region, e.g. vlg.
        #[arg(long)]
        region: Code,
        /// A participant: AGENCY[,status=…][,from=MILLIS][,until=MILLIS][,perp-side].
        #[arg(long, required = true, value_parser = parse::roster, value_name = "ENTRY")]
        roster: Vec<RosterRequest>,
    },
    /// Replace the roster of a case.
    ChangeRoster {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The version it becomes; the next one unless given.
        #[arg(long)]
        #[serde(default)]
        version: Option<u64>,
        /// A participant, as in open-case; the list is the whole roster from now on.
        #[arg(long, required = true, value_parser = parse::roster, value_name = "ENTRY")]
        roster: Vec<RosterRequest>,
    },
    /// Close a case: nothing more is exchanged on it.
    CloseCase(OfCase),
    /// Open a closed case again.
    ReopenCase(OfCase),
    /// Convene a case consultation; it is in force once two agencies signed.
    ConveneConsultation {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// decree_vh, law or prosecutor_authorisation.
        #[arg(long)]
        basis: Code,
        /// Its aim; protect_integrity unless given.
        #[arg(long, value_name = "CODE")]
        #[serde(default)]
        finality: Option<Code>,
        /// End of the agreement, RFC 3339.
        #[arg(long = "until", value_parser = parse::moment, value_name = "MOMENT")]
        #[serde(default)]
        until_ms: Option<Timestamp>,
    },
    /// Sign the agreement of a consultation, for this agency.
    SignConsultation {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The consultation: id of the statement that convened it.
        #[arg(long)]
        consultation: StatementId,
    },
    /// End a consultation.
    EndConsultation {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The consultation.
        #[arg(long)]
        consultation: StatementId,
    },
    /// Give a justice house a mandate; this agency is its authority.
    GiveMandate {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// Agency that holds it.
        #[arg(long)]
        holder: AgencyId,
        /// Agency that works under it; repeated.
        #[arg(long = "actor", value_name = "AGENCY")]
        #[serde(default)]
        actors: Vec<AgencyId>,
        /// End, RFC 3339.
        #[arg(long = "until", value_parser = parse::moment, value_name = "MOMENT")]
        #[serde(default)]
        until_ms: Option<Timestamp>,
    },
    /// End a mandate.
    EndMandate {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The mandate: id of the statement that gave it.
        #[arg(long)]
        mandate: StatementId,
    },
    /// Impose a measure, e.g. a house ban.
    ImposeMeasure {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// What, e.g. house_ban.
        #[arg(long, value_name = "CODE")]
        measure: Code,
        /// End, RFC 3339.
        #[arg(long = "until", value_parser = parse::moment, value_name = "MOMENT")]
        #[serde(default)]
        until_ms: Option<Timestamp>,
    },
    /// Give a measure another end.
    ExtendMeasure {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The measure: id of the statement that imposed it.
        #[arg(long)]
        measure: StatementId,
        /// New end, RFC 3339.
        #[arg(long = "until", value_parser = parse::moment, value_name = "MOMENT")]
        #[serde(default)]
        until_ms: Option<Timestamp>,
    },
    /// Lift a measure.
    LiftMeasure {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The measure.
        #[arg(long)]
        measure: StatementId,
    },
    /// Release content of the investigation to agencies or roles.
    ReleaseInvestigation {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// To this agency; repeated.
        #[arg(long = "agency", value_name = "AGENCY")]
        #[serde(default)]
        agencies: Vec<AgencyId>,
        /// To agencies of this role; repeated.
        #[arg(long = "role", value_name = "ROLE")]
        #[serde(default)]
        roles: Vec<Code>,
    },
    /// State that a person agreed.
    GiveConsent(ConsentRequest),
    /// State that a person refused.
    RefuseConsent(ConsentRequest),
    /// State that a person took a consent back.
    WithdrawConsent {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The consent: id of the statement that gave it.
        #[arg(long)]
        consent: StatementId,
    },
    /// State the outcome of the review of an emergency.
    ReviewEmergency {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The packet that broke the glass.
        #[arg(long)]
        packet: PacketId,
        /// The officer who reviewed it.
        #[arg(long)]
        reviewer: OfficerId,
        /// justified or not_justified.
        #[arg(long)]
        finding: Code,
    },
    /// State that the dossier goes to another house.
    TransferDossier {
        /// The case.
        #[arg(long)]
        case: CaseRef,
        /// The receiving house.
        #[arg(long)]
        to: AgencyId,
    },
}

/// A case and nothing else.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfCase {
    /// The case.
    #[arg(long)]
    pub case: CaseRef,
}

/// What a person agreed to or refused.
#[derive(Clone, Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentRequest {
    /// The case.
    #[arg(long)]
    pub case: CaseRef,
    /// Whom it is about.
    #[arg(long)]
    pub subject: SubjectRef,
    /// The subject's role in the case: victim, perpetrator, child …
    #[arg(long, value_name = "ROLE")]
    pub subject_role: Code,
    /// Role of the person who spoke; the subject itself unless given.
    #[arg(long, value_name = "ROLE")]
    #[serde(default)]
    pub given_by: Option<Code>,
    /// self (unless given), guardian or partner.
    #[arg(long, value_name = "CODE")]
    #[serde(default)]
    pub capacity: Option<Code>,
    /// Category it covers; repeated.
    #[arg(long = "category", required = true, value_name = "CODE")]
    pub categories: Vec<Code>,
    /// Agency that may receive; repeated.
    #[arg(long = "agency", value_name = "AGENCY")]
    #[serde(default)]
    pub agencies: Vec<AgencyId>,
    /// Agencies of this role may receive; repeated.
    #[arg(long = "role", value_name = "ROLE")]
    #[serde(default)]
    pub roles: Vec<Code>,
    /// Purpose it covers; repeated.
    #[arg(long = "purpose", required = true, value_name = "CODE")]
    pub purposes: Vec<Code>,
    /// The person was told beforehand what it means.
    #[arg(long)]
    #[serde(default)]
    pub informed: bool,
    /// written, or oral (unless given).
    #[arg(long, value_name = "CODE")]
    #[serde(default)]
    pub form: Option<Code>,
    /// When the person spoke, RFC 3339; now unless given.
    #[arg(long = "given", value_parser = parse::moment, value_name = "MOMENT")]
    #[serde(default)]
    pub given_ms: Option<Timestamp>,
    /// End, RFC 3339.
    #[arg(long = "until", value_parser = parse::moment, value_name = "MOMENT")]
    #[serde(default)]
    pub until_ms: Option<Timestamp>,
    /// The minor of 12 years or more signed along.
    #[arg(long)]
    #[serde(default)]
    pub minor_cosign: bool,
    /// The parents signed along.
    #[arg(long)]
    #[serde(default)]
    pub parents_cosign: bool,
    /// SHA-256 of the signed form that this agency keeps, `sha256:…`.
    #[arg(long, value_name = "DIGEST")]
    #[serde(default)]
    pub form_digest: Option<Digest>,
}

impl ConsentRequest {
    fn into_consent(self, now: Timestamp) -> Result<Consent, Problem> {
        Ok(Consent {
            subject: self.subject,
            given_by: self.given_by.unwrap_or_else(|| self.subject_role.clone()),
            subject_role: self.subject_role,
            capacity: self.capacity.map_or_else(|| word("self"), Ok)?,
            categories: self.categories,
            recipients: Audience {
                agencies: self.agencies,
                roles: self.roles,
            },
            purposes: self.purposes,
            informed: self.informed,
            form: self.form.map_or_else(|| word("oral"), Ok)?,
            given: self.given_ms.unwrap_or(now),
            expires: self.until_ms,
            minor_cosign: self.minor_cosign,
            parents_cosign: self.parents_cosign,
            form_digest: self.form_digest,
        })
    }
}

impl StatementRequest {
    /// The case it is about.
    pub fn case(&self) -> CaseRef {
        match self {
            Self::OpenCase { case, .. }
            | Self::ChangeRoster { case, .. }
            | Self::CloseCase(OfCase { case })
            | Self::ReopenCase(OfCase { case })
            | Self::ConveneConsultation { case, .. }
            | Self::SignConsultation { case, .. }
            | Self::EndConsultation { case, .. }
            | Self::GiveMandate { case, .. }
            | Self::EndMandate { case, .. }
            | Self::ImposeMeasure { case, .. }
            | Self::ExtendMeasure { case, .. }
            | Self::LiftMeasure { case, .. }
            | Self::ReleaseInvestigation { case, .. }
            | Self::GiveConsent(ConsentRequest { case, .. })
            | Self::RefuseConsent(ConsentRequest { case, .. })
            | Self::WithdrawConsent { case, .. }
            | Self::ReviewEmergency { case, .. }
            | Self::TransferDossier { case, .. } => *case,
        }
    }

    /// What is signed. `next` is the roster version that comes next.
    ///
    /// # Errors
    /// A roster entry has no known status.
    pub fn into_body(self, next: u64, now: Timestamp) -> Result<StatementBody, Problem> {
        Ok(match self {
            Self::OpenCase {
                case_type,
                region,
                roster,
                ..
            } => StatementBody::CaseOpened {
                case_type,
                region,
                roster: entries(&roster)?,
            },
            Self::ChangeRoster { version, roster, .. } => roster_changed(version.unwrap_or(next), &roster)?,
            Self::CloseCase(_) => StatementBody::CaseClosed,
            Self::ReopenCase(_) => StatementBody::CaseReopened,
            Self::ConveneConsultation {
                basis,
                finality,
                until_ms,
                ..
            } => StatementBody::ConsultationConvened(Consultation {
                basis,
                finality: finality.map_or_else(|| word("protect_integrity"), Ok)?,
                valid_until: until_ms,
            }),
            Self::SignConsultation { consultation, .. } => StatementBody::ConsultationSigned { consultation },
            Self::EndConsultation { consultation, .. } => StatementBody::ConsultationEnded { consultation },
            Self::GiveMandate {
                holder,
                actors,
                until_ms: until,
                ..
            } => StatementBody::MandateGiven(Mandate {
                holder,
                actors,
                until,
            }),
            Self::EndMandate { mandate, .. } => StatementBody::MandateEnded { mandate },
            Self::ImposeMeasure {
                measure,
                until_ms: until,
                ..
            } => StatementBody::MeasureImposed { measure, until },
            Self::ExtendMeasure {
                measure,
                until_ms: until,
                ..
            } => StatementBody::MeasureExtended { measure, until },
            Self::LiftMeasure { measure, .. } => StatementBody::MeasureLifted { measure },
            Self::ReleaseInvestigation { agencies, roles, .. } => {
                StatementBody::InvestigationReleased(Audience { agencies, roles })
            }
            Self::GiveConsent(consent) => StatementBody::ConsentGiven(consent.into_consent(now)?),
            Self::RefuseConsent(consent) => StatementBody::ConsentRefused(consent.into_consent(now)?),
            Self::WithdrawConsent { consent, .. } => StatementBody::ConsentWithdrawn { consent },
            Self::ReviewEmergency {
                packet,
                reviewer,
                finding,
                case: _,
            } => StatementBody::BreakGlassReviewed {
                packet,
                reviewer,
                finding,
            },
            Self::TransferDossier { to, .. } => StatementBody::DossierTransferred { to },
        })
    }
}

fn roster_changed(roster_version: u64, roster: &[RosterRequest]) -> Result<StatementBody, Problem> {
    Ok(StatementBody::RosterChanged {
        roster_version,
        roster: entries(roster)?,
    })
}

/// A word of the vocabulary that stands for what was not given.
fn word(text: &str) -> Result<Code, Problem> {
    Code::new(text).map_err(|error| Problem::new(Kind::Usage, "CODE", error.to_string(), "Report it."))
}

fn entries(roster: &[RosterRequest]) -> Result<Vec<RosterEntry>, Problem> {
    let entry = |r: &RosterRequest| {
        let status = match r.status.as_str() {
            "active" => RosterStatus::Active,
            "suspended" => RosterStatus::Suspended,
            "left" => RosterStatus::Left,
            other => {
                let sentence = format!("\"{other}\" is no status of a participant");
                let remedy = "Write active, suspended or left.";
                return Err(Problem::new(Kind::Usage, "ROSTER_STATUS", sentence, remedy).at(&r.agency));
            }
        };
        Ok(RosterEntry {
            agency: r.agency.clone(),
            status,
            from: r.from_ms.map(Timestamp::from_millis),
            until: r.until_ms.map(Timestamp::from_millis),
            perp_side: r.perp_side,
        })
    };
    roster.iter().map(entry).collect()
}

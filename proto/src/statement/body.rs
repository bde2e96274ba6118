//! What statements say: one variant for each kind of architecture.md "Facts".

use super::{RosterEntry, Statement};
use crate::ids::{Digest, PacketId, StatementId, SubjectRef};
use crate::party::{AgencyId, Code, OfficerId};
use crate::time::Timestamp;

/// A case consultation as it is convened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consultation {
    /// `decree_vh`, `law` or `prosecutor_authorisation`.
    pub basis: Code,
    /// Its aim.
    pub finality: Code,
    /// End of the agreement; none: no end.
    pub valid_until: Option<Timestamp>,
}

/// The mandate of a justice house; the speaker is its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mandate {
    /// Agency that holds it.
    pub holder: AgencyId,
    /// Agencies that work under it.
    pub actors: Vec<AgencyId>,
    /// End; none: no end.
    pub until: Option<Timestamp>,
}

/// Agencies, by name and by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// By name.
    pub agencies: Vec<AgencyId>,
    /// By role.
    pub roles: Vec<Code>,
}

impl Audience {
    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.agencies.is_empty() && self.roles.is_empty()
    }
}

/// What a person agreed to or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Whom it is about: pseudonym within the case.
    pub subject: SubjectRef,
    /// The subject's role in the case.
    pub subject_role: Code,
    /// Role in the case of the person who spoke.
    pub given_by: Code,
    /// `self`, `guardian` or `partner`.
    pub capacity: Code,
    /// Categories of parts it covers.
    pub categories: Vec<Code>,
    /// Recipients it covers.
    pub recipients: Audience,
    /// Purposes it covers.
    pub purposes: Vec<Code>,
    /// Whether the person was told beforehand what it means.
    pub informed: bool,
    /// `written` or `oral`.
    pub form: Code,
    /// When the person spoke.
    pub given: Timestamp,
    /// End; none: until withdrawn.
    pub expires: Option<Timestamp>,
    /// A minor of 12 years or more signed along.
    pub minor_cosign: bool,
    /// The parents signed along.
    pub parents_cosign: bool,
    /// SHA-256 of the signed form that the speaker keeps.
    pub form_digest: Option<Digest>,
}

/// What a statement says. What it makes (a consultation, a measure …) is named by the statement's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementBody {
    /// A case is opened; its roster has version 1 and names the opener.
    CaseOpened {
        /// E.g. `partner_violence`.
        case_type: Code,
        /// E.g. `vlg`.
        region: Code,
        /// Roster version 1.
        roster: Vec<RosterEntry>,
    },
    /// The roster is another one from now on.
    RosterChanged {
        /// The version before, plus 1; 2 or more.
        roster_version: u64,
        /// The whole roster.
        roster: Vec<RosterEntry>,
    },
    /// Nothing more is exchanged on the case.
    CaseClosed,
    /// The case is open again.
    CaseReopened,
    /// A case consultation is convened; in force once two agencies signed it.
    ConsultationConvened(Consultation),
    /// The speaker signs the agreement.
    ConsultationSigned {
        /// Which.
        consultation: StatementId,
    },
    /// The consultation has ended.
    ConsultationEnded {
        /// Which.
        consultation: StatementId,
    },
    /// A justice house is given a mandate.
    MandateGiven(Mandate),
    /// The mandate has ended.
    MandateEnded {
        /// Which.
        mandate: StatementId,
    },
    /// A measure such as a house ban is in force.
    MeasureImposed {
        /// E.g. `house_ban`.
        measure: Code,
        /// End; none: no end.
        until: Option<Timestamp>,
    },
    /// The measure has another end.
    MeasureExtended {
        /// Which.
        measure: StatementId,
        /// New end; none: no end.
        until: Option<Timestamp>,
    },
    /// The measure is no longer in force.
    MeasureLifted {
        /// Which.
        measure: StatementId,
    },
    /// Content under the secrecy of the investigation may go to these.
    InvestigationReleased(Audience),
    /// A person agreed.
    ConsentGiven(Consent),
    /// A person refused.
    ConsentRefused(Consent),
    /// A person took the consent back.
    ConsentWithdrawn {
        /// Which.
        consent: StatementId,
    },
    /// An emergency delivery was reviewed.
    BreakGlassReviewed {
        /// The packet that broke the glass.
        packet: PacketId,
        /// The officer who reviewed it.
        reviewer: OfficerId,
        /// `justified` or `not_justified`.
        finding: Code,
    },
    /// The dossier goes to another house.
    DossierTransferred {
        /// Which.
        to: AgencyId,
    },
}

/// What an earlier statement made, and a later one may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A case consultation.
    Consultation,
    /// A mandate.
    Mandate,
    /// A measure.
    Measure,
    /// A consent.
    Consent,
}

impl Made {
    /// Its name in sentences.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consultation => "consultation",
            Self::Mandate => "mandate",
            Self::Measure => "measure",
            Self::Consent => "consent",
        }
    }
}

impl StatementBody {
    /// The statement's name, as policies and logs call it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CaseOpened { .. } => "CaseOpened",
            Self::RosterChanged { .. } => "RosterChanged",
            Self::CaseClosed => "CaseClosed",
            Self::CaseReopened => "CaseReopened",
            Self::ConsultationConvened(_) => "ConsultationConvened",
            Self::ConsultationSigned { .. } => "ConsultationSigned",
            Self::ConsultationEnded { .. } => "ConsultationEnded",
            Self::MandateGiven(_) => "MandateGiven",
            Self::MandateEnded { .. } => "MandateEnded",
            Self::MeasureImposed { .. } => "MeasureImposed",
            Self::MeasureExtended { .. } => "MeasureExtended",
            Self::MeasureLifted { .. } => "MeasureLifted",
            Self::InvestigationReleased(_) => "InvestigationReleased",
            Self::ConsentGiven(_) => "ConsentGiven",
            Self::ConsentRefused(_) => "ConsentRefused",
            Self::ConsentWithdrawn { .. } => "ConsentWithdrawn",
            Self::BreakGlassReviewed { .. } => "BreakGlassReviewed",
            Self::DossierTransferred { .. } => "DossierTransferred",
        }
    }

    /// The roster it sets, if it sets one: its version and entries.
    pub fn roster(&self) -> Option<(u64, &[RosterEntry])> {
        match self {
            Self::CaseOpened { roster, .. } => Some((1, roster)),
            Self::RosterChanged {
                roster_version,
                roster,
            } => Some((*roster_version, roster)),
            _ => None,
        }
    }

    /// What it makes, if later statements can refer to that.
    pub const fn makes(&self) -> Option<Made> {
        match self {
            Self::ConsultationConvened(_) => Some(Made::Consultation),
            Self::MandateGiven(_) => Some(Made::Mandate),
            Self::MeasureImposed { .. } => Some(Made::Measure),
            Self::ConsentGiven(_) => Some(Made::Consent),
            _ => None,
        }
    }

    /// What it refers to.
    pub const fn refers_to(&self) -> Option<(Made, StatementId)> {
        match self {
            Self::ConsultationSigned { consultation } | Self::ConsultationEnded { consultation } => {
                Some((Made::Consultation, *consultation))
            }
            Self::MandateEnded { mandate } => Some((Made::Mandate, *mandate)),
            Self::MeasureExtended { measure, .. } | Self::MeasureLifted { measure } => {
                Some((Made::Measure, *measure))
            }
            Self::ConsentWithdrawn { consent } => Some((Made::Consent, *consent)),
            _ => None,
        }
    }

    /// Whether it ends what it refers to.
    pub const fn ends(&self) -> bool {
        matches!(
            self,
            Self::ConsultationEnded { .. }
                | Self::MandateEnded { .. }
                | Self::MeasureLifted { .. }
                | Self::ConsentWithdrawn { .. }
        )
    }

    /// Whether it only ends, withdraws or says who takes part: a case that is full still takes it.
    pub const fn only_narrows(&self) -> bool {
        self.ends() || matches!(self, Self::CaseClosed | Self::RosterChanged { .. })
    }

    /// Why this cannot follow the statements before it: it refers to nothing they made, or to what has
    /// ended, or says a second time what can be said once. Who may say it is the policy's business.
    pub fn out_of_place<'a>(
        &self,
        speaker: &AgencyId,
        before: impl DoubleEndedIterator<Item = &'a Statement> + Clone,
    ) -> Option<&'static str> {
        let last = |of: fn(&StatementBody) -> bool| before.clone().rev().find(|one| of(&one.body));
        match self {
            Self::CaseOpened { .. } => return None, // judged by the roster's version
            _ if before.clone().next().is_none() => return Some("is about a case that nobody opened"),
            Self::CaseClosed | Self::CaseReopened => {
                let turn = last(|b| matches!(b, Self::CaseClosed | Self::CaseReopened));
                let closed = turn.is_some_and(|one| one.body == Self::CaseClosed);
                return match (self, closed) {
                    (Self::CaseClosed, true) => Some("closes a case that is closed"),
                    (Self::CaseReopened, false) => Some("reopens a case that is open"),
                    _ => None,
                };
            }
            Self::BreakGlassReviewed { packet, .. } => {
                let same = |one: &&Statement| matches!(&one.body, Self::BreakGlassReviewed { packet: other, .. } if other == packet);
                return before
                    .clone()
                    .find(same)
                    .map(|_| "reviews what was reviewed before");
            }
            _ => {}
        }
        let (made, id) = self.refers_to()?;
        let origin = before.clone().find(|one| one.id == id);
        if origin.and_then(|one| one.body.makes()) != Some(made) {
            return Some("refers to nothing of its kind in this case");
        }
        if before
            .clone()
            .any(|one| one.body.ends() && one.body.refers_to() == Some((made, id)))
        {
            return Some("refers to what has ended");
        }
        let signed = |one: &Statement| one.body == *self && one.agency == *speaker;
        if matches!(self, Self::ConsultationSigned { .. }) && before.clone().any(signed) {
            return Some("signs a second time");
        }
        None
    }
}

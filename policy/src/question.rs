//! The typed questions that the engine answers. `ReceiveQuestion` mirrors the case format
//! (`case.rs` reads it from JSON); the broker and the agents build it from manifest, directory and facts.

use std::sync::Arc;

use schakel_proto::time::Timestamp;

use crate::facts::CaseState;

/// A moment with the text it was given as, for obligations that quote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// Its text as given, e.g. `2026-10-12T20:00:00+02:00`.
    pub text: String,
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self {
            at,
            text: at.to_string(),
        }
    }
}

/// One side of an exchange, as the directory describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Agency id.
    pub id: String,
    /// Role code, e.g. `police_zone`.
    pub role: String,
    /// `victim`, `perpetrator`, `mixed` or `neutral`; `None`: the role's default side.
    pub side: Option<String>,
    /// `vlg` or `fwb`, where known.
    pub region: Option<String>,
}

/// A person the part is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Role in the case: `victim`, `perpetrator`, `child`, `caller`, `professional` …
    pub role: String,
    /// `adult`, `minor_12_17` or `minor_0_11`.
    pub age_class: String,
    /// Reference within the case, if the source names one; ties a consent to one of several persons in one role.
    pub reference: Option<String>,
}

/// The prosecutor's release of investigation content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Role of the agency that released it.
    pub by_role: String,
    /// Agency ids or roles it may go to.
    pub scope: Vec<String>,
}

/// One document of one category about named subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Category code, e.g. `facts_summary`.
    pub category: String,
    /// Whom it is about.
    pub subjects: Vec<Subject>,
    /// `none`, `professional`, `medical`, `investigation` or `consultation`.
    pub source_secrecy: String,
    /// The release it cites.
    pub release: Option<Release>,
    /// The measure it is about.
    pub measure: Option<crate::facts::Measure>,
    /// Marked relevant for the table; `None` counts as relevant.
    pub relevant: Option<bool>,
    /// Holds no name or other identifying data.
    pub pseudonymous: bool,
}

/// What a consent covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Categories.
    pub categories: Vec<String>,
    /// Recipient ids or roles.
    pub recipients: Vec<String>,
    /// Purposes.
    pub purposes: Vec<String>,
}

/// A consent, its refusal or its withdrawal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Role of the person whose data it is about.
    pub subject: String,
    /// Reference of that person, if the source names one.
    pub subject_reference: Option<String>,
    /// Role of the person who gave it.
    pub given_by: String,
    /// `self`, `guardian` or `partner`.
    pub capacity: String,
    /// `given`, `pending`, `refused` or `withdrawn`.
    pub status: String,
    /// What it covers.
    pub scope: Scope,
    /// Given after information.
    pub informed: bool,
    /// `written` or `oral`.
    pub form: String,
    /// End; `None`: no end.
    pub expires_at: Option<Timestamp>,
    /// The minor signed too.
    pub minor_cosign: bool,
    /// The parents signed too.
    pub parents_cosign: bool,
}

/// The record of an emergency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakGlass {
    /// Function that acted; empty: missing.
    pub actor: String,
    /// Length of the justification, in characters.
    pub justification_chars: u32,
    /// Who is in danger; empty: missing.
    pub danger_to: Vec<String>,
    /// Who reviews; empty: missing.
    pub reviewer: String,
    /// When the review is due at the latest.
    pub review_by: Option<Timestamp>,
}

/// The conditions of the right to report (art. 353 §1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// `minor`, `vulnerable` or `partner_violence`.
    pub victim_class: String,
    /// `serious_imminent` or `indications_for_others`.
    pub danger: String,
    /// The reporter cannot protect the victim alone or with help.
    pub cannot_protect_otherwise: bool,
}

/// May this agency have this part? One part, one recipient, one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiveQuestion {
    /// The moment decided for.
    pub now: Timestamp,
    /// Who sends.
    pub sender: Party,
    /// Who would receive.
    pub recipient: Party,
    /// Purpose code.
    pub purpose: String,
    /// Legal basis code.
    pub legal_basis: String,
    /// `routine`, `urgent` or `immediate`.
    pub urgency: String,
    /// Roster version the packet says it saw; `None` at hand-over, where the roster of that moment decides.
    pub roster_version_seen: Option<u64>,
    /// The case's facts at this moment.
    pub case: Arc<CaseState>,
    /// The part.
    pub part: Part,
    /// Consents that concern it, in the order they were given.
    pub consents: Vec<Consent>,
    /// The record of an emergency, if there is one.
    pub break_glass: Option<BreakGlass>,
    /// The conditions of a report, if it is one.
    pub report: Option<Report>,
    /// Attributes the source carried that the format does not know: the answer is then a denial.
    pub unknown: Vec<String>,
}

/// What a statement says, as far as the right to make it depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// A case is opened with roster version 1.
    CaseOpened {
        /// Agencies on that roster.
        roster: Vec<String>,
    },
    /// The roster is replaced.
    RosterChanged {
        /// Its version.
        version: u64,
        /// The whole roster from then on.
        roster: Vec<crate::facts::Participant>,
    },
    /// Any other statement.
    Other {
        /// Its name in the schema's actions, e.g. `consent_given` for `state_consent_given`.
        name: String,
        /// What it says.
        said: Said,
    },
}

/// What the right to make a statement may depend on, beside who speaks and how the case stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Role in the case of the person whose consent it is about.
    pub subject: Option<String>,
    /// Basis of the consultation it convenes or ends.
    pub table_basis: Option<String>,
    /// Categories of parts that it names.
    pub categories: Vec<String>,
    /// Roles of agencies that it names.
    pub roles: Vec<String>,
    /// It names an agency that the directory does not list.
    pub strangers: bool,
    /// The speaker itself did what the statement judges (broke the glass that it reviews).
    pub own: bool,
    /// The speaker was named for it (as the reviewer in the emergency's record).
    pub named: bool,
}

/// May this agency make this statement? (architecture.md, "Facts")
#[derive(Clone, Debug, PartialEq)]
pub struct StateQuestion {
    /// The moment decided for.
    pub now: Timestamp,
    /// Who makes the statement.
    pub speaker: Party,
    /// The directory names it competent for the case's region.
    pub competent: bool,
    /// Roles of the case's participants (agency id, role) as the directory has them now.
    pub roles: Vec<(String, String)>,
    /// The case's facts before the statement; `None`: no statement on it was accepted.
    pub case: Option<Arc<CaseState>>,
    /// The statement.
    pub statement: StatementKind,
}

/// What a statement is about, as far as the right to see it depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shown {
    /// Its name, e.g. `consent_given`.
    pub name: String,
    /// The reader made it.
    pub speaker: bool,
    /// It names the reader, or the reader's role, as one whom it lets receive.
    pub covered: bool,
    /// Role in the case of the person whose consent it is about.
    pub subject: Option<String>,
}

/// May this agency see this statement of a case?
#[derive(Clone, Debug, PartialEq)]
pub struct InspectQuestion {
    /// The moment decided for.
    pub now: Timestamp,
    /// Who wants to see it.
    pub reader: Party,
    /// The case's facts.
    pub case: Arc<CaseState>,
    /// The statement.
    pub shown: Shown,
}

//! What is known of a case at one moment, folded from verified statements in their order.

use schakel_proto::time::Timestamp;

use crate::question::{Consent, Moment, Release};

/// A short text, up to 23 bytes of it kept in place: a decision that looks at a case which is in no cache
/// goes to memory once for a row of them, not once for each.
pub type Word = smol_str::SmolStr;

/// One participant of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// Agency id.
    pub id: Word,
    /// Role code, where the source says it (statements do not: the directory does).
    pub role: Option<Word>,
    /// `active`, `suspended` or `left`.
    pub status: Word,
    /// Takes part from this moment on; `None`: from the statement on.
    pub from: Option<Timestamp>,
    /// Takes part until this moment; `None`: no end.
    pub until: Option<Timestamp>,
    /// Also serves the perpetrator in this case.
    pub perp_side: bool,
    /// Region, where it differs from the case's.
    pub region: Option<Word>,
}

/// A case consultation ("table").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consultation {
    /// Id of the statement that made it; empty where the source does not say.
    pub id: String,
    /// `decree_vh`, `law` or `prosecutor_authorisation`.
    pub basis: String,
    /// `draft`, `active` or `ended`.
    pub status: String,
    /// End of the agreement.
    pub valid_until: Option<Timestamp>,
    /// Aim; only `protect_integrity` opens anything.
    pub finality: String,
    /// Agencies that signed.
    pub signed_by: Vec<String>,
}

/// A measure such as a house ban.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Id of the statement that made it; empty where the source does not say.
    pub id: String,
    /// Kind, e.g. `house_ban`.
    pub kind: String,
    /// `in_force`, `extended`, `lifted`, `ended` …
    pub status: String,
    /// End, with the text it was given as.
    pub valid_until: Option<Moment>,
}

/// A mandate of a justice house.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mandate {
    /// Id of the statement that made it; empty where the source does not say.
    pub id: String,
    /// Agency that holds it.
    pub holder: String,
    /// Commissioning authority.
    pub authority: String,
    /// Actors it lists.
    pub actors: Vec<String>,
    /// `active` or `ended`.
    pub status: String,
    /// End.
    pub until: Option<Timestamp>,
}

/// The facts of one case that decisions rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseState {
    /// `open`, `intake`, `closed` or `archived`.
    pub status: Word,
    /// `vlg` or `fwb`; empty: not said.
    pub region: Word,
    /// Kind of violence, e.g. `partner_violence`.
    pub case_type: Word,
    /// Number of the roster in force; 0: no statement yet.
    pub roster_version: u64,
    /// Agency that opened the case.
    pub opener: Option<String>,
    /// The roster.
    pub participants: Vec<Participant>,
    /// The consultation that a question is about: the one its packet names, else the latest that has not
    /// ended, else the latest.
    pub consultation: Option<Box<Consultation>>,
    /// Measures imposed.
    pub measures: Vec<Measure>,
    /// The mandate that a question is about, chosen in the same way.
    pub mandate: Option<Box<Mandate>>,
    /// Every statement's making that questions choose from.
    pub stated: Stated,
}

/// What statements made, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// Consultations.
    pub consultations: Vec<Consultation>,
    /// Mandates.
    pub mandates: Vec<Mandate>,
    /// Releases from the secrecy of the investigation, by id.
    pub releases: Vec<(String, Release)>,
    /// Consents, refusals and withdrawals.
    pub consents: Vec<StatedConsent>,
}

/// A consent as an agency stated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedConsent {
    /// Id of the statement.
    pub id: String,
    /// Agency that stated it.
    pub stated_by: String,
    /// What the person agreed to or refused; `withdrawn` once it was taken back.
    pub consent: Consent,
    /// When the person spoke: gave, refused, or took it back.
    pub spoken: Timestamp,
}

/// The one with this id, else the last that is `active`, else the last that has not ended, else the last.
pub(crate) fn chosen<'a, T>(
    all: &'a [T],
    id: Option<&str>,
    own: fn(&T) -> &str,
    status: fn(&T) -> &str,
) -> Option<&'a T> {
    let last = |wanted: fn(&str) -> bool| all.iter().rev().find(|one| wanted(status(one)));
    match id {
        Some(id) => all.iter().find(|one| own(one) == id),
        None => last(|status| status == "active")
            .or_else(|| last(|status| status != "ended"))
            .or_else(|| all.last()),
    }
}

impl CaseState {
    /// A case of which no statement was accepted: nobody is on its roster, so that only the intake
    /// exceptions of domain.md 6.5 step 4 can pass. `region` is the region that the question is put in.
    pub fn unopened(region: &str) -> Self {
        Self {
            status: "open".into(),
            region: region.into(),
            ..Self::default()
        }
    }

    /// A case just opened by `opener` with roster version 1.
    pub fn opened(opener: &str, case_type: &str, region: &str, roster: Vec<Participant>) -> Self {
        Self {
            status: "open".into(),
            region: region.into(),
            case_type: case_type.into(),
            roster_version: 1,
            opener: Some(opener.to_owned()),
            participants: roster,
            ..Self::default()
        }
    }

    /// The same case with another roster. The caller has checked (`Engine::state`) that `version` is the next.
    #[must_use]
    pub fn with_roster(mut self, version: u64, roster: Vec<Participant>) -> Self {
        self.roster_version = version;
        self.participants = roster;
        self
    }

    /// Every roster entry of an agency: a signed roster has one, a case file may say an agency left and came back.
    pub fn entries<'a>(&'a self, agency: &'a str) -> impl Iterator<Item = &'a Participant> {
        self.participants.iter().filter(move |p| p.id == agency)
    }

    /// The first roster entry of an agency.
    pub fn participant(&self, agency: &str) -> Option<&Participant> {
        self.participants.iter().find(|p| p.id == agency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_replaces_the_one_before() {
        let member = |id: &str| Participant {
            id: id.into(),
            status: "active".into(),
            ..Participant::default()
        };
        let case = CaseState::opened("pz-rupel", "partner_violence", "vlg", vec![member("pz-rupel")]);
        assert_eq!(
            (case.roster_version, case.opener.as_deref()),
            (1, Some("pz-rupel"))
        );
        let case = case.with_roster(2, vec![member("vk-antwerpen")]);
        assert!(case.participant("pz-rupel").is_none() && case.participant("vk-antwerpen").is_some());
        assert_eq!(case.roster_version, 2);
        assert!(CaseState::unopened("vlg").participants.is_empty());
    }
}

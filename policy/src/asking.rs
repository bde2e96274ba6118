//! From what parties signed to the questions put to the engine: manifest, descriptor, directory and
//! facts in, typed questions out. Broker and agents ask through this one place, so that they ask the same.

use std::sync::Arc;

use schakel_proto::directory::{Agency, Directory};
use schakel_proto::packet::descriptor::{self, PartFields};
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::{FactChain, RosterEntry, Statement, StatementBody};
use schakel_proto::time::Timestamp;

use crate::facts::{CaseState, Participant};
use crate::question::{
    BreakGlass, InspectQuestion, Part, Party, ReceiveQuestion, Report, StateQuestion, StatementKind, Subject,
};

/// When a question is asked: the roster version that the sender saw is judged at admission only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the packet is accepted (the sending agent before it seals, the broker before it stores).
    Admission,
    /// When it is handed over (the broker), or opened (the receiving agent): the roster of now decides.
    HandOver,
}

/// One side of an exchange as the directory has it. An agency that the directory does not list has an
/// empty role, which no policy knows: the answer is a denial.
pub fn party(directory: &Directory, id: &AgencyId) -> Party {
    let agency = directory.agency(id);
    Party {
        id: id.to_string(),
        role: agency.map(|agency| agency.role().to_string()).unwrap_or_default(),
        side: agency.and_then(Agency::side).map(|side| side.as_str().to_owned()),
        region: agency.map(|agency| agency.region().to_string()),
    }
}

/// The roster as the engine takes it; an entry without a beginning holds from `since` on.
fn participants(roster: &[RosterEntry], directory: &Directory) -> Vec<Participant> {
    let participant = |entry: &RosterEntry| Participant {
        id: entry.agency.to_string(),
        role: directory
            .agency(&entry.agency)
            .map(|agency| agency.role().to_string()),
        status: entry.status.as_str().to_owned(),
        from: entry.from,
        until: entry.until,
        perp_side: entry.perp_side,
        region: directory
            .agency(&entry.agency)
            .map(|agency| agency.region().to_string()),
    };
    roster.iter().map(participant).collect()
}

/// The facts of a case, folded from its accepted statements; none if there are none.
pub fn case_state(chain: &FactChain, directory: &Directory) -> Option<CaseState> {
    chain
        .facts()
        .iter()
        .fold(None, |state, fact| after(state, fact.statement(), directory))
}

/// The state after one more statement.
fn after(state: Option<CaseState>, statement: &Statement, directory: &Directory) -> Option<CaseState> {
    match (statement.body(), state) {
        (
            StatementBody::CaseOpened {
                case_type,
                region,
                roster,
            },
            None,
        ) => Some(CaseState::opened(
            statement.agency().as_str(),
            case_type.as_str(),
            region.as_str(),
            participants(roster, directory),
        )),
        (
            StatementBody::RosterChanged {
                roster_version,
                roster,
            },
            Some(state),
        ) => Some(state.with_roster(*roster_version, participants(roster, directory))),
        // A chain that `FactChain::check` passed opens a case once, and first.
        (_, state) => state,
    }
}

/// The case as a question takes it: its state, or, if nobody opened it, an empty one in the region of
/// the sender, where only the intake exceptions of domain.md 6.5 step 4 can pass.
pub fn case_or_unopened(chain: &FactChain, directory: &Directory, sender: &AgencyId) -> Arc<CaseState> {
    let state = case_state(chain, directory).unwrap_or_else(|| {
        CaseState::unopened(
            directory
                .agency(sender)
                .map_or("", |agency| agency.region().as_str()),
        )
    });
    Arc::new(state)
}

/// May `recipient` have these parts of the packet? One question for each part, in the order given.
pub fn receive_questions(
    manifest: &ManifestFields,
    parts: &[&PartFields],
    recipient: &AgencyId,
    (directory, case): (&Directory, &Arc<CaseState>),
    (moment, now): (Moment, Timestamp),
) -> Vec<ReceiveQuestion> {
    let sender = party(directory, &manifest.sender);
    let recipient = party(directory, recipient);
    let question = |fields: &&PartFields| ReceiveQuestion {
        now,
        sender: sender.clone(),
        recipient: recipient.clone(),
        purpose: manifest.purpose.to_string(),
        legal_basis: manifest.legal_basis.basis.to_string(),
        urgency: manifest.urgency.to_string(),
        roster_version_seen: manifest
            .roster_version_seen
            .filter(|_| moment == Moment::Admission),
        case: Arc::clone(case),
        part: part(fields),
        // Consents, releases and measures are statements that no case can hold yet: none is found, and
        // what depends on one is held or withheld.
        consents: Vec::new(),
        break_glass: manifest.break_glass.as_ref().map(|record| BreakGlass {
            actor: record.actor.to_string(),
            justification_chars: record.justification_chars,
            danger_to: record.danger_to.iter().map(ToString::to_string).collect(),
            reviewer: record.reviewer.to_string(),
            review_by: Some(record.review_by),
        }),
        report: manifest.legal_basis.report.as_ref().map(|report| Report {
            victim_class: report.victim_class.to_string(),
            danger: report.danger.to_string(),
            cannot_protect_otherwise: report.cannot_protect_otherwise,
        }),
        // A measure that is referred to and that no statement made known cannot be judged: denied.
        unknown: fields
            .measure_ref
            .iter()
            .map(|_| "part.measure_ref".to_owned())
            .collect(),
    };
    parts.iter().map(question).collect()
}

fn part(fields: &PartFields) -> Part {
    let subject = |subject: &descriptor::Subject| Subject {
        role: subject.role.to_string(),
        age_class: subject.age_class.to_string(),
        reference: Some(subject.subject_ref.to_string()),
    };
    Part {
        category: fields.category.to_string(),
        subjects: fields.subjects.iter().map(subject).collect(),
        source_secrecy: fields.source_secrecy.to_string(),
        release: None,
        measure: None,
        relevant: fields.relevant,
        pseudonymous: fields.pseudonymous,
    }
}

/// May the agency that made `statement` make it, on a case with these facts?
pub fn state_question(
    statement: &Statement,
    chain: &FactChain,
    directory: &Directory,
    now: Timestamp,
) -> StateQuestion {
    let case = case_state(chain, directory);
    let (kind, stated_region) = match statement.body() {
        StatementBody::CaseOpened { region, roster, .. } => {
            let roster = roster.iter().map(|entry| entry.agency.to_string()).collect();
            (StatementKind::CaseOpened { roster }, region.to_string())
        }
        StatementBody::RosterChanged {
            roster_version,
            roster,
        } => {
            let roster = participants(roster, directory);
            (
                StatementKind::RosterChanged {
                    version: *roster_version,
                    roster,
                },
                String::new(),
            )
        }
    };
    let region = case.as_ref().map_or(stated_region, |case| case.region.clone());
    let speaker = directory.agency(statement.agency());
    let roles = case.iter().flat_map(|case| &case.participants);
    StateQuestion {
        now,
        speaker: party(directory, statement.agency()),
        competent: speaker.is_some_and(|agency| {
            agency
                .competent_for()
                .iter()
                .any(|place| place.as_str() == region)
        }),
        roles: roles
            .filter_map(|one| one.role.clone().map(|role| (one.id.clone(), role)))
            .collect(),
        case: case.map(Arc::new),
        statement: kind,
    }
}

/// May `reader` see the facts of this case?
pub fn inspect_question(
    reader: &AgencyId,
    case: Arc<CaseState>,
    directory: &Directory,
    now: Timestamp,
) -> InspectQuestion {
    InspectQuestion {
        now,
        reader: party(directory, reader),
        case,
    }
}

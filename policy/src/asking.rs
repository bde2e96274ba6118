//! From what parties signed to the questions put to the engine: manifest, descriptor, directory and
//! facts in, typed questions out. Broker and agents ask through this one place, so that they ask the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use schakel_proto::directory::{Agency, Directory, Side};
use schakel_proto::ids::StatementId;
use schakel_proto::limits;
use schakel_proto::packet::descriptor::{self, PartFields};
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::{Audience, FactChain, Statement, StatementBody};
use schakel_proto::time::Timestamp;

use crate::facts::{CaseState, Participant, chosen};
use crate::folding::participants;
use crate::question::{
    BreakGlass, Consent, InspectQuestion, Part, Party, ReceiveQuestion, Report, Said, Shown, StateQuestion,
    StatementKind, Subject,
};

pub use crate::folding::case_state;

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
    let case = &named_by(manifest, case);
    let question = |fields: &&PartFields| {
        let (part, unknown) = part(fields, case);
        let consents = consents(case, &part, &recipient, manifest.purpose.as_str());
        ReceiveQuestion {
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
            part,
            consents,
            break_glass: break_glass(manifest, (directory, case)),
            report: report(manifest),
            unknown,
        }
    };
    parts.iter().map(question).collect()
}

/// The case with the consultation and the mandate that the packet is about.
fn named_by(manifest: &ManifestFields, case: &Arc<CaseState>) -> Arc<CaseState> {
    let basis = &manifest.legal_basis;
    let text = |id: Option<StatementId>| id.map(|id| id.to_string());
    let (table, mandate) = (text(basis.consultation_ref), text(basis.mandate_ref));
    let stated = &case.stated;
    if stated.consultations.is_empty() && stated.mandates.is_empty() {
        return Arc::clone(case);
    }
    let consultation = chosen(
        &stated.consultations,
        table.as_deref(),
        |one| &one.id,
        |one| &one.status,
    );
    let mandate = chosen(
        &stated.mandates,
        mandate.as_deref(),
        |one| &one.id,
        |one| &one.status,
    );
    Arc::new(CaseState {
        consultation: consultation.cloned().map(Box::new),
        mandate: mandate.cloned().map(Box::new),
        ..CaseState::clone(case)
    })
}

fn break_glass(
    manifest: &ManifestFields,
    (directory, case): (&Directory, &Arc<CaseState>),
) -> Option<BreakGlass> {
    // Nobody is named by naming who cannot review: who is not there, who broke the glass, who serves the
    // perpetrator. The record is incomplete then.
    let can = |reviewer: &AgencyId| {
        let listed = directory.agency(reviewer);
        let flagged = |one: &Participant| one.perp_side && one.id == reviewer.as_str();
        *reviewer != manifest.sender
            && listed.is_some_and(|agency| agency.side() != Some(Side::Perpetrator))
            && !case.participants.iter().any(flagged)
    };
    let named = |reviewer: &AgencyId| {
        if can(reviewer) {
            reviewer.to_string()
        } else {
            String::new()
        }
    };
    manifest.break_glass.as_ref().map(|record| BreakGlass {
        actor: record.actor.to_string(),
        justification_chars: record.justification_chars,
        danger_to: record.danger_to.iter().map(ToString::to_string).collect(),
        reviewer: named(&record.reviewer),
        review_by: Some(record.review_by),
    })
}

fn report(manifest: &ManifestFields) -> Option<Report> {
    manifest.legal_basis.report.as_ref().map(|report| Report {
        victim_class: report.victim_class.to_string(),
        danger: report.danger.to_string(),
        cannot_protect_otherwise: report.cannot_protect_otherwise,
    })
}

/// The part, with what it refers to. A measure that no statement made known cannot be judged: it is unknown.
fn part(fields: &PartFields, case: &CaseState) -> (Part, Vec<String>) {
    let subject = |subject: &descriptor::Subject| Subject {
        role: subject.role.to_string(),
        age_class: subject.age_class.to_string(),
        reference: Some(subject.subject_ref.to_string()),
    };
    let release = fields.release_ref.map(|id| id.to_string());
    let release = release.and_then(|id| case.stated.releases.iter().find(|(known, _)| *known == id));
    let named = fields.measure_ref.map(|id| id.to_string());
    let measure = named
        .as_ref()
        .and_then(|id| case.measures.iter().find(|measure| measure.id == *id));
    let unknown = named
        .iter()
        .filter(|_| measure.is_none())
        .map(|_| "part.measure_ref".to_owned())
        .collect();
    let part = Part {
        category: fields.category.to_string(),
        subjects: fields.subjects.iter().map(subject).collect(),
        source_secrecy: fields.source_secrecy.to_string(),
        release: release.map(|(_, release)| release.clone()),
        measure: measure.cloned(),
        relevant: fields.relevant,
        pseudonymous: fields.pseudonymous,
    };
    (part, unknown)
}

/// Of the consents stated on the case, for each subject of the part that needs one: what the person said last
/// within a scope that covers category, recipient and purpose; if nothing covers, the last consent that was given
/// (a refusal elsewhere does not block here). Last is by when the person spoke; of two at one moment the no wins.
fn consents(case: &CaseState, part: &Part, recipient: &Party, purpose: &str) -> Vec<Consent> {
    let stated = &case.stated.consents;
    let covers = |consent: &Consent| {
        let scope = &consent.scope;
        scope.categories.contains(&part.category)
            && scope.purposes.iter().any(|one| one == purpose)
            && (scope.recipients.contains(&recipient.id) || scope.recipients.contains(&recipient.role))
    };
    let last = |of: &dyn Fn(&Consent) -> bool| {
        let own = stated.iter().enumerate().filter(|(_, one)| of(&one.consent));
        own.max_by_key(|(at, one)| (one.spoken, one.consent.status != "given", *at))
            .map(|(at, _)| at)
    };
    let chosen = |subject: &Subject| {
        let own = |consent: &Consent| {
            consent.subject_reference == subject.reference && consent.subject == subject.role
        };
        last(&|consent| own(consent) && covers(consent))
            .or_else(|| last(&|consent| own(consent) && consent.status == "given"))
    };
    let needs = |subject: &&Subject| subject.role != "professional";
    let all: BTreeSet<usize> = part.subjects.iter().filter(needs).filter_map(chosen).collect();
    all.into_iter()
        .filter_map(|at| stated.get(at).map(|one| ending_early(&one.consent)))
        .collect()
}

/// A consent ends earlier than it says by the clock skew that parties tolerate: whose clock is behind must not
/// act on it after its end.
fn ending_early(consent: &Consent) -> Consent {
    let early = |end: Timestamp| end.plus_millis(-limits::CLOCK_SKEW_MAX_MILLIS);
    Consent {
        expires_at: consent.expires_at.map(early),
        ..consent.clone()
    }
}

/// Who broke the glass with the packet that a review is about, and whom it named to review that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenGlass {
    /// The sender.
    pub by: AgencyId,
    /// The reviewing agency it named.
    pub reviewer: AgencyId,
}

/// The statement's name in the schema's actions: `ConsentGiven` is `consent_given`.
pub fn name(body: &StatementBody) -> String {
    let mut name = String::with_capacity(24);
    for (at, letter) in body.kind().char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The agencies that a statement names, rosters aside.
fn names(body: &StatementBody) -> impl Iterator<Item = &AgencyId> {
    let (one, more): (Option<&AgencyId>, &[AgencyId]) = match body {
        StatementBody::ConsentGiven(consent) | StatementBody::ConsentRefused(consent) => {
            (None, &consent.recipients.agencies)
        }
        StatementBody::InvestigationReleased(to) => (None, &to.agencies),
        StatementBody::MandateGiven(mandate) => (Some(&mandate.holder), &mandate.actors),
        StatementBody::DossierTransferred { to } => (Some(to), &[]),
        _ => (None, &[]),
    };
    one.into_iter().chain(more)
}

fn said(body: &StatementBody, speaker: &AgencyId, chain: &FactChain, broken: Option<&BrokenGlass>) -> Said {
    match body {
        StatementBody::ConsentGiven(consent) | StatementBody::ConsentRefused(consent) => Said {
            subject: Some(consent.subject_role.to_string()),
            categories: consent.categories.iter().map(ToString::to_string).collect(),
            roles: consent.recipients.roles.iter().map(ToString::to_string).collect(),
            ..Said::default()
        },
        StatementBody::InvestigationReleased(to) => Said {
            roles: to.roles.iter().map(ToString::to_string).collect(),
            ..Said::default()
        },
        StatementBody::ConsultationConvened(table) => Said {
            table_basis: Some(table.basis.to_string()),
            ..Said::default()
        },
        StatementBody::ConsultationEnded { consultation } => {
            let convened = chain.statements().find(|one| one.id() == *consultation);
            Said {
                table_basis: convened.and_then(|one| match one.body() {
                    StatementBody::ConsultationConvened(table) => Some(table.basis.to_string()),
                    _ => None,
                }),
                ..Said::default()
            }
        }
        StatementBody::BreakGlassReviewed { .. } => Said {
            own: broken.is_none_or(|broken| broken.by == *speaker),
            named: broken.is_some_and(|broken| broken.reviewer == *speaker),
            ..Said::default()
        },
        _ => Said::default(),
    }
}

/// May the agency that made `statement` make it, on a case with these facts? `broken` says whose emergency
/// a review is about; unknown counts as the speaker's own.
pub fn state_question(
    statement: &Statement,
    chain: &FactChain,
    directory: &Directory,
    (broken, now): (Option<&BrokenGlass>, Timestamp),
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
        other => (
            StatementKind::Other {
                name: name(other),
                said: Said {
                    strangers: names(other).any(|one| directory.agency(one).is_none()),
                    ..said(other, statement.agency(), chain, broken)
                },
            },
            String::new(),
        ),
    };
    let region = case
        .as_ref()
        .map_or(stated_region, |case| case.region.to_string());
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
            .filter_map(|one| Some((one.id.to_string(), one.role.as_ref()?.to_string())))
            .collect(),
        case: case.map(Arc::new),
        statement: kind,
    }
}

/// May `reader` see that there is such a case? It may if it may see its opening.
pub fn inspect_case_question(
    reader: &AgencyId,
    case: Arc<CaseState>,
    (directory, now): (&Directory, Timestamp),
) -> InspectQuestion {
    InspectQuestion {
        now,
        reader: party(directory, reader),
        shown: Shown {
            name: "case_opened".to_owned(),
            speaker: case.opener.as_deref() == Some(reader.as_str()),
            ..Shown::default()
        },
        case,
    }
}

/// May `reader` see this statement of a case with these facts? What ends or changes an earlier one is shown
/// to those who may see that one: `statement` is then the earlier.
pub fn inspect_question(
    reader: &AgencyId,
    statement: &Statement,
    case: Arc<CaseState>,
    (directory, now): (&Directory, Timestamp),
) -> InspectQuestion {
    let reader = party(directory, reader);
    let names = |audience: &Audience| {
        audience.agencies.iter().any(|one| one.as_str() == reader.id)
            || audience.roles.iter().any(|one| one.as_str() == reader.role)
    };
    let (covered, subject) = match statement.body() {
        StatementBody::ConsentGiven(consent) | StatementBody::ConsentRefused(consent) => {
            (names(&consent.recipients), Some(consent.subject_role.to_string()))
        }
        StatementBody::InvestigationReleased(to) => (names(to), None),
        _ => (false, None),
    };
    InspectQuestion {
        now,
        shown: Shown {
            name: name(statement.body()),
            speaker: statement.agency().as_str() == reader.id,
            covered,
            subject,
        },
        reader,
        case,
    }
}

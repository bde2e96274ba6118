//! Whether what the engine builds fits a bundle's schema. Asked once, when the bundle is loaded: Cedar validates
//! requests that hold every fact, every fact with what is optional in it left out, and none but the required.
//! A record fits attribute by attribute, the type of what the engine puts there never changes, and listed
//! values come from the schema itself: so every later request fits too. A bundle that does not fit is refused.

use std::sync::Arc;

use cedar_policy::{Context, Entities, EntityUid, Request, Schema};
use schakel_proto::time::Timestamp;

use super::cut::Reads;
use super::request::{self, Derived, Pairs, Unfit};
use super::vocabulary::{FILE, Vocabulary};
use crate::bundle::BundleError;
use crate::facts::{CaseState, Consultation, Mandate, Measure, Participant, Word};
use crate::question::{BreakGlass, Moment, Part, Party, ReceiveQuestion, Release, Report, Subject};

const NOW: Timestamp = Timestamp::from_millis(0);

/// What of a question is there.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Filled {
    /// What every question has.
    Bare,
    /// Every fact, without what is optional in it.
    Outer,
    /// Everything.
    Whole,
}

/// What does not fit.
pub(crate) fn findings(schema: &Schema, vocabulary: &Vocabulary) -> Vec<BundleError> {
    let fits = [Filled::Bare, Filled::Outer, Filled::Whole]
        .into_iter()
        .try_for_each(|filled| receives(schema, vocabulary, filled));
    match fits {
        Ok(()) => Vec::new(),
        Err(why) => {
            let why = match why {
                Unfit::Unknown(kind) => format!("{kind} lists nothing"),
                Unfit::Defect(why) => why,
            };
            let sentence = format!("the schema does not fit the facts that are supplied: {why}");
            vec![BundleError::new("BUNDLE_SCHEMA", &sentence, FILE, 1)]
        }
    }
}

fn receives(schema: &Schema, vocabulary: &Vocabulary, filled: Filled) -> Result<(), Unfit> {
    let question = question(vocabulary, filled);
    let asked = vocabulary.receiving(&question)?;
    vocabulary.known_facts(&question)?;
    let derived = Derived {
        sender_active: true,
        recipient_active: true,
        measure_in_force: true,
        measures_in_force: kinds(filled),
    };
    let facts = || vocabulary.facts(&asked, &derived, "valid", Reads::ALL);
    let fits = |action: &str, resource: &EntityUid, pairs: Pairs| {
        let principal = asked.principal.clone();
        let action = vocabulary.action(action)?;
        let context: Context = request::context(pairs);
        Request::new(principal, action, resource.clone(), context, Some(schema))
            .map(|_| ())
            .map_err(|error| Unfit::Defect(error.to_string()))
    };
    fits("receive", &asked.part, facts()?)?;
    for action in ["delivered", "held", "refused"] {
        let decided = vec![
            ("reason", request::string("OK")),
            ("facts", request::record(facts()?)),
        ];
        fits(action, &asked.part, decided)?;
    }
    for entry in &question.case.participants {
        fits(
            "active",
            &vocabulary.resource("Case")?,
            vocabulary.entry(entry, NOW)?,
        )?;
    }
    let measure = measure(filled);
    fits(
        "in_force",
        &vocabulary.resource("Measure")?,
        request::measure_facts(&measure, NOW)?,
    )?;
    let entities = asked.entities()?.iter().cloned();
    Entities::from_entities(entities, Some(schema))
        .map(|_| ())
        .map_err(|error| Unfit::Defect(error.to_string()))
}

fn kinds(filled: Filled) -> Vec<String> {
    match filled {
        Filled::Bare => Vec::new(),
        _ => vec!["house_ban".to_owned()],
    }
}

fn measure(filled: Filled) -> Measure {
    Measure {
        id: String::new(),
        kind: "house_ban".to_owned(),
        status: "in_force".to_owned(),
        valid_until: (filled == Filled::Whole).then(|| Moment::from(NOW)),
    }
}

fn question(vocabulary: &Vocabulary, filled: Filled) -> ReceiveQuestion {
    let first = |kind: &str| vocabulary.members(kind).first().cloned().unwrap_or_default();
    let party = |id: &str| Party {
        id: id.to_owned(),
        role: first("Role"),
        side: Some(first("Side")),
        region: (filled != Filled::Bare).then(|| "vlg".to_owned()),
    };
    let some = filled != Filled::Bare;
    let end = (filled == Filled::Whole).then_some(NOW);
    let names = || {
        if some {
            vec!["sender".to_owned()]
        } else {
            Vec::new()
        }
    };
    let word = || "word".to_owned();
    let subject = Subject {
        role: first("SubjectRole"),
        age_class: first("AgeClass"),
        reference: None,
    };
    let part = Part {
        category: first("Category"),
        subjects: some.then_some(subject).into_iter().collect(),
        source_secrecy: first("Secrecy"),
        release: some.then(|| Release {
            by_role: word(),
            scope: names(),
        }),
        ..Part::default()
    };
    ReceiveQuestion {
        now: NOW,
        sender: party("sender"),
        recipient: party("recipient"),
        purpose: word(),
        legal_basis: first("Basis"),
        urgency: first("Urgency"),
        roster_version_seen: some.then_some(1),
        case: Arc::new(case(vocabulary, filled)),
        part,
        consents: Vec::new(),
        break_glass: some.then(|| BreakGlass {
            actor: word(),
            justification_chars: 1,
            danger_to: names(),
            reviewer: word(),
            review_by: end,
        }),
        report: some.then(|| Report {
            victim_class: word(),
            danger: word(),
            cannot_protect_otherwise: true,
        }),
        unknown: Vec::new(),
    }
}

fn case(vocabulary: &Vocabulary, filled: Filled) -> CaseState {
    let first = |kind: &str| vocabulary.members(kind).first().cloned().unwrap_or_default();
    let some = filled != Filled::Bare;
    let end = (filled == Filled::Whole).then_some(NOW);
    let word = || "word".to_owned();
    let names = || vec!["sender".to_owned()];
    CaseState {
        status: first("CaseStatus").into(),
        region: if some { word().into() } else { Word::default() },
        participants: vec![Participant {
            id: "sender".into(),
            status: first("RosterStatus").into(),
            from: end,
            until: end,
            ..Participant::default()
        }],
        consultation: some.then(|| {
            Box::new(Consultation {
                id: String::new(),
                basis: first("TableBasis"),
                status: first("TableStatus"),
                valid_until: end,
                finality: word(),
                signed_by: names(),
            })
        }),
        mandate: some.then(|| {
            Box::new(Mandate {
                id: String::new(),
                holder: word(),
                authority: word(),
                actors: names(),
                status: word(),
                until: end,
            })
        }),
        ..CaseState::default()
    }
}

//! Which questions get as far as a cell of the matrix: a search over the vocabulary with the engine itself.
//!
//! Facts that can only refuse (roster, closed case, secrecy, relevance, measures, the emergency record …) are set
//! so that they do not. What is left is searched whole: every role of a sender, every legal basis, every purpose
//! that a case names, about whom, in which region and under a pseudonym or not, with and without consent, and
//! each side of the recipient that the directory may say. When a
//! rule of an earlier step than the matrix (a gate) refuses, every question that agrees in what this rule reads
//! is refused by it too and need not be asked; nor need a question that differs from one past the gates only in
//! what nothing but gates reads.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{Effect, PolicyId};
use schakel_proto::time::Timestamp;
use serde_json::Value;

use super::Engine;
use super::mutate::{Bench, Fate};
use super::rule::{Rule, Step};
use crate::explain::Supposed;
use crate::facts::{CaseState, Consultation, Mandate, Measure, Participant};
use crate::matrix::Verdict;
use crate::question::{BreakGlass, Part, Party, ReceiveQuestion, Report, Subject};
use crate::ruling::Ruling;

/// The moment all questions are asked at; none of them depends on it.
const NOW: Timestamp = Timestamp::from_millis(1_791_187_200_000);

/// What varies: purpose, the recipient's side, sender, basis, subjects, region and pseudonym, consent.
const VARIED: usize = 7;

/// A question as indices into what varies.
type Point = [usize; VARIED];

/// Which of what varies a rule reads.
type Reads = [bool; VARIED];

/// About whom: roles of the subjects.
const SUBJECTS: [&[&str]; 4] = [&["perpetrator"], &["victim"], &["child"], &[]];

/// The values of what varies.
struct Space<'a> {
    senders: &'a [String],
    bases: &'a [String],
    purposes: Vec<&'a str>,
    sides: &'a [String],
    recipient: &'a str,
    category: &'a str,
}

impl Space<'_> {
    fn sizes(&self) -> Point {
        [
            self.purposes.len(),
            self.sides.len() + 1,
            self.senders.len(),
            self.bases.len(),
            SUBJECTS.len(),
            2,
            2,
        ]
    }

    fn question(&self, point: Point) -> Option<ReceiveQuestion> {
        let [purpose, side, sender, basis, subjects, place, consent] = point;
        let away = place == 1;
        let party = |id: &str, role: &str| Party {
            id: id.to_owned(),
            role: role.to_owned(),
            ..Party::default()
        };
        let subject = |role: &&str| Subject {
            role: (*role).to_owned(),
            age_class: "adult".to_owned(),
            reference: None,
        };
        let question = ReceiveQuestion {
            now: NOW,
            sender: party("sender", self.senders.get(sender)?),
            recipient: Party {
                // The last one: the role's default.
                side: self.sides.get(side).cloned(),
                ..party("recipient", self.recipient)
            },
            purpose: (*self.purposes.get(purpose)?).to_owned(),
            legal_basis: self.bases.get(basis)?.clone(),
            urgency: "immediate".to_owned(),
            roster_version_seen: None,
            case: Arc::new(open_case(if away { "fwb" } else { "vlg" })),
            part: Part {
                category: self.category.to_owned(),
                subjects: SUBJECTS.get(subjects)?.iter().map(subject).collect(),
                source_secrecy: "none".to_owned(),
                pseudonymous: away,
                ..Part::default()
            },
            consents: Vec::new(),
            break_glass: Some(BreakGlass {
                actor: "someone".to_owned(),
                justification_chars: 20,
                danger_to: vec!["victim".to_owned()],
                reviewer: "someone".to_owned(),
                review_by: Some(NOW),
            }),
            report: Some(Report {
                victim_class: "minor".to_owned(),
                danger: "serious_imminent".to_owned(),
                cannot_protect_otherwise: true,
            }),
            unknown: Vec::new(),
        };
        Some(if consent == 1 {
            Supposed::Consent.suppose(&question)
        } else {
            question
        })
    }
}

/// A case in which everything that a legal basis may need is in force.
fn open_case(region: &str) -> CaseState {
    let both = vec!["sender".to_owned(), "recipient".to_owned()];
    let seat = |id: &String| Participant {
        id: id.into(),
        status: "active".into(),
        ..Participant::default()
    };
    CaseState {
        participants: both.iter().map(seat).collect(),
        consultation: Some(Box::new(Consultation {
            id: String::new(),
            basis: "law".to_owned(),
            status: "active".to_owned(),
            valid_until: None,
            finality: "protect_integrity".to_owned(),
            signed_by: both,
        })),
        measures: vec![Measure {
            id: String::new(),
            kind: "house_ban".to_owned(),
            status: "in_force".to_owned(),
            valid_until: None,
        }],
        mandate: Some(Box::new(Mandate {
            holder: "sender".to_owned(),
            authority: "recipient".to_owned(),
            status: "active".to_owned(),
            ..Mandate::default()
        })),
        ..CaseState::unopened(region)
    }
}

/// Replaces each `Survives` of a cell by what the search finds.
pub(super) fn search(bench: &mut Bench, category: &str, role: &str, fates: &mut [(Verdict, Fate)]) {
    let bundle = bench.pristine.bundle.clone();
    let compiled = bundle.compiled();
    let given = bundle.cases().values().flatten().map(|(_, case)| &case.given);
    let purposes: BTreeSet<&str> = given.map(|question| question.purpose.as_str()).collect();
    let space = Space {
        senders: compiled.vocabulary.members("Role"),
        bases: compiled.vocabulary.members("Basis"),
        purposes: purposes.into_iter().collect(),
        sides: compiled.vocabulary.members("Side"),
        recipient: role,
        category,
    };
    let reached = reached(&bench.pristine, &space);
    for (verdict, fate) in fates.iter_mut().filter(|(_, f)| matches!(f, Fate::Survives(_))) {
        if reached.is_empty() {
            *fate = Fate::Unreachable;
            continue;
        }
        bench.with_verdict(category, role, *verdict);
        let told = reached
            .iter()
            .find(|(question, before)| !same(&bench.changed.receive(question), before));
        *fate = told.map_or(Fate::NoDifference(reached.len()), |(question, _)| {
            Fate::Survives(Some(Box::new(question.clone())))
        });
    }
}

fn same(a: &Ruling, b: &Ruling) -> bool {
    (a.outcome(), a.reason(), a.obligations()) == (b.outcome(), b.reason(), b.obligations())
}

/// The questions that no rule of an earlier step than the matrix refuses, with their rulings.
fn reached(engine: &Engine, space: &Space<'_>) -> Vec<(ReceiveQuestion, Ruling)> {
    let rules = &engine.compiled.rules;
    let first = rules.values().filter(|r| r.template).filter_map(|r| r.step).min();
    let beyond = read_beyond_gates(engine, first);
    let mut refused: HashMap<Reads, HashSet<Point>> = HashMap::new();
    let (mut reached, mut at_matrix) = (Vec::new(), HashSet::new());
    let sizes = space.sizes();
    let mut next = Some([0; VARIED]);
    while let Some(point) = next {
        let held = refused
            .iter()
            .filter(|(reads, at)| at.contains(&masked(point, reads)));
        if let Some(last) = held.map(|(reads, _)| last_read(reads)).min() {
            next = after(point, last, &sizes);
            continue;
        }
        next = after(point, VARIED - 1, &sizes);
        let known = at_matrix.contains(&masked(point, &beyond));
        let Some(question) = space.question(point).filter(|_| !known) else {
            continue;
        };
        let ruling = engine.receive(&question);
        let gates: Vec<&String> = ruling
            .policies()
            .iter()
            .filter(|id| {
                rules
                    .get(*id)
                    .is_some_and(|r| comes_before(r.effect, r.step, first))
            })
            .collect();
        for gate in &gates {
            let reads = reads(engine, gate);
            refused.entry(reads).or_default().insert(masked(point, &reads));
        }
        if gates.is_empty() {
            at_matrix.insert(masked(point, &beyond));
            reached.push((question, ruling));
        } else {
            next = Some(point);
        }
    }
    reached
}

/// What any rule but the gates reads. Two questions past the gates that agree in this come out alike.
fn read_beyond_gates(engine: &Engine, first: Option<Step>) -> Reads {
    let mut all = [false; VARIED];
    let beyond =
        |rule: &&Rule| !rule.id.starts_with("matrix:") && !comes_before(rule.effect, rule.step, first);
    for rule in engine.compiled.rules.values().filter(beyond) {
        for (read, also) in all.iter_mut().zip(reads(engine, &rule.id)) {
            *read |= also;
        }
    }
    all
}

fn comes_before(effect: Effect, step: Option<Step>, first: Option<Step>) -> bool {
    effect == Effect::Forbid && step.is_some_and(|step| first.is_some_and(|first| step < first))
}

/// The last of what varies that is read.
fn last_read(reads: &Reads) -> usize {
    reads.iter().rposition(|read| *read).unwrap_or(0)
}

/// The next point that differs in `at` or before it; what stands after it starts anew.
fn after(mut point: Point, at: usize, sizes: &Point) -> Option<Point> {
    for (n, (index, size)) in point.iter_mut().zip(sizes).enumerate().rev() {
        if n <= at && *index + 1 < *size {
            *index += 1;
            return Some(point);
        }
        *index = 0;
    }
    None
}

fn masked(mut point: Point, reads: &Reads) -> Point {
    for (at, read) in point.iter_mut().zip(reads) {
        if !read {
            *at = usize::MAX;
        }
    }
    point
}

/// What a policy reads of what varies, from its scope and conditions. What is not understood counts as read.
fn reads(engine: &Engine, id: &str) -> Reads {
    let (all, id) = (&engine.compiled.all, PolicyId::new(id));
    let json = match all.policy(&id) {
        Some(policy) => policy.to_json().ok(),
        None => all.template(&id).and_then(|template| template.to_json().ok()),
    };
    let mut all = [false; VARIED];
    let Some(json) = json else { return [true; VARIED] };
    for part in ["principal", "resource", "conditions"] {
        note(json.get(part).unwrap_or(&Value::Null), &mut all);
    }
    all
}

fn note(json: &Value, reads: &mut Reads) {
    match json {
        Value::Object(object) => {
            let entity = ["type", "entity_type"].map(|key| object.get(key).and_then(Value::as_str));
            if entity.contains(&Some("Basis")) {
                mark(reads, &[3]);
            }
            if object.get("Var").and_then(Value::as_str) == Some("context") {
                mark(reads, &[0, 1, 2, 3, 4, 5, 6]);
            }
            let attribute = object.get("attr").and_then(Value::as_str);
            if attribute == Some("side") {
                mark(reads, &[1]);
            }
            let of_context = object.get("left").and_then(|left| left.get("Var")) == Some(&"context".into());
            match attribute.filter(|_| of_context) {
                Some("sender") => mark(reads, &[2]),
                Some("purpose") => mark(reads, &[0]),
                Some("subjects") => mark(reads, &[4]),
                Some("region" | "pseudonymous") => mark(reads, &[5]),
                Some("consent") => mark(reads, &[6]),
                Some(_) => {}
                None => object.values().for_each(|value| note(value, reads)),
            }
        }
        Value::Array(all) => all.iter().for_each(|value| note(value, reads)),
        _ => {}
    }
}

fn mark(reads: &mut Reads, at: &[usize]) {
    for n in at {
        if let Some(read) = reads.get_mut(*n) {
            *read = true;
        }
    }
}

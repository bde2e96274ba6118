//! `simulate` on ten thousand recorded questions: it must name exactly the parts that an independent reading of
//! the specification says come out differently, no more and no fewer.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schakel_policy::bundle::Bundle;
use schakel_policy::case::Case;
use schakel_policy::explain::Supposed;
use schakel_policy::facts::{CaseState, Measure, Participant};
use schakel_policy::matrix::Verdict;
use schakel_policy::question::{Consent, Part, ReceiveQuestion};
use schakel_proto::time::Timestamp;
use serde_json::{Value, json};

use crate::{engine, generator, oracle};

const QUESTIONS: u64 = 10_000;
/// The cell that changes: with consent before, delivered afterwards.
const CELL: (&str, &str) = ("facts_summary", "caw_victim");

fn when(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

fn measure(measure: &Measure) -> Value {
    let end = measure.valid_until.as_ref();
    json!({ "kind": measure.kind, "status": measure.status, "valid_until": end.map(|end| &end.text) })
}

fn part(part: &Part) -> Value {
    let subjects = part.subjects.iter();
    json!({
        "category": part.category, "source_secrecy": part.source_secrecy,
        "subjects": subjects.map(|s| json!({ "role": s.role, "age_class": s.age_class })).collect::<Vec<_>>(),
        "release": part.release.as_ref().map(|r| json!({ "by_role": r.by_role, "scope": r.scope })),
        "measure": part.measure.as_ref().map(measure),
        "relevant": part.relevant, "pseudonymous": part.pseudonymous,
    })
}

fn participant(one: &Participant) -> Value {
    json!({
        "id": one.id, "status": one.status, "from": when(one.from), "until": when(one.until),
        "perp_side": one.perp_side,
    })
}

fn case(case: &CaseState) -> Value {
    json!({
        "status": case.status, "region": case.region, "type": case.case_type,
        "roster_version": case.roster_version,
        "participants": case.participants.iter().map(participant).collect::<Vec<_>>(),
        "measures": case.measures.iter().map(measure).collect::<Vec<_>>(),
        "consultation": case.consultation.as_ref().map(|table| json!({
            "basis": table.basis, "status": table.status, "valid_until": when(table.valid_until),
            "finality": table.finality, "signed_by": table.signed_by,
        })),
        "mandate": case.mandate.as_ref().map(|mandate| json!({
            "holder": mandate.holder, "authority": mandate.authority, "actors": mandate.actors,
            "status": mandate.status, "until": when(mandate.until),
        })),
    })
}

fn consent(consent: &Consent) -> Value {
    let scope = &consent.scope;
    json!({
        "subject": consent.subject, "given_by": consent.given_by, "capacity": consent.capacity,
        "status": consent.status, "informed": consent.informed, "form": consent.form,
        "scope": {
            "categories": scope.categories, "recipients": scope.recipients, "purposes": scope.purposes,
        },
        "expires_at": when(consent.expires_at),
        "minor_cosign": consent.minor_cosign, "parents_cosign": consent.parents_cosign,
    })
}

/// A question as it is recorded.
fn recorded(id: &str, q: &ReceiveQuestion) -> Value {
    json!({ "id": id, "given": {
        "now": q.now.to_string(),
        "sender": q.sender.id, "sender_role": q.sender.role,
        "recipient": q.recipient.id, "recipient_role": q.recipient.role,
        "purpose": q.purpose, "legal_basis": q.legal_basis, "urgency": q.urgency,
        "roster_version_seen": q.roster_version_seen,
        "case": case(&q.case), "part": part(&q.part),
        "consent": q.consents.iter().map(consent).collect::<Vec<_>>(),
        "break_glass": q.break_glass.as_ref().map(|glass| json!({
            "actor": glass.actor, "justification_chars": glass.justification_chars,
            "danger_to": glass.danger_to, "reviewer": glass.reviewer, "review_by": when(glass.review_by),
        })),
        "report": q.report.as_ref().map(|report| json!({
            "victim_class": report.victim_class, "danger": report.danger,
            "cannot_protect_otherwise": report.cannot_protect_otherwise,
        })),
    }})
}

fn write(to: &Path, files: BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let file = to.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn simulate(arguments: &[&Path]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_schakel-policy"))
        .args(["simulate", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let status = output.status.code().unwrap();
    (status, String::from_utf8(output.stdout).unwrap())
}

/// What the oracle says changes: `now delivered` and so on, by question.
fn expected(lines: &str, new: &Bundle) -> BTreeMap<String, &'static str> {
    let old = engine().bundle().matrix();
    let mut changes = BTreeMap::new();
    for line in lines.lines() {
        let case = Case::parse(line).unwrap();
        let (before, after) = (
            oracle::decide(&case.given, old),
            oracle::decide(&case.given, new.matrix()),
        );
        if before == after {
            continue;
        }
        let change = match (before.0, after.0) {
            (before, after) if before == after => "same outcome",
            (_, "deliver") => "now delivered",
            (_, "hold-for-consent") => "now held",
            _ => "now withheld",
        };
        changes.insert(case.id, change);
    }
    changes
}

/// A question that comes as far as the cell, mostly: some with every consent, some without.
fn near_the_cell(mut question: ReceiveQuestion, rng: &mut StdRng) -> ReceiveQuestion {
    CELL.0.clone_into(&mut question.part.category);
    "none".clone_into(&mut question.part.source_secrecy);
    CELL.1.clone_into(&mut question.recipient.role);
    "police_social".clone_into(&mut question.sender.role);
    "victim_support".clone_into(&mut question.purpose);
    "public_interest_task".clone_into(&mut question.legal_basis);
    if rng.random_range(0..3) == 0 {
        question = Supposed::Consent.suppose(&question);
    }
    question
}

#[test]
fn ten_thousand_questions_name_exactly_the_parts_that_change() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let files = engine()
        .bundle()
        .with_cell(CELL.0, CELL.1, Verdict::Deliver)
        .unwrap();
    let changed = Bundle::from_files(files.clone()).unwrap();
    write(&old, Bundle::built_in_files());
    write(&new, files);
    let mut lines = String::new();
    for n in 0..QUESTIONS {
        let mut rng = StdRng::seed_from_u64((5 << 32) + n);
        let mut question = generator::question(&mut rng);
        if rng.random_range(0..2) == 0 {
            question = near_the_cell(question, &mut rng);
        }
        writeln!(lines, "{}", recorded(&format!("Q-{n}"), &question)).unwrap();
    }
    let questions = folder.path().join("questions.jsonl");
    fs::write(&questions, &lines).unwrap();
    let expected = expected(&lines, &changed);
    let count = |what: &str| expected.values().filter(|change| **change == what).count();
    assert!(count("now delivered") > 50, "{}", count("now delivered"));
    assert!(count("same outcome") > 10, "{}", count("same outcome"));

    let (status, text) = simulate(&[&old, &new, &questions]);
    assert_eq!(status, 0);
    let answer: Value = serde_json::from_str(&text).unwrap();
    let outcomes = answer["outcomes"].as_array().unwrap();
    let named: BTreeMap<String, &str> = outcomes
        .iter()
        .map(|one| {
            assert_eq!(
                (&one["category"], &one["recipient"]),
                (&json!(CELL.0), &json!("recipient"))
            );
            (
                one["id"].as_str().unwrap().to_owned(),
                one["change"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(named, expected);
    assert_eq!(outcomes.len(), expected.len(), "each part is named once");
    assert_eq!(answer["questions"], QUESTIONS);
    assert_eq!(answer["now_delivered"], count("now delivered"));
    assert_eq!(answer["same_outcome"], count("same outcome"));

    // The way back, on the questions that changed.
    let (_, text) = simulate(&[&new, &old, &questions]);
    let back: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(back["outcomes"].as_array().unwrap().len(), expected.len());
    assert_eq!(back["now_delivered"], 0);
}

#[test]
fn a_line_that_is_no_question_is_named_and_nothing_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    write(&old, Bundle::built_in_files());
    let questions = folder.path().join("questions.jsonl");
    let run = |text: &str| {
        fs::write(&questions, text).unwrap();
        simulate(&[&old, &old, &questions])
    };
    let (status, text) = run("\n{\"given\": 1}\n");
    assert_eq!(status, 2);
    assert!(text.contains("questions.jsonl:2"), "{text}");
    let (status, text) = run(&"x".repeat(2 << 20));
    assert_eq!(status, 2);
    assert!(
        text.contains("questions.jsonl:1") && text.contains("longer than"),
        "{text}"
    );
    assert_eq!(run("\n\n").0, 2, "no questions are not no changes");
}

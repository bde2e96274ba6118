//! Cases that tell the verdict of each cell from every other verdict that a question can tell it from. What they
//! expect comes from the oracle, never from the engine. `SCHAKEL_REGENERATE=1` writes the file anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use schakel_policy::case::question;
use schakel_policy::matrix::{Matrix, Verdict};
use schakel_policy::question::ReceiveQuestion;
use serde_json::{Value, json};

use crate::generator::{CATEGORIES, ROLES};
use crate::{engine, oracle};

const FILE: &str = "cases/cells.jsonl";

/// The question of a cell as a case gives it.
fn given(sender: &str, basis: &str, purpose: &str, (category, role): (&str, &str), subject: &str) -> Value {
    let emergency = basis == "emergency";
    let mut given = json!({
        "sender": "sender", "sender_role": sender, "recipient": "recipient", "recipient_role": role,
        "purpose": purpose, "legal_basis": basis, "urgency": if emergency { "immediate" } else { "routine" },
        "case": { "status": "open", "region": "vlg", "participants": [
            { "id": "sender", "status": "active" }, { "id": "recipient", "status": "active" }
        ] },
        "part": {
            "category": category, "source_secrecy": "none",
            "subjects": [{ "role": subject, "age_class": if subject == "child" { "minor_0_11" } else { "adult" } }]
        },
        "now": "2026-10-05T10:00:00+02:00"
    });
    if basis == "mandate" {
        given["case"]["mandate"] =
            json!({ "holder": "sender", "authority": "recipient", "status": "active" });
    }
    if basis == "house_ban" {
        given["case"]["measures"] = json!([{ "kind": "house_ban", "status": "in_force" }]);
    }
    if emergency {
        given["break_glass"] = json!({
            "actor": "shift-lead", "justification": "He is on his way to her, armed.", "danger_to": "victim",
            "reviewer": "dpo", "review_by": "2026-10-07T10:00:00+02:00"
        });
    }
    given
}

/// Bases that ask for nothing but the pair first, then those that need a fact of the case.
const PLAIN: [&str; 10] = [
    "public_interest_task",
    "legal_duty",
    "shared_secrecy",
    "consent",
    "dossier_transfer",
    "dijh_75_basics",
    "helpline_referral",
    "mandate",
    "house_ban",
    "emergency",
];

/// Every question that a case of this cell may ask, the plainest first.
fn candidates(category: &str, role: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for subject in ["victim", "perpetrator"] {
        for basis in PLAIN {
            for sender in ROLES {
                let figures = category == "aggregate_stats";
                let purposes = oracle::purposes(role)
                    .iter()
                    .filter(|p| (**p == "statistics") == figures);
                for purpose in purposes.take(1) {
                    all.push(given(sender, basis, purpose, (category, role), subject));
                }
            }
        }
    }
    // The directory may say that an agency serves another side than its role does: some walls fall away then.
    let mut aside = all.clone();
    for given in &mut aside {
        given["recipient_side"] = "neutral".into();
    }
    all.extend(aside);
    all
}

/// The matrix with one cell changed.
fn changed(matrix: &Matrix, category: &str, role: &str, verdict: Verdict) -> Matrix {
    let mut changed = matrix.clone();
    changed
        .cells
        .get_mut(category)
        .unwrap()
        .get_mut(role)
        .unwrap()
        .verdict = verdict;
    changed
}

/// Fewest questions that tell this cell's verdict from the others: greedily, the one that tells most first.
fn telling(matrix: &Matrix, category: &str, role: &str) -> Vec<(Value, Vec<Verdict>)> {
    let verdict = matrix.cells[category][role].verdict;
    let mut left: Vec<Verdict> = Verdict::ALL.into_iter().filter(|v| *v != verdict).collect();
    let others: BTreeMap<&str, Matrix> = left
        .iter()
        .map(|v| (v.as_str(), changed(matrix, category, role, *v)))
        .collect();
    let asked: Vec<(Value, ReceiveQuestion)> = candidates(category, role)
        .into_iter()
        .map(|json| (json.clone(), question(&json).unwrap()))
        .collect();
    let told = |asked: &ReceiveQuestion, left: &[Verdict]| -> Vec<Verdict> {
        let now = oracle::decide(asked, matrix);
        let tells = |v: &&Verdict| oracle::decide(asked, &others[v.as_str()]) != now;
        left.iter().filter(tells).copied().collect()
    };
    let mut cases = Vec::new();
    while !left.is_empty() {
        // The first of those that tell most: max_by_key would take the last.
        let (mut best, mut most) = (None, Vec::new());
        for (json, asked) in &asked {
            let tells = told(asked, &left);
            if tells.len() > most.len() {
                (best, most) = (Some(json), tells);
            }
        }
        let Some(json) = best else { break };
        left.retain(|v| !most.contains(v));
        cases.push((json.clone(), most));
    }
    cases
}

fn file(matrix: &Matrix) -> String {
    let mut lines = String::new();
    for category in CATEGORIES {
        for role in ROLES {
            let verdict = matrix.cells[category][role].verdict.as_str();
            for (n, (given, told)) in telling(matrix, category, role).into_iter().enumerate() {
                let (outcome, reason, obligations) = oracle::decide(&question(&given).unwrap(), matrix);
                let told: Vec<&str> = told.iter().map(|v| v.as_str()).collect();
                let case = json!({
                    "id": format!("CE-{category}-{role}-{}", n + 1),
                    "given": given,
                    "expect": { "decision": outcome, "reason_code": reason, "obligations": obligations },
                    "why": format!("Matrix: {verdict}, not {}", told.join(", ")),
                });
                lines.push_str(&format!("{case}\n"));
            }
        }
    }
    lines
}

#[test]
fn the_cases_of_the_cells_are_what_the_oracle_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let made = file(engine().bundle().matrix());
    if std::env::var_os("SCHAKEL_REGENERATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let told = "SCHAKEL_REGENERATE=1 writes it anew";
    assert_eq!(fs::read_to_string(path).unwrap(), made, "{told}");
    assert!(made.lines().count() > 150, "{}", made.lines().count());
}

//! Mutation: the default bundle's cases notice every rule taken out and every cell changed, and what the search
//! says of the others holds.

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_policy::engine::mutate::{self, Fate};
use schakel_policy::matrix::{Verdict, set_cell};

use crate::generator;
use crate::{engine, oracle};

/// The default bundle with only the case files named.
fn with_cases(keep: &[&str]) -> Bundle {
    let mut files = Bundle::built_in_files();
    files.retain(|name, _| !name.starts_with("cases/") || keep.contains(&name.as_str()));
    Bundle::from_files(files).unwrap()
}

#[test]
fn every_rule_and_every_cell_that_matters_has_a_case() {
    let found = mutate::run(engine().bundle(), "");
    let unnoticed: Vec<&String> = found
        .rules
        .iter()
        .filter(|(_, fate)| !matches!(fate, Fate::Noticed(_)))
        .map(|(id, _)| id)
        .collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
    assert!(found.rules.len() >= 118 && found.cells.len() == 17 * 16);
    assert_eq!(found.surviving(), 0, "{:#?}", found.cells);
    // What the search says of the rest, asked of the oracle: no question that is drawn tells these verdicts apart.
    let matrix = engine().bundle().matrix();
    for ((category, role), cell) in &found.cells {
        for (verdict, fate) in cell.fates.iter().filter(|(_, f)| !matches!(f, Fate::Noticed(_))) {
            let mut changed = matrix.clone();
            changed
                .cells
                .get_mut(category)
                .unwrap()
                .get_mut(role)
                .unwrap()
                .verdict = *verdict;
            for n in 0..1_500 {
                let mut question = generator::question(&mut StdRng::seed_from_u64((7 << 32) + n));
                question.part.category.clone_from(category);
                question.recipient.role.clone_from(role);
                let (before, after) = (
                    oracle::decide(&question, matrix),
                    oracle::decide(&question, &changed),
                );
                assert_eq!(before, after, "{category} {role} {verdict:?} {fate:?}, draw {n}");
            }
        }
    }
}

#[test]
fn a_change_that_no_case_notices_is_reported_with_a_question_that_tells() {
    let bundle = with_cases(&["cases/gates.jsonl"]);
    let found = mutate::run(&bundle, "matrix:risk_assessment:ocmw");
    assert_eq!(
        (found.rules.len(), found.cells.len(), found.surviving()),
        (0, 1, 4)
    );
    let cell = found.cells.values().next().unwrap();
    let matrix = String::from_utf8(bundle.files()["matrix.toml"].clone()).unwrap();
    for (verdict, fate) in &cell.fates {
        let Fate::Survives(Some(question)) = fate else {
            panic!("{verdict:?}: {fate:?}");
        };
        let mut files = bundle.files().clone();
        let changed = set_cell(&matrix, "risk_assessment", "ocmw", *verdict).unwrap();
        files.insert("matrix.toml".to_owned(), changed.into_bytes());
        let other = Engine::untested(&Bundle::from_files(files).unwrap());
        assert_ne!(engine().receive(question), other.receive(question), "{verdict:?}");
    }
}

#[test]
fn a_rule_that_no_case_needs_survives() {
    let found = mutate::run(&with_cases(&["cases/cells.jsonl"]), "T1-relevance");
    assert_eq!(found.rules["T1-relevance"], Fate::Survives(None));
    assert_eq!(found.surviving(), 1);
    let found = mutate::run(&with_cases(&["cases/keys.jsonl"]), "T1-relevance");
    assert!(
        matches!(&found.rules["T1-relevance"], Fate::Noticed(id) if id.starts_with("KE-")),
        "{found:?}"
    );
}

#[test]
fn a_cell_behind_a_gate_is_unreachable_and_one_behind_an_uplift_makes_no_difference() {
    let found = mutate::run(engine().bundle(), "matrix:identity:helpline");
    let fates = &found.cells.values().next().unwrap().fates;
    assert!(
        fates.len() == 4 && fates.iter().all(|(_, fate)| *fate == Fate::Unreachable),
        "{fates:?}"
    );
    // Everyone who may originate health data holds secrecy: D is uplifted to K towards a court.
    let found = mutate::run(engine().bundle(), "matrix:medical_psych:youth_court");
    let fates = &found.cells.values().next().unwrap().fates;
    assert!(
        matches!(fates[0], (Verdict::Deliver, Fate::NoDifference(n)) if n > 0),
        "{fates:?}"
    );
    assert!(
        fates[1..]
            .iter()
            .all(|(_, fate)| matches!(fate, Fate::Noticed(_))),
        "{fates:?}"
    );
}

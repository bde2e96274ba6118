//! The bundle's own cases, the golden grid, and the case format.

use std::fs;
use std::path::Path;

use schakel_policy::bundle::Bundle;
use schakel_policy::case::{Case, question};
use schakel_policy::engine::Engine;
use schakel_policy::question::ReceiveQuestion;
use schakel_policy::ruling::Outcome;

use crate::engine;

#[test]
fn every_case_of_the_default_bundle_passes() {
    let (engine, bundle) = (engine(), engine().bundle());
    let mut failures = Vec::new();
    let mut count = 0;
    for (file, cases) in bundle.cases() {
        for (line, case) in cases {
            count += 1;
            assert!(case.expect.is_some(), "{file}:{line}");
            failures.extend(
                case.difference(&engine.receive(&case.given))
                    .map(|d| format!("{}: {d}", case.id)),
            );
        }
    }
    assert!(count >= 680, "{count} cases");
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Cases of what the engine itself does (consent check, unknown values, odd questions), and pairs for each basis: they would tell a bundle
/// nothing about its own rules, so they are not in it.
#[test]
fn every_case_of_the_engine_passes() {
    let engine = engine();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut failures = Vec::new();
    let mut count = 0;
    for name in ["consent", "unknown", "odd", "pairs"] {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
        for (line, case) in Case::parse_file(&text).unwrap() {
            count += 1;
            assert!(case.expect.is_some(), "{name}:{line}");
            failures.extend(
                case.difference(&engine.receive(&case.given))
                    .map(|d| format!("{}: {d}", case.id)),
            );
        }
    }
    assert!(count >= 200, "{count} cases");
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_bundle_that_fails_its_own_case_is_refused() {
    let mut files = Bundle::built_in_files();
    let name = "cases/policy-cases.jsonl";
    let text = String::from_utf8(files[name].clone()).unwrap();
    let broken = text.replacen("OK_LEGAL_DUTY", "OK_MANDATE", 1);
    files.insert(name.to_owned(), broken.into_bytes());
    let error = Engine::new(&Bundle::from_files(files).unwrap()).unwrap_err();
    assert_eq!(
        (error.code, error.place.as_str()),
        ("BUNDLE_CASES", "cases/policy-cases.jsonl:1")
    );
}

#[test]
fn the_grid_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("matrix.txt");
    let bundle = engine().bundle();
    let grid = bundle.matrix_grid("en", bundle.texts().language("en").unwrap());
    if std::env::var_os("SCHAKEL_REGENERATE").is_some() {
        fs::write(&golden, &grid).unwrap();
    }
    assert_eq!(
        fs::read_to_string(golden).unwrap(),
        grid,
        "SCHAKEL_REGENERATE=1 writes it anew"
    );
}

fn given(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let text = include_str!("../../cases/policy-cases.jsonl");
    let mut json: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    change(&mut json["given"]);
    json["given"].clone()
}

#[test]
fn unknown_values_and_attributes_are_denied_with_their_own_code() {
    let engine = engine();
    let spoilt: [fn(&mut serde_json::Value); 12] = [
        |g| g["sender_role"] = "school".into(),
        |g| g["recipient_role"] = "".into(),
        |g| g["part"]["category"] = "gossip".into(),
        |g| g["part"]["source_secrecy"] = "top_secret".into(),
        |g| g["case"]["status"] = "frozen".into(),
        |g| g["case"]["participants"][0]["status"] = "maybe".into(),
        |g| g["part"]["subjects"][0]["role"] = "neighbour".into(),
        |g| g["part"]["subjects"][0]["age_class"] = "old".into(),
        |g| g["urgency"] = "asap".into(),
        |g| g["override"] = true.into(),
        |g| g["part"]["force"] = true.into(),
        |g| g["case"]["participants"] = "all".into(),
    ];
    for (n, change) in spoilt.into_iter().enumerate() {
        let ruling = engine.receive(&question(&given(change)).unwrap());
        assert_eq!(
            (ruling.outcome(), ruling.reason()),
            (Outcome::DenyPacket, "DENY_UNKNOWN_VALUE"),
            "{n}"
        );
        let obligations: Vec<&String> = ruling.obligations().iter().collect();
        assert_eq!(obligations, ["log-denial", "tell-sender-reason"], "{n}");
        // What list it is not in is told, in the place of a policy.
        let told: Vec<&String> = ruling.policies().iter().collect();
        assert!(told.len() == 1 && told[0].starts_with("schema:"), "{n}: {told:?}");
    }
    // An unknown basis or purpose has a code of its own.
    let ruling = engine.receive(&question(&given(|g| g["legal_basis"] = "unknown".into())).unwrap());
    assert_eq!(ruling.reason(), "DENY_NO_LEGAL_BASIS");
    let ruling = engine.receive(&question(&given(|g| g["purpose"] = "curiosity".into())).unwrap());
    assert_eq!(ruling.reason(), "DENY_PURPOSE_MISMATCH");
}

#[test]
fn lines_that_are_no_cases_are_named() {
    let (line, error) = Case::parse_file("\n{\"id\": 1}\n").unwrap_err();
    assert_eq!((line, error.to_string().as_str()), (2, "no `given`"));
    assert!(question(&given(|g| g["now"] = "yesterday".into())).is_err());
    assert!(question(&given(|g| drop(g.as_object_mut().unwrap().remove("now")))).is_err());
}

#[test]
fn p02_a_packet_is_refused_whole_by_its_first_gate_and_by_a_bundle_out_of_force() {
    let engine = engine();
    let good = question(&given(|_| ())).unwrap();
    let closed = question(&given(|g| g["case"]["status"] = "closed".into())).unwrap();
    let stranger = question(&given(|g| g["case"]["participants"] = serde_json::json!([]))).unwrap();
    let ruling = engine.packet(std::slice::from_ref(&good));
    assert!(ruling.denied().is_none() && ruling.parts()[0].delivers());
    assert!(engine.admit(std::slice::from_ref(&good)).is_ok());
    assert!(
        engine.receive(&stranger).delivers(),
        "a legal duty needs no roster"
    );
    let ruling = engine.packet(&[good.clone(), closed]);
    assert_eq!(ruling.denied().unwrap().reason(), "DENY_CASE_CLOSED");
    assert!(
        ruling
            .parts()
            .iter()
            .all(|part| part.reason() == "DENY_CASE_CLOSED")
    );
    // Of several refusals the earliest step speaks, wherever its part stands in the packet.
    let no_basis = question(&given(|g| g["legal_basis"] = "dijh_75_basics".into())).unwrap();
    let no_purpose = question(&given(|g| g["purpose"] = "victim_support".into())).unwrap();
    let reason = |parts: &[ReceiveQuestion]| engine.packet(parts).denied().unwrap().reason().to_owned();
    assert_eq!(reason(std::slice::from_ref(&no_basis)), "DENY_NO_LEGAL_BASIS");
    assert_eq!(
        reason(&[no_basis.clone(), no_purpose.clone()]),
        "DENY_PURPOSE_MISMATCH"
    );
    assert_eq!(reason(&[no_purpose, no_basis]), "DENY_PURPOSE_MISMATCH");
    let mut late = good;
    late.now = engine.bundle().valid_until();
    assert_eq!(
        engine.admit(&[late]).unwrap_err().reason(),
        "DENY_BUNDLE_NOT_IN_FORCE"
    );
}

#[test]
fn consent_is_the_hint_where_it_alone_is_missing_and_nowhere_else() {
    let engine = engine();
    for cases in engine.bundle().cases().values() {
        for (_, case) in cases {
            let ruling = engine.receive(&case.given);
            let held = ruling.outcome() == Outcome::HoldForConsent;
            assert_eq!(ruling.hint().is_some(), held, "{}: {ruling:?}", case.id);
        }
    }
}

//! Facts move while packets wait: consent and its withdrawal, a consultation, a measure, a closed case.

use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::told::seeded;
use serde_json::{Value, json};

const SUPPORT: (&str, &str) = ("victim_support", "consent");

fn about(mut order: Value, subject: SubjectRef) -> Value {
    order["parts"][0]["subjects"] = json!([{ "role": "victim", "age_class": "adult", "subject": subject }]);
    order
}

fn consent(case: CaseRef, subject: SubjectRef, kind: &str) -> Value {
    json!({
        "kind": kind, "case": case, "subject": subject, "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
    })
}

/// The one outcome of the packet's one part, with its reason.
fn outcome(record: &Value) -> (String, String) {
    let (_, _, outcome, reason) = outcomes(record).remove(0);
    (outcome, reason)
}

#[test]
fn p09_a_consent_withdrawn_after_acceptance_withholds_what_was_not_handed_over() {
    let mut town = Town::running(&["pz-rupel"]);
    let mut rng = seeded();
    let [police, welfare] = ["pz-rupel", "caw-rupel"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, "Te bereiken op het werk.").unwrap();
    let case = CaseRef::random(&mut rng);
    let subject = SubjectRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", "caw-rupel"]);
    let given = police.state(&consent(case, subject, "give-consent"));
    let order = || {
        about(
            Office::order(case, &["caw-rupel"], SUPPORT, &[Document::new("identity", &file)]),
            subject,
        )
    };
    let [first, second] = [0, 1].map(|_| police.send(&order()));
    for packet in [&first, &second] {
        police.packet(packet, "accepted");
    }
    police.state(&json!({ "kind": "withdraw-consent", "case": case, "consent": text(&given, "statement") }));
    town.start_agent("caw-rupel");
    for packet in [&first, &second] {
        let record = police.packet(packet, "settled");
        assert_eq!(
            outcome(&record),
            ("withheld".to_owned(), "WITHHOLD_CONSENT_WITHDRAWN".to_owned()),
            "{record:#}"
        );
    }
    // Given anew, what is sent from then on goes; so the inbox of the CAW works, and was rightly empty.
    police.state(&consent(case, subject, "give-consent"));
    let third = police.send(&order());
    welfare.received(&third);
    assert_eq!(welfare.inbox().len(), 1);
}

#[test]
fn a_refusal_withholds_a_consent_releases_and_a_restart_between_loses_nothing() {
    let mut town = Town::running(&["pz-rupel", "caw-rupel"]);
    let mut rng = seeded();
    let [police, welfare] = ["pz-rupel", "caw-rupel"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, "Te bereiken op het werk.").unwrap();
    let case = CaseRef::random(&mut rng);
    let [willing, unwilling] = [0, 1].map(|_| SubjectRef::random(&mut rng));
    police.open_case(case, &["pz-rupel", "caw-rupel"]);
    let order = |of| {
        about(
            Office::order(case, &["caw-rupel"], SUPPORT, &[Document::new("identity", &file)]),
            of,
        )
    };
    let [held, refused] = [willing, unwilling].map(|of| police.send(&order(of)));
    for packet in [&held, &refused] {
        let record = police.packet(packet, "decided");
        assert_eq!(
            outcome(&record),
            ("held".to_owned(), "HOLD_CONSENT_MISSING".to_owned()),
            "{record:#}"
        );
    }
    welfare.state(&consent(case, unwilling, "refuse-consent"));
    let record = police.packet(&refused, "settled");
    assert_eq!(outcome(&record).1, "WITHHOLD_CONSENT_REFUSED", "{record:#}");
    // The broker dies between consent and release.
    welfare.state(&consent(case, willing, "give-consent"));
    town.take_broker().kill();
    town.start_broker();
    welfare.received(&held);
    assert_eq!(welfare.inbox().len(), 1, "once");
    assert_eq!(outcome(&police.packet(&held, "settled")).0, "received");
}

#[test]
fn a_table_opens_once_two_signed_and_a_closed_case_gives_nothing_more() {
    let town = Town::running(&["vh-antwerpen", "caw-rupel", "vk-antwerpen"]);
    let mut rng = seeded();
    let [house, welfare, children] =
        ["vh-antwerpen", "caw-rupel", "vk-antwerpen"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("zorg.txt");
    std::fs::write(&file, "Wat aan tafel gezegd mag worden.").unwrap();
    let case = CaseRef::random(&mut rng);
    house.open_case(case, &["vh-antwerpen", "caw-rupel", "vk-antwerpen"]);
    let order = |table: &str| {
        let parts = [Document::new("risk_assessment", &file)];
        let mut order = Office::order(
            case,
            &["caw-rupel"],
            ("case_consultation", "consultation"),
            &parts,
        );
        order["consultation"] = json!(table);
        order
    };
    let table = house.state(&json!({ "kind": "convene-consultation", "case": case, "basis": "decree_vh" }));
    let table = text(&table, "statement");
    let refused = |office: &Office, order: &Value| {
        let (status, answer) = office.try_ask("POST", "/v1/packets", Some(order)).unwrap();
        assert_eq!(status, 200, "{answer:#}");
        outcome(&office.packet(&text(&answer, "packet"), "settled")).1
    };
    assert_eq!(refused(&children, &order(&table)), "DENY_CONSULTATION_UNSIGNED");
    let sign = json!({ "kind": "sign-consultation", "case": case, "consultation": table });
    for office in [&house, &children] {
        office.state(&sign);
    }
    assert_eq!(refused(&children, &order(&table)), "DENY_NOT_AT_TABLE");
    welfare.state(&sign);
    let packet = children.send(&order(&table));
    let received = welfare.received(&packet);
    assert!(received.to_string().contains("no-onward-sharing"), "{received:#}");
    house.state(&json!({ "kind": "close-case", "case": case }));
    assert_eq!(refused(&children, &order(&table)), "DENY_CASE_CLOSED");
    let (status, answer) = welfare.try_state(&json!({ "kind": "reopen-case", "case": case }));
    assert_ne!(status, 200, "{answer:#}");
    house.state(&json!({ "kind": "reopen-case", "case": case }));
    house.state(&json!({ "kind": "end-consultation", "case": case, "consultation": table }));
    assert_eq!(refused(&children, &order(&table)), "DENY_CONSULTATION_UNSIGNED");
    let (status, answer) = welfare.try_state(&json!({ "kind": "close-case", "case": case, "reason": "x" }));
    assert_eq!(status, 400, "an unknown field is not ignored: {answer:#}");
}

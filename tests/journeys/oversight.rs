//! The operator looks back: every decision is made again, and a person's disclosures are listed; of the running
//! broker and of the stopped one.

use std::process::Command;

use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::process::binary;
use schakel_tests::system::told::seeded;
use serde_json::{Value, json};

/// Runs the broker's command on the town's configuration; exit status and what it printed.
fn command(town: &Town, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary("schakel-broker"));
    let command = command.args(arguments).arg("--config");
    let output = command.arg(town.network().broker_config()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// The same; it must succeed.
fn told(town: &Town, arguments: &[&str]) -> String {
    let (status, said) = command(town, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    said
}

fn json_of(town: &Town, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(town, arguments)).unwrap()
}

/// The list of disclosures of a person.
fn list(town: &Town, (case, subject): (CaseRef, SubjectRef), more: &[&str]) -> String {
    let (case, subject) = (case.to_string(), subject.to_string());
    let mut arguments = vec!["disclosures", "--case", &case, "--subject", &subject];
    arguments.extend(more);
    told(town, &arguments)
}

/// The list in all its forms: one disclosure about the subject, none about a stranger.
fn seen(town: &Town, case: CaseRef, [subject, stranger]: [SubjectRef; 2], packet: &str) {
    let pages = [
        (
            "nl",
            "Overzicht van de mededelingen",
            "AVG artikel 15",
            "identiteit en contactgegevens",
        ),
        ("fr", "Relevé des communications", "RGPD article 15", "CAW"),
        ("en", "Disclosures about a person", "GDPR article 15", "CAW"),
    ];
    for (language, title, law, entry) in pages {
        let page = list(town, (case, subject), &["--lang", language]);
        for words in [title, law, entry, packet] {
            assert!(page.contains(words), "{language}: {words}: {page}");
        }
    }
    let csv = list(town, (case, subject), &["--csv"]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(
        csv.contains(",OK_CONSENT,") && csv.contains(",received,"),
        "{csv}"
    );
    let none: Value = serde_json::from_str(&list(town, (case, stranger), &["--json"])).unwrap();
    assert_eq!(
        (&none["disclosures"], &none["kept_back"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn every_decision_replays_and_the_data_protection_officer_sees_who_received_what() {
    let mut town = Town::running(&["pz-rupel", "caw-rupel"]);
    let mut rng = seeded();
    let [police, welfare] = ["pz-rupel", "caw-rupel"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("contact.txt");
    std::fs::write(&file, "Te bereiken op het werk.").unwrap();
    let case = CaseRef::random(&mut rng);
    let [subject, stranger] = [0, 1].map(|_| SubjectRef::random(&mut rng));
    police.open_case(case, &["pz-rupel", "caw-rupel"]);
    let parts = [Document::new("identity", &file)];
    let mut order = Office::order(case, &["caw-rupel"], ("victim_support", "consent"), &parts);
    order["parts"][0]["subjects"] = json!([{ "role": "victim", "age_class": "adult", "subject": subject }]);
    let packet = police.send(&order);
    police.packet(&packet, "decided");
    assert!(
        list(&town, (case, subject), &["--lang", "en"]).contains("Nothing about this person"),
        "it is held"
    );
    let consent = json!({
        "kind": "give-consent", "case": case, "subject": subject, "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
    });
    welfare.state(&consent);
    welfare.received(&packet);
    let record = police.packet(&packet, "settled");
    assert_eq!(text(&record["outcomes"][0], "state"), "received");

    // The running broker answers.
    let replayed = told(&town, &["log", "replay"]);
    assert_eq!(
        replayed, "2 decisions replayed, 0 differ\n",
        "held, then released"
    );
    let asked = json_of(&town, &["log", "replay", "--json"]);
    assert_eq!(
        (&asked["differ"], &asked["not_replayable"]),
        (&json!(0), &json!({}))
    );
    let overdue = json_of(&town, &["overdue", "--json"]);
    assert_eq!(
        overdue["counts"],
        json!({ "unread": 0, "revisit": 0, "review": 0 })
    );

    // So does its store when it has stopped; word for word, but for the moment.
    seen(&town, case, [subject, stranger], &packet);
    town.take_broker().stop();
    assert_eq!(told(&town, &["log", "replay"]), replayed);
    seen(&town, case, [subject, stranger], &packet);

    // Nothing of the kind is answered from nowhere, or for what is no reference.
    let (status, said) = command(&town, &["disclosures", "--case", "x", "--subject", "y"]);
    assert_eq!(status, Some(69), "{said}");
    town.start_broker();
    let (status, said) = command(&town, &["disclosures", "--case", "x", "--subject", "y"]);
    assert_eq!(status, Some(69), "{said}");
}

//! A label that does not fit: what can be seen from outside is refused; what only a reader can see is reported, and
//! the sender has signed it.

use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::{Value, json};

/// Which reason the sender's own rules or the broker's give.
fn refused(office: &Office, order: &Value) -> (String, String) {
    let (status, answer) = office.try_ask("POST", "/v1/packets", Some(order)).unwrap();
    assert_eq!(status, 200, "{answer:#}");
    let record = office.packet(&text(&answer, "packet"), "decided");
    let (_, _, state, reason) = outcomes(&record).remove(0);
    (state, reason)
}

#[test]
fn p12_a_wrong_label_is_refused_where_it_shows_and_reported_and_attributable_where_it_does_not() {
    let town = Town::running(&["caw-rupel", "casusregisseur-rupel"]);
    let mut rng = seeded();
    let [welfare, director] = ["caw-rupel", "casusregisseur-rupel"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("medisch.txt");
    std::fs::write(&file, "Een behandeling die in geen contactfiche hoort.").unwrap();
    let case = CaseRef::random(&mut rng);
    welfare.open_case(case, &["caw-rupel", "casusregisseur-rupel"]);
    let order = |category, ground| {
        let parts = [Document::new(category, &file)];
        Office::order(case, &["casusregisseur-rupel"], ground, &parts)
    };
    // Labels that their own words contradict.
    for (category, ground, reason) in [
        (
            "medical_psych",
            ("statistics", "public_interest_task"),
            "DENY_PURPOSE_MISMATCH",
        ),
        (
            "aggregate_stats",
            ("follow_up", "shared_secrecy"),
            "DENY_PURPOSE_MISMATCH",
        ),
        (
            "helpline_report",
            ("follow_up", "shared_secrecy"),
            "WITHHOLD_SENDER_NOT_ENTITLED",
        ),
        (
            "investigation_file",
            ("follow_up", "shared_secrecy"),
            "WITHHOLD_SENDER_NOT_ENTITLED",
        ),
    ] {
        let (state, why) = refused(&welfare, &order(category, ground));
        assert!(
            ["denied", "withheld"].contains(&state.as_str()),
            "{category}: {state}"
        );
        assert_eq!(why, reason, "{category} for {ground:?}");
    }
    let unknown = order("contact", ("follow_up", "shared_secrecy"));
    let (state, _) = refused(&welfare, &unknown);
    assert_eq!(state, "denied", "a category that nobody knows");

    reported(
        &welfare,
        &director,
        &order("contact_log", ("follow_up", "shared_secrecy")),
    );
    let logs = town
        .logs()
        .into_iter()
        .map(|log| std::fs::read_to_string(log).unwrap());
    let alarms = logs
        .filter(|log| log.contains("is not what its label says"))
        .count();
    assert_eq!(alarms, 1, "one alarm, at the sender");
}

/// A label that only a reader finds out: the report reaches the sender with evidence, and the label is the sender's.
fn reported(welfare: &Office, director: &Office, order: &Value) {
    let packet = welfare.send(order);
    let part = text(&director.received(&packet)["parts"][0], "part");
    assert_eq!(director.received(&packet)["parts"][0]["mislabelled"], false);
    let report = json!({ "packet": packet, "part": part, "obligation": "mislabelled" });
    director.ask("POST", "/v1/inbox/fulfilled", Some(&report));
    assert_eq!(director.received(&packet)["parts"][0]["mislabelled"], true);
    let outcome = wait::until("the report at the sender", || {
        let record = welfare.ask("GET", &format!("/v1/packets/{packet}"), None);
        let outcome = record["outcomes"][0].clone();
        (!outcome["fulfilled"].as_array()?.is_empty()).then_some(outcome)
    });
    let said = &outcome["fulfilled"][0];
    assert_eq!(said["obligation"], "mislabelled", "{outcome:#}");
    assert!(said["log_index"].is_u64(), "the log has it: {outcome:#}");
    assert_eq!(outcome["state"], "received", "what was received stays so");
    // The label is under the sender's signature: the recipient shows it to anyone with what it received.
    let delivery = director.received(&packet);
    assert_eq!(delivery["sender"], "caw-rupel");
    assert_eq!(delivery["parts"][0]["category"], "contact_log");
    let stranger = json!({ "packet": packet, "part": part, "obligation": "mislabelled" });
    let (status, answer) = welfare
        .try_ask("POST", "/v1/inbox/fulfilled", Some(&stranger))
        .unwrap();
    assert_eq!(
        (status, text(&answer, "code").as_str()),
        (404, "NOT_IN_INBOX"),
        "who did not receive it"
    );
}

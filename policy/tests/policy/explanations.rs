//! What readers are told, and what they are not.

use schakel_policy::case::Case;
use schakel_policy::explain::{Audience, explain};
use schakel_policy::texts::LANGUAGES;

use crate::engine;

fn case(id: &str) -> Case {
    let text = include_str!("../../cases/policy-cases.jsonl");
    let line = text
        .lines()
        .find(|line| line.contains(&format!("\"{id}\"")))
        .unwrap();
    Case::parse(line).unwrap()
}

#[test]
fn a_refusal_names_rule_ground_and_what_would_change_it() {
    let engine = engine();
    let told = explain(engine, &case("PC-041").given, "nl", Audience::Officer)
        .unwrap()
        .to_string();
    assert!(
        told.contains("I1-investigation-secrecy") && told.contains("28quinquies"),
        "{told}"
    );
    assert!(
        told.contains("vrijgave door het parket voor deze ontvanger"),
        "{told}"
    );
    let held = explain(engine, &case("PC-038").given, "fr", Audience::Sender).unwrap();
    assert!(held.hints()[0].contains("consentement"), "{held}");
    assert!(
        !held.to_string().contains("matrix:"),
        "a sender is not told rule ids"
    );
}

#[test]
fn a_recipient_is_told_nothing_of_what_it_does_not_get() {
    let (engine, bundle) = (engine(), engine().bundle());
    for ((_, case), language) in bundle.cases().values().flatten().zip(LANGUAGES.iter().cycle()) {
        let told = explain(engine, &case.given, language, Audience::Recipient).unwrap();
        let withheld = !told.ruling().delivers();
        assert_eq!(told.to_string().is_empty(), withheld, "{}", case.id);
        assert_eq!(told.to_json() == serde_json::json!({}), withheld, "{}", case.id);
        assert!(!withheld || told.hints().is_empty(), "{}", case.id);
    }
    assert!(explain(engine, &case("PC-001").given, "tlh", Audience::Officer).is_none());
}

#[test]
fn the_article_is_the_one_of_the_day() {
    let bundle = engine().bundle();
    let day = |text: &str| {
        let moment: jiff::Timestamp = text.parse().unwrap();
        schakel_proto::time::Timestamp::from_millis(moment.as_millisecond())
    };
    let cite = |text: &str| bundle.texts().cite("consultation", day(text)).unwrap().to_owned();
    assert!(cite("2026-04-07T12:00:00Z").contains("458ter"));
    assert!(cite("2026-04-08T00:30:00Z").contains("353 §2"));
    assert_eq!(bundle.texts().cite("nothing", day("2026-04-08T00:30:00Z")), None);
}

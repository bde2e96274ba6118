//! A counterexample as a line in the case format, with the ruling that should have come.

use serde_json::{Value, json};

use super::{Bench, Model};
use crate::case;
use crate::question::ReceiveQuestion;
use crate::ruling::{Outcome, Ruling};

/// A question, if the JSON is one.
pub(super) fn question(given: &Value) -> Option<ReceiveQuestion> {
    case::question(given).ok()
}

fn ruling_text(ruling: &Ruling) -> String {
    let by = if ruling.policies().is_empty() {
        ruling.alarms().join("; ")
    } else {
        ruling.policies().join(", ")
    };
    format!("{} {} by {by}", ruling.outcome(), ruling.reason())
}

/// The case, and what the bundle answers to it. What is expected is what the bundle of reference answers; if that
/// delivers too, a refusal without a reason of its own.
pub(super) fn line(id: &str, given: &Value, why: &str, bench: &Bench<'_>) -> (String, String) {
    let Some(question) = question(given) else {
        return (String::new(), String::new());
    };
    let answer = bench.engine.receive(&question);
    let expected = bench.reference.receive(&question);
    let refusing = expected.outcome() != Outcome::Deliver || answer.outcome() != Outcome::Deliver;
    let expect = if refusing {
        json!({
            "decision": expected.outcome().as_str(),
            "reason_code": expected.reason(),
            "obligations": expected.obligations(),
        })
    } else {
        json!({
            "decision": Outcome::Withhold.as_str(),
            "reason_code": crate::engine::NO_RULE,
            "obligations": ["log-denial", "tell-sender-reason"],
        })
    };
    let case = json!({ "id": format!("prove-{id}"), "given": given, "expect": expect, "why": why });
    (case.to_string(), ruling_text(&answer))
}

/// The questions of the bundle's own cases.
fn own<'a>(bench: &'a Bench<'_>) -> impl Iterator<Item = Value> + 'a {
    let files = bench.bundle.files().iter();
    files
        .filter(|(name, _)| name.starts_with("cases/"))
        .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n'))
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok()?.get("given").cloned())
}

/// One of the bundle's own cases that breaks the same, for where the solver's facts cannot be had.
pub(super) fn among_own(bench: &Bench<'_>, breaks: &dyn Fn(&ReceiveQuestion) -> bool) -> Option<Value> {
    own(bench).find(|given| question(given).is_some_and(|question| breaks(&question)))
}

/// For a roster entry that must not count as active: one of the bundle's own cases, with this entry for the
/// recipient, that is delivered here and refused by the bundle of reference.
pub(super) fn with_entry(bench: &Bench<'_>, model: &Model) -> Option<Value> {
    own(bench)
        .filter_map(|given| entered(given, model))
        .find(|given| {
            question(given).is_some_and(|question| {
                bench.engine.receive(&question).delivers() && !bench.reference.receive(&question).delivers()
            })
        })
}

/// The question with another roster entry for its recipient: status, and end and beginning as far from now.
fn entered(mut given: Value, model: &Model) -> Option<Value> {
    let recipient = given.get("recipient")?.as_str()?.to_owned();
    let now = question(&given)?.now;
    let asked = model.context.get("now")?.as_i64()?;
    let entry = given
        .pointer_mut("/case/participants")?
        .as_array_mut()?
        .iter_mut()
        .find(|entry| entry.get("id").and_then(Value::as_str) == Some(&recipient))?
        .as_object_mut()?;
    entry.insert("status".to_owned(), model.context.get("status")?.clone());
    for key in ["from", "until"] {
        entry.remove(key);
        if let Some(at) = model.context.get(key).and_then(Value::as_i64) {
            let moved = now.plus_millis(at.saturating_sub(asked));
            entry.insert(key.to_owned(), json!(moved.to_string()));
        }
    }
    Some(given)
}

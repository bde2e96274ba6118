//! Tables for people. Foreign text never steers the terminal.

use serde_json::Value;

use crate::inbox::record::Delivery;
use crate::obligations::{By, Duty, duties};
use crate::outbox::record::{Outcome, Record, State};
use crate::problem::printable;
use crate::shown::Disclosed;
use schakel_proto::time::Timestamp;
use schakel_proto::words;

/// A table with a head, its columns as wide as they must be.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<_> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            let gap = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(gap))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// Where a packet stands, in words.
fn state(record: &Record) -> &'static str {
    match record.state {
        State::Sealed => "sealed, waits for the broker",
        State::Accepted if record.accepted.as_ref().is_some_and(|a| a.log_index.is_some()) => {
            "accepted, receipt checked"
        }
        State::Accepted => "accepted, receipt to come",
        State::Settled => "settled, every outcome proved",
        State::Refused => "refused",
        State::Replaced => "sealed anew",
        State::Recalled => "recalled before it was sent",
    }
}

/// Whether enough witnesses cosigned the log that holds an entry.
fn receipt(record: &Record, index: u64) -> String {
    match record.covered(index) {
        None => words::standing(false, "en").to_owned(),
        Some(one) => {
            let count = one.by.len();
            format!(
                "{} by {count} of {} ({} needed)",
                words::standing(true, "en"),
                one.of,
                one.needed
            )
        }
    }
}

/// One packet with the outcome of every part.
pub fn packet(record: &Record) -> String {
    let mut text = format!(
        "{}  {}\n  case {}  purpose {}  basis {}  sealed {}\n",
        record.packet,
        state(record),
        record.case,
        record.request.purpose,
        record.request.basis,
        Timestamp::from_millis(record.created_ms),
    );
    if let Some(new) = record.replaced_by {
        text.push_str(&format!("  stands for it: {new}\n"));
    }
    if let Some(index) = record.accepted.as_ref().and_then(|accepted| accepted.log_index) {
        text.push_str(&format!("  receipt at log {index}: {}\n", receipt(record, index)));
    }
    if let Some(recall) = &record.recall {
        let answered = if recall.answered {
            "answered"
        } else {
            "not answered yet"
        };
        text.push_str(&format!("  recall ({}): {answered}\n", recall.reason));
    }
    if let Some(refusal) = &record.refusal {
        text.push_str(&format!("  {refusal}\n"));
    }
    let rows: Vec<_> = record
        .outcomes
        .iter()
        .map(|o| {
            vec![
                format!("  {}", o.recipient),
                o.part.to_string(),
                o.category.to_string(),
                o.state.as_str().to_owned(),
                o.disclosure().as_str().to_owned(),
                printable(&o.reason, 64),
                printable(&o.obligations.join(" "), 200),
                o.log_index
                    .map_or_else(|| "-".to_owned(), |index| index.to_string()),
                o.log_index.map_or_else(
                    || "-".to_owned(),
                    |index| words::standing(record.covered(index).is_some(), "en").to_owned(),
                ),
            ]
        })
        .collect();
    let head = [
        "  RECIPIENT",
        "PART",
        "CATEGORY",
        "OUTCOME",
        "DISCLOSED",
        "REASON",
        "OBLIGATIONS",
        "LOG",
        "RECEIPT",
    ];
    text.push_str(&table(&head, &rows));
    for outcome in &record.outcomes {
        text.push_str(&after(outcome));
    }
    text
}

/// What came after the hand-over of one part: its ground has ended, an obligation was carried out.
fn after(outcome: &Outcome) -> String {
    let (recipient, part) = (&outcome.recipient, outcome.part);
    let mut text = String::new();
    if outcome.key_revoked {
        text.push_str(&format!(
            "\n  {recipient} {part}: sealed to a key that the directory lists no more: whoever got hold of it may read this part"
        ));
    }
    if let Some(ended) = &outcome.ended {
        let since = Timestamp::from_millis(ended.since_ms);
        let reason = printable(&ended.reason, 64);
        text.push_str(&format!(
            "\n  {recipient} {part}: would not be handed over any more ({reason}), known since {since}"
        ));
    }
    for done in &outcome.fulfilled {
        let (obligation, at) = (
            printable(&done.obligation, 128),
            Timestamp::from_millis(done.done_ms),
        );
        let index = done.log_index;
        text.push_str(&format!(
            "\n  {recipient} {part}: carried out {obligation} at {at}, log {index}"
        ));
    }
    text
}

/// What the recipients have, or may have.
pub fn disclosed(disclosed: &[Disclosed]) -> String {
    if disclosed.is_empty() {
        return "Nothing.".to_owned();
    }
    let row = |one: &Disclosed| {
        let ended = one
            .outcome
            .ended
            .as_ref()
            .map(|ended| printable(&ended.reason, 64));
        let done = one
            .outcome
            .fulfilled
            .iter()
            .map(|done| printable(&done.obligation, 128));
        vec![
            one.packet.to_string(),
            one.outcome.part.to_string(),
            one.outcome.recipient.to_string(),
            one.outcome.category.to_string(),
            one.disclosure.as_str().to_owned(),
            ended.unwrap_or_else(|| "-".to_owned()),
            done.collect::<Vec<_>>().join(" "),
        ]
    };
    let rows: Vec<_> = disclosed.iter().map(row).collect();
    let head = [
        "PACKET",
        "PART",
        "RECIPIENT",
        "CATEGORY",
        "DISCLOSED",
        "ENDED",
        "CARRIED OUT",
    ];
    table(&head, &rows)
}

/// The inbox, a line for each part.
pub fn inbox(deliveries: &[Delivery]) -> String {
    let mut rows = Vec::new();
    for delivery in deliveries {
        for part in &delivery.parts {
            let names = part.names.as_ref();
            rows.push(vec![
                delivery.packet.to_string(),
                part.part.to_string(),
                delivery.sender.to_string(),
                part.category
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                part.length.to_string(),
                printable(&part.reason, 64),
                Timestamp::from_millis(delivery.at_ms).to_string(),
                match part.deleted_ms {
                    Some(at) => format!("(destroyed at {})", Timestamp::from_millis(at)),
                    None => names.map_or_else(|| "(sealed)".to_owned(), |n| printable(&n.file_name, 60)),
                },
                if delivery.key_revoked { "not listed" } else { "-" }.to_owned(),
                part.ended
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |ended| printable(&ended.reason, 64)),
                duties(delivery, part)
                    .iter()
                    .map(duty)
                    .collect::<Vec<_>>()
                    .join(" "),
            ]);
        }
    }
    if rows.is_empty() {
        return "The inbox is empty.".to_owned();
    }
    table(
        &[
            "PACKET",
            "PART",
            "FROM",
            "CATEGORY",
            "BYTES",
            "REASON",
            "RECEIVED",
            "NAME",
            "KEY",
            "ENDED",
            "OBLIGATIONS",
        ],
        &rows,
    )
}

/// An obligation: with a mark if it was carried out, in brackets if the agent sees to it.
fn duty(duty: &Duty) -> String {
    let text = printable(&duty.obligation, 128);
    match (duty.by, duty.done_ms) {
        (_, Some(_)) => format!("{text}:done"),
        (By::Agent, None) => format!("[{text}]"),
        (By::People, None) => text,
    }
}

/// A JSON text field, fit for the terminal.
fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text, 200),
        Some(other) => printable(&other.to_string(), 200),
    }
}

fn is_in_use(broker: &Value) -> bool {
    broker.get("in_use") == Some(&Value::Bool(true))
}

/// How the daemon stands.
pub fn status(value: &Value) -> String {
    let brokers = value.get("brokers").and_then(Value::as_array);
    let brokers: &[Value] = brokers.map_or(&[], Vec::as_slice);
    let (at, others): (Vec<_>, Vec<_>) = brokers.iter().partition(|one| is_in_use(one));
    let at = at.first().map(|one| text(one, "address")).unwrap_or_default();
    let mut lines = vec![format!(
        "{} on network {}: {}, directory {}, rules {}, {} unsettled, {} answers to settle",
        text(value, "agency"),
        text(value, "network"),
        if value.get("connected") == Some(&Value::Bool(true)) {
            format!("connected to {at}")
        } else {
            "NOT CONNECTED".to_owned()
        },
        text(value, "directory_version"),
        text(value, "bundle_version"),
        text(value, "unsettled"),
        text(value, "unanswered"),
    )];
    for one in others {
        if let Some(problem) = one.get("problem").filter(|p| !p.is_null()) {
            let (address, code) = (text(one, "address"), text(problem, "code"));
            let (sentence, remedy) = (text(problem, "sentence"), text(problem, "remedy"));
            lines.push(format!(
                "  broker {address}, when it was tried last: {code}: {sentence}. {remedy}"
            ));
        }
    }
    let overdue = value.get("receipts_overdue").and_then(Value::as_array);
    if let Some(overdue) = overdue.filter(|list| !list.is_empty()) {
        let count = overdue.len();
        lines.push(format!("  RECEIPT_OVERDUE: the broker took {count} packets and shows no receipt of them. Tell its operator; the sealed copies are kept."));
    }
    if let Some(disputed) = value.pointer("/witness/disputed").and_then(Value::as_array)
        && !disputed.is_empty()
    {
        let count = disputed.len();
        lines.push(format!("  CHECKPOINT_OTHER_HISTORY: {count} times an agency saw another history of the log than we did. See audit/disputed-* and docs/operating/agent.md."));
    }
    let silent = value.get("silent").and_then(Value::as_array);
    for one in silent.into_iter().flatten() {
        let (name, seconds) = (text(one, "monitor"), text(one, "seconds"));
        lines.push(format!("  MONITOR_SILENT: {name} was not heard of for {seconds} s. See this machine's disk and the daemon's log; restart the daemon if it stays so."));
    }
    for key in ["problem", "trust", "clock"] {
        if let Some(problem) = value.get(key).filter(|p| !p.is_null()) {
            let (code, sentence) = (text(problem, "code"), text(problem, "sentence"));
            let place = problem
                .get("place")
                .and_then(Value::as_str)
                .filter(|place| !place.is_empty());
            let place = place
                .map(|place| format!(" (at {})", printable(place, 200)))
                .unwrap_or_default();
            lines.push(format!(
                "  {code}: {sentence}{place}. {}",
                text(problem, "remedy")
            ));
        }
    }
    lines.join("\n")
}

/// The facts of a case.
pub fn facts(value: &Value) -> String {
    let none = Vec::new();
    let list = value.get("facts").and_then(Value::as_array).unwrap_or(&none);
    let row = |fact: &Value| {
        let entries = fact
            .pointer("/roster/entries")
            .and_then(Value::as_array)
            .unwrap_or(&none);
        let entry = |e: &Value| format!("{}:{}", text(e, "agency"), text(e, "status"));
        let mut says: Vec<_> = entries.iter().map(entry).collect();
        if fact.get("hidden").and_then(Value::as_bool) == Some(true) {
            says.push("(not shown to this agency)".to_owned());
        }
        says.extend(
            fact.get("says")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(said),
        );
        vec![
            text(fact, "number"),
            text(fact, "kind"),
            text(fact, "agency"),
            text(fact, "statement"),
            says.join(" "),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    format!(
        "{}  roster version {}\n{}",
        text(value, "case"),
        text(value, "roster_version"),
        table(&["NO", "STATEMENT", "BY", "ID", "SAYS"], &rows)
    )
}

/// One field of what a statement says, `key=value`; nothing for what it leaves open.
fn said((key, value): (&String, &Value)) -> Option<String> {
    let words = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Array(all) if all.is_empty() => return None,
        Value::Bool(true) => return Some(key.clone()),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
        Value::Object(inner) => {
            return Some(inner.iter().filter_map(said).collect::<Vec<_>>().join(" "))
                .filter(|s| !s.is_empty());
        }
        other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
    };
    Some(format!("{key}={words}"))
}

/// The quarantine.
pub fn quarantine(value: &Value) -> String {
    let none = Vec::new();
    let list = value.as_array().unwrap_or(&none);
    if list.is_empty() {
        return "The quarantine is empty.".to_owned();
    }
    let row = |kept: &Value| {
        let nothing = Value::Null;
        let reason = kept.get("reason").unwrap_or(&nothing);
        let problem = reason.get("problem").unwrap_or(&nothing);
        vec![
            text(kept, "folder"),
            text(reason, "at"),
            text(problem, "code"),
            text(problem, "sentence"),
        ]
    };
    let rows: Vec<_> = list.iter().map(row).collect();
    table(&["FOLDER", "SINCE", "CODE", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = vec![
            vec!["één".to_owned(), "1".to_owned()],
            vec!["b".to_owned(), "22".to_owned()],
        ];
        assert_eq!(table(&["A", "N"], &rows), "A    N\néén  1\nb    22");
    }

    #[test]
    fn c20_foreign_text_is_shown_harmless() {
        let value = serde_json::json!([{ "folder": "x\u{1b}[2J", "reason": { "at": "t" } }]);
        assert!(!quarantine(&value).contains('\u{1b}'));
    }
}

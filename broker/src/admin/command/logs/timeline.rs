//! `schakel-broker log show`: the way of a packet for people.

use serde_json::Value;

use super::super::{list, number, text};

/// The obligations and what else is said of a part.
fn details(one: &Value) -> String {
    let obligations: Vec<&str> = list(one, "obligations").filter_map(Value::as_str).collect();
    let mut said = text(one, "reason");
    if !obligations.is_empty() {
        said.push_str(&format!(" [{}]", obligations.join(" ")));
    }
    said.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The whole way, and where each part stands now.
pub(super) fn text_of(found: &Value) -> String {
    let mut lines = vec![
        format!("packet {}  case {}", text(found, "packet"), text(found, "case")),
        format!(
            "from {}  accepted {}  life ends {}  {}",
            text(found, "sender"),
            text(found, "accepted"),
            text(found, "expires"),
            text(found, "state")
        ),
        String::new(),
    ];
    for entry in list(found, "entries") {
        lines.push(format!(
            "{:>9}  {}  {:<27}  {}  {}",
            number(entry, "index"),
            text(entry, "at"),
            text(entry, "event"),
            text(entry, "recipient"),
            text(entry, "reason"),
        ));
        for part in list(entry, "parts") {
            let (part_id, outcome) = (text(part, "part"), text(part, "outcome"));
            lines.push(format!("{:>11}part {part_id}  {outcome}  {}", "", details(part)));
        }
    }
    if found.get("complete") == Some(&Value::Bool(false)) {
        let packet = text(found, "packet");
        lines.push(format!("there is more: log ls --packet {packet}"));
    }
    lines.push(String::new());
    lines.push("now:".to_owned());
    for part in list(found, "parts") {
        let disclosed = part.get("possibly_disclosed") == Some(&Value::Bool(true));
        lines.push(format!(
            "  {}  part {}  {}  {}  since {}  {}{}",
            text(part, "recipient"),
            text(part, "part"),
            text(part, "category"),
            text(part, "state"),
            text(part, "since"),
            details(part),
            if disclosed { "  was handed over" } else { "" },
        ));
    }
    for one in list(found, "overdue") {
        lines.push(format!(
            "OVERDUE {}: since {}, due {}",
            text(one, "kind"),
            text(one, "since"),
            text(one, "due")
        ));
    }
    let checkpoint = found.get("checkpoint").unwrap_or(&Value::Null);
    let (size, root) = (number(checkpoint, "size"), text(checkpoint, "root"));
    lines.push(format!("under the checkpoint of {size} entries, root {root}"));
    lines.push("content is never shown: the broker cannot read it".to_owned());
    lines.join("\n") + "\n"
}

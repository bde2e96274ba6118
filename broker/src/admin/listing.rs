//! Entries of the log in pages: who, what, when; never content.

use schakel_proto::evidence::Body;
use schakel_proto::refusal::Refusal;
use serde_json::{Value, json};

use super::Desk;
use super::filter::{Filter, Seen};
use super::rows::{self, Row};
use crate::store::FiledEntry;

/// Entries read at once.
const PAGE: usize = 256;
/// Most entries in one answer.
pub(super) const ANSWER_MAX_COUNT: usize = 1_024;
/// Most entries that are looked at for one answer.
const LOOKED_AT_MAX_COUNT: usize = 16 * 1_024;

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// After this position.
    pub(super) after: Option<u64>,
    /// Or only the last so many positions.
    pub(super) last: Option<u64>,
    /// Most entries.
    pub(super) limit: usize,
}

/// One page: entries, the position to go on after, whether that was all, and how many of the entries are damaged.
pub(super) async fn page(desk: &Desk, filter: &Filter, place: Place) -> Result<Value, Refusal> {
    let wanted = filter.wanted()?;
    let store = desk.store.as_ref();
    let size = store.latest_checkpoint().await?.map_or(0, |newest| newest.size);
    let from_the_end = |last| size.saturating_sub(last).checked_sub(1);
    let mut after = place.after.or_else(|| place.last.and_then(from_the_end));
    let limit = place.limit.clamp(1, ANSWER_MAX_COUNT);
    let (mut entries, mut looked_at, mut done) = (Vec::new(), 0, false);
    let mut damaged = 0;
    while !done && looked_at < LOOKED_AT_MAX_COUNT && entries.len() < limit {
        let (page, next) = rows::after(store, wanted.filed, after, (PAGE, size)).await?;
        done = next.is_none();
        for row in page {
            if entries.len() == limit {
                done = false;
                break;
            }
            looked_at += 1;
            match row {
                Row::Entry(entry) => {
                    after = Some(entry.index);
                    if let Some(seen) = wanted.takes(&entry, &desk.network) {
                        damaged += u64::from(matches!(seen, Seen::Unreadable));
                        entries.push(to_json(&entry, &seen));
                    }
                }
                Row::Unreadable(index) => {
                    after = Some(index);
                    damaged += 1;
                    entries.push(json!({ "index": index, "event": "(unreadable)", "leaf": null }));
                }
            }
        }
    }
    Ok(json!({ "entries": entries, "next": after, "done": done, "size": size, "damaged": damaged }))
}

/// One entry.
fn to_json(entry: &FiledEntry, seen: &Seen) -> Value {
    let leaf = entry.leaf_hash.to_string();
    match seen {
        Seen::Body(body) => said(entry, body),
        Seen::Erased(at) => json!({
            "index": entry.index, "at": at.to_string(), "at_ms": at.millis(), "event": "(erased)", "leaf": leaf,
        }),
        Seen::Unreadable => json!({ "index": entry.index, "event": "(damaged)", "leaf": leaf }),
    }
}

fn said(entry: &FiledEntry, body: &Body) -> Value {
    let shown_to: Vec<&str> = entry.concerns.iter().map(|one| one.agency.as_str()).collect();
    let text = |value: Option<String>| value.map_or(Value::Null, Value::String);
    json!({
        "index": entry.index, "at": body.at.to_string(), "at_ms": body.at.millis(),
        "event": body.event.as_str(),
        "packet": text(body.packet.map(|id| id.to_string())),
        "case": text(body.case.map(|case| case.to_string())),
        "sender": text(body.sender.as_ref().map(ToString::to_string)),
        "recipient": text(body.recipient.as_ref().map(ToString::to_string)),
        "reason": body.reason, "left_out": body.left_out, "actor": body.actor,
        "shown_to": shown_to, "leaf": entry.leaf_hash.to_string(),
    })
}

//! The whole way of a packet, from its entries in the log: accepted, decided for each recipient and part, handed over,
//! acknowledged, taken, obligations carried out, recalled, expired; and where it stands now.

use std::collections::BTreeMap;

use prost::Message;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::{PacketId, PartId};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire;
use serde_json::{Value, json};

use super::Desk;
use crate::decide::stored_head;
use crate::overdue;
use crate::store::{Filed, FiledEntry, PartState, StoredPacket};

/// Entries read at once.
const PAGE: usize = 256;
/// Most entries of one packet that are shown.
const SHOWN_MAX_COUNT: usize = 4 * 1_024;

/// The timeline of a packet.
pub(super) async fn show(desk: &Desk, packet: PacketId) -> Result<Value, Refusal> {
    let store = desk.store.as_ref();
    let (entries, complete) = entries(desk, packet).await?;
    let stored = store.packet(packet).await?;
    if stored.is_none() && entries.is_empty() {
        let sentence = "There is no such packet in this broker's store or log";
        let remedy = "Copy the packet's id from `log ls` or from the agency's own list.";
        return Err(Refusal::new(Fault::NotFound, "PACKET_UNKNOWN", sentence, remedy).at("packet"));
    }
    let newest = store.latest_checkpoint().await?;
    let outcome = store.outcome(packet).await?;
    let (directory, _) = (desk.view)();
    let about = (directory.as_ref(), desk.clock.now());
    let overdue = overdue::look(store, &desk.overdue, about).await?;
    let overdue: Vec<Value> = overdue
        .items()
        .filter(|item| item.packet == packet)
        .map(|item| {
            json!({ "kind": item.kind.as_str(), "since": item.since.to_string(), "due": item.due.to_string() })
        })
        .collect();
    let categories = stored.as_ref().map(categories).unwrap_or_default();
    let state = |state: &PartState| part_state(state, &categories);
    let parts = outcome
        .as_ref()
        .map(|outcome| outcome.parts.iter().map(state).collect::<Vec<_>>());
    let text = |text: Option<String>| text.map_or(Value::Null, Value::String);
    Ok(json!({
        "packet": packet.to_string(),
        "case": text(stored.as_ref().map(|one| one.case.to_string())),
        "sender": text(stored.as_ref().map(|one| one.sender.to_string())),
        "accepted": text(stored.as_ref().map(|one| one.accepted_at.to_string())),
        "expires": text(stored.as_ref().map(|one| one.expires.to_string())),
        "state": text(outcome.as_ref().map(|one| one.stage.as_str().to_owned())),
        "entries": entries, "complete": complete,
        "parts": parts.unwrap_or_default(), "overdue": overdue,
        "checkpoint": newest.map_or(Value::Null, |one| json!({ "size": one.size, "root": one.root.to_string() })),
    }))
}

async fn entries(desk: &Desk, packet: PacketId) -> Result<(Vec<Value>, bool), Refusal> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = desk.store.filed(Filed::Packet(packet), after, PAGE).await?;
        all.extend(page.found.iter().map(|entry| event(desk, entry)));
        match page.next {
            Some(_) if all.len() >= SHOWN_MAX_COUNT => return Ok((all, false)),
            Some(next) => after = Some(next),
            None => return Ok((all, true)),
        }
    }
}

/// The category of each part: what the broker is told of it, not what is in it.
fn categories(packet: &StoredPacket) -> BTreeMap<PartId, String> {
    let Ok(head) = stored_head(packet) else {
        return BTreeMap::new();
    };
    let category = |part: &schakel_proto::packet::parse::Part| {
        (part.id(), part.descriptor().category.as_str().to_owned())
    };
    head.parts().iter().map(category).collect()
}

fn part_state(state: &PartState, categories: &BTreeMap<PartId, String>) -> Value {
    json!({
        "recipient": state.recipient.to_string(), "part": state.part.to_string(),
        "category": categories.get(&state.part),
        "state": state.stage.as_str(), "reason": state.reason, "since": state.since.to_string(),
        "obligations": state.obligations, "possibly_disclosed": state.possibly_disclosed,
    })
}

/// One step of the way.
fn event(desk: &Desk, entry: &FiledEntry) -> Value {
    let leaf = entry.leaf_hash.to_string();
    let Ok(body) = Body::parse(&entry.body, &desk.network) else {
        return json!({ "index": entry.index, "event": "(damaged)", "leaf": leaf });
    };
    let parts = match body.event {
        Event::ContentConsignment | Event::ContentWithheld => decided(entry),
        Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => said(entry),
        _ => Vec::new(),
    };
    let recipient = body
        .recipient
        .as_ref()
        .map_or(Value::Null, |one| one.to_string().into());
    json!({
        "index": entry.index, "at": body.at.to_string(), "at_ms": body.at.millis(),
        "event": body.event.as_str(), "recipient": recipient, "reason": body.reason,
        "actor": body.actor, "leaf": leaf, "parts": parts,
    })
}

/// What was decided of each part, both halves together.
fn decided(entry: &FiledEntry) -> Vec<Value> {
    let halves = [&entry.shown, &entry.hidden].into_iter().flatten();
    let decisions = halves.filter_map(|half| wire::Decision::decode(&*half.descriptor).ok());
    decisions
        .flat_map(|decision| decision.parts)
        .map(|part| {
            json!({
                "part": named(&part.part_id), "outcome": part.outcome, "reason": part.reason,
                "obligations": part.obligations, "policies": part.policies,
            })
        })
        .collect()
}

/// What the recipient's agent said of each part.
fn said(entry: &FiledEntry) -> Vec<Value> {
    let signed = entry.attachment.as_ref();
    let Some(said) = signed.and_then(|one| wire::Acknowledgement::decode(&*one.bytes).ok()) else {
        return Vec::new();
    };
    let part = |id: &bytes::Bytes| {
        let obligations: Vec<&str> = Some(said.obligation.as_str())
            .filter(|one| !one.is_empty())
            .into_iter()
            .collect();
        json!({ "part": named(id), "outcome": said.outcome, "reason": said.reason, "obligations": obligations })
    };
    said.part_ids.iter().map(part).collect()
}

fn named(id: &[u8]) -> Value {
    PartId::try_from(id).map_or(Value::Null, |id| id.to_string().into())
}

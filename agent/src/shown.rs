//! Packets and hand-overs as the local API shows them: what is kept, with what follows from it.

use std::sync::Arc;

use schakel_proto::evidence::MISLABELLED;
use schakel_proto::ids::{CaseRef, PacketId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::inbox::record::{Delivery, Kind, Names};
use crate::obligations::{duties, is_masked};
use crate::outbox::record::{Disclosure, Outcome, Record};

/// What stands in the place of a masked name.
const MASK: &str = "(masked)";

/// A packet that we sent, each outcome with what its recipient may know.
pub fn packet(record: &Record) -> Value {
    let mut shown = json!(record);
    let outcomes = shown.get_mut("outcomes").and_then(Value::as_array_mut);
    for (shown, outcome) in outcomes.into_iter().flatten().zip(&record.outcomes) {
        add(shown, "disclosure", json!(outcome.disclosure()));
    }
    shown
}

/// A hand-over that we received, each part with its duties; masked names are not shown.
pub fn delivery(delivery: &Delivery) -> Value {
    let mut masked = delivery.clone();
    for part in masked
        .parts
        .iter_mut()
        .filter(|part| is_masked(&part.obligations))
    {
        let mask = |names: &Names| Names {
            file_name: MASK.to_owned(),
            title: MASK.to_owned(),
            media_type: names.media_type.clone(),
        };
        part.names = part.names.as_ref().map(mask);
    }
    let mut shown = json!(masked);
    let parts = shown.get_mut("parts").and_then(Value::as_array_mut);
    for (shown, part) in parts.into_iter().flatten().zip(&delivery.parts) {
        add(shown, "duties", json!(duties(delivery, part)));
        let said = part.later(Kind::Fulfilled, MISLABELLED);
        add(shown, "mislabelled", json!(said.is_some()));
    }
    shown
}

fn add(to: &mut Value, key: &str, value: Value) {
    if let Some(object) = to.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// A part that its recipient has, or may have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disclosed {
    /// The packet.
    pub packet: PacketId,
    /// Its case.
    pub case: CaseRef,
    /// How far it came.
    pub disclosure: Disclosure,
    /// The part for its recipient, as the packet shows it.
    pub outcome: Outcome,
}

/// Everything of these packets that was handed over, or may have been; or only that of which the ground has
/// ended since.
pub fn disclosed(records: &[Arc<Record>], only_ended: bool) -> Vec<Disclosed> {
    let wanted = |outcome: &&Outcome| {
        let ended = outcome.ended.is_some() || !only_ended;
        outcome.disclosure() != Disclosure::No && ended
    };
    let of_record = |record: &Arc<Record>| {
        let (packet, case) = (record.packet, record.case);
        let shown = record
            .outcomes
            .iter()
            .filter(wanted)
            .map(move |outcome| Disclosed {
                packet,
                case,
                disclosure: outcome.disclosure(),
                outcome: outcome.clone(),
            });
        shown.collect::<Vec<_>>()
    };
    records.iter().flat_map(of_record).collect()
}

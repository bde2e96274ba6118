//! Packets and hand-overs as the local API shows them: what is kept, with what follows from it.

use std::sync::Arc;

use schakel_proto::directory::Directory;
use schakel_proto::evidence::MISLABELLED;
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::packet::verify::DirectoryView;
use schakel_proto::party::AgencyId;
use schakel_proto::words::{self, LANGUAGES};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::inbox::record::{Delivery, Kind, Names};
use crate::obligations::{duties, is_masked};
use crate::outbox::record::{Disclosure, Outcome, Record};

/// What stands in the place of a masked name.
const MASK: &str = "(masked)";

/// Whether a key that something was sealed to is good no more: the directory does not list it for the agency.
fn revoked(directory: Option<&Directory>, agency: &AgencyId, key: Option<&Fingerprint>) -> bool {
    let (Some(directory), Some(key)) = (directory, key) else {
        return false;
    };
    directory.encryption_key(agency, key).is_none()
}

/// An outcome, marked if its recipient may have it under a key that is good no more.
fn marked(outcome: &Outcome, directory: Option<&Directory>) -> Outcome {
    let lost = revoked(directory, &outcome.recipient, outcome.key.as_ref());
    Outcome {
        key_revoked: lost && outcome.disclosure() != Disclosure::No,
        ..outcome.clone()
    }
}

/// A packet that we sent, each outcome with what its recipient may know; marked by the directory in force, if
/// one is known.
pub fn packet(record: &Record, directory: Option<&Directory>) -> Value {
    let mut record = record.clone();
    record.outcomes = record.outcomes.iter().map(|one| marked(one, directory)).collect();
    let mut shown = json!(record);
    let outcomes = shown.get_mut("outcomes").and_then(Value::as_array_mut);
    for (shown, outcome) in outcomes.into_iter().flatten().zip(&record.outcomes) {
        add(shown, "disclosure", json!(outcome.disclosure()));
        add(shown, "receipt", receipt(&record, outcome.log_index));
    }
    let accepted = record.accepted.as_ref().and_then(|accepted| accepted.log_index);
    let receipt = receipt(&record, accepted);
    add(&mut shown, "receipt", receipt);
    shown
}

/// How far the log entry at a position can be relied on: provisional, or witnessed, by whom and how many of how many;
/// null: there is none.
fn receipt(record: &Record, index: Option<u64>) -> Value {
    let Some(index) = index else { return Value::Null };
    let covered = record.covered(index);
    let words: Map<String, Value> = LANGUAGES
        .iter()
        .map(|language| {
            (
                (*language).to_owned(),
                words::standing(covered.is_some(), language).into(),
            )
        })
        .collect();
    json!({
        "log_index": index,
        "standing": words::standing(covered.is_some(), "en"),
        "words": words,
        "by": covered.map(|one| &one.by),
        "of": covered.map(|one| one.of),
        "needed": covered.map(|one| one.needed),
        "size": covered.map(|one| one.size),
    })
}

/// A hand-over that we, `agency`, received, each part with its duties; masked names are not shown; marked by the
/// directory in force, if one is known.
pub fn delivery(delivery: &Delivery, agency: &AgencyId, directory: Option<&Directory>) -> Value {
    let mut masked = delivery.clone();
    masked.key_revoked = revoked(directory, agency, delivery.key.as_ref());
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
pub fn disclosed(records: &[Arc<Record>], only_ended: bool, directory: Option<&Directory>) -> Vec<Disclosed> {
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
                outcome: marked(outcome, directory),
            });
        shown.collect::<Vec<_>>()
    };
    records.iter().flat_map(of_record).collect()
}

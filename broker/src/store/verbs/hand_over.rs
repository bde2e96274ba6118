//! Leg 2: a decision becomes durable, if everything it was made on is still so.

use schakel_proto::evidence::Event;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::time::Timestamp;

use super::super::delivery::{DecidedPart, HandOver, HandedOver, Verdict};
use super::super::error::StoreError;
use super::super::facts::CeilingOf;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::{BoundRow, ConsignmentRow, HandedRow, PacketRow};
use super::super::kv::txn::Read;
use super::super::packet::{PartState, Stage};
use super::{
    close_packet, end_lease_if_done, facts, log_entry, optional_digest, place_work, put_state, queue_key,
    states_of,
};

/// Commits a decision.
pub(crate) fn hand_over(step: &mut Step<'_>, hand_over: &HandOver) -> Result<HandedOver, StoreError> {
    let (packet, recipient) = (hand_over.packet, &hand_over.recipient);
    let handed_key = keys::handed(&packet, recipient);
    ahead_of(step, hand_over)?;
    if let Some(before) = step.txn.row::<HandedRow>(&handed_key)?
        && before.token == hand_over.token.as_bytes()
    {
        end_lease_if_done(step, &packet, recipient)?;
        return Ok(HandedOver::Committed {
            leaf_hash: optional_digest(&before.leaf)?,
            delivers: before.delivers,
        });
    }
    if !step
        .leases
        .holds(hand_over.token, packet, recipient, hand_over.at)?
    {
        return Ok(HandedOver::LeaseLost);
    }
    let Some(mut row) = step.txn.row::<PacketRow>(&keys::packet(&packet))? else {
        return Ok(HandedOver::LeaseLost);
    };
    if step.txn.record(&queue_key(&packet, &row, recipient))?.is_none() {
        return Ok(HandedOver::LeaseLost);
    }
    let states = states_of(&step.txn, &packet, &row, recipient)?;
    if !same_ground(step, hand_over, &row)? || !same_parts(&states, &hand_over.parts) {
        return Ok(HandedOver::Changed);
    }
    let delivers = hand_over.parts.iter().any(|p| p.verdict == Verdict::Deliver);
    check_entry(hand_over, &states, delivers)?;
    let leaf_hash = hand_over
        .entry
        .as_ref()
        .map(super::super::entry::NewEntry::leaf_hash);
    for mut state in states.into_iter().filter(|s| !s.stage.is_final()) {
        if let Some(decided) = hand_over.parts.iter().find(|p| p.part == state.part) {
            decide(&mut state, decided, hand_over.at, leaf_hash);
            put_state(step, &packet, &state)?;
        }
    }
    if let Some(entry) = &hand_over.entry {
        log_entry(step, entry)?;
    }
    if let (true, Some(leaf)) = (delivers, leaf_hash) {
        consign(step, hand_over, &leaf)?;
    }
    let leaf = leaf_hash.map(Digest::to_vec).unwrap_or_default();
    let handed = HandedRow {
        token: hand_over.token.to_vec(),
        leaf,
        delivers,
        facts_count: hand_over.facts_count,
        bundle_version: hand_over.bundle_version,
        directory_version: hand_over.directory_version,
    };
    step.txn.put_row(&handed_key, &handed)?;
    place_work(step, &packet, &row, recipient)?;
    close_packet(step, &packet, &mut row)?;
    Ok(HandedOver::Committed { leaf_hash, delivers })
}

/// What is surely looked at.
fn ahead_of(step: &Step<'_>, hand_over: &HandOver) -> Result<(), StoreError> {
    if !step.txn.is_far() {
        return Ok(());
    }
    let (packet, recipient) = (hand_over.packet, &hand_over.recipient);
    let mut wanted = vec![
        keys::handed(&packet, recipient),
        keys::packet(&packet),
        keys::NEXT_SEQUENCE.to_vec(),
    ];
    wanted.extend([CeilingOf::Directory, CeilingOf::Bundle].map(keys::ceiling));
    wanted.extend(
        hand_over
            .entry
            .iter()
            .map(|entry| keys::index(&entry.leaf_hash())),
    );
    wanted.extend(
        hand_over
            .parts
            .iter()
            .map(|one| keys::state(&packet, recipient, &one.part)),
    );
    step.txn.ahead(&wanted)
}

/// The parts that the recipient gets under this leaf.
fn consign(step: &mut Step<'_>, hand_over: &HandOver, leaf: &Digest) -> Result<(), StoreError> {
    let delivered = hand_over.parts.iter().filter(|p| p.verdict == Verdict::Deliver);
    let bound = |decided: &DecidedPart| BoundRow {
        obligations: decided.obligations.clone(),
    };
    let consignment = ConsignmentRow {
        packet: hand_over.packet.to_vec(),
        recipient: hand_over.recipient.as_str().to_owned(),
        parts: delivered.clone().map(|p| PartId::to_vec(p.part)).collect(),
        bound: delivered.map(bound).collect(),
    };
    step.txn.put_row(&keys::consignment(leaf), &consignment)
}

/// Whether facts, bundle and directory are those decided on.
fn same_ground(step: &Step<'_>, hand_over: &HandOver, row: &PacketRow) -> Result<bool, StoreError> {
    let (head, count) = facts::head(&step.txn, &super::id(&row.case)?)?;
    Ok(head == hand_over.facts_head
        && count == hand_over.facts_count
        && facts::in_force(&step.txn, hand_over.bundle_version, hand_over.directory_version)?)
}

/// Whether exactly the parts that are open were decided on.
fn same_parts(states: &[PartState], decided: &[DecidedPart]) -> bool {
    let mut open: Vec<_> = states
        .iter()
        .filter(|s| !s.stage.is_final())
        .map(|s| s.part)
        .collect();
    let mut parts: Vec<_> = decided.iter().map(|d| d.part).collect();
    open.sort_unstable();
    parts.sort_unstable();
    open == parts
}

fn check_entry(hand_over: &HandOver, states: &[PartState], delivers: bool) -> Result<(), StoreError> {
    let Some(entry) = &hand_over.entry else {
        let held = |d: &DecidedPart| {
            let before = states.iter().find(|s| s.part == d.part);
            d.verdict == Verdict::Hold && before.is_some_and(|s| s.stage == Stage::Held)
        };
        let still_held = hand_over.parts.iter().all(held);
        return if still_held {
            Ok(())
        } else {
            Err(StoreError::Misused("a decision without an entry"))
        };
    };
    let body = entry.body();
    let event = if delivers {
        Event::ContentConsignment
    } else {
        Event::ContentWithheld
    };
    let about =
        body.packet == Some(hand_over.packet) && body.recipient.as_ref() == Some(&hand_over.recipient);
    let told = entry.concerns.iter().any(|c| c.agency == hand_over.recipient);
    if body.event != event || !about {
        return Err(StoreError::Misused("a decision whose entry says something else"));
    }
    if told != delivers && body.sender.as_ref() != Some(&hand_over.recipient) {
        return Err(StoreError::Misused(
            "a recipient must be told of what it gets, and of nothing else",
        ));
    }
    Ok(())
}

/// What a decision makes of the state of a part.
pub(crate) fn decide(state: &mut PartState, decided: &DecidedPart, at: Timestamp, leaf: Option<Digest>) {
    let stage = match decided.verdict {
        Verdict::Deliver => Stage::HandedOver,
        Verdict::Withhold => Stage::Withheld,
        Verdict::Hold => Stage::Held,
    };
    if state.stage != stage {
        state.since = at;
    }
    // Handed over again, it is bound by what it was bound by before as well.
    let again = state.stage == Stage::HandedOver && stage == Stage::HandedOver;
    let before = std::mem::replace(&mut state.obligations, decided.obligations.clone());
    if again {
        let more = before
            .into_iter()
            .filter(|one| !decided.obligations.contains(one));
        state.obligations.extend(more);
    }
    state.stage = stage;
    state.possibly_disclosed |= stage == Stage::HandedOver;
    state.reason.clone_from(&decided.reason);
    state.leaf_hash = leaf.or(state.leaf_hash);
}

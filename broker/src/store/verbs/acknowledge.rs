//! Leg 2 ends: what a recipient's agent says of a consignment becomes durable.

use schakel_proto::evidence::{MISLABELLED, NO_FURTHER_USE};
use schakel_proto::ids::{Digest, PartId};

use super::super::delivery::{AckOutcome, Acknowledged, Acknowledging};
use super::super::error::StoreError;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::ConsignmentRow;
use super::super::kv::txn::Read;
use super::super::packet::{PartState, Stage};
use super::{close_packet, end_lease_if_done, id, log_entry, packet_row, place_work, put_state, states_of};

/// Commits an acknowledgement.
pub(crate) fn acknowledge(step: &mut Step<'_>, ack: &Acknowledging) -> Result<Acknowledged, StoreError> {
    let mut wanted = vec![
        keys::consignment(&ack.consignment),
        keys::packet(&ack.packet),
        keys::NEXT_SEQUENCE.to_vec(),
        keys::index(&ack.entry.leaf_hash()),
    ];
    wanted.extend(
        ack.parts
            .iter()
            .map(|part| keys::state(&ack.packet, &ack.recipient, part)),
    );
    step.txn.ahead(&wanted)?;
    let Some(consignment) = step
        .txn
        .row::<ConsignmentRow>(&keys::consignment(&ack.consignment))?
    else {
        return Ok(Acknowledged::Unknown);
    };
    let of_it = |part: &PartId| consignment.parts.iter().any(|p| p == part.as_bytes());
    let fits = consignment.packet == ack.packet.as_bytes()
        && consignment.recipient == ack.recipient.as_str()
        && !ack.parts.is_empty()
        && ack.parts.iter().all(of_it);
    if !fits {
        return Ok(Acknowledged::Unknown);
    }
    let mut row = packet_row(&step.txn, &ack.packet)?;
    let mut states = states_of(&step.txn, &ack.packet, &row, &ack.recipient)?;
    states.retain(|s| ack.parts.contains(&s.part));
    let mut before = None;
    let mut news = Vec::new();
    for state in states {
        match said(step, ack, &consignment, &state)? {
            Said::Before(leaf) => before = before.or(Some(leaf)),
            Said::TooEarly => return Ok(Acknowledged::Unknown),
            Said::New => news.push(state),
        }
    }
    if news.is_empty() {
        end_lease_if_done(step, &ack.packet, &ack.recipient)?;
        return Ok(
            before.map_or(Acknowledged::Unknown, |leaf_hash| Acknowledged::Repeated {
                leaf_hash,
            }),
        );
    }
    let leaf_hash = ack.entry.leaf_hash();
    for mut state in news {
        step.txn.put(
            &keys::said(&ack.consignment, ack.outcome, &state.part, &ack.obligation),
            leaf_hash.as_bytes(),
        )?;
        state.stage = match ack.outcome {
            AckOutcome::Received => Stage::Received,
            AckOutcome::Refused => Stage::Refused,
            AckOutcome::Taken | AckOutcome::Fulfilled => continue,
        };
        state.since = ack.at;
        if ack.outcome == AckOutcome::Refused {
            state.reason.clone_from(&ack.reason);
        }
        state.leaf_hash = Some(leaf_hash);
        put_state(step, &ack.packet, &state)?;
    }
    log_entry(step, &ack.entry)?;
    place_work(step, &ack.packet, &row, &ack.recipient)?;
    close_packet(step, &ack.packet, &mut row)?;
    Ok(Acknowledged::Settled { leaf_hash })
}

enum Said {
    Before(Digest),
    TooEarly,
    New,
}

/// Whether this part was spoken of before. The first word on a part stands, and may come after recall or
/// expiry: that it arrived is then a fact.
fn said(
    step: &Step<'_>,
    ack: &Acknowledging,
    consignment: &ConsignmentRow,
    state: &PartState,
) -> Result<Said, StoreError> {
    let key = keys::said(&ack.consignment, ack.outcome, &state.part, &ack.obligation);
    if let Some(leaf) = step.txn.get(&key)? {
        return Ok(Said::Before(id(&leaf)?));
    }
    let settled = matches!(state.stage, Stage::Received | Stage::Refused);
    Ok(match (ack.outcome, state.leaf_hash) {
        (AckOutcome::Taken, _) if state.stage == Stage::Received => Said::New,
        (AckOutcome::Fulfilled, _) if state.stage == Stage::Received && bound(ack, consignment, state) => {
            Said::New
        }
        (AckOutcome::Taken | AckOutcome::Fulfilled, _) => Said::TooEarly,
        (_, Some(leaf)) if settled => Said::Before(leaf),
        _ => Said::New,
    })
}

/// Whether a decision laid that obligation on the part (the one of this hand-over, or the newest: a part that
/// is handed over again is bound by both), or it is one that follows when the ground ends.
fn bound(ack: &Acknowledging, consignment: &ConsignmentRow, state: &PartState) -> bool {
    let place = consignment.parts.iter().position(|p| p == state.part.as_bytes());
    let then = place.and_then(|place| consignment.bound.get(place));
    [NO_FURTHER_USE, MISLABELLED].contains(&ack.obligation.as_str())
        || state.obligations.contains(&ack.obligation)
        || then.is_some_and(|then| then.obligations.contains(&ack.obligation))
}

//! How a packet ends early: recalled by its sender, or at the end of its life; and held parts that are
//! looked at again.

use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::super::delivery::{DuePacket, Expired, Expiring, Recall, Recalling};
use super::super::error::StoreError;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::PacketRow;
use super::super::kv::txn::Read;
use super::super::packet::{PartState, Stage};
use super::{
    EXPIRED, PAGE, RECALLED, agency, all_states, close_packet, id, log_entry, packet_row, place_work,
    put_state, queue_key,
};

/// Takes back what was never handed over.
pub(crate) fn recall(step: &mut Step<'_>, recalling: &Recalling) -> Result<Recall, StoreError> {
    let packet = recalling.packet;
    let Some(mut row) = step.txn.row::<PacketRow>(&keys::packet(&packet))? else {
        return Ok(Recall::Unknown);
    };
    if row.sender != recalling.sender.as_str() {
        return Ok(Recall::Unknown);
    }
    let ended = keys::ended(&packet, Event::Recalled);
    if let Some(leaf) = step.txn.get(&ended)? {
        return answer(step, &packet, &row, id(&leaf)?, true);
    }
    let leaf_hash = recalling.entry.leaf_hash();
    for mut state in all_states(&step.txn, &packet, &row)? {
        if matches!(state.stage, Stage::Pending | Stage::Held) {
            state.stage = Stage::Recalled;
            state.since = recalling.at;
            state.reason.clone_from(&recalling.reason);
            state.leaf_hash = Some(leaf_hash);
            put_state(step, &packet, &state)?;
        }
    }
    row.stage = RECALLED;
    end(step, &packet, &mut row, &ended, leaf_hash)?;
    log_entry(step, &recalling.entry)?;
    answer(step, &packet, &row, leaf_hash, false)
}

fn answer(
    step: &Step<'_>,
    packet: &PacketId,
    row: &PacketRow,
    leaf_hash: Digest,
    repeated: bool,
) -> Result<Recall, StoreError> {
    let states = all_states(&step.txn, packet, row)?;
    let disclosed = |s: &&PartState| s.possibly_disclosed;
    let in_time = |s: &&PartState| s.stage == Stage::Recalled && !s.possibly_disclosed;
    Ok(Recall::Done {
        leaf_hash,
        repeated,
        recalled: states.iter().filter(in_time).cloned().collect(),
        too_late: states.iter().filter(disclosed).cloned().collect(),
    })
}

fn end(
    step: &mut Step<'_>,
    packet: &PacketId,
    row: &mut PacketRow,
    ended: &[u8],
    leaf: Digest,
) -> Result<(), StoreError> {
    step.txn.put(ended, leaf.as_bytes())?;
    for recipient in &row.recipients {
        place_work(step, packet, row, &agency(recipient)?)?;
    }
    close_packet(step, packet, row)
}

/// Packets whose life has ended, as far as they can be read.
pub(crate) fn due(read: &impl Read, now: Timestamp, limit: usize) -> Result<Vec<DuePacket>, StoreError> {
    let mut all = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = read.records(&[keys::EXPIRY], after.as_deref(), PAGE)?;
        for (key, _) in &page {
            match due_packet(read, key, now) {
                Ok(Some(due)) if all.len() < limit => all.push(due),
                Ok(_) => return Ok(all),
                // A damaged packet stays where it is; the others end.
                Err(StoreError::Corrupt(what)) => {
                    tracing::error!(%what, "alarm: a packet is damaged and does not expire");
                }
                Err(other) => return Err(other),
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
            _ => return Ok(all),
        }
    }
}

/// The packet of a row of the expiry index, if its life has ended.
fn due_packet(read: &impl Read, key: &[u8], now: Timestamp) -> Result<Option<DuePacket>, StoreError> {
    let packet = keys::last_packet(key).ok_or(StoreError::Corrupt("the expiry index".into()))?;
    let row = packet_row(read, &packet)?;
    if row.expires_ms > now.millis() {
        return Ok(None);
    }
    Ok(Some(DuePacket {
        packet,
        case: id(&row.case)?,
        manifest_digest: id(&row.manifest_digest)?,
        sender: agency(&row.sender)?,
    }))
}

/// Expires what is open.
pub(crate) fn expire(step: &mut Step<'_>, expiring: &Expiring) -> Result<Expired, StoreError> {
    let packet = expiring.packet;
    let Some(mut row) = step.txn.row::<PacketRow>(&keys::packet(&packet))? else {
        return Ok(Expired::NothingToDo);
    };
    let ended = keys::ended(&packet, Event::Expired);
    if let Some(leaf) = step.txn.get(&ended)? {
        return Ok(Expired::Done {
            leaf_hash: id(&leaf)?,
        });
    }
    let states = all_states(&step.txn, &packet, &row)?;
    if row.expires_ms > expiring.at.millis() || states.iter().all(|s| s.stage.is_final()) {
        return Ok(Expired::NothingToDo);
    }
    let leaf_hash = expiring.entry.leaf_hash();
    for mut state in states.into_iter().filter(|s| !s.stage.is_final()) {
        state.stage = Stage::Expired;
        state.since = expiring.at;
        state.leaf_hash = Some(leaf_hash);
        put_state(step, &packet, &state)?;
    }
    row.stage = EXPIRED;
    end(step, &packet, &mut row, &ended, leaf_hash)?;
    log_entry(step, &expiring.entry)?;
    Ok(Expired::Done { leaf_hash })
}

/// Puts held work back into the queues, as far as it can be read.
pub(crate) fn reconsider(step: &mut Step<'_>, case: Option<&CaseRef>) -> Result<Vec<AgencyId>, StoreError> {
    let prefix = keys::held_prefix(case);
    let mut agencies = std::collections::BTreeSet::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = step.txn.records(&prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(agencies.into_iter().collect());
        };
        after = Some(last.clone());
        for (key, _) in page {
            match put_back(step, &key) {
                Ok(agency) => drop(agencies.insert(agency)),
                // A damaged packet stays held; the others, and the statement, must not wait for it.
                Err(StoreError::Corrupt(what)) => {
                    tracing::error!(%what, "alarm: a held packet is damaged and not decided again");
                }
                Err(other) => return Err(other),
            }
        }
    }
}

fn put_back(step: &mut Step<'_>, held: &[u8]) -> Result<AgencyId, StoreError> {
    let (packet, agency) = keys::parse_held(held).ok_or(StoreError::Corrupt("a held row".into()))?;
    let row = packet_row(&step.txn, &packet)?;
    step.txn.put(&queue_key(&packet, &row, &agency), &[])?;
    step.txn.delete(held)?;
    Ok(agency)
}

//! The verbs, written once over rows; every backend of the `kv` kind runs these.

use schakel_proto::ids::{CaseRef, Digest, IdError, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::entry::NewEntry;
use super::error::StoreError;
use super::kv::engine::Step;
use super::kv::rows::{ConcernRow, EntryRow, HandedRow, PacketRow, PartRow, StateRow};
use super::kv::txn::Read;
use super::kv::{keys, record};
use super::packet::{PartState, Stage};

pub(super) mod accept;

pub(super) mod packets;

pub(super) mod lease;

pub(super) mod hand_over;

pub(super) mod acknowledge;

pub(super) mod endings;

pub(super) mod facts;

pub(super) mod log;

pub(super) mod cosigned;

pub(super) mod shards;

pub(super) mod filed;

pub(super) mod forget;

pub(super) mod audit;

pub(super) mod oversight;

pub(super) mod halt;

pub(super) mod check;

const PAGE: usize = 256;

/// An identifier in a row.
fn id<'a, T: TryFrom<&'a [u8], Error = IdError>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    T::try_from(bytes).map_err(|_| StoreError::Corrupt("an identifier in a row".into()))
}

/// An agency in a row.
fn agency(name: &str) -> Result<AgencyId, StoreError> {
    AgencyId::new(name).map_err(|_| StoreError::Corrupt("an agency in a row".into()))
}

fn optional_digest(bytes: &[u8]) -> Result<Option<Digest>, StoreError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        id(bytes).map(Some)
    }
}

/// Commits an entry under the next number: it waits there for the tree to grow over it. The same entry again changes nothing.
fn log_entry(step: &mut Step<'_>, entry: &NewEntry) -> Result<(), StoreError> {
    let index = keys::index(&entry.leaf_hash());
    if step.txn.record(&index)?.is_some() {
        return Ok(());
    }
    let concerns = entry.concerns.iter();
    let row = EntryRow {
        leaf: entry.sealed.leaf().clone(),
        body: entry.sealed.body().clone(),
        case: entry.body.case.map(CaseRef::to_vec).unwrap_or_default(),
        shown: entry.shown.clone(),
        hidden: entry.hidden.clone(),
        attachment: entry.attachment.clone(),
        concerns: concerns
            .map(|c| ConcernRow {
                agency: c.agency.as_str().to_owned(),
                sees_hidden: c.sees_hidden,
            })
            .collect(),
    };
    let number = step.txn.number(keys::NEXT_SEQUENCE)?.unwrap_or(0);
    let key = keys::entry(number);
    if step.txn.record(&key)?.is_some() {
        return Err(StoreError::Corrupt("the order of the log".into()));
    }
    step.txn.put_row(&key, &row)?;
    step.txn.put_number(&index, number)?;
    step.txn.put_number(keys::NEXT_SEQUENCE, number + 1)?;
    step.effects.leaves = true;
    Ok(())
}

fn to_state(recipient: AgencyId, part: PartId, row: StateRow) -> Result<PartState, StoreError> {
    let stage = usize::try_from(row.stage)
        .ok()
        .and_then(|n| Stage::ALL.get(n).copied());
    Ok(PartState {
        recipient,
        part,
        stage: stage.ok_or(StoreError::Corrupt("a stage in a row".into()))?,
        reason: row.reason,
        obligations: row.obligations,
        since: Timestamp::from_millis(row.since_ms),
        possibly_disclosed: row.possibly_disclosed,
        leaf_hash: optional_digest(&row.leaf)?,
    })
}

fn put_state(step: &mut Step<'_>, packet: &PacketId, state: &PartState) -> Result<(), StoreError> {
    let stage = Stage::ALL
        .iter()
        .position(|s| *s == state.stage)
        .and_then(|n| u32::try_from(n).ok());
    let row = StateRow {
        stage: stage.ok_or(StoreError::Misused("a stage without a number"))?,
        reason: state.reason.clone(),
        obligations: state.obligations.clone(),
        since_ms: state.since.millis(),
        possibly_disclosed: state.possibly_disclosed,
        leaf: state.leaf_hash.map(Digest::to_vec).unwrap_or_default(),
    };
    step.txn
        .put_row(&keys::state(packet, &state.recipient, &state.part), &row)
}

/// States of a recipient's parts, in the order of the packet.
fn states_of(
    read: &impl Read,
    packet: &PacketId,
    row: &PacketRow,
    recipient: &AgencyId,
) -> Result<Vec<PartState>, StoreError> {
    let mut states = Vec::new();
    for part in &row.parts {
        let part: PartId = id(part)?;
        if let Some(state) = read.row::<StateRow>(&keys::state(packet, recipient, &part))? {
            states.push(to_state(recipient.clone(), part, state)?);
        }
    }
    Ok(states)
}

/// States of all parts for all recipients.
fn all_states(read: &impl Read, packet: &PacketId, row: &PacketRow) -> Result<Vec<PartState>, StoreError> {
    let mut states = Vec::new();
    for recipient in &row.recipients {
        states.extend(states_of(read, packet, row, &agency(recipient)?)?);
    }
    Ok(states)
}

/// Puts a recipient's work where its part states say: into the queue, among the held, or nowhere. Held parts
/// whose ground has changed since they were decided belong into the queue.
fn place_work(
    step: &mut Step<'_>,
    packet: &PacketId,
    row: &PacketRow,
    recipient: &AgencyId,
) -> Result<(), StoreError> {
    let states = states_of(&step.txn, packet, row, recipient)?;
    let queue = queue_key(packet, row, recipient);
    let case = id(&row.case)?;
    let held = keys::held(&case, packet, recipient);
    // What was handed over before a recall may be answered, but is not handed over again.
    let again = row.stage != RECALLED;
    if again
        && states
            .iter()
            .any(|s| matches!(s.stage, Stage::Pending | Stage::HandedOver))
    {
        step.txn.delete(&held)?;
        // One that stands there already is no news: other brokers would look for work in vain.
        return if step.txn.record(&queue)?.is_some() {
            Ok(())
        } else {
            step.txn.put(&queue, &[])
        };
    }
    step.effects.ended.push((*packet, recipient.clone()));
    let waits = states.iter().any(|s| s.stage == Stage::Held);
    let (queued, held_back) = match (waits, decided_as_is(step, packet, &case, recipient)?) {
        (true, true) => (false, true),
        (true, false) => (true, false),
        (false, _) => (false, false),
    };
    for (key, there) in [(queue, queued), (held, held_back)] {
        if there {
            step.txn.put(&key, &[])?;
        } else {
            step.txn.delete(&key)?;
        }
    }
    Ok(())
}

/// Whether the last decision was made on facts, bundle and directory as they are.
fn decided_as_is(
    step: &Step<'_>,
    packet: &PacketId,
    case: &CaseRef,
    recipient: &AgencyId,
) -> Result<bool, StoreError> {
    let Some(last) = step.txn.row::<HandedRow>(&keys::handed(packet, recipient))? else {
        return Ok(false);
    };
    let (_, count) = facts::head(&step.txn, case)?;
    let in_force = facts::in_force(&step.txn, last.bundle_version, last.directory_version)?;
    Ok(count == last.facts_count && in_force)
}

/// After a repeated verb: if the first, unconfirmed one ended the work, its lease ends now.
fn end_lease_if_done(step: &mut Step<'_>, packet: &PacketId, recipient: &AgencyId) -> Result<(), StoreError> {
    let row = packet_row(&step.txn, packet)?;
    if step.txn.record(&queue_key(packet, &row, recipient))?.is_none() {
        step.effects.ended.push((*packet, recipient.clone()));
    }
    Ok(())
}

fn queue_key(packet: &PacketId, row: &PacketRow, recipient: &AgencyId) -> Vec<u8> {
    let priority = u8::try_from(row.priority).unwrap_or(u8::MAX);
    keys::queue(
        recipient,
        priority,
        Timestamp::from_millis(row.accepted_ms),
        packet,
    )
}

const ACCEPTED: u32 = 0;
const SETTLED: u32 = 1;
const EXPIRED: u32 = 2;
const RECALLED: u32 = 3;
/// Its record went when its retention had ended: what is left tells only that it was there.
pub(super) const FORGOTTEN: u32 = 4;

/// Lets go of the ciphertext that nobody waits for, and settles a packet of which nothing is open.
fn close_packet(step: &mut Step<'_>, packet: &PacketId, row: &mut PacketRow) -> Result<(), StoreError> {
    let states = all_states(&step.txn, packet, row)?;
    for part in &row.parts {
        let part: PartId = id(part)?;
        if states
            .iter()
            .filter(|s| s.part == part)
            .all(|s| s.stage.is_final())
        {
            purge_part(step, packet, &part)?;
        }
    }
    if states.iter().all(|s| s.stage.is_final()) {
        if row.stage == ACCEPTED {
            row.stage = SETTLED;
        }
        step.txn
            .delete(&keys::expiry(Timestamp::from_millis(row.expires_ms), packet))?;
    }
    step.txn.put_row(&keys::packet(packet), row)
}

fn purge_part(step: &mut Step<'_>, packet: &PacketId, part: &PartId) -> Result<(), StoreError> {
    let key = keys::part(packet, part);
    let mut row: PartRow = step.txn.must(&key)?;
    if row.purged {
        return Ok(());
    }
    for sealing in &row.sealings {
        let profile = packets::profile(sealing.profile)?;
        if sealing.inline {
            step.txn.delete(&keys::inline(packet, part, profile))?;
        } else {
            let digest = id(&sealing.sha256)?;
            step.txn.delete(&keys::file(&digest, packet, part, profile))?;
            step.effects.lost_files.push(digest);
        }
    }
    for recipient in &row.recipients {
        step.txn
            .delete(&keys::key_packet(packet, part, &agency(recipient)?))?;
    }
    row.purged = true;
    step.txn.put_row(&key, &row)
}

/// The row of a packet that must be there.
fn packet_row(read: &impl Read, packet: &PacketId) -> Result<PacketRow, StoreError> {
    let key = keys::packet(packet);
    read.row(&key)?
        .ok_or_else(|| StoreError::Corrupt(record::place(&key).into()))
}

//! Records whose retention has ended go; leaves stay. Each page goes with the entry that says how many, in one batch, so
//! that an audit can count: more that is gone than was said to go is a finding.

use prost::Message;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, PacketId, PartId, StatementId};
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::entry::NewEntry;
use super::super::error::StoreError;
use super::super::forget::{Acts, EndedPacket, FORGOTTEN_MAX_COUNT, Forgetting, Forgot};
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::{ContactRow, EntryRow, PacketRow, ReviewRow};
use super::super::kv::txn::Read;
use super::super::oversight::Page;
use super::{
    FORGOTTEN, PAGE, agency, all_states, filed, id, log, log_entry, packet_row, purge_part, queue_key,
};

/// Rows of packets that go in one step, beyond which no entry is added to a page.
const ROWS_MAX_COUNT: usize = 8_192;

fn body(row: &EntryRow) -> Result<wire::EvidenceBody, StoreError> {
    wire::EvidenceBody::decode(&*row.body).map_err(|_| StoreError::Corrupt("a log entry".into()))
}

/// Entries of a case that go next: as many as one step takes.
pub(crate) fn of_case(read: &impl Read, case: &CaseRef) -> Result<Vec<u64>, StoreError> {
    let mut entries = Vec::new();
    let mut rows = 0;
    for (key, _) in read.records(&keys::case_file(case), None, FORGOTTEN_MAX_COUNT)? {
        let index = keys::last_number(&key).ok_or(StoreError::Corrupt("the file of a case".into()))?;
        let said = body(&log::at(read, index)?.1)?;
        if said.event == Event::SubmissionAcceptance.as_str() {
            let packet: Option<PacketRow> = read.row(&keys::packet(&id(&said.packet_id)?))?;
            // For each recipient of each part a state and a session key.
            rows += packet.map_or(0, |row| 2 * row.recipients.len() * row.parts.len());
        }
        if rows > ROWS_MAX_COUNT && !entries.is_empty() {
            break;
        }
        entries.push(index);
    }
    Ok(entries)
}

/// Packets that ended before a moment, going through all packets, `limit` rows at a time.
pub(crate) fn ended(
    read: &impl Read,
    before: Timestamp,
    after: Option<PacketId>,
    limit: usize,
) -> Result<Page<EndedPacket, PacketId>, StoreError> {
    let after = after.map(|packet| keys::packet(&packet));
    let rows = read.scan(&[keys::PACKET], after.as_deref(), limit)?;
    let damaged = || StoreError::Corrupt("a packet".into());
    let mut page = Page {
        found: Vec::new(),
        next: None,
    };
    for (key, value) in &rows {
        let packet = keys::last_packet(key).ok_or_else(damaged)?;
        let row = PacketRow::decode(value.as_slice()).map_err(|_| damaged())?;
        page.next = Some(packet).filter(|_| rows.len() == limit);
        // A packet that was accepted since is not looked into.
        if row.stage != FORGOTTEN && row.accepted_ms < before.millis() {
            match ended_packet(read, &packet, &row, before) {
                Ok(found) => page.found.extend(found),
                // A damaged packet stays where it is; the others go.
                Err(StoreError::Corrupt(what)) => {
                    tracing::error!(%what, "alarm: a packet is damaged and stays");
                }
                Err(other) => return Err(other),
            }
        }
    }
    Ok(page)
}

fn ended_packet(
    read: &impl Read,
    packet: &PacketId,
    row: &PacketRow,
    before: Timestamp,
) -> Result<Option<EndedPacket>, StoreError> {
    let states = all_states(read, packet, row)?;
    let Some(ended) = states.iter().map(|state| state.since).max() else {
        return Ok(None);
    };
    if ended >= before || states.iter().any(|state| !state.stage.is_final()) {
        return Ok(None);
    }
    let case: CaseRef = id(&row.case)?;
    let contact: Option<ContactRow> = read.row(&keys::contact(&case))?;
    let review: Option<ReviewRow> = read.row(&keys::review(&case, packet))?;
    if review.is_some() || contact.is_some_and(|last| last.packet == packet.as_bytes()) {
        return Ok(None);
    }
    let manifest: wire::Signed = read.must(&keys::manifest(packet))?;
    let manifest = ManifestFields::parse(&manifest.bytes)
        .map_err(|_| StoreError::Corrupt(format!("the manifest of {packet}").into()))?;
    Ok(Some(EndedPacket {
        packet: *packet,
        ended,
        emergency: manifest.break_glass.is_some(),
    }))
}

/// Whether an entry says what somebody tried or looked up, and nothing that a case or the network stands on.
fn is_act(event: &str) -> bool {
    let acts = [
        Event::AdminAct,
        Event::SubmissionRejection,
        Event::StatementRejected,
    ];
    acts.iter().any(|act| act.as_str() == event)
}

/// Acts before a moment, in the order of the log, from where it was gone through last; looks at `limit` entries.
pub(crate) fn acts(read: &impl Read, before: Timestamp, limit: usize) -> Result<Acts, StoreError> {
    let size = log::size(read)?;
    let from = read.number(keys::FORGOTTEN)?.unwrap_or(0);
    let mut found = Acts {
        entries: Vec::new(),
        from,
        looked_at: from,
    };
    for index in (from..size).take(limit) {
        let (_, row) = log::at(read, index)?;
        let said = body(&row)?;
        let stamp = wire::Leaf::decode(&*row.leaf).map_err(|_| StoreError::Corrupt("a leaf".into()))?;
        if stamp.at_ms >= before.millis() || found.entries.len() == FORGOTTEN_MAX_COUNT {
            break;
        }
        if is_act(&said.event) {
            found.entries.push(index);
        }
        found.looked_at = index + 1;
    }
    Ok(found)
}

/// Lets a page go. `entry` says how many; none: nothing goes.
pub(crate) fn forget(
    step: &mut Step<'_>,
    forgetting: &Forgetting,
    entry: Option<&NewEntry>,
) -> Result<Forgot, StoreError> {
    let said = entry.map_or(0, |entry| entry.body().left_out);
    if said != forgetting.count() || forgetting.count() > FORGOTTEN_MAX_COUNT as u64 {
        return Err(StoreError::Misused("an entry that says another number than goes"));
    }
    if !is_still_so(step, forgetting)? {
        return Ok(Forgot::Changed);
    }
    match forgetting {
        Forgetting::Case { case, entries } => forget_case(step, case, entries)?,
        Forgetting::Packets(packets) => {
            for packet in packets {
                forget_packet(step, packet, true)?;
            }
        }
        Forgetting::Acts(acts) => {
            for index in &acts.entries {
                forget_entry(step, *index)?;
            }
            step.txn.put_number(keys::FORGOTTEN, acts.looked_at)?;
        }
    }
    if let Some(entry) = entry {
        log_entry(step, entry)?;
    }
    Ok(Forgot::Done {
        leaf_hash: entry.map(NewEntry::leaf_hash),
    })
}

/// Looked at before anything is changed: what is to go is there, and is what it was taken for.
fn is_still_so(step: &Step<'_>, forgetting: &Forgetting) -> Result<bool, StoreError> {
    let read = &step.txn;
    let all = |entries: &[u64], holds: &dyn Fn(&EntryRow, &wire::EvidenceBody) -> bool| {
        for index in entries {
            let row = log::at(read, *index)?.1;
            if row.body.is_empty() || !holds(&row, &body(&row)?) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match forgetting {
        Forgetting::Case { case, entries } => all(entries, &|row, _| row.case == case.as_bytes()),
        Forgetting::Acts(acts) => {
            let from = read.number(keys::FORGOTTEN)?.unwrap_or(0);
            Ok(acts.from == from && all(&acts.entries, &|_, said| is_act(&said.event))?)
        }
        Forgetting::Packets(packets) => {
            for packet in packets {
                let row: Option<PacketRow> = read.row(&keys::packet(packet))?;
                let Some(row) = row.filter(|row| row.stage != FORGOTTEN) else {
                    return Ok(false);
                };
                match ended_packet(read, packet, &row, Timestamp::from_millis(i64::MAX)) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(StoreError::Corrupt(_)) => return Ok(false),
                    Err(other) => return Err(other),
                }
            }
            Ok(true)
        }
    }
}

fn forget_case(step: &mut Step<'_>, case: &CaseRef, entries: &[u64]) -> Result<(), StoreError> {
    step.txn.put(&keys::leaving(case.as_bytes()), &[])?;
    forget_all(step, &keys::fact_prefix(case))?;
    step.txn.delete(&keys::case(case))?;
    step.txn.delete(&keys::contact(case))?;
    for index in entries {
        forget_entry(step, *index)?;
    }
    if step.txn.records(&keys::case_file(case), None, 1)?.is_empty() {
        step.txn.delete(&keys::leaving(case.as_bytes()))?;
    }
    Ok(())
}

/// All rows under a prefix.
fn forget_all(step: &mut Step<'_>, prefix: &[u8]) -> Result<(), StoreError> {
    loop {
        let rows = step.txn.records(prefix, None, PAGE)?;
        for (key, _) in &rows {
            step.txn.erase(key)?;
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// What an entry said goes, with what is on record because of it; its leaf stays where it stands.
fn forget_entry(step: &mut Step<'_>, index: u64) -> Result<(), StoreError> {
    let (leaf, row) = log::at(&step.txn, index)?;
    let said = body(&row)?;
    match Event::parse(&said.event) {
        Some(Event::SubmissionAcceptance) => forget_packet(step, &id(&said.packet_id)?, false)?,
        Some(Event::ContentConsignment) => {
            step.txn.erase(&keys::consignment(&leaf))?;
            forget_all(step, &keys::said_prefix(&leaf))?;
        }
        Some(Event::StatementAccepted) => {
            // One that does not decode is on record under no id.
            if let Some(statement) = stated(&row) {
                step.txn.erase(&keys::statement(&statement))?;
            }
        }
        _ => {}
    }
    for concern in &row.concerns {
        let key = keys::concern(&agency(&concern.agency)?, index);
        step.txn.delete(&key)?;
    }
    for place in filed::places(&row, index)? {
        step.txn.delete(&place)?;
    }
    let key = keys::entry(index);
    step.txn.erase(&key)?;
    let kept = EntryRow {
        leaf: row.leaf,
        ..EntryRow::default()
    };
    step.txn.put_row(&key, &kept)
}

fn stated(row: &EntryRow) -> Option<StatementId> {
    let signed = row.attachment.as_ref()?;
    let statement = wire::Statement::decode(&*signed.bytes).ok()?;
    id(&statement.statement_id).ok()
}

/// Everything about a packet but its entries; with a trace of it, so that it is known if it comes again.
fn forget_packet(step: &mut Step<'_>, packet: &PacketId, trace: bool) -> Result<(), StoreError> {
    if step.txn.record(&keys::packet(packet))?.is_none() {
        return Ok(());
    }
    let row = packet_row(&step.txn, packet)?;
    if row.stage == FORGOTTEN {
        return if trace {
            Ok(())
        } else {
            step.txn.delete(&keys::packet(packet))
        };
    }
    let case: CaseRef = id(&row.case)?;
    for part in &row.parts {
        let part: PartId = id(part)?;
        purge_part(step, packet, &part)?;
        step.txn.erase(&keys::part(packet, &part))?;
    }
    for name in &row.recipients {
        let recipient = agency(name)?;
        for part in &row.parts {
            step.txn.erase(&keys::state(packet, &recipient, &id(part)?))?;
        }
        step.txn.erase(&keys::recipient(packet, &recipient))?;
        step.txn.erase(&keys::handed(packet, &recipient))?;
        step.txn.delete(&keys::held(&case, packet, &recipient))?;
        step.txn.delete(&queue_key(packet, &row, &recipient))?;
        step.effects.ended.push((*packet, recipient));
    }
    for event in [Event::Recalled, Event::Expired] {
        step.txn.delete(&keys::ended(packet, event))?;
    }
    let expires = Timestamp::from_millis(row.expires_ms);
    step.txn.delete(&keys::expiry(expires, packet))?;
    step.txn.delete(&keys::review(&case, packet))?;
    step.txn.erase(&keys::manifest(packet))?;
    step.txn.erase(&keys::packet(packet))?;
    if !trace {
        return Ok(());
    }
    let kept = PacketRow {
        manifest_digest: row.manifest_digest,
        accepted_ms: row.accepted_ms,
        leaf: row.leaf,
        stage: FORGOTTEN,
        ..PacketRow::default()
    };
    step.txn.put_row(&keys::packet(packet), &kept)
}

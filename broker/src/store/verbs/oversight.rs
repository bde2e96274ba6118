//! Rows for the operator and its monitors.

use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::time::Timestamp;

use super::super::content::StoredContent;
use super::super::entry::LoggedEntry;
use super::super::error::StoreError;
use super::super::facts::{Ceiling, CeilingOf};
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::{ContactRow, KeptRow, PacketRow, ReviewRow};
use super::super::kv::txn::Read;
use super::super::oversight::{Contact, KEPT_MAX_COUNT, LastContact, OpenDelivery, OpenReview, Page};
use super::super::packet::Acceptance;
use super::{id, log};

/// Keeps what is in force, beside what was. A long one lies in a file beside the map, as parts do: values of
/// its size would take the map's pages to where it never syncs.
pub(crate) fn keep(
    step: &mut Step<'_>,
    of: CeilingOf,
    ceiling: Ceiling,
    signed: &StoredContent,
) -> Result<(), StoreError> {
    let key = keys::kept(of, ceiling.version);
    if step.txn.record(&key)?.is_some() {
        return Ok(());
    }
    let row = KeptRow {
        digest: ceiling.digest.to_vec(),
        sha256: signed.digest().to_vec(),
        length: signed.length(),
        inline: signed.inline().map(|bytes| bytes.to_vec()).unwrap_or_default(),
    };
    step.txn.put_row(&key, &row)?;
    if signed.inline().is_none() {
        step.txn
            .put(&keys::kept_file(&signed.digest(), of, ceiling.version), &[])?;
        step.effects.keep.push(signed.clone());
    }
    let all = step
        .txn
        .records(&keys::kept_prefix(of), None, KEPT_MAX_COUNT + 1)?;
    match all.first() {
        Some((oldest, _)) if all.len() > KEPT_MAX_COUNT => forget(step, of, oldest),
        _ => Ok(()),
    }
}

fn forget(step: &mut Step<'_>, of: CeilingOf, oldest: &[u8]) -> Result<(), StoreError> {
    let row: KeptRow = step.txn.must(oldest)?;
    let version = keys::last_number(oldest).ok_or_else(|| damaged("a kept version"))?;
    if row.inline.is_empty() {
        let file = id(&row.sha256)?;
        step.txn.delete(&keys::kept_file(&file, of, version))?;
        step.effects.lost_files.push(file);
    }
    step.txn.delete(oldest)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.into())
}

/// What was in force under this version: its own digest, and where its bytes lie.
pub(crate) fn kept(read: &impl Read, of: CeilingOf, version: u64) -> Result<Option<KeptRow>, StoreError> {
    read.row(&keys::kept(of, version))
}

/// Entries in the tree, with everything that opens them.
pub(crate) fn records(read: &impl Read, from: u64, limit: usize) -> Result<Vec<LoggedEntry>, StoreError> {
    let Some(checkpoint) = log::latest_checkpoint(read)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for index in (from..checkpoint.size).take(limit) {
        all.push(log::whole(read, index, &checkpoint)?);
    }
    Ok(all)
}

/// Packets of a case, by going through all.
pub(crate) fn packets_of(
    read: &impl Read,
    case: &CaseRef,
    after: Option<PacketId>,
    limit: usize,
) -> Result<Page<PacketId, PacketId>, StoreError> {
    let after = after.map(|packet| keys::packet(&packet));
    let rows = read.scan(&[keys::PACKET], after.as_deref(), limit)?;
    let damaged = || StoreError::Corrupt("a packet".into());
    let mut page = Page {
        found: Vec::new(),
        next: None,
    };
    for (key, value) in &rows {
        let packet = keys::last_packet(key).ok_or_else(damaged)?;
        let row: PacketRow = prost::Message::decode(value.as_slice()).map_err(|_| damaged())?;
        if row.case == case.as_bytes() {
            page.found.push(packet);
        }
        page.next = Some(packet).filter(|_| rows.len() == limit);
    }
    Ok(page)
}

/// Work in all queues whose packet was accepted before a moment.
pub(crate) fn deliveries(
    read: &impl Read,
    before: Timestamp,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<OpenDelivery, Vec<u8>>, StoreError> {
    let rows = read.records(&[keys::QUEUE], after, limit)?;
    let mut found = Vec::new();
    for (key, _) in &rows {
        let parsed = (
            keys::queue_agency(key),
            keys::last_packet(key),
            keys::queue_accepted(key),
        );
        let (Some(recipient), Some(packet), Some(accepted)) = parsed else {
            return Err(StoreError::Corrupt("a row of a queue".into()));
        };
        if accepted < before {
            found.push(OpenDelivery { recipient, packet });
        }
    }
    let last = rows.last().map(|(key, _)| key.clone());
    Ok(Page {
        found,
        next: last.filter(|_| rows.len() == limit),
    })
}

/// Notes what a new packet is to the follow-up of its case, and that it is to be reviewed.
pub(crate) fn accepted(step: &mut Step<'_>, acceptance: &Acceptance) -> Result<(), StoreError> {
    let key = keys::contact(&acceptance.case);
    let before: Option<ContactRow> = step.txn.row(&key)?;
    let asks = acceptance.follow_up.contact == Contact::Asks;
    if asks || (before.is_some() && acceptance.follow_up.contact == Contact::Follows) {
        let row = ContactRow {
            packet: acceptance.packet.to_vec(),
            at_ms: acceptance.accepted_at.millis(),
        };
        step.txn.put_row(&key, &row)?;
    }
    let Some(due) = acceptance.follow_up.review_by else {
        return Ok(());
    };
    let row = ReviewRow {
        since_ms: acceptance.accepted_at.millis(),
        due_ms: due.millis(),
    };
    step.txn
        .put_row(&keys::review(&acceptance.case, &acceptance.packet), &row)
}

/// The last contacts, of cases in which somebody must keep in contact.
pub(crate) fn contacts(
    read: &impl Read,
    after: Option<CaseRef>,
    limit: usize,
) -> Result<Page<LastContact, CaseRef>, StoreError> {
    let after = after.map(|case| keys::contact(&case));
    let rows = read.scan(&[keys::CONTACT], after.as_deref(), limit)?;
    let mut found: Vec<LastContact> = Vec::with_capacity(rows.len());
    for (key, value) in &rows {
        let damaged = || StoreError::Corrupt("a last contact".into());
        let row: ContactRow = prost::Message::decode(value.as_slice()).map_err(|_| damaged())?;
        found.push(LastContact {
            case: id(key.get(1..).ok_or_else(damaged)?)?,
            packet: id(&row.packet)?,
            at: Timestamp::from_millis(row.at_ms),
        });
    }
    let next = found.last().map(|last| last.case);
    Ok(Page {
        next: next.filter(|_| rows.len() == limit),
        found,
    })
}

/// Emergency deliveries that nobody has reviewed.
pub(crate) fn reviews(
    read: &impl Read,
    after: Option<(CaseRef, PacketId)>,
    limit: usize,
) -> Result<Page<OpenReview, (CaseRef, PacketId)>, StoreError> {
    let after = after.map(|(case, packet)| keys::review(&case, &packet));
    let rows = read.scan(&[keys::REVIEW], after.as_deref(), limit)?;
    let mut found: Vec<OpenReview> = Vec::with_capacity(rows.len());
    for (key, value) in &rows {
        let damaged = || StoreError::Corrupt("an open review".into());
        let row: ReviewRow = prost::Message::decode(value.as_slice()).map_err(|_| damaged())?;
        found.push(OpenReview {
            case: id(key.get(1..17).ok_or_else(damaged)?)?,
            packet: keys::last_packet(key).ok_or_else(damaged)?,
            since: Timestamp::from_millis(row.since_ms),
            due: Timestamp::from_millis(row.due_ms),
        });
    }
    let next = found.last().map(|last| (last.case, last.packet));
    Ok(Page {
        next: next.filter(|_| rows.len() == limit),
        found,
    })
}

/// A review was accepted: nobody waits for it any more.
pub(crate) fn reviewed(step: &mut Step<'_>, case: &CaseRef, packet: &PacketId) -> Result<(), StoreError> {
    step.txn.delete(&keys::review(case, packet))
}

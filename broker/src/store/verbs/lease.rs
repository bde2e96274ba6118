//! Leg 2 begins: waiting packets are leased out.

use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::WAITING_MAX_COUNT;
use super::super::delivery::{Lease, LeaseRequest, Waiting};
use super::super::error::StoreError;
use super::super::kv::keys;
use super::super::kv::leases::Leases;
use super::super::kv::rows::PacketRow;
use super::super::kv::txn::Read;
use super::{PAGE, packet_row, packets, states_of};

/// Leases packets of a queue, in its order, one per token.
pub(crate) fn lease(
    read: &impl Read,
    leases: &Leases,
    request: &LeaseRequest,
) -> Result<Vec<Lease>, StoreError> {
    let prefix = keys::queue_prefix(&request.recipient);
    let until = request.now.plus_millis(request.lease_millis);
    let mut tokens = request.tokens.iter().copied();
    let mut token = tokens.next();
    let mut leased = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    while token.is_some() {
        let page = read.records(&prefix, after.as_deref(), PAGE)?;
        for (key, _) in &page {
            let Some(next) = token else { break };
            let Some(packet) = keys::last_packet(key) else {
                tracing::error!("alarm: a row of a queue is damaged");
                continue;
            };
            let work = (packet, request.recipient.clone());
            if leases.is_aside(&work, request.now) {
                continue;
            }
            match take(read, leases, request, packet, next, until) {
                Ok(Some(lease)) => {
                    leased.push(lease);
                    token = tokens.next();
                }
                Ok(None) => {}
                // A damaged packet stays where it is and is looked at again; the others have its turn.
                Err(StoreError::Corrupt(what)) => {
                    tracing::error!(%packet, %what, "alarm: a waiting packet is damaged and not handed over");
                    leases.set_aside(work, next, until);
                }
                Err(other) => return Err(other),
            }
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
            _ => break,
        }
    }
    Ok(leased)
}

fn take(
    read: &impl Read,
    leases: &Leases,
    request: &LeaseRequest,
    packet: PacketId,
    token: DeliveryId,
    until: Timestamp,
) -> Result<Option<Lease>, StoreError> {
    let recipient = &request.recipient;
    let row = packet_row(read, &packet)?;
    if row.expires_ms <= request.now.millis() {
        return Ok(None);
    }
    let work = (packet, recipient.clone());
    let Some(attempt) = leases.take(&work, token, request.now, until) else {
        return Ok(None);
    };
    Ok(Some(Lease {
        token,
        recipient: recipient.clone(),
        packet: packets::load(read, &packet, &row)?,
        opening: read.must(&keys::recipient(&packet, recipient))?,
        parts: states_of(read, &packet, &row, recipient)?,
        key_packets: key_packets(read, &packet, &row, recipient)?,
        attempt,
        until,
    }))
}

fn key_packets(
    read: &impl Read,
    packet: &PacketId,
    row: &PacketRow,
    recipient: &AgencyId,
) -> Result<Vec<wire::KeyPacket>, StoreError> {
    let mut all = Vec::new();
    for part in &row.parts {
        let part_id = bytes::Bytes::copy_from_slice(part);
        if let Some(bytes) = read.get(&keys::key_packet(packet, &super::id(part)?, recipient))? {
            let recipient = recipient.as_str().to_owned();
            all.push(wire::KeyPacket {
                part_id,
                recipient,
                packet: bytes.into(),
            });
        }
    }
    Ok(all)
}

/// What waits for a recipient.
pub(crate) fn waiting(read: &impl Read, recipient: &AgencyId) -> Result<Waiting, StoreError> {
    let limit = usize::try_from(WAITING_MAX_COUNT).unwrap_or(usize::MAX);
    let rows = read.records(&keys::queue_prefix(recipient), None, limit)?;
    let oldest = rows.iter().filter_map(|(key, _)| keys::queue_accepted(key)).min();
    Ok(Waiting {
        packets: u64::try_from(rows.len()).unwrap_or(WAITING_MAX_COUNT),
        oldest,
    })
}

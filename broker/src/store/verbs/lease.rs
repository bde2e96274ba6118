//! Leg 2 begins: waiting packets are leased out.

use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::WAITING_MAX_COUNT;
use super::super::delivery::{Lease, LeaseRequest, Waiting};
use super::super::error::StoreError;
use super::super::kv::keys;
use super::super::kv::leases::{Claim, Claimed, LeaseTable};
use super::super::kv::rows::PacketRow;
use super::super::kv::txn::Read;
use super::{packet_row, packets, states_of};

/// Tokens that are still free, and the place in the queue that was come to.
pub(crate) type Rest = (Vec<DeliveryId>, Option<Vec<u8>>);

/// Leases packets of a queue, in its order, one per token. What cannot be given out leaves its token to others: then there
/// is a rest, to be claimed with in a new read.
pub(crate) fn lease(
    read: &impl Read,
    leases: &dyn LeaseTable,
    request: &LeaseRequest,
    (tokens, after): &Rest,
) -> Result<(Vec<Lease>, Option<Rest>), StoreError> {
    let prefix = keys::queue_prefix(&request.recipient);
    let until = request.now.plus_millis(request.lease_millis);
    let claim = Claim {
        prefix: &prefix,
        after: after.as_deref(),
        recipient: &request.recipient,
        tokens,
        now: request.now,
        until,
    };
    let claimed = leases.claim(read, &claim)?;
    let all = claimed.len() == tokens.len();
    let last = claimed.last().map(|one| one.key.clone());
    let (mut leased, mut free, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for one in claimed {
        match load(read, request, &one, until) {
            Ok(Some(lease)) => leased.push(lease),
            Ok(None) => over.push(one.token),
            // A damaged packet stays where it is and is looked at again; the others have its turn.
            Err(StoreError::Corrupt(what)) => {
                tracing::error!(packet = %one.packet, %what, "alarm: a waiting packet is damaged and not handed over");
                leases.set_aside((one.packet, request.recipient.clone()), one.token, until)?;
                free.push(one.token);
            }
            Err(other) => return Err(other),
        }
    }
    leases.give_back(&over)?;
    free.append(&mut over);
    let more = all && !free.is_empty();
    Ok((leased, more.then_some((free, last))))
}

/// What was leased; `None`: its life has ended.
fn load(
    read: &impl Read,
    request: &LeaseRequest,
    claimed: &Claimed,
    until: Timestamp,
) -> Result<Option<Lease>, StoreError> {
    let (packet, recipient) = (claimed.packet, &request.recipient);
    let row = packet_row(read, &packet)?;
    if row.expires_ms <= request.now.millis() {
        return Ok(None);
    }
    Ok(Some(Lease {
        token: claimed.token,
        recipient: recipient.clone(),
        packet: packets::load(read, &packet, &row)?,
        opening: read.must(&keys::recipient(&packet, recipient))?,
        parts: states_of(read, &packet, &row, recipient)?,
        key_packets: key_packets(read, &packet, &row, recipient)?,
        attempt: claimed.attempt,
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

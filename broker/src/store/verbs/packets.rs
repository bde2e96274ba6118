//! Reading packets, outcomes and content.

use bytes::Bytes;
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::error::StoreError;
use super::super::kv::keys;
use super::super::kv::rows::{PacketRow, PartRow};
use super::super::kv::txn::Read;
use super::super::packet::{NewRecipient, Outcome, PacketStage, StoredPacket, StoredPart, StoredSealing};
use super::{EXPIRED, FORGOTTEN, RECALLED, SETTLED, agency, all_states, id};

/// A profile in a row.
pub(crate) fn profile(number: i32) -> Result<wire::Profile, StoreError> {
    wire::Profile::try_from(number).map_err(|_| StoreError::Corrupt("a profile in a row".into()))
}

/// A stored packet.
pub(crate) fn packet(read: &impl Read, packet: &PacketId) -> Result<Option<StoredPacket>, StoreError> {
    match read.row::<PacketRow>(&keys::packet(packet))? {
        Some(row) if row.stage != FORGOTTEN => load(read, packet, &row).map(Some),
        _ => Ok(None),
    }
}

/// The packet of a row.
pub(crate) fn load(read: &impl Read, packet: &PacketId, row: &PacketRow) -> Result<StoredPacket, StoreError> {
    let mut wanted = vec![keys::manifest(packet)];
    for name in &row.recipients {
        wanted.push(keys::recipient(packet, &agency(name)?));
    }
    for part in &row.parts {
        wanted.push(keys::part(packet, &id(part)?));
    }
    read.ahead(&wanted)?;
    let mut recipients = Vec::new();
    for name in &row.recipients {
        let agency = agency(name)?;
        let opening = read.must(&keys::recipient(packet, &agency))?;
        recipients.push(NewRecipient { agency, opening });
    }
    let mut parts = Vec::new();
    for part in &row.parts {
        let part: PartId = id(part)?;
        parts.push(load_part(part, read.must(&keys::part(packet, &part))?)?);
    }
    Ok(StoredPacket {
        packet: *packet,
        manifest_digest: id(&row.manifest_digest)?,
        case: id(&row.case)?,
        sender: agency(&row.sender)?,
        manifest: read.must(&keys::manifest(packet))?,
        accepted_at: Timestamp::from_millis(row.accepted_ms),
        expires: Timestamp::from_millis(row.expires_ms),
        leaf_hash: id(&row.leaf)?,
        recipients,
        parts,
    })
}

fn load_part(part: PartId, row: PartRow) -> Result<StoredPart, StoreError> {
    let mut sealings = Vec::new();
    for sealing in &row.sealings {
        let (profile, sha256) = (profile(sealing.profile)?, id(&sealing.sha256)?);
        sealings.push(StoredSealing {
            profile,
            length: sealing.length,
            sha256,
        });
    }
    Ok(StoredPart {
        part,
        opening: row.opening.unwrap_or_default(),
        recipients: row
            .recipients
            .iter()
            .map(|r| agency(r))
            .collect::<Result<_, _>>()?,
        sealings,
        purged: row.purged,
    })
}

/// What became of a packet.
pub(crate) fn outcome(read: &impl Read, packet: &PacketId) -> Result<Option<Outcome>, StoreError> {
    let row = read.row::<PacketRow>(&keys::packet(packet))?;
    let Some(row) = row.filter(|row| row.stage != FORGOTTEN) else {
        return Ok(None);
    };
    let stage = match row.stage {
        SETTLED => PacketStage::Settled,
        EXPIRED => PacketStage::Expired,
        RECALLED => PacketStage::Recalled,
        _ => PacketStage::Accepted,
    };
    let parts = all_states(read, packet, &row)?;
    Ok(Some(Outcome {
        packet: *packet,
        case: id(&row.case)?,
        sender: agency(&row.sender)?,
        stage,
        parts,
    }))
}

/// Where the bytes of a sealing are.
pub(crate) enum Place {
    /// In the store itself.
    Inline(Bytes, Digest),
    /// In a part file.
    File(Digest, u64),
}

/// Finds the bytes of a sealing.
pub(crate) fn content(
    read: &impl Read,
    packet: &PacketId,
    part: &PartId,
    profile: wire::Profile,
) -> Result<Place, StoreError> {
    let missing = || StoreError::Missing("content");
    let row: PartRow = read.row(&keys::part(packet, part))?.ok_or_else(missing)?;
    let sealing = row
        .sealings
        .iter()
        .find(|s| s.profile == i32::from(profile))
        .ok_or_else(missing)?;
    if row.purged {
        return Err(missing());
    }
    let digest: Digest = id(&sealing.sha256)?;
    if !sealing.inline {
        return Ok(Place::File(digest, sealing.length));
    }
    let key = keys::inline(packet, part, profile);
    let bytes = read
        .get(&key)?
        .ok_or_else(|| StoreError::Corrupt("content in the store".into()))?;
    Ok(Place::Inline(Bytes::from(bytes), digest))
}

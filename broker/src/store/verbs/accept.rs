//! Leg 1: a packet becomes durable.

use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::time::Timestamp;

use super::super::error::StoreError;
use super::super::kv::engine::Step;
use super::super::kv::keys;
use super::super::kv::rows::{PacketRow, PartRow, SealingRow};
use super::super::kv::txn::Read;
use super::super::packet::{
    Acceptance, Accepted, AcceptedPacket, Known, NewPart, NewSealing, PartState, Stage,
};
use super::{ACCEPTED, close_packet, id, log_entry, oversight, place_work, put_state};

/// Whether a packet id was seen before.
pub(crate) fn known(read: &impl Read, packet: &PacketId, digest: &Digest) -> Result<Known, StoreError> {
    let Some(row) = read.row::<PacketRow>(&keys::packet(packet))? else {
        return Ok(Known::No);
    };
    if row.manifest_digest != digest.as_bytes() {
        return Ok(Known::Other);
    }
    let accepted_at = Timestamp::from_millis(row.accepted_ms);
    Ok(Known::Same(AcceptedPacket {
        packet: *packet,
        leaf_hash: id(&row.leaf)?,
        accepted_at,
    }))
}

/// Commits a packet.
pub(crate) fn accept(step: &mut Step<'_>, acceptance: Acceptance) -> Result<Accepted, StoreError> {
    let packet = acceptance.packet;
    step.txn.ahead(&[
        keys::packet(&packet),
        keys::index(&acceptance.entry.leaf_hash()),
        keys::NEXT_SEQUENCE.to_vec(),
    ])?;
    match known(&step.txn, &packet, &acceptance.manifest_digest)? {
        Known::Same(answer) => return Ok(Accepted::Repeated(answer)),
        Known::Other => return Ok(Accepted::ConflictingDigest),
        Known::No => {}
    }
    check(&acceptance)?;
    let mut row = PacketRow {
        manifest_digest: acceptance.manifest_digest.to_vec(),
        case: CaseRef::to_vec(acceptance.case),
        sender: acceptance.sender.as_str().to_owned(),
        accepted_ms: acceptance.accepted_at.millis(),
        expires_ms: acceptance.expires.millis(),
        priority: u32::from(acceptance.priority),
        leaf: acceptance.entry.leaf_hash().to_vec(),
        stage: ACCEPTED,
        recipients: acceptance
            .recipients
            .iter()
            .map(|r| r.agency.as_str().to_owned())
            .collect(),
        parts: acceptance.parts.iter().map(|p| PartId::to_vec(p.part)).collect(),
    };
    step.txn.put_row(&keys::packet(&packet), &row)?;
    step.txn.put_row(&keys::manifest(&packet), &acceptance.manifest)?;
    for recipient in &acceptance.recipients {
        step.txn
            .put_row(&keys::recipient(&packet, &recipient.agency), &recipient.opening)?;
    }
    for part in &acceptance.parts {
        put_part(step, &packet, part, acceptance.accepted_at)?;
    }
    for key in &acceptance.key_packets {
        let agency = super::agency(&key.recipient)?;
        step.txn.put(
            &keys::key_packet(&packet, &id(&key.part_id)?, &agency),
            &key.packet,
        )?;
    }
    for recipient in &acceptance.recipients {
        place_work(step, &packet, &row, &recipient.agency)?;
    }
    step.txn.put(&keys::expiry(acceptance.expires, &packet), &[])?;
    oversight::accepted(step, &acceptance)?;
    log_entry(step, &acceptance.entry)?;
    close_packet(step, &packet, &mut row)?;
    let leaf_hash = acceptance.entry.leaf_hash();
    Ok(Accepted::New(AcceptedPacket {
        packet,
        leaf_hash,
        accepted_at: acceptance.accepted_at,
    }))
}

/// What `verify` has made sure of already: a violation is a defect of the broker.
fn check(acceptance: &Acceptance) -> Result<(), StoreError> {
    let misused = |what| Err(StoreError::Misused(what));
    if acceptance.entry.body().packet != Some(acceptance.packet) {
        return misused("an acceptance whose entry is about another packet");
    }
    if Digest::of(&acceptance.manifest.bytes) != acceptance.manifest_digest {
        return misused("an acceptance with another digest than its manifest's");
    }
    let agencies: std::collections::BTreeSet<_> =
        acceptance.recipients.iter().map(|r| r.agency.as_str()).collect();
    let parts: std::collections::BTreeSet<_> = acceptance.parts.iter().map(|p| p.part).collect();
    if agencies.len() != acceptance.recipients.len() || parts.len() != acceptance.parts.len() {
        return misused("an acceptance with the same recipient or part twice");
    }
    let sealed_to = |agency: &str, part: &PartId| {
        let mut parts = acceptance.parts.iter().filter(|p| p.part == *part);
        agencies.contains(agency) && parts.any(|p| p.recipients.iter().any(|r| r.as_str() == agency))
    };
    for part in &acceptance.parts {
        if part.recipients.iter().any(|r| !agencies.contains(r.as_str())) {
            return misused("an acceptance with a part for no recipient of the packet");
        }
        let profiles: std::collections::BTreeSet<_> = part.sealings.iter().map(|s| s.profile).collect();
        if profiles.len() != part.sealings.len() {
            return misused("an acceptance with two sealings of one profile");
        }
    }
    for key in &acceptance.key_packets {
        if !sealed_to(&key.recipient, &id(&key.part_id)?) {
            return misused("an acceptance with a key packet for no recipient of the part");
        }
    }
    Ok(())
}

fn put_part(step: &mut Step<'_>, packet: &PacketId, part: &NewPart, at: Timestamp) -> Result<(), StoreError> {
    let sealing = |s: &NewSealing| SealingRow {
        profile: s.profile.into(),
        length: s.content.length(),
        sha256: s.content.digest().to_vec(),
        inline: s.content.inline().is_some(),
    };
    let row = PartRow {
        opening: Some(part.opening.clone()),
        recipients: part.recipients.iter().map(|r| r.as_str().to_owned()).collect(),
        sealings: part.sealings.iter().map(sealing).collect(),
        purged: false,
    };
    step.txn.put_row(&keys::part(packet, &part.part), &row)?;
    for sealing in &part.sealings {
        match sealing.content.inline() {
            Some(bytes) => step
                .txn
                .put(&keys::inline(packet, &part.part, sealing.profile), bytes)?,
            None => {
                let key = keys::file(&sealing.content.digest(), packet, &part.part, sealing.profile);
                step.txn.put(&key, &[])?;
                step.effects.keep.push(sealing.content.clone());
            }
        }
    }
    for recipient in &part.recipients {
        let state = PartState {
            recipient: recipient.clone(),
            part: part.part,
            stage: Stage::Pending,
            reason: String::new(),
            obligations: Vec::new(),
            since: at,
            possibly_disclosed: false,
            leaf_hash: None,
        };
        put_state(step, packet, &state)?;
    }
    Ok(())
}

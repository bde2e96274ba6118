//! Acknowledge: the recipient's agent has stored and checked what it was handed, or refuses it, and has
//! signed that. It becomes a leaf; ciphertext that nobody waits for any more goes.

use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::limits;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::log::entry::EntryDraft;
use crate::redact::safe;
use crate::roles::Caller;
use crate::signed::{Authentic, malformed, reason};
use crate::state::State;
use crate::store::{AckOutcome, Acknowledged, Acknowledging, StoredPacket};

/// An acknowledgement signed by the recipient that the connection belongs to.
pub struct VerifiedAcknowledgement {
    signed: Authentic<wire::Acknowledgement>,
    packet: PacketId,
    manifest_digest: Digest,
    consignment: Digest,
    outcome: AckOutcome,
    reason: String,
    obligation: String,
    parts: Vec<PartId>,
}

type Message = wire::Acknowledgement;

/// Parses and verifies.
///
/// # Errors
/// Malformed, not the caller's, or not signed by a current key.
pub fn verify(
    state: &State,
    caller: &Caller,
    signed: wire::Signed,
) -> Result<VerifiedAcknowledgement, Refusal> {
    let signed = Authentic::<Message>::check(state, caller, signed)?;
    let said = signed.message();
    let packet =
        PacketId::try_from(said.packet_id.as_ref()).map_err(|_| malformed::<Message>("names no packet"))?;
    let digest = |bytes: &[u8], what| Digest::try_from(bytes).map_err(|_| malformed::<Message>(what));
    let manifest_digest = digest(&said.manifest_digest, "names no manifest")?;
    let consignment = digest(&said.consignment_leaf, "names no consignment")?;
    let outcome =
        AckOutcome::parse(&said.outcome).ok_or_else(|| malformed::<Message>("has an unknown outcome"))?;
    if said.part_ids.is_empty() || said.part_ids.len() > limits::PARTS_MAX_COUNT {
        return Err(malformed::<Message>("names no parts, or too many"));
    }
    let parts = said.part_ids.iter().map(|id| PartId::try_from(id.as_ref()));
    let parts: Vec<PartId> = parts
        .collect::<Result<_, _>>()
        .map_err(|_| malformed::<Message>("names no part"))?;
    let reason = reason::<Message>(&said.reason)?;
    if (outcome == AckOutcome::Refused) == reason.is_empty() {
        return Err(malformed::<Message>(
            "must have a reason if it refuses, and only then",
        ));
    }
    let obligation = obligation(said, outcome)?;
    Ok(VerifiedAcknowledgement {
        packet,
        manifest_digest,
        consignment,
        outcome,
        reason,
        obligation,
        parts,
        signed,
    })
}

/// The obligation that was carried out and when, if it says that: a code with or without a value, safe for
/// logs and other parties' screens.
fn obligation(said: &Message, outcome: AckOutcome) -> Result<String, Refusal> {
    let fulfilled = outcome == AckOutcome::Fulfilled;
    let later = fulfilled || outcome == AckOutcome::Taken;
    let plain = said.obligation.len() <= evidence::OBLIGATION_MAX_BYTES
        && said.obligation.bytes().all(|byte| byte.is_ascii_graphic());
    if fulfilled == said.obligation.is_empty() || !plain {
        return Err(malformed::<Message>(
            "must name an obligation if it was carried out, and only then",
        ));
    }
    let when = if later { 1..=said.made_ms } else { 0..=0 };
    if when.contains(&said.done_ms) {
        Ok(said.obligation.clone())
    } else {
        Err(malformed::<Message>(
            "says that it was done at another time than it can be",
        ))
    }
}

/// Commits it; the answer to the recipient.
///
/// # Errors
/// There is no such consignment, or the store could not commit or confirm.
pub async fn settle(
    state: &State,
    caller: &Caller,
    acknowledgement: VerifiedAcknowledgement,
) -> Result<wire::Settled, Refusal> {
    let packet = acknowledgement.packet;
    let acknowledgement_digest = Digest::of(&acknowledgement.signed.signed().bytes);
    let digest = acknowledgement.manifest_digest;
    let stored = state.store.packet(packet).await?;
    let stored = stored.filter(|stored| stored.manifest_digest == digest);
    let stored = stored.ok_or_else(unknown)?;
    let at = state.clock.now();
    let entry = state.entry(draft(&acknowledgement, caller, &stored, at)).await?;
    let outcome = acknowledgement.outcome;
    let acknowledging = Acknowledging {
        packet,
        recipient: caller.agency().clone(),
        consignment: acknowledgement.consignment,
        outcome,
        reason: acknowledgement.reason,
        obligation: acknowledgement.obligation,
        parts: acknowledgement.parts,
        entry,
        at,
    };
    let leaf_hash = match state.store.acknowledge(acknowledging).await? {
        Acknowledged::Settled { leaf_hash } => {
            tracing::info!(
                packet = safe(packet),
                recipient = safe(caller.agency()),
                outcome = outcome.as_str(),
                "acknowledged"
            );
            leaf_hash
        }
        Acknowledged::Repeated { leaf_hash } => leaf_hash,
        Acknowledged::Unknown => return Err(unknown()),
    };
    Ok(wire::Settled {
        packet_id: packet.to_vec().into(),
        leaf_hash: leaf_hash.to_vec().into(),
        acknowledgement_digest: acknowledgement_digest.to_vec().into(),
    })
}

/// Its leaf, shown to sender and recipient.
fn draft(
    said: &VerifiedAcknowledgement,
    caller: &Caller,
    stored: &StoredPacket,
    at: Timestamp,
) -> EntryDraft {
    let event = match said.outcome {
        AckOutcome::Received | AckOutcome::Taken => Event::ContentHandover,
        AckOutcome::Refused => Event::ContentHandoverFailure,
        AckOutcome::Fulfilled => Event::ObligationFulfilled,
    };
    let reason = if said.reason.is_empty() {
        said.outcome.as_str()
    } else {
        &said.reason
    };
    let draft = EntryDraft {
        case: Some(stored.case),
        packet: Some(said.packet),
        manifest_digest: Some(said.manifest_digest),
        sender: Some(stored.sender.clone()),
        recipient: Some(caller.agency().clone()),
        reason: reason.to_owned(),
        attachment: Some(said.signed.signed().clone()),
        ..EntryDraft::new(event, at)
    };
    draft
        .concerning(&stored.sender, false)
        .concerning(caller.agency(), false)
}

fn unknown() -> Refusal {
    let sentence = "There is no such consignment of such a packet to this recipient";
    let remedy = "Acknowledge the consignment that came with the packet; if it did, the broker lost it: tell its operator.";
    Refusal::new(Fault::NotFound, "ACKNOWLEDGEMENT_UNKNOWN", sentence, remedy)
}

//! Recall: the sender takes back what is not handed over yet. What is too late is said, and recorded as
//! possibly disclosed.

use schakel_proto::evidence::Event;
use schakel_proto::ids::PacketId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire;

use crate::log::entry::EntryDraft;
use crate::redact::safe;
use crate::roles::Caller;
use crate::signed::{Authentic, malformed, reason};
use crate::standing;
use crate::state::State;
use crate::store::{self, Outcome, PartState, Recalling};

type Message = wire::Recall;

/// Takes back what can be taken back.
///
/// # Errors
/// Malformed, not the caller's, no such packet of this sender, or the store could not commit or confirm.
pub async fn recall(
    state: &State,
    caller: &Caller,
    request: wire::RecallRequest,
) -> Result<wire::RecallAnswer, Refusal> {
    let _place = state.submissions.enter(caller.agency(), state.clock.now())?;
    let signed = request.recall.ok_or_else(|| malformed::<Message>("is missing"))?;
    let signed = Authentic::<Message>::check(state, caller, signed)?;
    let said = signed.message();
    let packet =
        PacketId::try_from(said.packet_id.as_ref()).map_err(|_| malformed::<Message>("names no packet"))?;
    if !matches!(said.reason.as_str(), "sent_in_error" | "superseded" | "other") {
        return Err(malformed::<Message>(
            "has a reason other than sent_in_error, superseded, other",
        ));
    }
    let reason = reason::<Message>(&said.reason)?;
    let stored = state
        .store
        .packet(packet)
        .await?
        .filter(|stored| stored.sender == *caller.agency());
    let stored = stored.ok_or_else(unknown)?;
    let at = state.clock.now();
    let draft = EntryDraft {
        case: Some(stored.case),
        packet: Some(packet),
        manifest_digest: Some(stored.manifest_digest),
        sender: Some(stored.sender.clone()),
        reason: reason.clone(),
        attachment: Some(signed.signed().clone()),
        ..EntryDraft::new(Event::Recalled, at)
    };
    let entry = state.entry(draft.concerning(caller.agency(), false)).await?;
    let sender = caller.agency().clone();
    match state
        .store
        .recall(Recalling {
            packet,
            sender,
            reason,
            entry,
            at,
        })
        .await?
    {
        store::Recall::Done {
            recalled, too_late, ..
        } => {
            let (back, late) = (recalled.len(), too_late.len());
            tracing::info!(
                packet = safe(packet),
                recalled = back,
                too_late = late,
                "packet recalled"
            );
            Ok(wire::RecallAnswer {
                recalled: recalled.into_iter().map(to_wire).collect(),
                too_late: too_late.into_iter().map(to_wire).collect(),
            })
        }
        store::Recall::Unknown => Err(unknown()),
    }
}

/// What became of a packet, for its sender; to all others it does not exist.
///
/// # Errors
/// No such packet of this sender.
pub async fn outcome(
    state: &State,
    caller: &Caller,
    request: &wire::GetOutcomeRequest,
) -> Result<wire::GetOutcomeAnswer, Refusal> {
    let packet = PacketId::try_from(request.packet_id.as_ref()).map_err(|_| unknown())?;
    let outcome = state
        .store
        .outcome(packet)
        .await?
        .filter(|outcome| outcome.sender == *caller.agency());
    let Outcome {
        packet, stage, parts, ..
    } = outcome.ok_or_else(unknown)?;
    let ended = standing::ended(state, packet, &parts).await?;
    let one = |part: PartState| {
        let ended = ended.get(&(part.recipient.clone(), part.part)).cloned();
        wire::PartState {
            ended: ended.unwrap_or_default(),
            ..to_wire(part)
        }
    };
    Ok(wire::GetOutcomeAnswer {
        packet_id: packet.to_vec().into(),
        state: stage.as_str().to_owned(),
        parts: parts.into_iter().map(one).collect(),
    })
}

fn to_wire(part: PartState) -> wire::PartState {
    wire::PartState {
        recipient: part.recipient.to_string(),
        part_id: part.part.to_vec().into(),
        state: part.stage.as_str().to_owned(),
        reason: part.reason,
        since_ms: part.since.millis(),
        obligations: part.obligations,
        possibly_disclosed: part.possibly_disclosed,
        ended: String::new(),
    }
}

fn unknown() -> Refusal {
    let sentence = "There is no such packet of this sender";
    Refusal::new(
        Fault::NotFound,
        "PACKET_UNKNOWN",
        sentence,
        "Check the packet id.",
    )
    .at("packet_id")
}

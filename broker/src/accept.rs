//! Accept: packet, queue rows and log leaf become durable in one batch; only then is the sender answered.

use schakel_proto::evidence::Event;
use schakel_proto::packet::parse::{KeyPacket, ParsedSubmission, Part, Recipient};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::intake::sealings::{CompletePacket, Content};
use crate::redact::safe;
use crate::state::{self, State};
use crate::store::{
    self, Acceptance, Accepted, Contact, FollowUp, NewEntry, NewPart, NewRecipient, NewSealing,
};

/// A packet that is durable. Only the store's answer makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceptedPacket {
    stored: store::AcceptedPacket,
    repeated: bool,
    outlook: Vec<wire::Outlook>,
}

/// Commits a complete packet and wakes its recipients' streams.
///
/// # Errors
/// The store could not commit or confirm; or the id was used for another packet meanwhile.
pub async fn accept(state: &State, complete: CompletePacket) -> Result<AcceptedPacket, Refusal> {
    let (caller, submission, outlook, contents, _place) = complete.into_parts();
    let parsed = submission.parsed();
    let manifest = parsed.manifest();
    let now = state.clock.now();
    let about = state::about(
        Event::SubmissionAcceptance,
        now,
        manifest,
        parsed.manifest_digest(),
    );
    let mut draft = about.concerning(caller.agency(), false);
    if let Some(record) = &manifest.break_glass {
        // Who is to review the emergency learns of it from the log, whatever the sender tells it.
        draft = draft.concerning(&record.reviewer, false);
    }
    let entry = state.entry(draft).await?;
    let acceptance = acceptance(parsed, &contents, now, entry);
    match state.store.accept(acceptance).await? {
        Accepted::New(stored) => {
            tracing::info!(
                packet = safe(stored.packet),
                sender = safe(caller.agency()),
                "packet accepted"
            );
            for recipient in parsed.recipients() {
                if priority(manifest.urgency.as_str()) == 0 {
                    state.bells.hurry(recipient.agency());
                } else {
                    state.bells.ring(recipient.agency());
                }
            }
            Ok(AcceptedPacket {
                stored,
                repeated: false,
                outlook,
            })
        }
        Accepted::Repeated(stored) => Ok(AcceptedPacket::before(stored)),
        Accepted::ConflictingDigest => Err(Refusal::new(
            Fault::Conflict,
            "PACKET_ID_REUSED",
            "This packet id was used for another packet",
            "Make a new packet with a new id.",
        )
        .at("manifest.packet_id")),
    }
}

/// Everything of the packet, as the store takes it.
fn acceptance(
    parsed: &ParsedSubmission,
    contents: &[Content],
    accepted_at: Timestamp,
    entry: NewEntry,
) -> Acceptance {
    let manifest = parsed.manifest();
    let recipient = |one: &Recipient| NewRecipient {
        agency: one.agency().clone(),
        opening: one.opening().clone(),
    };
    let key_packet = |key: &KeyPacket| wire::KeyPacket {
        part_id: key.part_id.to_vec().into(),
        recipient: key.recipient.to_string(),
        packet: key.packet.clone(),
    };
    Acceptance {
        packet: manifest.packet_id,
        manifest_digest: parsed.manifest_digest(),
        case: manifest.case_ref,
        sender: manifest.sender.clone(),
        manifest: parsed.signed().clone(),
        accepted_at,
        expires: manifest.expires,
        priority: priority(manifest.urgency.as_str()),
        follow_up: follow_up(parsed),
        recipients: parsed.recipients().iter().map(recipient).collect(),
        parts: parsed
            .parts()
            .iter()
            .map(|one| part(parsed, contents, one))
            .collect(),
        key_packets: parsed.key_packets().iter().map(key_packet).collect(),
        entry,
    }
}

/// Categories after which somebody must keep in contact: an intervention, or a person at risk.
const ASKS: [&str; 4] = ["facts_summary", "identity", "risk_assessment", "alert"];

/// What the packet asks for beyond its delivery, by its metadata.
fn follow_up(parsed: &ParsedSubmission) -> FollowUp {
    let mut categories = parsed
        .parts()
        .iter()
        .map(|part| part.descriptor().category.as_str());
    let contact = if categories.clone().any(|one| ASKS.contains(&one)) {
        Contact::Asks
    } else if categories.any(|one| one != "aggregate_stats") {
        Contact::Follows
    } else {
        Contact::No
    };
    let review_by = parsed
        .manifest()
        .break_glass
        .as_ref()
        .map(|record| record.review_by);
    FollowUp { contact, review_by }
}

/// A part, with whom it is sealed to and its ciphertext.
fn part(parsed: &ParsedSubmission, contents: &[Content], part: &Part) -> NewPart {
    let keys = parsed.key_packets().iter().filter(|key| key.part_id == part.id());
    let mine = contents.iter().filter(|content| content.part == part.id());
    let sealing = |content: &Content| NewSealing {
        profile: stored_profile(content.profile),
        content: content.stored.clone(),
    };
    NewPart {
        part: part.id(),
        opening: part.opening().clone(),
        recipients: keys.map(|key| key.recipient.clone()).collect(),
        sealings: mine.map(sealing).collect(),
    }
}

/// Order in the queue, lower first.
pub(crate) fn priority(urgency: &str) -> u8 {
    match urgency {
        "immediate" => 0,
        "urgent" => 1,
        _ => 2,
    }
}

/// A profile as the store keeps it.
pub(crate) fn stored_profile(profile: schakel_proto::openpgp::Profile) -> wire::Profile {
    match profile {
        schakel_proto::openpgp::Profile::V6 => wire::Profile::V6,
        schakel_proto::openpgp::Profile::V4 => wire::Profile::V4,
    }
}

impl AcceptedPacket {
    /// One that was accepted before.
    pub(crate) fn before(stored: store::AcceptedPacket) -> Self {
        Self {
            stored,
            repeated: true,
            outlook: Vec::new(),
        }
    }

    /// The answer to its sender.
    pub fn into_answer(self) -> wire::SubmitAnswer {
        wire::SubmitAnswer {
            packet_id: self.stored.packet.to_vec().into(),
            leaf_hash: self.stored.leaf_hash.to_vec().into(),
            accepted_ms: self.stored.accepted_at.millis(),
            repeated: self.repeated,
            outlook: self.outlook,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_wait_goes_first() {
        assert!(priority("immediate") < priority("urgent") && priority("urgent") < priority("routine"));
        assert_eq!(priority("whatever"), priority("routine"));
    }
}

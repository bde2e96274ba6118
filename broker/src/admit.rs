//! Admit: may this sender send this packet to these recipients, as things stand? Each recipient is asked
//! for on its own; the packet is rejected only if all are denied. Nothing is stored before.

use schakel_policy::asking::{self, Moment};
use schakel_policy::ruling::{PacketRuling, Ruling};
use schakel_proto::evidence::Event;
use schakel_proto::packet::parse::{ParsedSubmission, Part};
use schakel_proto::packet::verify::VerifiedSubmission;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::accept::AcceptedPacket;
use crate::facts;
use crate::intake::Rest;
use crate::intake::rejection::Rejection;
use crate::log::entry::EntryDraft;
use crate::redact::safe;
use crate::roles::Caller;
use crate::state::{self, State};
use crate::store::Known;
use crate::verify::VerifiedPacket;

/// A verified packet that at least one recipient may have, as far as the packet goes.
pub struct AdmittedPacket {
    caller: Caller,
    submission: VerifiedSubmission,
    outlook: Vec<wire::Outlook>,
    rest: Rest,
}

/// What admission comes to.
pub enum Admission {
    /// A new packet: its ciphertext is fetched next.
    New(Box<AdmittedPacket>),
    /// This very packet was accepted before: answered as before.
    Repeated(AcceptedPacket),
}

/// Judges a verified packet by the facts, rules and directory of this moment.
///
/// # Errors
/// The id was used for another packet, the facts cannot be read, or every recipient is denied.
pub async fn admit(state: &State, verified: VerifiedPacket) -> Result<Admission, Rejection> {
    let (caller, submission, mut rest) = verified.into_parts();
    let parsed = submission.parsed();
    let packet = parsed.manifest().packet_id;
    let known = state
        .store
        .known(packet, parsed.manifest_digest())
        .await
        .map_err(Refusal::from)?;
    match known {
        Known::No => {}
        Known::Same(before) => return Ok(Admission::Repeated(AcceptedPacket::before(before))),
        Known::Other => {
            tracing::error!(
                packet = safe(packet),
                sender = safe(caller.agency()),
                "alarm: packet id used twice"
            );
            return Err(reused().into());
        }
    }
    let seen = parsed.manifest().checkpoint_seen.as_ref();
    state
        .seen
        .check(state.store.as_ref(), caller.directory(), seen)
        .await?;
    let now = state.clock.now();
    let (rulings, opened) = judge(state, &caller, parsed, now).await?;
    if rulings.iter().all(|(_, _, ruling)| ruling.denied().is_some()) {
        return Err(reject(state, (&caller, parsed), &rulings, (opened, now)).await);
    }
    let outlook = outlook(&rulings);
    rest.checked();
    Ok(Admission::New(Box::new(AdmittedPacket {
        caller,
        submission,
        outlook,
        rest,
    })))
}

/// For one recipient: the parts addressed to it, and what the rules say of them.
type Judged<'a> = (AgencyId, Vec<&'a Part>, PacketRuling);

/// Asks for every recipient; says also whether the case was opened.
async fn judge<'a>(
    state: &State,
    caller: &Caller,
    parsed: &'a ParsedSubmission,
    now: Timestamp,
) -> Result<(Vec<Judged<'a>>, bool), Refusal> {
    let manifest = parsed.manifest();
    let chain = facts::chain(state, manifest.case_ref).await?;
    let case = asking::case_or_unopened(&chain, caller.directory(), &manifest.sender);
    let rules = state.rules.current();
    let mut judged = Vec::with_capacity(parsed.recipients().len());
    for recipient in parsed.recipients() {
        let parts: Vec<&Part> = addressed(parsed, recipient.agency());
        let fields: Vec<_> = parts.iter().map(|part| part.descriptor()).collect();
        let facts = (caller.directory().as_ref(), &case);
        let questions = asking::receive_questions(
            manifest,
            &fields,
            recipient.agency(),
            facts,
            (Moment::Admission, now),
        );
        judged.push((
            recipient.agency().clone(),
            parts,
            rules.engine().packet(&questions),
        ));
    }
    Ok((judged, chain.count() > 0))
}

/// The parts that have a key packet for `recipient`.
fn addressed<'a>(parsed: &'a ParsedSubmission, recipient: &AgencyId) -> Vec<&'a Part> {
    parsed
        .parts()
        .iter()
        .filter(|part| parsed.key_packet(&part.id(), recipient).is_some())
        .collect()
}

fn outlook(judged: &[Judged<'_>]) -> Vec<wire::Outlook> {
    let one = |recipient: &AgencyId, part: &Part, ruling: &Ruling| wire::Outlook {
        recipient: recipient.to_string(),
        part: Some(crate::decide::part_decision(part.id(), ruling)),
    };
    judged
        .iter()
        .flat_map(|(recipient, parts, ruling)| {
            parts
                .iter()
                .zip(ruling.parts())
                .map(|(part, ruling)| one(recipient, part, ruling))
        })
        .collect()
}

/// Every recipient is denied: one SubmissionRejection, with the reasons, for the sender.
async fn reject(
    state: &State,
    (caller, parsed): (&Caller, &ParsedSubmission),
    judged: &[Judged<'_>],
    (opened, now): (bool, Timestamp),
) -> Rejection {
    let refusal = |(recipient, _, ruling): &Judged<'_>| {
        ruling.denied().map(|denied| wire::RecipientRefusal {
            recipient: recipient.to_string(),
            reason: denied.reason().to_owned(),
            obligations: denied.obligations().iter().cloned().collect(),
        })
    };
    let refusals: Vec<wire::RecipientRefusal> = judged.iter().filter_map(refusal).collect();
    let mut reasons: Vec<&str> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
    reasons.dedup();
    let reason = if let [only] = reasons.as_slice() {
        *only
    } else {
        "DENY_ALL_RECIPIENTS"
    };
    let manifest = parsed.manifest();
    let about = state::about(
        Event::SubmissionRejection,
        now,
        manifest,
        parsed.manifest_digest(),
    );
    let draft = EntryDraft {
        reason: reason.to_owned(),
        // A case that nobody opened gets no erasure key of its own: its reference may be anything.
        case: about.case.filter(|_| opened),
        ..about
    };
    let recorded = match state.entry(draft.concerning(caller.agency(), false)).await {
        Ok(entry) => state.store.record(entry).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    match recorded {
        Ok(_leaf) => {
            tracing::info!(
                packet = safe(manifest.packet_id),
                sender = safe(caller.agency()),
                reason,
                "denied"
            );
            Rejection::denied(refusals)
        }
        Err(refusal) => refusal.into(),
    }
}

fn reused() -> Refusal {
    Refusal::new(
        Fault::Conflict,
        "PACKET_ID_REUSED",
        "This packet id was used for another packet",
        "Make a new packet with a new id; if you did not send the other one, tell your officer at once.",
    )
    .at("manifest.packet_id")
}

impl AdmittedPacket {
    /// What each recipient may expect of each part, as of now; not binding.
    pub fn outlook(&self) -> &[wire::Outlook] {
        &self.outlook
    }

    /// For the next stage.
    pub(crate) fn into_parts(self) -> (Caller, VerifiedSubmission, Vec<wire::Outlook>, Rest) {
        (self.caller, self.submission, self.outlook, self.rest)
    }
}

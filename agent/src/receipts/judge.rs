//! Whether a log entry proves what it says of our packet: that the recipient signed it, that we recalled it
//! ourselves, that its time was over.

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::{Body, CheckedEvidence, Event, OBLIGATION_MAX_BYTES};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::limits;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::agent::Agent;
use crate::outbox::record::{PartState, Record};
use crate::problem::Problem;

/// Judges one entry; gives what the recipient signed if it is about that.
pub fn judge(agent: &Agent, record: &Record, checked: &CheckedEvidence) -> Result<Option<Said>, Problem> {
    match checked.body().event {
        Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => {
            acknowledgement(agent, checked).map(Some)
        }
        Event::Recalled => recalled(agent, record, checked).map(|()| None),
        Event::Expired => expired(agent, record, checked).map(|()| None),
        _ => Ok(None),
    }
}

/// Checks that it is our own recall that the log shows.
fn recalled(agent: &Agent, record: &Record, checked: &CheckedEvidence) -> Result<(), Problem> {
    let ours = agent.outbox.recall(&record.packet)?;
    if record.recall.is_some() && ours.is_some() && ours.as_ref() == checked.attachment() {
        return Ok(());
    }
    let sentence = "the log says that we took a packet back, and we did not";
    Err(Problem::distrust("RECALL_NOT_OURS", sentence))
}

/// Checks that the packet's time was over, by the log's time and by our clock.
fn expired(agent: &Agent, record: &Record, checked: &CheckedEvidence) -> Result<(), Problem> {
    let latest = agent.clock.now().plus_millis(limits::CLOCK_SKEW_MAX_MILLIS);
    if checked.body().at.millis() >= record.expires_ms && latest.millis() >= record.expires_ms {
        return Ok(());
    }
    let sentence = "the log says that a packet's time was over, and it was not";
    Err(Problem::distrust("EXPIRED_EARLY", sentence))
}

fn wrong(what: &str) -> Problem {
    Problem::distrust("ACKNOWLEDGEMENT_WRONG", format!("an acknowledgement {what}"))
}

/// What a recipient signed.
pub struct Said {
    /// Who.
    pub recipient: AgencyId,
    /// Of which parts.
    pub parts: Vec<PartId>,
    /// What it says.
    pub word: Word,
    /// Reason code of a refusal; else empty.
    pub reason: String,
    /// When it was taken or carried out, in milliseconds since 1970, by the recipient's clock.
    pub done_ms: i64,
}

/// What an acknowledgement says.
pub enum Word {
    /// What became of the parts.
    State(PartState),
    /// The agency took them out of its inbox.
    Taken,
    /// It carried out this obligation.
    Fulfilled(String),
}

/// Checks that the recipient itself signed the acknowledgement that the entry is about.
fn acknowledgement(agent: &Agent, checked: &CheckedEvidence) -> Result<Said, Problem> {
    let body = checked.body();
    let signed = checked.attachment().ok_or_else(|| wrong("is missing"))?;
    said(agent.network.name(), body, signed, |recipient, key| {
        signed_by_recipient(agent, recipient, key, signed, body.at)
    })
}

/// What an acknowledgement says, if it is the one that this entry can be about and `signed_by` finds its signature good.
///
/// # Errors
/// It is another one.
pub fn said(
    network: &NetworkName,
    body: &Body,
    signed: &wire::Signed,
    signed_by: impl FnOnce(&AgencyId, &Fingerprint) -> Result<(), Problem>,
) -> Result<Said, Problem> {
    let said = wire::Acknowledgement::decode(&*signed.bytes).map_err(|_| wrong("does not parse"))?;
    let recipient = body.recipient.clone().ok_or_else(|| wrong("is nobody's"))?;
    let packet = PacketId::try_from(&*said.packet_id).ok();
    let digest = Digest::try_from(&*said.manifest_digest).ok();
    let about_it = said.r#type == "schakel.v1.Acknowledgement"
        && said.network == network.as_str()
        && said.recipient == recipient.as_str()
        && packet == body.packet
        && digest == body.manifest_digest;
    if !about_it {
        return Err(wrong("is about something else"));
    }
    let key = Fingerprint::try_from(&*said.recipient_key).map_err(|_| wrong("names no key"))?;
    signed_by(&recipient, &key)?;
    let (word, event) = match said.outcome.as_str() {
        "received" => (Word::State(PartState::Received), Event::ContentHandover),
        "taken" => (Word::Taken, Event::ContentHandover),
        "refused" => (Word::State(PartState::Refused), Event::ContentHandoverFailure),
        "fulfilled" => {
            let obligation = crate::problem::printable(&said.obligation, OBLIGATION_MAX_BYTES);
            (Word::Fulfilled(obligation), Event::ObligationFulfilled)
        }
        _ => return Err(wrong("has an unknown outcome")),
    };
    if body.event != event {
        return Err(wrong("says something else than the log"));
    }
    let parts: Result<Vec<_>, _> = said.part_ids.iter().map(|id| PartId::try_from(&**id)).collect();
    let parts = parts.map_err(|_| wrong("names no parts"))?;
    Ok(Said {
        recipient,
        parts,
        word,
        reason: crate::problem::printable(&said.reason, 48),
        done_ms: said.done_ms,
    })
}

/// Checks an agency's signature with a key that a directory lists for it.
///
/// # Errors
/// It lists no such key, or the signature does not hold.
pub fn by_directory(
    directory: &Directory,
    (agency, key): (&AgencyId, &Fingerprint),
    signed: &wire::Signed,
    now: Timestamp,
) -> Result<(), Problem> {
    let keys = directory.agency(agency).and_then(|a| a.signing_keys(key));
    let keys = keys.ok_or_else(|| wrong("is signed with a key that is not the recipient's"))?;
    keys.verify(&signed.bytes, &signed.signature, now)
        .map(|_| ())
        .map_err(|_| wrong("has a signature that does not hold"))
}

/// Checks the recipient's signature by the directory of now; if that does not list the key (any more), by
/// those of the time at which the log has it.
fn signed_by_recipient(
    agent: &Agent,
    recipient: &AgencyId,
    key: &Fingerprint,
    signed: &wire::Signed,
    logged: Timestamp,
) -> Result<(), Problem> {
    let verify =
        |directory: &Directory, now: Timestamp| by_directory(directory, (recipient, key), signed, now);
    let Err(problem) = verify(agent.network.view()?.directory(), agent.clock.now()) else {
        return Ok(());
    };
    let former = agent.network.directories_of(logged);
    if former.iter().any(|directory| verify(directory, logged).is_ok()) {
        return Ok(());
    }
    Err(problem)
}

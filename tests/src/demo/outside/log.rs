//! What the log says to each sender and recipient, checked with the public library alone.

use std::collections::BTreeSet;

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::{CheckedEvidence, Event};
use schakel_proto::ids::PacketId;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::{Check, Sent};
use crate::demo::evidence::Reader;
use crate::demo::problem::{Problem, Result};
use crate::demo::stage::{Stage, agency};

/// Checks what the log says to each sender and recipient, with the public library alone.
pub async fn log(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let directory = stage
        .network()
        .directory(stage.now())
        .map_err(Problem::during("the directory"))?;
    let key = directory.log().key().clone();
    let mut checks = Vec::new();
    for id in &stage.story().head.agents {
        let mut reader = Reader::connect(stage, &agency(id)?, key.clone())?;
        let wanted = wanted(id, sent);
        let entries = reader
            .follow(|entries| missing(&wanted, entries).is_empty())
            .await?;
        let missing = missing(&wanted, &entries);
        let what = match entries.first() {
            Some(first) => format!(
                "log as {id} may see it: {} entries proved under signed checkpoints; the newest, of size {}, \
                 extends the first",
                entries.len(),
                reader.extends(first.checkpoint()).await?
            ),
            None => format!("log as {id} may see it: nothing, since nothing of this case came to it"),
        };
        let differs = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
        checks.push(Check::of(what, differs));
        if sent.iter().any(|packet| packet.sender == *id) {
            let what = format!("{id} finds each decision on its packets in the log, with its reason");
            checks.push(Check::of(what, decided_otherwise(id, sent, &entries)));
        }
        let signed = acknowledgements(&directory, stage.now(), &entries);
        if let Some((count, differs)) = signed {
            checks.push(Check::of(
                format!("acknowledgements that {id} finds in the log: {count}, each signed by its recipient"),
                differs,
            ));
        }
        checks.push(Check::of(
            format!("{id} is shown no more than it may know"),
            shown_too_much(id, sent, &entries),
        ));
    }
    Ok(checks)
}

type Wanted = (Event, PacketId, String);

/// The entries that must come: event, packet, recipient (empty: none).
fn wanted(id: &str, sent: &[Sent]) -> Vec<Wanted> {
    let mut wanted = BTreeSet::new();
    for packet in sent {
        let is_sender = packet.sender == id;
        // What the sender's own rules let go to nobody never left the sender.
        // Who is to review an emergency is told of it by the log.
        let is_told = is_sender || packet.reviewer.as_deref() == Some(id);
        if is_told && packet.ends.iter().any(|end| !end.own) {
            wanted.insert((Event::SubmissionAcceptance, packet.id, String::new()));
        }
        for end in packet.ends.iter().filter(|end| is_sender || end.to == id) {
            let mut of_recipient = packet.ends.iter().filter(|other| other.to == end.to);
            let events: &[Event] = match end.outcome.as_str() {
                "received" => &[Event::ContentConsignment, Event::ContentHandover],
                "held" if is_sender && of_recipient.all(|other| !other.is_received()) => {
                    &[Event::ContentWithheld]
                }
                _ => &[],
            };
            wanted.extend(events.iter().map(|event| (*event, packet.id, end.to.clone())));
        }
    }
    wanted.into_iter().collect()
}

/// The first part whose newest decision in the log, as its sender may open it, is not what came of it.
fn decided_otherwise(id: &str, sent: &[Sent], entries: &[CheckedEvidence]) -> Option<String> {
    let decisions: Vec<_> = entries
        .iter()
        .flat_map(|entry| entry.shown().into_iter().chain(entry.hidden()))
        .collect();
    for packet in sent.iter().filter(|packet| packet.sender == id) {
        for end in &packet.ends {
            let part = packet
                .parts
                .get(end.part.saturating_sub(1))
                .and_then(|part| part.id);
            let of_part = decisions
                .iter()
                .filter(|d| d.packet() == packet.id && d.recipient().as_str() == end.to)
                .flat_map(|d| d.parts())
                .rfind(|p| Some(p.part) == part);
            let said = of_part.map(|p| (p.outcome.as_str(), p.reason.as_str()));
            let reason = end.reason.as_str();
            let fits = match end.outcome.as_str() {
                // Decided before sealing: the log knows nothing of it.
                _ if end.own => said.is_none(),
                "received" => said == Some(("deliver", reason)),
                "held" => said == Some(("hold-for-consent", reason)),
                "withheld" => said == Some(("withhold", reason)),
                "denied" => said.is_none() || said == Some(("deny-packet", reason)),
                // Ended by time or by its sender, whatever was decided.
                _ => true,
            };
            if !fits {
                let (title, to, outcome) = (&packet.title, &end.to, &end.outcome);
                return Some(format!(
                    "{title}, {to}: the log says {said:?}, and it is {outcome} [{reason}]"
                ));
            }
        }
    }
    None
}

fn missing(wanted: &[Wanted], entries: &[CheckedEvidence]) -> Vec<String> {
    let is_there = |(event, packet, recipient): &&Wanted| {
        entries.iter().map(CheckedEvidence::body).any(|body| {
            let named = body.recipient.as_ref().map_or("", |r| r.as_str());
            body.event == *event
                && body.packet == Some(*packet)
                && (recipient.is_empty() || named == recipient)
        })
    };
    let name = |(event, packet, recipient): &Wanted| format!("{} {packet} {recipient}", event.as_str());
    wanted
        .iter()
        .filter(|wanted| !is_there(wanted))
        .map(name)
        .collect()
}

/// How many acknowledgements the entries hold, and the first whose signature or content does not fit.
fn acknowledgements(
    directory: &Directory,
    now: Timestamp,
    entries: &[CheckedEvidence],
) -> Option<(usize, Option<String>)> {
    let handovers: Vec<_> = entries
        .iter()
        .filter(|e| {
            matches!(
                e.body().event,
                Event::ContentHandover | Event::ObligationFulfilled
            )
        })
        .collect();
    let bad = handovers
        .iter()
        .find_map(|entry| acknowledgement(directory, now, entry).err());
    (!handovers.is_empty()).then_some((handovers.len(), bad))
}

fn acknowledgement(
    directory: &Directory,
    now: Timestamp,
    entry: &CheckedEvidence,
) -> std::result::Result<(), String> {
    let signed = entry.attachment().ok_or("an acknowledgement is not attached")?;
    let message = wire::Acknowledgement::decode(signed.bytes.as_ref()).map_err(|e| e.to_string())?;
    let recipient = entry
        .body()
        .recipient
        .as_ref()
        .ok_or("the entry names no recipient")?;
    let key = Fingerprint::try_from(message.recipient_key.as_ref()).map_err(|e| e.to_string())?;
    let keys = directory
        .agency(recipient)
        .and_then(|agency| agency.signing_keys(&key));
    let keys = keys.ok_or_else(|| format!("{recipient} has no such key"))?;
    keys.verify(&signed.bytes, &signed.signature, now)
        .map_err(|e| e.to_string())?;
    let same = message.recipient == recipient.as_str()
        && entry
            .body()
            .packet
            .is_some_and(|id| message.packet_id.as_ref() == id.as_bytes())
        && match entry.body().event {
            Event::ObligationFulfilled => message.outcome == "fulfilled" && !message.obligation.is_empty(),
            _ => ["received", "taken"].contains(&message.outcome.as_str()),
        };
    if same {
        Ok(())
    } else {
        Err(format!("the acknowledgement of {recipient} says something else"))
    }
}

/// What an agency was shown in the log and may not know: parts withheld or held from it.
fn shown_too_much(id: &str, sent: &[Sent], entries: &[CheckedEvidence]) -> Option<String> {
    for packet in sent.iter().filter(|packet| packet.sender != id) {
        let allowed: BTreeSet<_> = packet
            .received()
            .filter(|(end, ..)| end.to == id)
            .map(|(.., p)| p)
            .collect();
        let of_packet = entries.iter().filter(|e| e.body().packet == Some(packet.id));
        for entry in of_packet {
            // Who reviews an emergency is told that there was one, and nothing of what was decided on it.
            let told =
                packet.reviewer.as_deref() == Some(id) && entry.body().event == Event::SubmissionAcceptance;
            if told && entry.shown().is_none() && entry.hidden().is_none() {
                continue;
            }
            if allowed.is_empty() || entry.hidden().is_some() {
                return Some(format!(
                    "{} of packet {}",
                    entry.body().event.as_str(),
                    packet.title
                ));
            }
            let shown = entry.shown().map(|d| d.parts()).unwrap_or_default();
            if shown.iter().any(|part| !allowed.contains(&part.part)) {
                return Some(format!("a part of packet {}", packet.title));
            }
        }
    }
    None
}

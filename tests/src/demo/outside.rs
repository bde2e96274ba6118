//! The checks from outside: files, bytes on disks and in memory, the log. None of them asks broker or
//! agents whether they behaved.

use std::collections::BTreeSet;
use std::path::PathBuf;

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::{CheckedEvidence, Event};
use schakel_proto::ids::{CaseRef, PacketId, PartId};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::wire;

use serde_json::Value;

use super::cli::Cli;
use super::evidence::Reader;
use super::problem::{Problem, Result};
use super::script::{self, End, Expected, MARKS, PERSONS, Packet, Part};
use super::search::Search;
use super::stage::{Stage, agency, now};

/// A part's plaintext is padded to at least 4 KiB; everything else in the outbox is shorter.
const SEALED_MIN_BYTES: usize = 4096;
const SEALED_PIECE_BYTES: usize = 48;
const CIPHERTEXT: &str = "the ciphertext of";

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// None: it holds; else what differs.
    pub differs: Option<String>,
    /// Whether it could not be done here, and why.
    pub skipped: Option<String>,
}

impl Check {
    fn of(what: impl Into<String>, differs: Option<String>) -> Self {
        Self {
            what: what.into(),
            differs,
            skipped: None,
        }
    }
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The script's packet.
    pub packet: &'static Packet,
    /// Its id.
    pub id: PacketId,
    /// The ids of its parts, in the script's order.
    pub parts: Vec<PartId>,
}

impl Sent {
    fn received(&self) -> impl Iterator<Item = (&'static Expected, &'static Part, PartId)> {
        let of = |e: &'static Expected| Some((e, self.packet.parts.get(e.part)?, *self.parts.get(e.part)?));
        self.packet
            .expected
            .iter()
            .filter(|e| e.end == End::Received)
            .filter_map(of)
    }

    fn was_received(&self, agency: &str, part: usize) -> bool {
        let ends = self.packet.expected.iter();
        ends.clone()
            .any(|e| e.recipient == agency && e.part == part && e.end == End::Received)
    }
}

/// Opens every delivered part through the recipient's own command line: its bytes are the sender's.
pub fn files(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let folder = stage.folder().join("opened");
    std::fs::create_dir_all(&folder).map_err(Problem::during(folder.display()))?;
    let mut checks = Vec::new();
    for packet in sent {
        let id = packet.id;
        for (expected, part, part_id) in packet.received() {
            let out = folder.join(format!("{}-{}", expected.recipient, part.file));
            let arguments = [
                id.to_string(),
                part_id.to_string(),
                "--out".to_owned(),
                out.display().to_string(),
            ];
            let answer = Cli::of(stage, expected.recipient)?.call(&["inbox", "open"], &arguments)?;
            let name = |field: &str| {
                answer
                    .value
                    .pointer(&format!("/names/{field}"))
                    .and_then(Value::as_str)
            };
            let names = (name("file_name"), name("title"), name("media_type"));
            let differs = match std::fs::read(&out) {
                Ok(bytes) if bytes != part.content => Some(format!(
                    "{} bytes came, {} were sent",
                    bytes.len(),
                    part.content.len()
                )),
                Ok(_) if names != (Some(part.file), Some(part.title), Some(part.media)) => {
                    Some(format!("its names came as {names:?}"))
                }
                Ok(_) => None,
                Err(_) => Some(format!("it cannot be opened: {}", answer.error.trim())),
            };
            let what = format!(
                "{} opened {}: the same {} bytes, file name and title",
                expected.recipient,
                part.file,
                part.content.len()
            );
            checks.push(Check::of(what, differs));
        }
    }
    Ok(checks)
}

/// Searches the disk of each recipient for everything that it must not have, and, to show that the search
/// would find it, for what it does have.
pub fn disks(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    script::AGENTS.iter().map(|id| disk(stage, sent, id)).collect()
}

fn disk(stage: &Stage, sent: &[Sent], id: &str) -> Result<Check> {
    let mut search = Search::default();
    let (mut forbidden, mut wanted) = (BTreeSet::new(), BTreeSet::new());
    for packet in sent.iter().filter(|packet| packet.packet.sender != id) {
        let mut nothing = true;
        for (number, part) in packet.packet.parts.iter().enumerate() {
            let received = packet.was_received(id, number);
            nothing &= !received;
            for (name, bytes) in traces(part, packet.parts.get(number)) {
                let told = name.starts_with("the id") || script::PLAIN.contains(&id);
                if !received {
                    forbidden.insert(name.clone());
                } else if told {
                    wanted.insert(name.clone());
                }
                search.add(&name, &bytes);
            }
        }
        for (name, bytes) in sealed(stage, packet)?.into_iter().filter(|_| nothing) {
            search.add(&name, &bytes);
            forbidden.insert(name);
        }
        if nothing {
            let name = format!("the id of packet {}", packet.packet.name);
            search.add(&name, packet.id.as_bytes());
            forbidden.insert(name);
        }
    }
    let folder = stage.network().agent_data(&agency(id)?);
    let found = search
        .in_folder(&folder)
        .map_err(Problem::during(folder.display()))?;
    let there: Vec<_> = forbidden.intersection(&found).cloned().collect();
    let missing: Vec<_> = wanted.difference(&found).cloned().collect();
    let differs = match (there.is_empty(), missing.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!("found: {}", there.join(", "))),
        (true, false) => Some(format!("the search does not even find: {}", missing.join(", "))),
    };
    let (none, some) = (forbidden.len(), wanted.len());
    Ok(Check::of(
        format!("disk of {id}: 0 of {none} traces of what it may not have, {some} of {some} of what it may"),
        differs,
    ))
}

/// A piece from the middle of each sealed file that the sender still keeps of a packet: that of a packet
/// which waits at the broker.
fn sealed(stage: &Stage, sent: &Sent) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = stage
        .network()
        .agent_data(&agency(sent.packet.sender)?)
        .join("outbox")
        .join(sent.id.to_string());
    let mut pieces = Vec::new();
    for entry in walkdir::WalkDir::new(&folder).into_iter().flatten() {
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(Problem::during(entry.path().display()))?;
        let middle = bytes.len() / 2;
        if let (true, Some(piece)) = (
            bytes.len() > SEALED_MIN_BYTES,
            bytes.get(middle..middle + SEALED_PIECE_BYTES),
        ) {
            pieces.push((format!("{CIPHERTEXT} {}", sent.packet.name), piece.to_vec()));
        }
    }
    Ok(pieces)
}

/// What a part would leave behind.
fn traces(part: &Part, id: Option<&PartId>) -> Vec<(String, Vec<u8>)> {
    let file = part.file;
    let mut traces = vec![
        (format!("the file name {file}"), file.as_bytes().to_vec()),
        (format!("the title of {file}"), part.title.as_bytes().to_vec()),
    ];
    let marks = MARKS.iter().filter(|mark| mark.file == file);
    traces.extend(marks.map(|mark| (format!("a sentence of {file}"), mark.text.as_bytes().to_vec())));
    traces.extend(id.map(|id| (format!("the id of {file}"), id.as_bytes().to_vec())));
    traces
}

/// Searches the broker's files, log and memory for plaintext, file names, titles and names of persons.
/// The case reference, which it does know, must be found by the same search.
pub fn broker(stage: &Stage, case: CaseRef) -> Vec<Check> {
    const CONTROL: &str = "the case reference";
    let mut search = Search::default();
    search.add(CONTROL, case.as_bytes());
    for (name, bytes) in script::PACKETS
        .iter()
        .flat_map(|p| p.parts)
        .flat_map(|part| traces(part, None))
    {
        search.add(&name, &bytes);
    }
    for person in PERSONS {
        search.add(&format!("the name {person}"), person.as_bytes());
    }
    let verdict = |found: BTreeSet<String>, control: bool| {
        let leaked: Vec<_> = found.iter().filter(|name| *name != CONTROL).cloned().collect();
        match (leaked.is_empty(), control && !found.contains(CONTROL)) {
            (false, _) => Some(format!("found: {}", leaked.join(", "))),
            (true, true) => Some(format!("the search does not even find {CONTROL}")),
            (true, false) => None,
        }
    };
    let mut checks = Vec::new();
    for (what, place, control) in broker_places(stage) {
        let differs = match search.in_folder(&place) {
            Ok(found) => verdict(found, control),
            Err(error) => Some(format!("{}: {error}", place.display())),
        };
        checks.push(Check::of(
            format!("{what}: no plaintext, file name, title, person's name"),
            differs,
        ));
    }
    let what = "memory of the broker: no plaintext, file name, title, person's name";
    checks.push(match search.in_memory(stage.broker_id()) {
        Ok((found, bytes)) => Check::of(
            format!("{what} in {} MiB; {CONTROL} is there", bytes >> 20),
            verdict(found, true),
        ),
        Err(error) => Check {
            what: what.to_owned(),
            differs: None,
            skipped: Some(format!("{error}; run as root")),
        },
    });
    checks
}

fn broker_places(stage: &Stage) -> [(&'static str, PathBuf, bool); 2] {
    [
        (
            "files of the broker (the case reference is there)",
            stage.network().broker_folder(),
            true,
        ),
        ("log of the broker", stage.log("broker"), false),
    ]
}

/// Checks what the log says to each sender and recipient, with the public library alone.
pub async fn log(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let directory = stage
        .network()
        .directory(now())
        .map_err(Problem::during("the directory"))?;
    let key = directory.log().key().clone();
    let mut checks = Vec::new();
    for id in script::AGENTS {
        let mut reader = Reader::connect(stage, &agency(id)?, key.clone())?;
        let wanted = wanted(id, sent);
        let entries = reader
            .follow(|entries| missing(&wanted, entries).is_empty())
            .await?;
        let missing = missing(&wanted, &entries);
        let newest = match entries.first() {
            Some(first) => reader.extends(first.checkpoint()).await?,
            None => 0,
        };
        let what = format!(
            "log as {id} may see it: {} entries proved under signed checkpoints",
            entries.len()
        );
        let differs = (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", ")));
        checks.push(Check::of(
            format!("{what}, the newest of size {newest} extends the first"),
            differs,
        ));
        if sent.iter().any(|packet| packet.packet.sender == *id) {
            let what = format!("{id} finds each decision on its packets in the log, with its reason");
            checks.push(Check::of(what, decided_otherwise(id, sent, &entries)));
        }
        let signed = acknowledgements(&directory, &entries);
        if let Some((count, differs)) = signed {
            checks.push(Check::of(
                format!("{id} holds {count} acknowledgements signed by the recipients"),
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
    for Sent {
        packet,
        id: packet_id,
        ..
    } in sent
    {
        let is_sender = packet.sender == id;
        if is_sender {
            let refused = packet.expected.iter().all(|e| e.end == End::Denied);
            let event = if refused {
                Event::SubmissionRejection
            } else {
                Event::SubmissionAcceptance
            };
            wanted.insert((event, *packet_id, String::new()));
        }
        for expected in packet.expected.iter().filter(|e| is_sender || e.recipient == id) {
            let nothing_goes = packet
                .expected
                .iter()
                .filter(|e| e.recipient == expected.recipient);
            let events: &[Event] = match expected.end {
                End::Received => &[Event::ContentConsignment, Event::ContentHandover],
                End::Held | End::Withheld
                    if is_sender && nothing_goes.clone().all(|e| e.end != End::Received) =>
                {
                    &[Event::ContentWithheld]
                }
                End::Held | End::Withheld | End::Denied => &[],
            };
            wanted.extend(
                events
                    .iter()
                    .map(|event| (*event, *packet_id, expected.recipient.to_owned())),
            );
        }
    }
    wanted.into_iter().collect()
}

/// The first decision in the log, as its sender may open it, that is not the one expected.
fn decided_otherwise(id: &str, sent: &[Sent], entries: &[CheckedEvidence]) -> Option<String> {
    for packet in sent.iter().filter(|packet| packet.packet.sender == id) {
        for expected in packet.packet.expected.iter().filter(|e| e.end != End::Denied) {
            let decisions = entries
                .iter()
                .flat_map(|entry| entry.shown().into_iter().chain(entry.hidden()));
            let of_part = decisions
                .filter(|d| d.packet() == packet.id && d.recipient().as_str() == expected.recipient)
                .flat_map(|d| d.parts())
                .find(|p| packet.parts.get(expected.part) == Some(&p.part));
            let said = of_part.map_or((String::new(), String::new()), |p| {
                (p.outcome.clone(), p.reason.clone())
            });
            let outcome = match expected.end {
                End::Received => "deliver",
                End::Held => "hold-for-consent",
                End::Withheld | End::Denied => "withhold",
            };
            if said != (outcome.to_owned(), expected.reason.to_owned()) {
                let (name, recipient) = (packet.packet.name, expected.recipient);
                return Some(format!(
                    "{name}, {recipient}: the log says {said:?}, expected {outcome}"
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
fn acknowledgements(directory: &Directory, entries: &[CheckedEvidence]) -> Option<(usize, Option<String>)> {
    let handovers: Vec<_> = entries
        .iter()
        .filter(|e| e.body().event == Event::ContentHandover)
        .collect();
    let bad = handovers
        .iter()
        .find_map(|entry| acknowledgement(directory, entry).err());
    (!handovers.is_empty()).then_some((handovers.len(), bad))
}

fn acknowledgement(directory: &Directory, entry: &CheckedEvidence) -> std::result::Result<(), String> {
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
    keys.verify(&signed.bytes, &signed.signature, now())
        .map_err(|e| e.to_string())?;
    let same = message.recipient == recipient.as_str()
        && entry
            .body()
            .packet
            .is_some_and(|id| message.packet_id.as_ref() == id.as_bytes())
        && message.outcome == "received";
    if same {
        Ok(())
    } else {
        Err(format!("the acknowledgement of {recipient} says something else"))
    }
}

/// What an agency was shown in the log and may not know: parts withheld or held from it.
fn shown_too_much(id: &str, sent: &[Sent], entries: &[CheckedEvidence]) -> Option<String> {
    for packet in sent.iter().filter(|packet| packet.packet.sender != id) {
        let allowed: BTreeSet<_> = packet
            .received()
            .filter(|(e, ..)| e.recipient == id)
            .map(|(.., p)| p)
            .collect();
        let of_packet = entries.iter().filter(|e| e.body().packet == Some(packet.id));
        for entry in of_packet {
            if allowed.is_empty() || entry.hidden().is_some() {
                return Some(format!(
                    "{} of packet {}",
                    entry.body().event.as_str(),
                    packet.packet.name
                ));
            }
            let shown = entry.shown().map(|d| d.parts()).unwrap_or_default();
            if shown.iter().any(|part| !allowed.contains(&part.part)) {
                return Some(format!("a part of packet {}", packet.packet.name));
            }
        }
    }
    None
}

//! What stands on the disks of recipients and broker and in the broker's memory, and what must not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Sent, SentPart};
use crate::demo::problem::{Problem, Result};
use crate::demo::search::Search;
use crate::demo::stage::{Stage, agency};

/// A part's plaintext is padded to at least 4 KiB; everything else in the outbox is shorter.
const SEALED_MIN_BYTES: usize = 4096;
const SEALED_PIECE_BYTES: usize = 48;
const CIPHERTEXT: &str = "the ciphertext of";
/// What the broker does know, and the search must find.
const CONTROL: &str = "the case reference";

/// Searches the disk of each agency for everything that it must not have, and, to show that the search
/// would find it, for what it does have.
pub fn disks(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let marks = marks(stage)?;
    let agents = stage.story().head.agents.iter();
    agents.map(|id| disk(stage, sent, &marks, id)).collect()
}

/// What an agency may have, and what it may not. A document that came to it once, or that it sent itself, may
/// be there under its names; each part of its own may be there under its id.
fn disk(stage: &Stage, sent: &[Sent], marks: &Marks, id: &str) -> Result<Check> {
    let (mut mine, mut others) = (BTreeMap::new(), BTreeMap::new());
    // What it sent itself: it has no plaintext of it, but may have it from others, or name it.
    let mut own_texts = Vec::new();
    for packet in sent {
        let own = packet.sender == id;
        for (number, part) in (1..).zip(&packet.parts) {
            let came = packet
                .ends
                .iter()
                .any(|end| end.to == id && end.part == number && end.is_received());
            let told = came && stage.is_plain(id);
            for (name, bytes) in traces(part, marks) {
                match (own, came) {
                    (false, true) if told => drop(mine.insert(name, bytes)),
                    (false, false) => drop(others.insert(name, bytes)),
                    _ => own_texts.push(bytes),
                }
            }
            if let (false, Some(part_id)) = (own, part.id) {
                let list = if came { &mut mine } else { &mut others };
                list.insert(
                    format!("the id of part {number} of {}, {}", packet.title, packet.id),
                    part_id.as_bytes().to_vec(),
                );
            }
        }
        let nothing = !own && !packet.ends.iter().any(|end| end.to == id && end.is_received());
        if nothing {
            others.extend(sealed(stage, packet)?);
        }
        // The reviewer is told of the emergency's packet; a review names it to all who take part.
        if nothing && !packet.reviewed && packet.reviewer.as_deref() != Some(id) {
            others.insert(
                format!("the id of packet {}, {}", packet.title, packet.id),
                packet.id.as_bytes().to_vec(),
            );
        }
    }
    // A text that stands within one that may be there proves nothing.
    let allowed: Vec<&Vec<u8>> = mine.values().chain(&own_texts).collect();
    let within = |text: &Vec<u8>| {
        allowed
            .iter()
            .any(|other| other.windows(text.len()).any(|w| w == text))
    };
    others.retain(|_, text| !within(text));
    let mut search = Search::default();
    for (name, bytes) in mine.iter().chain(&others) {
        search.add(name, bytes);
    }
    let folder = stage.network().agent_data(&agency(id)?);
    let found = search
        .in_folder(&folder)
        .map_err(Problem::during(folder.display()))?;
    let there: Vec<_> = others
        .keys()
        .filter(|name| found.contains(*name))
        .cloned()
        .collect();
    let seen = mine.keys().filter(|name| found.contains(*name)).count();
    let differs = match (there.is_empty(), mine.is_empty() || seen > 0) {
        (true, true) => None,
        (false, _) => Some(format!("found: {}", there.join(", "))),
        (true, false) => Some("the search finds nothing of what did come".to_owned()),
    };
    let what = format!(
        "disk of {id}: 0 of {} traces of what it may not have, {seen} of {} of what came to it",
        others.len(),
        mine.len()
    );
    Ok(Check::of(what, differs))
}

/// A piece from the middle of each sealed file that the sender still keeps of a packet: that of a packet
/// which waits at the broker.
fn sealed(stage: &Stage, sent: &Sent) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = stage
        .network()
        .agent_data(&agency(&sent.sender)?)
        .join("outbox")
        .join(sent.id.to_string());
    let mut pieces = Vec::new();
    for entry in walkdir::WalkDir::new(&folder).into_iter().flatten() {
        // State and evidence beside them hold what others may know too.
        if !entry
            .path()
            .extension()
            .is_some_and(|kind| kind == "v4" || kind == "v6")
        {
            continue;
        }
        let bytes = std::fs::read(entry.path()).map_err(Problem::during(entry.path().display()))?;
        let middle = bytes.len() / 2;
        if let (true, Some(piece)) = (
            bytes.len() > SEALED_MIN_BYTES,
            bytes.get(middle..middle + SEALED_PIECE_BYTES),
        ) {
            pieces.push((
                format!("{CIPHERTEXT} {}, {}", sent.title, sent.id),
                piece.to_vec(),
            ));
        }
    }
    Ok(pieces)
}

/// Document -> a sentence that stands in it and nowhere else.
type Marks = BTreeMap<String, String>;

fn marks(stage: &Stage) -> Result<Marks> {
    let file = stage.documents().join("marks.toml");
    let text = std::fs::read_to_string(&file).map_err(Problem::during(file.display()))?;
    toml::from_str(&text).map_err(Problem::during(file.display()))
}

/// What a part would leave behind.
fn traces(part: &SentPart, marks: &Marks) -> Vec<(String, Vec<u8>)> {
    let file = &part.file;
    let mut traces = vec![
        (format!("the file name {file}"), file.as_bytes().to_vec()),
        (
            format!("the title {}", part.title),
            part.title.as_bytes().to_vec(),
        ),
    ];
    let mark = marks.get(file);
    traces.extend(mark.map(|mark| (format!("a sentence of {file}"), mark.as_bytes().to_vec())));
    traces
}

/// Searches the broker's files, log and memory for plaintext, file names, titles and names of persons.
/// The case reference, which it does know, and the ciphertext that it holds must be found by the same
/// search.
pub fn broker(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let (search, held) = needles(stage, sent)?;
    let in_memory = BTreeSet::from([CONTROL.to_owned()]);
    let on_disk: BTreeSet<String> = in_memory.union(&held).cloned().collect();
    let verdict = |found: BTreeSet<String>, wanted: &BTreeSet<String>| {
        let leaked: Vec<_> = found
            .iter()
            .filter(|name| !on_disk.contains(*name))
            .cloned()
            .collect();
        let missing: Vec<_> = wanted.difference(&found).cloned().collect();
        match (leaked.is_empty(), missing.is_empty()) {
            (true, true) => None,
            (false, _) => Some(format!("found: {}", leaked.join(", "))),
            (true, false) => Some(format!("the search does not even find: {}", missing.join(", "))),
        }
    };
    let mut checks = Vec::new();
    let places = [
        ("files of the broker", stage.network().broker_folder(), &on_disk),
        ("log of the broker", stage.log("broker"), &BTreeSet::new()),
    ];
    for (what, place, wanted) in places {
        let differs = match search.in_folder(&place) {
            Ok(found) => verdict(found, wanted),
            Err(error) => Some(format!("{}: {error}", place.display())),
        };
        let there = match wanted.len() {
            0 => String::new(),
            count => format!(
                "; {CONTROL} and {} ciphertexts that wait are there",
                count.saturating_sub(1)
            ),
        };
        checks.push(Check::of(
            format!("{what}: no plaintext, file name, title, person's name{there}"),
            differs,
        ));
    }
    let what = "memory of the broker: no plaintext, file name, title, person's name";
    checks.push(match search.in_memory(stage.broker_id()) {
        Ok((found, bytes)) => Check::of(
            format!("{what} in {} MiB; {CONTROL} is there", bytes >> 20),
            verdict(found, &in_memory),
        ),
        Err(error) => Check {
            what: what.to_owned(),
            differs: None,
            skipped: Some(format!("{error}; run as root")),
        },
    });
    Ok(checks)
}

/// What to search the broker for, and the names of the ciphertexts that it must hold.
fn needles(stage: &Stage, sent: &[Sent]) -> Result<(Search, BTreeSet<String>)> {
    let mut search = Search::default();
    let (marks, mut held, mut needles) = (marks(stage)?, BTreeSet::new(), BTreeMap::new());
    // The newest packet that left its sender: what the broker knows of it may still be in memory.
    if let Some(last) = sent
        .iter()
        .rev()
        .find(|packet| packet.ends.iter().any(|end| !end.own))
    {
        needles.insert(CONTROL.to_owned(), last.case.as_bytes().to_vec());
    }
    for packet in sent
        .iter()
        .filter(|sent| sent.ends.iter().any(|end| end.outcome == "held"))
    {
        for (name, piece) in sealed(stage, packet)? {
            held.insert(name.clone());
            needles.insert(name, piece);
        }
    }
    needles.extend(
        sent.iter()
            .flat_map(|packet| &packet.parts)
            .flat_map(|part| traces(part, &marks)),
    );
    for person in &stage.story().head.persons {
        needles.insert(format!("the name {person}"), person.as_bytes().to_vec());
    }
    for (name, bytes) in &needles {
        search.add(name, bytes);
    }
    Ok((search, held))
}

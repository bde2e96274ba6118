//! What stands on the disks of recipients and broker and in the broker's memory, and what must not.

use std::collections::BTreeSet;

use schakel_proto::ids::{CaseRef, PartId};

use super::{Check, Sent};
use crate::demo::problem::{Problem, Result};
use crate::demo::script::{self, End, MARKS, PERSONS, Part};
use crate::demo::search::Search;
use crate::demo::stage::{Stage, agency};

/// A part's plaintext is padded to at least 4 KiB; everything else in the outbox is shorter.
const SEALED_MIN_BYTES: usize = 4096;
const SEALED_PIECE_BYTES: usize = 48;
const CIPHERTEXT: &str = "the ciphertext of";
/// What the broker does know, and the search must find.
const CONTROL: &str = "the case reference";

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
/// The case reference, which it does know, and the ciphertext that it holds must be found by the same
/// search.
pub fn broker(stage: &Stage, case: CaseRef, sent: &[Sent]) -> Result<Vec<Check>> {
    let (search, held) = needles(stage, case, sent)?;
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
        let there = wanted
            .iter()
            .map(|name| format!("; {name} is there"))
            .collect::<String>();
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
fn needles(stage: &Stage, case: CaseRef, sent: &[Sent]) -> Result<(Search, BTreeSet<String>)> {
    let mut search = Search::default();
    search.add(CONTROL, case.as_bytes());
    let mut held = BTreeSet::new();
    for packet in sent
        .iter()
        .filter(|sent| sent.packet.expected.iter().any(|e| e.end == End::Held))
    {
        held.insert(format!("{CIPHERTEXT} {}", packet.packet.name));
        for (name, piece) in sealed(stage, packet)? {
            search.add(&name, &piece);
        }
    }
    let parts = script::PACKETS.iter().flat_map(|p| p.parts);
    for (name, bytes) in parts.flat_map(|part| traces(part, None)) {
        search.add(&name, &bytes);
    }
    for person in PERSONS {
        search.add(&format!("the name {person}"), person.as_bytes());
    }
    Ok((search, held))
}

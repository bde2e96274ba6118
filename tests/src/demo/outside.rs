//! The checks from outside: files, bytes on disks and in memory, the log. None of them asks broker or
//! agents whether they behaved.

use std::collections::{BTreeMap, BTreeSet};

use schakel_proto::ids::{CaseRef, PacketId, PartId};
use serde_json::{Value, json};

use super::local::{Local, field, list};
use super::play::{self, media};
use super::problem::{Problem, Result};
use super::stage::Stage;
use super::step::Packet;

mod bytes;

mod log;

pub use bytes::{broker, disks};
pub use log::log;

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

/// A packet that was sent, and what its sender's agent knows of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its title in the story.
    pub title: String,
    /// Who sent it.
    pub sender: String,
    /// Its case.
    pub case: CaseRef,
    /// Its id.
    pub id: PacketId,
    /// Its id when it was handed in: another if it was sealed anew since.
    pub first: PacketId,
    /// Its parts, in the story's order.
    pub parts: Vec<SentPart>,
    /// What came of each part for each recipient.
    pub ends: Vec<End>,
    /// Who reviews, if it broke the glass.
    pub reviewer: Option<String>,
    /// It broke the glass, and a review of that was stated.
    pub reviewed: bool,
}

/// A part that was sent.
#[derive(Clone, Debug)]
pub struct SentPart {
    /// Its document.
    pub file: String,
    /// Title inside the seal.
    pub title: String,
    /// Category code.
    pub category: String,
    /// Its id, once known.
    pub id: Option<PartId>,
}

/// What came of one part for one recipient, as the sender's agent says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The recipient.
    pub to: String,
    /// Which part, from 1.
    pub part: usize,
    /// The outcome's word.
    pub outcome: String,
    /// Reason code.
    pub reason: String,
    /// What the recipient is bound to.
    pub obligations: Vec<String>,
    /// The sender's own rules decided so: it never left.
    pub own: bool,
}

impl End {
    /// Whether the recipient has it.
    pub fn is_received(&self) -> bool {
        self.outcome == "received"
    }
}

impl Sent {
    /// A packet that its sender's agent has just taken.
    pub fn new(sender: &str, packet: &Packet, case: CaseRef, id: PacketId) -> Self {
        let part = |part: &super::step::Part| SentPart {
            file: part.file.clone(),
            title: part.title.clone().unwrap_or_else(|| packet.title.clone()),
            category: part.category.clone(),
            id: None,
        };
        Self {
            title: packet.title.clone(),
            sender: sender.to_owned(),
            case,
            id,
            first: id,
            parts: packet.parts.iter().map(part).collect(),
            ends: Vec::new(),
            reviewer: packet.emergency.as_ref().map(|one| one.reviewer.clone()),
            reviewed: false,
        }
    }

    /// Takes up what the agent's record says.
    pub fn take_up(&mut self, record: &Value) -> Result<()> {
        let id = |text: &str| text.parse().map_err(Problem::during("a part's id"));
        self.id = field(record, "packet")
            .parse()
            .map_err(Problem::during("a packet's id"))?;
        for (part, sealed) in self.parts.iter_mut().zip(list(record, "parts")) {
            part.id = Some(id(field(sealed, "part"))?);
        }
        self.ends = play::ends(record)?;
        Ok(())
    }

    /// The parts that came, and to whom.
    fn received(&self) -> impl Iterator<Item = (&End, &SentPart, PartId)> {
        let ends = self.ends.iter().filter(|end| end.is_received());
        ends.filter_map(|end| {
            let part = self.parts.get(end.part.checked_sub(1)?)?;
            Some((end, part, part.id?))
        })
    }
}

/// Opens delivered parts through the recipients' own agents: their bytes are the sender's. Each document once
/// for each recipient; one that was deleted, as it had to be, is passed over.
pub fn files(stage: &Stage, sent: &[Sent]) -> Result<Vec<Check>> {
    let folder = stage.folder().join("opened");
    std::fs::create_dir_all(&folder).map_err(Problem::during(folder.display()))?;
    let mut seen = BTreeSet::new();
    let mut of: BTreeMap<String, (usize, Option<String>)> = BTreeMap::new();
    for packet in sent {
        for (end, part, id) in packet.received() {
            if !seen.insert((end.to.clone(), part.file.clone())) {
                continue;
            }
            let out = folder.join(format!("{}-{}-{id}", end.to, packet.id));
            let request = json!({ "packet": packet.id, "part": id, "out": out });
            let opened = Local::of(stage, &end.to)?.ask("POST", "/v1/inbox/open", Some(&request))?;
            if field(&opened.1, "code") == DELETED {
                continue;
            }
            let (count, differs) = of.entry(end.to.clone()).or_default();
            *count += 1;
            let wrong = file(stage, part, &out, &opened)?;
            *differs = differs
                .take()
                .or(wrong.map(|wrong| format!("{}: {wrong}", part.file)));
        }
    }
    let check = |(to, (count, differs)): (String, (usize, Option<String>))| {
        Check::of(
            format!("{to} opened {count} different documents: the senders' bytes, file names and titles"),
            differs,
        )
    };
    Ok(of.into_iter().map(check).collect())
}

/// What differs between a document as it was sent and as it was opened.
fn file(
    stage: &Stage,
    part: &SentPart,
    out: &std::path::Path,
    (status, answer): &(u16, Value),
) -> Result<Option<String>> {
    let source = stage.documents().join(&part.file);
    let content = std::fs::read(&source).map_err(Problem::during(source.display()))?;
    let name = |field: &str| answer.pointer(&format!("/names/{field}")).and_then(Value::as_str);
    let names = (name("file_name"), name("title"), name("media_type"));
    Ok(match (status, std::fs::read(out)) {
        (200, Ok(bytes)) if bytes != content => {
            Some(format!("{} bytes came, {} were sent", bytes.len(), content.len()))
        }
        (200, Ok(_)) if names != (Some(&part.file), Some(&part.title), Some(media(&part.file))) => {
            Some(format!("its names came as {names:?}"))
        }
        (200, Ok(_)) => None,
        _ => Some(format!("it cannot be opened: {answer}")),
    })
}

/// Every decision in the log, made again from its recorded facts and policies, comes out the same.
pub fn replay(stage: &Stage) -> Result<Check> {
    let said = stage.ask_broker(&["log", "replay", "--json"])?;
    let number = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
    let all = said
        .get("not_replayable")
        .and_then(Value::as_object)
        .is_some_and(serde_json::Map::is_empty);
    let (replayed, parts) = (number("replayed"), number("parts"));
    let holds = replayed > 0 && all && said.get("differ").and_then(Value::as_u64) == Some(0);
    Ok(Check::of(
        format!("{replayed} decisions in the log ({parts} parts) come out the same when they are made again"),
        (!holds).then(|| said.to_string()),
    ))
}

/// What an agent says of a part that it has destroyed, as an obligation bound it to.
const DELETED: &str = "PART_DESTROYED";

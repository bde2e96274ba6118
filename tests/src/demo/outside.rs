//! The checks from outside: files, bytes on disks and in memory, the log. None of them asks broker or
//! agents whether they behaved.

use schakel_proto::ids::{PacketId, PartId};
use serde_json::Value;

use super::cli::Cli;
use super::problem::{Problem, Result};
use super::script::{End, Expected, Packet, Part};
use super::stage::Stage;

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

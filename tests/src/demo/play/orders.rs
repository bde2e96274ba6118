//! A packet of the story as the agent's API takes it.

use schakel_proto::ids::Digest;
use serde_json::{Value, json};

use super::Play;
use crate::demo::problem::{Problem, Result};
use crate::demo::step::{Emergency, Packet, Part};

const HOUR_MILLIS: i64 = 3_600_000;

impl Play<'_> {
    /// The order of a packet.
    pub(super) fn order(&mut self, packet: &Packet) -> Result<Value> {
        let parts = packet
            .parts
            .iter()
            .map(|part| self.part(packet, part))
            .collect::<Result<Vec<_>>>()?;
        let statement =
            |name: &Option<String>| name.as_deref().map(|name| self.names.statement(name)).transpose();
        let (consultation, mandate) = (
            statement(&packet.refers.consultation)?,
            statement(&packet.refers.mandate)?,
        );
        let measure = statement(&packet.refers.measure)?;
        let replied = packet
            .refers
            .in_reply_to
            .as_deref()
            .map(|name| self.names.packet(name))
            .transpose()?;
        let replied = replied.and_then(|place| self.sent.get(place)).map(|sent| sent.id);
        let report = packet.report.as_ref().map(|report| {
            json!({
                "victim_class": report.victim_class, "danger": report.danger,
                "cannot_protect_otherwise": report.cannot_protect_otherwise,
            })
        });
        Ok(json!({
            "case": self.names.case(&packet.case), "to": packet.to, "purpose": packet.purpose, "basis": packet.basis,
            "urgency": packet.urgency, "expires_hours": packet.expires_hours, "in_reply_to": replied,
            "consultation": consultation, "mandate": mandate, "measure": measure, "report": report,
            "break_glass": packet.emergency.as_ref().map(|emergency| self.emergency(emergency)), "parts": parts,
        }))
    }

    fn part(&mut self, packet: &Packet, part: &Part) -> Result<Value> {
        let file = self.stage.documents().join(&part.file);
        if !file.is_file() {
            return Err(Problem::new(format!("no document is called {}", part.file)));
        }
        let mut subjects = Vec::with_capacity(part.about.len());
        for about in &part.about {
            let wrong = || Problem::new(format!("about: \"{about}\" is not NAME:ROLE:AGE"));
            let [name, role, age] = about
                .split(':')
                .collect::<Vec<_>>()
                .try_into()
                .map_err(|_| wrong())?;
            subjects.push(
                json!({ "role": role, "age_class": age, "subject": self.names.person(&packet.case, name) }),
            );
        }
        let statement =
            |name: &Option<String>| name.as_deref().map(|name| self.names.statement(name)).transpose();
        Ok(json!({
            "category": part.category, "file": file, "media_type": media(&part.file),
            "title": part.title.as_ref().unwrap_or(&packet.title), "subjects": subjects,
            "secrecy": part.secrecy.as_deref().unwrap_or("none"), "to": part.to,
            "release": statement(&part.release)?, "measure": statement(&part.measure)?,
            "relevant": part.relevant, "pseudonymous": part.pseudonymous,
        }))
    }

    fn emergency(&self, emergency: &Emergency) -> Value {
        let text = emergency.justification.as_bytes();
        let commitment = Digest::of(text);
        json!({
            "actor": emergency.actor, "danger_to": emergency.danger_to, "reviewer": emergency.reviewer,
            "review_by_ms": self.stage.now().millis() + emergency.review_by_hours * HOUR_MILLIS,
            "justification_chars": emergency.justification.chars().count(),
            "justification_commitment": commitment,
        })
    }
}

/// The media type of a document, by its name.
pub fn media(file: &str) -> &'static str {
    match file.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "pdf" => "application/pdf",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "json" => "application/json",
        "csv" => "text/csv",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

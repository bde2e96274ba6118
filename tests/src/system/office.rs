//! An agency's office: what its own system would ask of its agent, over the local API.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schakel_certs_dev::Network;
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::party::AgencyId;
use serde_json::{Value, json};

use super::network::{Town, agency};
use super::wait;

/// The local API of one agency's agent.
#[derive(Clone)]
pub struct Office {
    agency: AgencyId,
    socket: PathBuf,
    data: PathBuf,
}

/// A document to be sent.
#[derive(Clone)]
pub struct Document<'a> {
    /// Category code.
    pub category: &'a str,
    /// Secrecy of the source.
    pub secrecy: &'a str,
    /// The file.
    pub file: &'a Path,
    /// Title inside the seal.
    pub title: &'a str,
    /// Recipients of this part; empty: all of the packet's.
    pub to: &'a [&'a str],
}

impl<'a> Document<'a> {
    /// One for all recipients, without special secrecy.
    pub fn new(category: &'a str, file: &'a Path) -> Self {
        Self {
            category,
            secrecy: "none",
            file,
            title: "Verslag",
            to: &[],
        }
    }
}

impl Office {
    /// The office of an agency of the town.
    pub fn of(town: &Town, id: &str) -> Self {
        Self::in_network(town.network(), id)
    }

    /// The office of an agency of a network.
    pub fn in_network(network: &Network, id: &str) -> Self {
        let agency = agency(id);
        let data = network.agent_data(&agency);
        Self {
            socket: data.join("agent.sock"),
            data,
            agency,
        }
    }

    /// The agent's data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// One request; status code and JSON, or why there is no answer (the agent is down).
    pub fn try_ask(&self, method: &str, route: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {route} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n");
        write!(
            stream,
            "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "no whole answer");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(broken)?;
        Ok((status, serde_json::from_str(body).map_err(|_| broken())?))
    }

    /// One request that must succeed.
    pub fn ask(&self, method: &str, route: &str, body: Option<&Value>) -> Value {
        let (status, value) = self.try_ask(method, route, body).unwrap();
        assert!(
            status == 200,
            "{}: {method} {route}: {status} {value}",
            self.agency
        );
        value
    }

    /// Opens a case with these agencies.
    pub fn open_case(&self, case: CaseRef, roster: &[&str]) -> Value {
        let statement = json!({
            "kind": "open-case", "case": case, "case_type": "partner_violence", "region": "vlg",
            "roster": entries(roster),
        });
        self.ask("POST", "/v1/statements", Some(&statement))
    }

    /// Replaces the roster of a case.
    pub fn change_roster(&self, case: CaseRef, roster: &[&str]) -> (u16, Value) {
        let statement = json!({ "kind": "change-roster", "case": case, "roster": entries(roster) });
        self.try_ask("POST", "/v1/statements", Some(&statement)).unwrap()
    }

    /// Makes a statement; the answer.
    pub fn state(&self, statement: &Value) -> Value {
        self.ask("POST", "/v1/statements", Some(statement))
    }

    /// Tries to make a statement.
    pub fn try_state(&self, statement: &Value) -> (u16, Value) {
        self.try_ask("POST", "/v1/statements", Some(statement)).unwrap()
    }

    /// What a packet to be sent looks like to the local API.
    pub fn order(
        case: CaseRef,
        to: &[&str],
        (purpose, basis): (&str, &str),
        parts: &[Document<'_>],
    ) -> Value {
        let subject = SubjectRef::from_bytes([7; 16]);
        let part = |part: &Document<'_>| {
            json!({
                "category": part.category, "file": part.file, "secrecy": part.secrecy, "title": part.title,
                "media_type": "text/plain", "to": part.to,
                "subjects": [{ "role": "victim", "age_class": "adult", "subject": subject }],
            })
        };
        let parts: Vec<Value> = parts.iter().map(part).collect();
        json!({
            "case": case, "to": to, "purpose": purpose, "basis": basis, "urgency": "routine", "parts": parts,
        })
    }

    /// Hands a packet to the agent; its id.
    pub fn send(&self, order: &Value) -> String {
        text(&self.ask("POST", "/v1/packets", Some(order)), "packet")
    }

    /// A packet, once it is `accepted`, `decided` or `settled`.
    pub fn packet(&self, packet: &str, until: &str) -> Value {
        let record = self.ask(
            "GET",
            &format!("/v1/packets/{packet}?wait={until}&seconds=60"),
            None,
        );
        let reached = match until {
            "accepted" => !record["accepted"].is_null() || is_over(&record),
            "settled" => is_over(&record),
            _ => outcomes(&record)
                .iter()
                .all(|o| !["pending", "handed_over"].contains(&o.2.as_str())),
        };
        assert!(reached, "{packet} was not {until} in time: {record:#}");
        record
    }

    /// What was received.
    pub fn inbox(&self) -> Vec<Value> {
        self.ask("GET", "/v1/inbox", None).as_array().unwrap().clone()
    }

    /// What came of one packet, once it has come.
    pub fn received(&self, packet: &str) -> Value {
        wait::until("the packet in the inbox", || {
            self.inbox()
                .into_iter()
                .find(|delivery| delivery["packet"] == packet)
        })
    }

    /// Opens a part of the inbox; its content.
    pub fn open(&self, packet: &str, part: &str, scratch: &Path) -> Vec<u8> {
        let out = scratch.join(format!("{}-{part}", self.agency));
        let request = json!({ "packet": packet, "part": part, "out": out });
        self.ask("POST", "/v1/inbox/open", Some(&request));
        std::fs::read(out).unwrap()
    }

    /// Takes a packet back.
    pub fn recall(&self, packet: &str) -> Value {
        self.ask(
            "POST",
            "/v1/recalls",
            Some(&json!({ "packet": packet, "reason": "sent_in_error" })),
        )
    }
}

fn entries(roster: &[&str]) -> Vec<Value> {
    roster
        .iter()
        .map(|id| json!({ "agency": id, "status": "active" }))
        .collect()
}

fn is_over(record: &Value) -> bool {
    ["settled", "refused", "replaced", "recalled"].contains(&text(record, "state").as_str())
}

/// A text field.
pub fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value:#}"))
        .to_owned()
}

/// Per outcome of a packet: recipient, category, state, reason.
pub fn outcomes(record: &Value) -> Vec<(String, String, String, String)> {
    let one = |o: &Value| {
        (
            text(o, "recipient"),
            text(o, "category"),
            text(o, "state"),
            text(o, "reason"),
        )
    };
    record["outcomes"].as_array().unwrap().iter().map(one).collect()
}

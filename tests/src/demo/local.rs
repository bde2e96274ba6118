//! The local API of one agency's agent: HTTP and JSON on its socket, as the agency's own system would ask.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::problem::{Problem, Result};
use super::stage::Stage;

/// Longest wait for one answer; longer than any wait that is asked for.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Longest time for which something that shall be asked again later is asked again.
const AGAIN_MAX: Duration = Duration::from_secs(120);
const AGAIN_PAUSE_MAX_MILLIS: u64 = 5_000;

/// The local API of an agency.
#[derive(Clone, Debug)]
pub struct Local {
    agency: String,
    socket: PathBuf,
}

impl Local {
    /// That of an agency of the stage.
    pub fn of(stage: &Stage, id: &str) -> Result<Self> {
        Ok(Self {
            agency: id.to_owned(),
            socket: stage.socket(id)?,
        })
    }

    /// One request: status code and JSON.
    pub fn ask(&self, method: &str, route: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let here =
            |error: std::io::Error| Problem::new(format!("{}: {method} {route}: {error}", self.agency));
        let mut stream = UnixStream::connect(&self.socket).map_err(here)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(here)?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {route} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n");
        let typed = "Content-Type: application/json\r\nContent-Length:";
        write!(stream, "{head}{typed} {length}\r\n\r\n{body}").map_err(here)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(here)?;
        let broken = || Problem::new(format!("{}: {method} {route}: no whole answer", self.agency));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(broken)?;
        Ok((status, serde_json::from_str(body).map_err(|_| broken())?))
    }

    /// One request, asked again while the answer is that it shall be asked later.
    pub fn insist(&self, method: &str, route: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let began = Instant::now();
        loop {
            let (status, value) = self.ask(method, route, body)?;
            if status != 503 || began.elapsed() > AGAIN_MAX {
                return Ok((status, value));
            }
            let pause = value
                .pointer("/retry_after_ms")
                .and_then(Value::as_u64)
                .unwrap_or(200);
            std::thread::sleep(Duration::from_millis(pause.clamp(50, AGAIN_PAUSE_MAX_MILLIS)));
        }
    }

    /// One request that must succeed.
    pub fn must(&self, method: &str, route: &str, body: Option<&Value>) -> Result<Value> {
        match self.insist(method, route, body)? {
            (200, value) => Ok(value),
            (status, value) => {
                let agency = &self.agency;
                Err(Problem::new(format!(
                    "{agency}: {method} {route}: {status} {value}"
                )))
            }
        }
    }
}

/// A field of a JSON object as text; empty if it is not there.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The list in a field of a JSON object; empty if it is not there.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

//! What goes wrong, in the one form that the daemon, its local API and the CLI share:
//! a stable code, what, where, and what to do.

use std::fmt;
use std::io;
use std::path::Path;

use schakel_proto::refusal::{self, Fault, Refusal};
use schakel_proto::wire;
use serde::{Deserialize, Serialize};

/// Who must act, which decides the CLI's exit code and whether the daemon tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The caller: a wrong argument or setting.
    Usage,
    /// A rule refuses it: trying again as it is does not help.
    Refused,
    /// The thing asked for is not here.
    NotFound,
    /// Not now: the network, the broker or room is missing; the same may succeed later.
    Later,
    /// The other side broke a promise: a proof or signature does not hold.
    Distrust,
    /// This machine: disk, permissions, damage.
    Local,
}

/// One recipient's refusal, as the broker's policy gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientProblem {
    /// The recipient's agency id.
    pub recipient: String,
    /// Reason code of the policy.
    pub reason: String,
    /// What the refusal asks of the sender.
    pub obligations: Vec<String>,
}

/// One problem. Log-safe: codes, identifiers, paths of our own and fixed text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Problem {
    /// Who must act.
    pub kind: Kind,
    /// Stable code, `UPPER_SNAKE_CASE`.
    pub code: String,
    /// What is wrong, one sentence.
    pub sentence: String,
    /// Where: file and line, field, part; may be empty.
    #[serde(default)]
    pub place: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub remedy: String,
    /// When to try again, in milliseconds; 0: not as it is.
    #[serde(default)]
    pub retry_after_ms: u32,
    /// The refusals per recipient, if the problem is a packet refused for all of them.
    #[serde(default, skip_serializing_if = "nobody")]
    pub recipients: Box<[RecipientProblem]>,
    /// The broker did not serve us, and another one of the network might: nothing to tell people.
    #[serde(skip)]
    pub unserved: bool,
}

fn nobody(recipients: &[RecipientProblem]) -> bool {
    recipients.is_empty()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.sentence)?;
        if !self.place.is_empty() {
            write!(f, " (at {})", self.place)?;
        }
        for r in &self.recipients {
            write!(f, "; {}: {}", r.recipient, r.reason)?;
        }
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, ". {}", self.remedy)
        }
    }
}

impl Problem {
    /// A problem without place.
    pub fn new(kind: Kind, code: &str, sentence: impl Into<String>, remedy: &str) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            sentence: sentence.into(),
            place: String::new(),
            remedy: remedy.to_owned(),
            retry_after_ms: 0,
            recipients: Box::default(),
            unserved: false,
        }
    }

    /// The same, with the place.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = place.to_string();
        self
    }

    /// An I/O error on one of our own files.
    pub fn io(error: &io::Error, path: &Path) -> Self {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if full {
            return Self::new(
                Kind::Later,
                "DISK_FULL",
                "no room left on the disk",
                "Free space on this disk.",
            )
            .at(path.display());
        }
        let remedy = "Check that the file or folder exists, is readable and the disk is sound.";
        Self::new(Kind::Local, "DISK", error.to_string(), remedy).at(path.display())
    }

    /// Damage in one of our own files.
    pub fn damaged(path: &Path, what: impl fmt::Display) -> Self {
        let remedy = "Restore this file from a backup; nothing is cleaned up by itself.";
        Self::new(
            Kind::Local,
            "DAMAGED",
            format!("the file does not read back: {what}"),
            remedy,
        )
        .at(path.display())
    }

    /// The other side broke a promise.
    pub fn distrust(code: &str, sentence: impl Into<String>) -> Self {
        let remedy = "Nothing was accepted. Tell the network's authority; both sides are kept as evidence.";
        Self::new(Kind::Distrust, code, sentence, remedy)
    }

    /// Whether the same request may succeed later without anybody acting on it.
    pub fn is_temporary(&self) -> bool {
        self.kind == Kind::Later || self.retry_after_ms > 0
    }

    /// Exit code of the CLI for this problem.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::Later => 3,
            Kind::NotFound => 4,
            Kind::Distrust => 5,
            Kind::Local => 6,
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.fault {
            Fault::Invalid | Fault::Forbidden | Fault::Precondition | Fault::Conflict => Kind::Refused,
            Fault::NotFound => Kind::NotFound,
            Fault::Unauthenticated => Kind::Distrust,
            Fault::Exhausted | Fault::Unavailable => Kind::Later,
            Fault::Internal => Kind::Local,
        };
        Self {
            kind,
            ..from_wire(kind, refusal.to_wire())
        }
    }
}

/// Refusals with the code of a broker that does not serve, though it does: these have another reason.
const SERVED: [&str; 4] = ["LOG_EMPTY", "FACTS_BUSY", "REQUEST_TOO_SLOW", "SUBMIT_TOO_SLOW"];

impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let kind = match status.code() {
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::Unimplemented => Kind::Refused,
            Code::NotFound => Kind::NotFound,
            _ => Kind::Later,
        };
        // That we are too fast, or unknown, we are anywhere.
        let elsewhere = matches!(status.code(), Code::ResourceExhausted | Code::Unauthenticated);
        let problem = from_status(kind, &status);
        Self {
            unserved: kind == Kind::Later && !elsewhere && !SERVED.contains(&problem.code.as_str()),
            ..problem
        }
    }
}

fn from_status(kind: Kind, status: &tonic::Status) -> Problem {
    if let Some(refusal) = refusal::from_status(status) {
        return from_wire(kind, refusal);
    }
    if let Some(why) = certificate_refused(status) {
        let remedy = "Check this machine's clock first, then `ca` and `broker_name` in agent.toml; the agent \
                      tries again by itself.";
        return Problem::new(kind, "BROKER_CERTIFICATE", printable(&why, 300), remedy);
    }
    let code = format!("BROKER_{:?}", status.code()).to_ascii_uppercase();
    let sentence = printable(status.message(), 300);
    let remedy = "Check that the broker runs and can be reached; the agent tries again by itself.";
    Problem::new(kind, &code, sentence, remedy)
}

/// Why the broker's TLS certificate is not accepted, if that is what went wrong.
fn certificate_refused(status: &tonic::Status) -> Option<String> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        // An I/O error says what it wraps; whoever wraps that says less.
        if let Some(rustls::Error::InvalidCertificate(why)) =
            error.downcast_ref::<rustls::Error>().or_else(|| {
                let io = error.downcast_ref::<std::io::Error>()?;
                io.get_ref()?.downcast_ref::<rustls::Error>()
            })
        {
            return Some(format!("the broker's TLS certificate is not accepted: {why}"));
        }
        source = error.source();
    }
    None
}

fn from_wire(kind: Kind, refusal: wire::Refusal) -> Problem {
    let recipient = |r: wire::RecipientRefusal| RecipientProblem {
        recipient: printable(&r.recipient, 64),
        reason: printable(&r.reason, 64),
        obligations: r.obligations.iter().take(64).map(|o| printable(o, 128)).collect(),
    };
    Problem {
        kind,
        code: printable(&refusal.code, 64),
        sentence: printable(&refusal.sentence, 300),
        place: printable(&refusal.place, 300),
        remedy: printable(&refusal.remedy, 300),
        retry_after_ms: u32::try_from(refusal.retry_after_ms).unwrap_or(u32::MAX),
        recipients: refusal.recipients.into_iter().take(64).map(recipient).collect(),
        unserved: false,
    }
}

/// Foreign text made fit for a terminal or a log: control, bidirectional and invisible characters
/// become `\u{FFFD}`, at most `max` characters are kept.
pub fn printable(text: &str, max: usize) -> String {
    let fit = |c: char| {
        let odd = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}');
        if odd { '\u{fffd}' } else { c }
    };
    text.chars().take(max).map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_broker_keeps_code_place_and_recipients() {
        let mut wire = Refusal::new(
            Fault::Precondition,
            "DENIED_FOR_ALL",
            "Nobody may have it",
            "See below.",
        )
        .at("packet")
        .to_wire();
        wire.recipients.push(wire::RecipientRefusal {
            recipient: "ocmw-schelle".into(),
            reason: "DENY_NOT_ON_ROSTER".into(),
            obligations: vec![],
        });
        let problem = Problem::from(refusal::status(Fault::Precondition, &wire));
        assert_eq!(problem.kind, Kind::Refused);
        assert_eq!(problem.code, "DENIED_FOR_ALL");
        assert_eq!(problem.recipients[0].reason, "DENY_NOT_ON_ROSTER");
        assert!(problem.to_string().contains("ocmw-schelle: DENY_NOT_ON_ROSTER"));
        assert!(!problem.is_temporary());
        assert!(Problem::from(tonic::Status::unavailable("x")).is_temporary());
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{202e}c\u{200b}", 99),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}"
        );
        assert_eq!(printable("abcdef", 3), "abc");
    }
}

//! A refusal that a party can act on: a stable code, one sentence, the place, the remedy.
//! Log-safe by construction: fields hold codes, identifiers and fixed text, never content, names or keys.

use std::fmt;

use prost::Message;

use crate::wire;

/// Who must do something about it, and so which gRPC status carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller sent something malformed or contradictory: do not retry as it is.
    Invalid,
    /// The caller is not who it must be.
    Unauthenticated,
    /// The caller may not do this, whatever it sends.
    Forbidden,
    /// A rule or the state of the case refuses it now.
    Precondition,
    /// The thing asked for is unknown here (or not to be shown to the caller).
    NotFound,
    /// The same identifier was used for something else.
    Conflict,
    /// A limit is reached: retry later.
    Exhausted,
    /// The service cannot answer now: retry later.
    Unavailable,
    /// A defect or damage on the service's side.
    Internal,
}

/// One refusal. `code` never changes its meaning and is never used again for another.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Refusal {
    /// Who must act.
    pub fault: Fault,
    /// Stable code, `UPPER_SNAKE_CASE`.
    pub code: &'static str,
    /// What is wrong, one sentence.
    pub sentence: String,
    /// Where: field, part, file and line; may be empty.
    pub place: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// When to try again, in milliseconds; 0: not as it is.
    pub retry_after_millis: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.sentence)?;
        if !self.place.is_empty() {
            write!(f, " (at {})", self.place)?;
        }
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, ". {}", self.remedy)
        }
    }
}

impl Refusal {
    /// A refusal without place and without retry.
    pub fn new(fault: Fault, code: &'static str, sentence: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            fault,
            code,
            sentence: sentence.into(),
            place: String::new(),
            remedy,
            retry_after_millis: 0,
        }
    }

    /// The same, with the place.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// The same, to be tried again after `millis`.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_millis = millis;
        self
    }

    /// As a wire message.
    pub fn to_wire(&self) -> wire::Refusal {
        wire::Refusal {
            code: self.code.to_owned(),
            sentence: self.sentence.clone(),
            place: self.place.clone(),
            remedy: self.remedy.to_owned(),
            retry_after_ms: self.retry_after_millis,
            recipients: Vec::new(),
        }
    }

    /// As a gRPC status whose details are the wire message.
    pub fn to_status(&self) -> tonic::Status {
        status(self.fault, &self.to_wire())
    }
}

/// A gRPC status that carries a wire refusal in its details.
pub fn status(fault: Fault, refusal: &wire::Refusal) -> tonic::Status {
    let code = match fault {
        Fault::Invalid => tonic::Code::InvalidArgument,
        Fault::Unauthenticated => tonic::Code::Unauthenticated,
        Fault::Forbidden => tonic::Code::PermissionDenied,
        Fault::Precondition => tonic::Code::FailedPrecondition,
        Fault::NotFound => tonic::Code::NotFound,
        Fault::Conflict => tonic::Code::AlreadyExists,
        Fault::Exhausted => tonic::Code::ResourceExhausted,
        Fault::Unavailable => tonic::Code::Unavailable,
        Fault::Internal => tonic::Code::Internal,
    };
    let message = format!("{}: {}", refusal.code, refusal.sentence);
    tonic::Status::with_details(code, message, refusal.encode_to_vec().into())
}

/// The refusal in a status' details, if it carries one.
pub fn from_status(status: &tonic::Status) -> Option<wire::Refusal> {
    let refusal = wire::Refusal::decode(status.details()).ok()?;
    (!refusal.code.is_empty()).then_some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way_through_a_status() {
        let refusal = Refusal::new(
            Fault::Exhausted,
            "STORE_FULL",
            "The store is full",
            "Wait for room.",
        )
        .at("part-01")
        .retry_after(2_000);
        let wire = from_status(&refusal.to_status()).unwrap();
        assert_eq!(wire, refusal.to_wire());
        assert_eq!(from_status(&tonic::Status::internal("x")), None);
    }
}

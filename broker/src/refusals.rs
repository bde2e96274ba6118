//! How often the broker said no, to what and with which code: for `/metrics`. No label names an agency, a case or a
//! packet, and codes are fixed words of the program: the table cannot be made to grow from outside.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// A call by somebody who is no member.
    Caller,
    /// A packet.
    Submission,
    /// A statement.
    Statement,
    /// A recall.
    Recall,
    /// Any other request.
    Request,
}

impl Refused {
    /// Its label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Submission => "submission",
            Self::Statement => "statement",
            Self::Recall => "recall",
            Self::Request => "request",
        }
    }
}

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(Refused, &'static str), u64>>);

impl Refusals {
    /// One more, whether it leaves a leaf in the log or not.
    pub fn count(&self, what: Refused, code: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((what, code)).or_default();
        *count = count.saturating_add(1);
    }

    /// As Prometheus reads it.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# HELP schakel_refusals_total What was refused, by code.\n# TYPE schakel_refusals_total counter\n",
        );
        for ((what, code), count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let what = what.as_str();
            text.push_str(&format!(
                "schakel_refusals_total{{what=\"{what}\",code=\"{code}\"}} {count}\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_counted_under_what_it_was_and_its_code() {
        let refusals = Refusals::default();
        for (what, code) in [
            (Refused::Submission, "SIGNATURE_BAD"),
            (Refused::Caller, "UNKNOWN_IDENTITY"),
            (Refused::Submission, "SIGNATURE_BAD"),
            (Refused::Statement, "SIGNATURE_BAD"),
        ] {
            refusals.count(what, code);
        }
        let text = refusals.to_text();
        assert_eq!(
            text.lines().skip(2).collect::<Vec<_>>(),
            [
                "schakel_refusals_total{what=\"caller\",code=\"UNKNOWN_IDENTITY\"} 1",
                "schakel_refusals_total{what=\"submission\",code=\"SIGNATURE_BAD\"} 2",
                "schakel_refusals_total{what=\"statement\",code=\"SIGNATURE_BAD\"} 1",
            ]
        );
    }
}

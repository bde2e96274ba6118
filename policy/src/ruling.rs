//! What a decision says: outcome, reason, obligations, and which policies determined it.

use std::collections::BTreeSet;
use std::fmt;

/// Outcome for one part and one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The part goes to the recipient.
    Deliver,
    /// The part stays behind; the recipient learns nothing of it.
    Withhold,
    /// The part waits: a valid consent is the only thing missing.
    HoldForConsent,
    /// The packet is refused for this recipient.
    DenyPacket,
}

impl Outcome {
    /// The word used in decisions, cases and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Withhold => "withhold",
            Self::HoldForConsent => "hold-for-consent",
            Self::DenyPacket => "deny-packet",
        }
    }

    /// From its word.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Deliver,
            Self::Withhold,
            Self::HoldForConsent,
            Self::DenyPacket,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What would change a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint {
    /// A valid consent of every subject.
    Consent,
}

impl Hint {
    /// Key of its text in the bundle.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
        }
    }
}

/// The decision for one part and one recipient. Made by the engine only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub struct Ruling {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) obligations: BTreeSet<String>,
    pub(crate) policies: Vec<String>,
    pub(crate) hint: Option<Hint>,
    pub(crate) alarms: Vec<String>,
}

impl Ruling {
    /// Whether the part goes, stays, waits, or the packet is refused.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether the outcome is `deliver`.
    pub fn delivers(&self) -> bool {
        self.outcome == Outcome::Deliver
    }

    /// Reason code, e.g. `OK_LEGAL_DUTY` (domain.md 6.6).
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What the decision binds sender, recipient or broker to.
    pub fn obligations(&self) -> &BTreeSet<String> {
        &self.obligations
    }

    /// Ids of the policies that determined outcome and obligations, the deciding one first.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// What alone would turn the refusal into a delivery.
    pub fn hint(&self) -> Option<Hint> {
        self.hint
    }

    /// Defects that the policy engine reported; the outcome is then a denial. Log them as an alarm.
    pub fn alarms(&self) -> &[String] {
        &self.alarms
    }
}

/// The decisions for all parts of one packet and one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub struct PacketRuling {
    pub(crate) denied: Option<Ruling>,
    pub(crate) parts: Vec<Ruling>,
}

impl PacketRuling {
    /// The packet-level refusal (steps 1 to 6), if there is one: nothing of the packet goes to this recipient.
    pub fn denied(&self) -> Option<&Ruling> {
        self.denied.as_ref()
    }

    /// One ruling for each part, in the order asked; after a packet-level refusal each is that refusal.
    pub fn parts(&self) -> &[Ruling] {
        &self.parts
    }
}

/// Whether an agency may make a statement or see a case's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a decision that nobody looks at decides nothing"]
pub struct Permission {
    pub(crate) granted: bool,
    pub(crate) reason: String,
    pub(crate) policies: Vec<String>,
    pub(crate) alarms: Vec<String>,
}

impl Permission {
    /// Whether it may.
    pub fn granted(&self) -> bool {
        self.granted
    }

    /// Reason code, e.g. `STATE_NOT_ENTITLED`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Ids of the determining policies.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Defects that the policy engine reported; the answer is then no.
    pub fn alarms(&self) -> &[String] {
        &self.alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_words_go_there_and_back() {
        for outcome in [
            Outcome::Deliver,
            Outcome::Withhold,
            Outcome::HoldForConsent,
            Outcome::DenyPacket,
        ] {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::parse("allow"), None);
    }
}

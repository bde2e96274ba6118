//! Why a statement, or a chain of them, is refused, and what to do about it.

use crate::party::{AgencyId, NetworkName};
use crate::refusal::{Fault, Refusal};
use crate::time::Timestamp;

/// A statement or a chain of facts is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A field is missing, out of bounds, contradictory or given twice.
    #[error("the statement's {place}: {what}")]
    Malformed {
        /// Which field.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// It belongs to another network.
    #[error("the statement is of another network than {expected}")]
    Network {
        /// The network expected here.
        expected: NetworkName,
    },
    /// It was made in the future.
    #[error("the statement was made at {made}, in the future")]
    FromTheFuture {
        /// When it says it was made.
        made: Timestamp,
    },
    /// The directory does not list the agency.
    #[error("{agency} is not in the directory")]
    UnknownAgency {
        /// The agency named.
        agency: AgencyId,
    },
    /// The directory lists no usable certificate of the agency with the fingerprint named.
    #[error("the certificate that signed is not a current one of {agency}")]
    UnknownKey {
        /// The agency named.
        agency: AgencyId,
    },
    /// The signature does not hold.
    #[error("the statement's signature does not hold: {what}")]
    Signature {
        /// Why.
        what: String,
    },
    /// Signing failed.
    #[error("the statement could not be signed: the certificate has no usable signing key now")]
    Signing,
    /// The chain of a case's facts does not hold together.
    #[error("fact {number} of the case: {what}")]
    Chain {
        /// Which fact, counted from 1.
        number: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl StatementError {
    /// A malformed field.
    pub(super) fn malformed(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            what: what.into(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "STATEMENT_MALFORMED",
            Self::Network { .. } => "STATEMENT_NETWORK",
            Self::FromTheFuture { .. } => "STATEMENT_FUTURE",
            Self::UnknownAgency { .. } => "STATEMENT_AGENCY",
            Self::UnknownKey { .. } => "STATEMENT_KEY",
            Self::Signature { .. } => "STATEMENT_SIGNATURE",
            Self::Signing => "STATEMENT_SIGNING",
            Self::Chain { .. } => "FACTS_CHAIN",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "Correct the field and sign the statement anew.",
            Self::Network { .. } => "Check the configured network.",
            Self::FromTheFuture { .. } => "Check the clock of the machine that signed it.",
            Self::UnknownAgency { .. } | Self::UnknownKey { .. } | Self::Signing => {
                "Sign with a key that the network's directory lists for the agency."
            }
            Self::Signature { .. } => "Sign the statement anew; it was altered or signed with another key.",
            Self::Chain { .. } => "Do not decide on these facts; tell the broker's operator.",
        }
    }
}

impl From<StatementError> for Refusal {
    fn from(error: StatementError) -> Self {
        let fault = match &error {
            StatementError::Signing | StatementError::Chain { .. } => Fault::Internal,
            StatementError::UnknownAgency { .. }
            | StatementError::UnknownKey { .. }
            | StatementError::Signature { .. } => Fault::Forbidden,
            _ => Fault::Invalid,
        };
        let place = match &error {
            StatementError::Malformed { place, .. } => place.clone(),
            _ => String::new(),
        };
        Refusal::new(fault, error.code(), error.to_string(), error.remedy()).at(place)
    }
}

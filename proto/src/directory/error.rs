//! Why a directory is refused, and what to do about it.

use crate::party::NetworkName;
use crate::refusal::{Fault, Refusal};
use crate::time::Timestamp;

/// A directory, or the pinned authority, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// More bytes than any directory may have.
    #[error("the directory is {got} bytes long, at most {max} are accepted")]
    TooLong {
        /// Bytes found.
        got: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The pinned authority (local configuration) cannot be used.
    #[error("the pinned authority is not usable: {what}")]
    Authority {
        /// What is wrong with it.
        what: String,
    },
    /// Fewer distinct authority keys signed it than the threshold demands.
    #[error("{good} of {needed} needed authority keys signed the directory")]
    TooFewSignatures {
        /// Keys whose signature verifies.
        good: usize,
        /// Keys demanded.
        needed: usize,
    },
    /// A field is missing, out of bounds, contradictory or given twice.
    #[error("the directory's {place}: {what}")]
    Malformed {
        /// Which field.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// It belongs to another network.
    #[error("the directory is of another network than {expected}")]
    Network {
        /// The network expected here.
        expected: NetworkName,
    },
    /// It was issued in the future.
    #[error("the directory was issued at {issued}, in the future")]
    NotYetIssued {
        /// When it says it was issued.
        issued: Timestamp,
    },
    /// Its validity is over.
    #[error("the directory was valid until {valid_until}")]
    Expired {
        /// The last moment of its validity.
        valid_until: Timestamp,
    },
    /// It is older than the newest seen here.
    #[error("the directory has version {got}, but version {newest} was seen")]
    Older {
        /// Its version.
        got: u64,
        /// The newest seen.
        newest: u64,
    },
    /// The authority signed two different directories of one version.
    #[error("there are two different directories of version {version}")]
    Contradiction {
        /// The version.
        version: u64,
    },
    /// It names another log and does not freeze the one before, or another end of what is frozen.
    #[error("the directory replaces a shard of the log without freezing it, or changes a frozen one")]
    LogReplaced,
    /// It is too old for new sealing.
    #[error("the directory was issued at {issued}, more than 24 hours ago")]
    Stale {
        /// When it was issued.
        issued: Timestamp,
    },
}

impl DirectoryError {
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
            Self::TooLong { .. } => "DIRECTORY_TOO_LONG",
            Self::Authority { .. } => "DIRECTORY_AUTHORITY",
            Self::TooFewSignatures { .. } => "DIRECTORY_SIGNATURE",
            Self::Malformed { .. } => "DIRECTORY_MALFORMED",
            Self::Network { .. } => "DIRECTORY_NETWORK",
            Self::NotYetIssued { .. } => "DIRECTORY_NOT_YET_ISSUED",
            Self::Expired { .. } => "DIRECTORY_EXPIRED",
            Self::Older { .. } => "DIRECTORY_OLDER",
            Self::Contradiction { .. } => "DIRECTORY_CONTRADICTION",
            Self::LogReplaced => "DIRECTORY_LOG",
            Self::Stale { .. } => "DIRECTORY_STALE",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::Malformed { .. } => {
                "Ask the network's authority for a correct directory."
            }
            Self::Authority { .. } => "Correct `authority` and `authority_threshold` in the configuration.",
            Self::TooFewSignatures { .. } => {
                "Check that `authority` holds the network's authority keys; do not use this directory."
            }
            Self::Network { .. } => "Check `network` and `directory` in the configuration.",
            Self::NotYetIssued { .. } => "Check this machine's clock.",
            Self::Expired { .. } | Self::Stale { .. } => {
                "Fetch a newer directory from the broker or the authority."
            }
            Self::LogReplaced => {
                "Ask the network's authority for a directory that lists the former shards of the log as they ended."
            }
            Self::Older { .. } => "Use the newest directory; an older one is never accepted again.",
            Self::Contradiction { .. } => "Tell the network's authority at once: its key may be misused.",
        }
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        let fault = match &error {
            DirectoryError::Authority { .. } => Fault::Internal,
            DirectoryError::Older { .. }
            | DirectoryError::Contradiction { .. }
            | DirectoryError::LogReplaced => Fault::Conflict,
            DirectoryError::Stale { .. } | DirectoryError::Expired { .. } => Fault::Precondition,
            _ => Fault::Invalid,
        };
        let place = match &error {
            DirectoryError::Malformed { place, .. } => place.clone(),
            _ => String::new(),
        };
        Refusal::new(fault, error.code(), error.to_string(), error.remedy()).at(place)
    }
}

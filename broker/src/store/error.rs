//! What can go wrong in the store, and who must act.

use std::sync::Arc;

use schakel_proto::refusal::{Fault, Refusal};

/// Code of the refusal to add anything to a case that was erased.
pub const CASE_ERASED: &str = "CASE_ERASED";

/// A store failure. Unless its text says otherwise, nothing of the verb took effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk: nothing was changed; works again when there is room.
    #[error("the store has no room left")]
    Full,
    /// This one group failed; whether it was saved is **unknown**. Try the same verb with the same
    /// identifiers again: all verbs are idempotent.
    #[error("the store could not confirm a write: {0}")]
    Unconfirmed(Arc<str>),
    /// The database cannot be reached, is too busy, or does not confirm: **nothing** was changed, and nothing read is
    /// answered with. Works again by itself.
    #[error("the store's database does not answer: {0}")]
    Away(Arc<str>),
    /// A stored row or file does not match its checksum. That item is not served; others are.
    #[error("the store is damaged at {0}")]
    Corrupt(Arc<str>),
    /// The writer stopped (a sync failed, or it was closed). Nothing is accepted until a restart.
    #[error("the store has stopped: {0}")]
    Stopped(Arc<str>),
    /// The store must not be opened as it is; the text says what to do.
    #[error("the store cannot be opened: {0}")]
    Unusable(Arc<str>),
    /// A file operation failed (part file, erasure key, log key).
    #[error("the store cannot use {what}: {source}")]
    Io {
        /// What was being used.
        what: &'static str,
        /// The cause.
        source: Arc<std::io::Error>,
    },
    /// The caller gave something that the verb's contract excludes (a defect in the broker).
    #[error("the store was misused: {0}")]
    Misused(&'static str),
    /// The case's erasure key was destroyed: nothing is added to it.
    #[error("the case was erased")]
    Erased,
    /// The thing named is not (or no longer) there.
    #[error("the store has no such {0}")]
    Missing(&'static str),
}

impl StoreError {
    /// From an input/output error: a full disk is told apart.
    pub(crate) fn io(what: &'static str, source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io {
                what,
                source: Arc::new(source),
            },
        }
    }

    /// Adapter for `map_err`.
    pub(crate) fn on(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::io(what, source)
    }
}

/// As it crosses to another party: no paths, no details of the disk.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        const RETRY_MILLIS: u64 = 5_000;
        // It comes back by itself, mostly within seconds.
        const AWAY_MILLIS: u64 = 1_000;
        match error {
            StoreError::Full => Self::new(
                Fault::Exhausted,
                "STORE_FULL",
                "The broker has no room left",
                "Nothing was accepted; try again later with the same packet. The operator must make room.",
            )
            .retry_after(RETRY_MILLIS),
            StoreError::Unconfirmed(_) => Self::new(
                Fault::Unavailable,
                "STORE_UNCONFIRMED",
                "The broker could not confirm that this was saved",
                "Send the same thing again: it is accepted once.",
            )
            .retry_after(RETRY_MILLIS),
            StoreError::Away(_) => Self::new(
                Fault::Unavailable,
                "STORE_AWAY",
                "The broker's database does not answer",
                "Nothing was accepted; try again later with the same packet, or at another broker of the network.",
            )
            .retry_after(AWAY_MILLIS),
            StoreError::Stopped(_) | StoreError::Unusable(_) => Self::new(
                Fault::Unavailable,
                "STORE_STOPPED",
                "The broker's store has stopped",
                "Try again later; the operator must restart the broker and read its log.",
            )
            .retry_after(RETRY_MILLIS),
            StoreError::Corrupt(_) => Self::new(
                Fault::Internal,
                "CORRUPT",
                "Something stored at the broker is damaged",
                "The operator must restore it; the sender may send anew.",
            ),
            StoreError::Io { .. } => Self::new(
                Fault::Unavailable,
                "STORE_IO",
                "The broker's disk failed",
                "Try again later with the same packet; the operator must look at the disk.",
            )
            .retry_after(RETRY_MILLIS),
            StoreError::Misused(_) => Self::new(
                Fault::Internal,
                "BROKER_DEFECT",
                "The broker made a mistake",
                "Report it to the operator with the time.",
            ),
            StoreError::Erased => Self::new(
                Fault::Precondition,
                CASE_ERASED,
                "This case was erased",
                "Nothing is added to it any more; open a new case with a new reference.",
            ),
            StoreError::Missing(what) => Self::new(
                Fault::NotFound,
                "NOT_FOUND",
                format!("There is no such {what}"),
                "Check the identifier.",
            ),
        }
    }
}

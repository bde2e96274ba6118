//! A store that must not sign. A restored backup may end before what agents have seen, and a store that was moved goes
//! on elsewhere: whoever signed on here would fork the log. The mark is a row of the store, so it is as durable as the
//! log; only the operator takes it away, by naming where the log ends.

use schakel_proto::ids::Digest;
use schakel_proto::refusal::{Fault, Refusal};

use super::{Store, StoreError};

/// Why a store must not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltCause {
    /// It was restored from a backup.
    Restored,
    /// Its log goes on in another store.
    Moved,
    /// A restore or move into it did not end.
    Filling,
}

/// The mark: no checkpoint is signed on this store until the operator confirms where its log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Why.
    pub cause: HaltCause,
    /// Leaves in the tree.
    pub size: u64,
    /// Its root.
    pub root: Digest,
}

impl Halt {
    /// What the operator is told who would start a broker on it.
    pub fn refusal(&self) -> Refusal {
        let (size, root) = (self.size, self.root);
        let (code, what) = match self.cause {
            HaltCause::Restored => ("STORE_RESTORED", "was restored from a backup"),
            HaltCause::Moved => ("STORE_MOVED", "was moved: the log goes on in another one"),
            HaltCause::Filling => {
                let sentence = "A restore or move into this store was broken off";
                let remedy =
                    "Give the same command again: it begins anew. Nothing is in it that is not elsewhere.";
                return Refusal::new(Fault::Precondition, "STORE_UNFINISHED", sentence, remedy);
            }
        };
        let sentence = format!(
            "This store {what}, and nothing is signed on it until an operator confirms that its log goes on here after \
             {size} entries, root {root}"
        );
        let remedy = "docs/operating/store.md says what to compare first. Then: schakel-broker store confirm --size \
                      SIZE --root ROOT";
        Refusal::new(Fault::Precondition, code, sentence, remedy)
    }
}

/// Whether a broker may sign on this store.
///
/// # Errors
/// It may not, with what to do; or the store cannot be read.
pub async fn may_sign(store: &dyn Store) -> Result<(), Refusal> {
    store.halted().await?.map_or(Ok(()), |halt| Err(halt.refusal()))
}

/// What a verb of a store that must not sign says.
pub(super) fn unconfirmed(halt: &Halt) -> StoreError {
    StoreError::Unusable(halt.refusal().to_string().into())
}

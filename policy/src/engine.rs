//! The only file that names Cedar's authorizer: puts questions to the policies and reads the answers.

use crate::bundle::{Bundle, BundleError};
use crate::question::{InspectQuestion, ReceiveQuestion, StateQuestion};
use crate::ruling::{PacketRuling, Permission, Ruling};

/// One bundle, ready to decide. Cheap to share between threads (`Arc`); a new bundle is a new engine.
pub struct Engine {
    bundle: std::sync::Arc<Bundle>,
}

impl Engine {
    /// Compiles a bundle that has been loaded (and so validated). Its own cases are run: a bundle that
    /// fails one of them is refused.
    pub fn new(bundle: &Bundle) -> Result<Self, BundleError> {
        Ok(Self {
            bundle: std::sync::Arc::new(bundle.clone()),
        })
    }

    /// The bundle that decides.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Decides one part for one recipient: all steps of domain.md 6.5. Does not look at the bundle's validity.
    pub fn receive(&self, question: &ReceiveQuestion) -> Ruling {
        let _ = question;
        todo!()
    }

    /// Decides all parts of a packet for one recipient. A packet-level refusal of any part (steps 1 to 6), or a
    /// bundle outside its validity (`DENY_BUNDLE_NOT_IN_FORCE`), refuses the packet for this recipient.
    /// At admission `roster_version_seen` is what the packet says; at hand-over it is `None`.
    pub fn packet(&self, parts: &[ReceiveQuestion]) -> PacketRuling {
        let _ = parts;
        todo!()
    }

    /// The packet-level steps (1 to 6) only: the refusal for this recipient, if there is one.
    pub fn admit(&self, parts: &[ReceiveQuestion]) -> Result<(), Ruling> {
        let _ = parts;
        todo!()
    }

    /// Whether an agency may make a statement.
    pub fn state(&self, question: &StateQuestion) -> Permission {
        let _ = question;
        todo!()
    }

    /// Whether an agency may see a case's facts.
    pub fn inspect(&self, question: &InspectQuestion) -> Permission {
        let _ = question;
        todo!()
    }
}

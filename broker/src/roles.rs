//! Who calls: the agency that the connection's TLS identity speaks for in the directory of this
//! moment. Every call demands a `Caller`, and there is no other way to have one.

use std::sync::Arc;

use schakel_proto::directory::Directory;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};

use crate::tls::TlsIdentity;

/// A member of the network, known by its TLS key.
#[derive(Clone)]
pub struct Caller {
    agency: AgencyId,
    identity: TlsIdentity,
    directory: Arc<Directory>,
}

impl Caller {
    /// Looks `identity` up in `directory`. Names in a certificate count for nothing.
    ///
    /// # Errors
    /// No TLS identity, or one that no agency of the directory has.
    pub fn of(identity: Option<TlsIdentity>, directory: Arc<Directory>) -> Result<Self, Refusal> {
        let identity = identity.ok_or_else(|| {
            let sentence = "The connection shows no TLS identity";
            Refusal::new(
                Fault::Unauthenticated,
                "NO_IDENTITY",
                sentence,
                "Connect with a client certificate.",
            )
        })?;
        let agency = directory
            .agency_by_tls(identity.digest())
            .map(|agency| agency.id().clone());
        match agency {
            Some(agency) => Ok(Self {
                agency,
                identity,
                directory,
            }),
            None => Err(unknown()),
        }
    }

    /// The same caller under a directory that came later.
    ///
    /// # Errors
    /// The identity no longer speaks for this agency.
    pub fn again(&self, directory: Arc<Directory>) -> Result<Self, Refusal> {
        let again = Self::of(Some(self.identity), directory)?;
        if again.agency == self.agency {
            Ok(again)
        } else {
            Err(unknown())
        }
    }

    /// The agency.
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// The directory that says so; the call is judged by it.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }
}

fn unknown() -> Refusal {
    Refusal::new(
        Fault::Unauthenticated,
        "UNKNOWN_IDENTITY",
        "No agency in the current directory has this TLS key",
        "Have the network's authority list the SHA-256 of the key (SubjectPublicKeyInfo) in the directory.",
    )
}

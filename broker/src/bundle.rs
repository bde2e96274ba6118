//! The policy bundle in force: read from the operator's file, signed by two officers of two agencies,
//! never older than the newest ever seen here, and logged before it decides.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use schakel_policy::bundle::{BundleError, OfficerEntry, SignedBundle};
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::directory::read;

/// A bundle that may decide, with what agents need to check it themselves.
pub struct Rules {
    engine: Engine,
    signed: SignedBundle,
}

impl Rules {
    /// The engine that decides.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The bundle's digest, named in every decision.
    pub fn digest(&self) -> Digest {
        self.engine.bundle().digest()
    }

    /// The bundle's version.
    pub fn version(&self) -> u64 {
        self.engine.bundle().version()
    }

    /// The answer to an agent that has another bundle than this.
    pub fn to_wire(&self) -> wire::GetBundleAnswer {
        let signature = |one: &schakel_policy::bundle::BundleSignature| wire::BundleSignature {
            officer: one.officer.to_string(),
            signature: one.signature.clone().into(),
        };
        wire::GetBundleAnswer {
            archive: self.signed.archive.clone().into(),
            signatures: self.signed.signatures.iter().map(signature).collect(),
        }
    }
}

/// Where bundles come from.
pub struct Source {
    file: PathBuf,
    network: NetworkName,
}

impl Source {
    /// Bundles of `network` in `file`.
    pub fn new(file: PathBuf, network: NetworkName) -> Self {
        Self { file, network }
    }

    /// The bytes of the file, to see whether they changed.
    ///
    /// # Errors
    /// It cannot be read or is too long.
    pub fn bytes(&self) -> Result<Vec<u8>, Refusal> {
        read(&self.file, 2 * limits::BUNDLE_MAX_BYTES)
    }

    /// Loads, checks and compiles a bundle. Takes a while: its own cases are run.
    ///
    /// # Errors
    /// Not signed by two officers of two agencies of `directory`, invalid, or failing its own cases.
    pub fn load(&self, bytes: &[u8], directory: &Directory, now: Timestamp) -> Result<Rules, Refusal> {
        let signed = SignedBundle::from_bytes(bytes).map_err(refused)?;
        let officers: Vec<OfficerEntry> = directory
            .officers()
            .map(|officer| OfficerEntry {
                agency: officer.agency().clone(),
                officer: officer.id().clone(),
                certificate: officer.certificate().clone(),
            })
            .collect();
        let verified = signed.verify(&self.network, &officers, now).map_err(refused)?;
        let engine = Engine::new(verified.bundle()).map_err(refused)?;
        Ok(Rules { engine, signed })
    }
}

fn refused(error: BundleError) -> Refusal {
    let remedy = "Have the officers correct and sign the bundle; the one in force stays until then.";
    Refusal::new(Fault::Precondition, error.code, error.sentence, remedy).at(error.place)
}

/// Why a bundle of this version may not follow one that was seen before.
pub fn older(got: u64, newest: u64) -> Refusal {
    let sentence = format!("The bundle has version {got}, but version {newest} was in force here");
    let remedy = "Going back needs a new version with the old rules, signed by two officers.";
    Refusal::new(Fault::Precondition, "BUNDLE_OLDER", sentence, remedy)
}

/// The rules in force, shared by all calls.
pub struct RulesInForce {
    source: Source,
    current: RwLock<(Arc<Rules>, Digest)>,
}

impl RulesInForce {
    /// Begins with `first`, which has been logged and came from a file with this digest.
    pub fn new(source: Source, first: Rules, file: Digest) -> Self {
        Self {
            source,
            current: RwLock::new((Arc::new(first), file)),
        }
    }

    /// The ones in force at this moment. A decision takes them once.
    pub fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Where they come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether a file with this digest is the one that was looked at last.
    pub fn is_seen(&self, file: Digest) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1 == file
    }

    /// Has the file looked at again, even if it did not change.
    pub fn look_again(&self) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).1 = Digest::from_bytes([0; 32]);
    }

    /// Remembers that the file with this digest was looked at and refused.
    pub fn refuse(&self, file: Digest) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).1 = file;
    }

    /// Puts `next` in force.
    pub fn activate(&self, next: Rules, file: Digest) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(next), file);
    }
}

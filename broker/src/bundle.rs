//! The policy bundle in force: read from the operator's file, signed by two officers of two agencies,
//! never older than the newest ever seen here, and logged before it decides.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use schakel_policy::bundle::{BundleError, OfficerEntry, SignedBundle};
use schakel_policy::engine::Engine;
use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::directory::{Once, read};

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

    /// The bundle with its signatures, encoded.
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.signed.to_bytes()
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

/// How near the end of its validity the bundle in force is: what the operator is reminded of, once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// More than 30 days.
    Far,
    /// At most 30 days.
    Month,
    /// At most 7 days.
    Week,
    /// Past it: every packet is denied.
    Over,
}

impl Ending {
    /// Where `now` stands before the end.
    pub fn at(now: Timestamp, end: Timestamp) -> Self {
        match end.millis_since(now) {
            left if left <= 0 => Self::Over,
            left if left <= 7 * DAY_MILLIS => Self::Week,
            left if left <= 30 * DAY_MILLIS => Self::Month,
            _ => Self::Far,
        }
    }
}

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What is due after `last`, which it replaces.
fn reminder(last: &mut (Ending, i64), now: Timestamp, end: Timestamp) -> Option<Ending> {
    let today = (Ending::at(now, end), now.millis().div_euclid(DAY_MILLIS));
    let due = today.0 != Ending::Far && *last != today;
    *last = today;
    due.then_some(today.0)
}

/// The rules in force, shared by all calls.
pub struct RulesInForce {
    source: Source,
    current: RwLock<(Arc<Rules>, Digest)>,
    /// What the operator was reminded of last, and on which day since 1970.
    reminded: Mutex<(Ending, i64)>,
    /// The older file that was told of.
    older: Once,
}

impl RulesInForce {
    /// Begins with `first`, which has been logged and came from a file with this digest.
    pub fn new(source: Source, first: Rules, file: Digest) -> Self {
        Self {
            source,
            current: RwLock::new((Arc::new(first), file)),
            reminded: Mutex::new((Ending::Far, 0)),
            older: Once::default(),
        }
    }

    /// What the operator must be told of the end of these rules; `None`: nothing, or it was told today.
    pub fn reminder(&self, now: Timestamp) -> Option<Ending> {
        let end = self.current().engine().bundle().valid_until();
        let mut last = self.reminded.lock().unwrap_or_else(PoisonError::into_inner);
        reminder(&mut last, now, end)
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

    /// Remembers that the file with this digest is older than what another broker brought into force: told once.
    pub fn pass_over(&self, file: Digest) {
        if self.older.is_news(file) {
            let version = self.current().version();
            tracing::warn!(
                version,
                "the bundle file is older than what another broker brought into force: replace it"
            );
        }
        self.refuse(file);
    }

    /// Puts `next` in force, which came from no file.
    pub fn follow(&self, next: Rules) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).0 = Arc::new(next);
    }

    /// Puts `next` in force.
    pub fn activate(&self, next: Rules, file: Digest) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(next), file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_bundle_is_announced_30_and_7_days_before() {
        let end = Timestamp::from_millis(100 * DAY_MILLIS);
        let at = |days: i64, millis: i64| Ending::at(Timestamp::from_millis(days * DAY_MILLIS + millis), end);
        assert_eq!(at(70, -1), Ending::Far);
        assert_eq!((at(70, 0), at(93, -1)), (Ending::Month, Ending::Month));
        assert_eq!((at(93, 0), at(100, -1)), (Ending::Week, Ending::Week));
        assert_eq!((at(100, 0), at(200, 0)), (Ending::Over, Ending::Over));
    }

    #[test]
    fn the_operator_is_reminded_once_a_day() {
        let day = |days: i64| Timestamp::from_millis(days * DAY_MILLIS);
        let (end, mut last) = (day(100), (Ending::Far, 0));
        let mut on = |days: i64| reminder(&mut last, day(days), end);
        assert_eq!(on(10), None);
        assert_eq!(
            (on(70), on(70), on(71)),
            (Some(Ending::Month), None, Some(Ending::Month))
        );
        assert_eq!((on(93), on(93)), (Some(Ending::Week), None));
        assert_eq!((on(100), on(100)), (Some(Ending::Over), None));
    }
}

//! A policy bundle: schema, policies, matrix, texts and its own cases. Loaded whole or refused with one
//! clear error; never empty, never half. Digest, archive form, signatures of officers.

use std::path::Path;

use schakel_proto::ids::Digest;
use schakel_proto::party::{AgencyId, NetworkName, OfficerId};
use schakel_proto::time::Timestamp;

/// Why a bundle is refused: what, where, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {sentence} (at {place})")]
pub struct BundleError {
    /// Stable code, e.g. `BUNDLE_SYNTAX`.
    pub code: &'static str,
    /// One sentence.
    pub sentence: String,
    /// File and line, e.g. `policies/gates.cedar:12`.
    pub place: String,
}

/// A loaded and validated bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    name: String,
    version: u64,
    digest: Digest,
    valid_from: Timestamp,
    valid_until: Timestamp,
    archive: Vec<u8>,
}

/// One officer's signature over a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleSignature {
    /// Who signed.
    pub officer: OfficerId,
    /// Detached OpenPGP signature over `Bundle::signing_text`.
    pub signature: Vec<u8>,
}

/// An officer as the directory lists it: agency, officer id, OpenPGP certificate.
#[derive(Clone, Debug)]
pub struct OfficerEntry {
    /// The officer's agency.
    pub agency: AgencyId,
    /// The officer.
    pub officer: OfficerId,
    /// Certificate bytes.
    pub certificate: Vec<u8>,
}

/// A bundle with its signatures, as a file or from the broker (wire message `GetBundleAnswer`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBundle {
    /// The bundle's archive form.
    pub archive: Vec<u8>,
    /// The officers' signatures.
    pub signatures: Vec<BundleSignature>,
}

/// A bundle that two officers of two agencies signed. The only kind that broker and agents may run.
#[derive(Clone, Debug)]
pub struct VerifiedBundle {
    bundle: Bundle,
    signers: Vec<(AgencyId, OfficerId)>,
}

impl Bundle {
    /// The built-in default bundle (Belgium).
    pub fn built_in() -> Result<Self, BundleError> {
        todo!()
    }

    /// From a directory in the layout of policy.md.
    pub fn from_dir(path: &Path) -> Result<Self, BundleError> {
        let _ = path;
        todo!()
    }

    /// From its archive form.
    pub fn from_archive(bytes: &[u8]) -> Result<Self, BundleError> {
        let _ = bytes;
        todo!()
    }

    /// From a directory, an archive file or a signed-bundle file.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let _ = path;
        todo!()
    }

    /// Its archive form: the same files give the same bytes.
    pub fn archive(&self) -> &[u8] {
        &self.archive
    }

    /// Name, e.g. `belgium`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version; a network never goes back.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// SHA-256 over the canonical listing of its files.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// From when it may decide.
    pub fn valid_from(&self) -> Timestamp {
        self.valid_from
    }

    /// From when it may no longer decide.
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Whether it may decide at `now`.
    pub fn in_force_at(&self, now: Timestamp) -> bool {
        self.valid_from <= now && now < self.valid_until
    }

    /// The bytes that an officer signs: type, network, name, version, digest, validity.
    pub fn signing_text(&self, network: &NetworkName) -> Vec<u8> {
        let _ = network;
        todo!()
    }
}

impl SignedBundle {
    /// Encoded as wire message `GetBundleAnswer`.
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }

    /// From a wire message `GetBundleAnswer`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let _ = bytes;
        todo!()
    }

    /// Loads the bundle and checks that at least two officers of two agencies signed it.
    pub fn verify(
        &self,
        network: &NetworkName,
        officers: &[OfficerEntry],
        now: Timestamp,
    ) -> Result<VerifiedBundle, BundleError> {
        let _ = (network, officers, now);
        todo!()
    }
}

impl VerifiedBundle {
    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Who signed it.
    pub fn signers(&self) -> &[(AgencyId, OfficerId)] {
        &self.signers
    }
}

//! The directory: who takes part in a network, in which role, with which keys. Signed by a threshold of
//! authority keys; parties pin the authority, so that no broker can swap a recipient's key.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use crate::ids::Digest;
use crate::limits;
use crate::openpgp::{Certificate, Fingerprint, SealingKey, SigningKeys};
use crate::packet::verify::{DirectoryView, KeyStanding};
use crate::party::{AgencyId, Code, NetworkName, OfficerId};
use crate::time::Timestamp;
use crate::tlog::checkpoint::LogKey;
use crate::tlog::shards::Shards;
use crate::tlog::witnessed::Witnesses;
use crate::wire;

mod authority;
mod error;
mod parse;
#[cfg(test)]
mod tests;
mod watch;

pub use authority::Authority;
pub use error::DirectoryError;

/// Which side of the conflict an agency serves; drives the perpetrator-side wall (domain.md 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The victim.
    Victim,
    /// The perpetrator.
    Perpetrator,
    /// Both.
    Mixed,
    /// Neither.
    Neutral,
}

impl Side {
    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Victim => "victim",
            Self::Perpetrator => "perpetrator",
            Self::Mixed => "mixed",
            Self::Neutral => "neutral",
        }
    }
}

/// One agency, its keys already judged at the moment the directory was verified.
#[derive(Clone, Debug)]
pub struct Agency {
    id: AgencyId,
    name: String,
    role: Code,
    side: Option<Side>,
    region: Code,
    languages: Vec<Code>,
    tls_identities: Vec<Digest>,
    certificates: Vec<AgencyCertificate>,
    sealing_key: Option<SealingKey>,
    compatibility: wire::Compatibility,
    officers: Vec<Officer>,
    competent_for: Vec<Code>,
}

/// One OpenPGP certificate of an agency or officer, with its signing keys if it has usable ones now.
#[derive(Clone, Debug)]
struct AgencyCertificate {
    certificate: Certificate,
    signing: Option<SigningKeys>,
}

impl Agency {
    /// Its id.
    pub fn id(&self) -> &AgencyId {
        &self.id
    }

    /// The organisation's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its role, e.g. `police_zone`; whether the role is known is the policy's business.
    pub fn role(&self) -> &Code {
        &self.role
    }

    /// Its side; none: the role's default.
    pub fn side(&self) -> Option<Side> {
        self.side
    }

    /// Its region, e.g. `vlg`.
    pub fn region(&self) -> &Code {
        &self.region
    }

    /// The languages it works in, e.g. `nl`, the preferred one first.
    pub fn languages(&self) -> &[Code] {
        &self.languages
    }

    /// SHA-256 of the SubjectPublicKeyInfo of each TLS certificate that speaks for it.
    pub fn tls_identities(&self) -> &[Digest] {
        &self.tls_identities
    }

    /// Its OpenPGP certificates; the first takes new seals.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter().map(|c| &c.certificate)
    }

    /// The signing keys of its certificate with this primary fingerprint; none if it has no such
    /// certificate or that certificate has no usable signing key now.
    pub fn signing_keys(&self, certificate: &Fingerprint) -> Option<&SigningKeys> {
        let found = self
            .certificates
            .iter()
            .find(|c| c.certificate.fingerprint() == *certificate)?;
        found.signing.as_ref()
    }

    /// The key that takes new seals; none if its first certificate has no usable one now.
    pub fn sealing_key(&self) -> Option<&SealingKey> {
        self.sealing_key.as_ref()
    }

    /// Whether something sealed to this (sub)key is sealed to the agency: true for the encryption keys of
    /// all its certificates, superseded ones included.
    pub fn has_encryption_key(&self, key: &Fingerprint) -> bool {
        self.certificates
            .iter()
            .any(|c| c.certificate.encryption_fingerprints().contains(key))
    }

    /// Whether it works with GnuPG (v4 keys) or with the normal profile.
    pub fn compatibility(&self) -> wire::Compatibility {
        self.compatibility
    }

    /// Its officers.
    pub fn officers(&self) -> &[Officer] {
        &self.officers
    }

    /// For police zones: the regions or towns it is competent for.
    pub fn competent_for(&self) -> &[Code] {
        &self.competent_for
    }
}

/// An officer: signs policy bundles, with the officer of another agency.
#[derive(Clone, Debug)]
pub struct Officer {
    id: OfficerId,
    agency: AgencyId,
    certificate: AgencyCertificate,
}

impl Officer {
    /// The officer's id.
    pub fn id(&self) -> &OfficerId {
        &self.id
    }

    /// The agency whose officer it is.
    pub fn agency(&self) -> &AgencyId {
        &self.agency
    }

    /// The officer's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate.certificate
    }

    /// The officer's signing keys; none if the certificate has no usable one now.
    pub fn signing_keys(&self) -> Option<&SigningKeys> {
        self.certificate.signing.as_ref()
    }
}

/// A broker of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    name: String,
    tls_identities: Vec<Digest>,
}

impl Broker {
    /// The DNS name in its TLS certificate.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of the SubjectPublicKeyInfo of each of its TLS certificates.
    pub fn tls_identities(&self) -> &[Digest] {
        &self.tls_identities
    }
}

/// The network's delivery log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDescription {
    shards: Shards,
    witnesses: Vec<AgencyId>,
    tolerated_liars: u32,
    watch: Witnesses,
}

impl LogDescription {
    /// The name in checkpoints of the shard in force (C2SP origin).
    pub fn origin(&self) -> &str {
        self.shards.origin()
    }

    /// The key that signs checkpoints of the shard in force. What a checkpoint is judged by is [`Self::shards`].
    pub fn key(&self) -> &LogKey {
        self.shards.current()
    }

    /// The shard in force and all before it: what checkpoints are judged by.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The agencies that cosign checkpoints.
    pub fn witnesses(&self) -> &[AgencyId] {
        &self.witnesses
    }

    /// How many witnesses may lie: *witnessed* means more than (w+f)/2 cosignatures.
    pub fn tolerated_liars(&self) -> u32 {
        self.tolerated_liars
    }

    /// The witnesses with their keys: what cosignatures are judged by.
    pub fn watch(&self) -> &Witnesses {
        &self.watch
    }
}

/// A directory that a threshold of the pinned authority signed; cannot be had otherwise.
#[derive(Clone, Debug)]
pub struct Directory {
    signed: wire::MultiSigned,
    digest: Digest,
    network: NetworkName,
    version: u64,
    issued: Timestamp,
    valid_until: Timestamp,
    development: bool,
    agencies: BTreeMap<AgencyId, Agency>,
    by_tls: HashMap<Digest, AgencyId>,
    brokers: Vec<Broker>,
    log: LogDescription,
    auditors: Vec<AgencyId>,
}

/// A directory issued within the last 24 hours: what new sealing demands.
#[derive(Clone, Copy, Debug)]
pub struct FreshDirectory<'a>(&'a Directory);

impl<'a> FreshDirectory<'a> {
    /// The directory itself.
    pub fn directory(self) -> &'a Directory {
        self.0
    }
}

impl Directory {
    /// Verifies the signatures against the pinned authority, then parses and bounds every field.
    ///
    /// The keys in it are judged at `now`: verify again (the bytes are kept, see [`Self::signed`]) to judge
    /// them later. An agency whose keys are not usable stays listed, without them.
    ///
    /// # Errors
    /// Names what is wrong and where; nothing of a refused directory may be used.
    pub fn verify(
        signed: &wire::MultiSigned,
        authority: &Authority,
        network: &NetworkName,
        now: Timestamp,
    ) -> Result<Self, DirectoryError> {
        if signed.bytes.len() > limits::DIRECTORY_MAX_BYTES {
            return Err(DirectoryError::TooLong {
                got: signed.bytes.len(),
                max: limits::DIRECTORY_MAX_BYTES,
            });
        }
        authority.check(signed, now)?;
        parse::directory(signed, network, now)
    }

    /// The same from the encoded `MultiSigned`, as it lies in a file or travels.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_encoded(
        encoded: &[u8],
        authority: &Authority,
        network: &NetworkName,
        now: Timestamp,
    ) -> Result<Self, DirectoryError> {
        let max = limits::DIRECTORY_MAX_BYTES + authority::SIGNATURES_MAX_COUNT * limits::SIGNATURE_MAX_BYTES;
        if encoded.len() > max {
            return Err(DirectoryError::TooLong {
                got: encoded.len(),
                max,
            });
        }
        let signed = wire::MultiSigned::decode(encoded)
            .map_err(|_| DirectoryError::malformed("file", "is not an encoded MultiSigned message"))?;
        Self::verify(&signed, authority, network, now)
    }

    /// Which of the two is in force: `next` if it is newer than `current` or the very same.
    ///
    /// # Errors
    /// `next` is older, or another directory of the same version, or changes the `development` mark, or names another
    /// log without freezing the one in force, or another end of a frozen one.
    pub fn accept_newer(current: &Self, next: Self) -> Result<Self, DirectoryError> {
        if next.version < current.version {
            return Err(DirectoryError::Older {
                got: next.version,
                newest: current.version,
            });
        }
        if next.version == current.version && next.digest != current.digest {
            return Err(DirectoryError::Contradiction {
                version: next.version,
            });
        }
        if next.development != current.development {
            return Err(DirectoryError::malformed(
                "development",
                "changes between two versions",
            ));
        }
        if !current.log.shards.continued_by(&next.log.shards) {
            return Err(DirectoryError::LogReplaced);
        }
        Ok(next)
    }

    /// This directory, if it is not older than the newest version ever seen here (the remembered ceiling).
    ///
    /// # Errors
    /// It is older.
    pub fn not_below(self, newest_seen: u64) -> Result<Self, DirectoryError> {
        if self.version < newest_seen {
            return Err(DirectoryError::Older {
                got: self.version,
                newest: newest_seen,
            });
        }
        Ok(self)
    }

    /// Proof that it was issued within the last [`limits::DIRECTORY_FRESH_MAX_MILLIS`] and is still valid:
    /// without it nothing new is sealed.
    ///
    /// # Errors
    /// It is too old, or its validity is over.
    pub fn fresh(&self, now: Timestamp) -> Result<FreshDirectory<'_>, DirectoryError> {
        if now > self.valid_until {
            return Err(DirectoryError::Expired {
                valid_until: self.valid_until,
            });
        }
        if now.millis_since(self.issued) > limits::DIRECTORY_FRESH_MAX_MILLIS {
            return Err(DirectoryError::Stale { issued: self.issued });
        }
        Ok(FreshDirectory(self))
    }

    /// The bytes that were signed, and the signatures: what is stored and handed on.
    pub fn signed(&self) -> &wire::MultiSigned {
        &self.signed
    }

    /// SHA-256 of the signed bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The network.
    pub fn network(&self) -> &NetworkName {
        &self.network
    }

    /// The version; only ever grows.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the authority issued it.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// The last moment at which it may be used.
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// Whether it was minted for development: refused unless the program was started for development.
    pub fn development(&self) -> bool {
        self.development
    }

    /// All agencies, by id.
    pub fn agencies(&self) -> impl Iterator<Item = &Agency> {
        self.agencies.values()
    }

    /// The agencies that may read the body of every log entry (supervisors), whomever it concerns.
    pub fn auditors(&self) -> &[AgencyId] {
        &self.auditors
    }

    /// The agency with this id.
    pub fn agency(&self, id: &AgencyId) -> Option<&Agency> {
        self.agencies.get(id)
    }

    /// The agency that a TLS identity (SHA-256 of the SubjectPublicKeyInfo) speaks for.
    pub fn agency_by_tls(&self, identity: &Digest) -> Option<&Agency> {
        self.agencies.get(self.by_tls.get(identity)?)
    }

    /// All officers of all agencies.
    pub fn officers(&self) -> impl Iterator<Item = &Officer> {
        self.agencies.values().flat_map(|agency| agency.officers.iter())
    }

    /// The officer with this id.
    pub fn officer(&self, id: &OfficerId) -> Option<&Officer> {
        self.officers().find(|officer| officer.id == *id)
    }

    /// The brokers.
    pub fn brokers(&self) -> &[Broker] {
        &self.brokers
    }

    /// Whether a TLS identity (SHA-256 of the SubjectPublicKeyInfo) is a broker's.
    pub fn is_broker(&self, identity: &Digest) -> bool {
        self.brokers
            .iter()
            .any(|broker| broker.tls_identities.contains(identity))
    }

    /// The delivery log.
    pub fn log(&self) -> &LogDescription {
        &self.log
    }
}

impl DirectoryView for Directory {
    fn is_member(&self, agency: &AgencyId) -> bool {
        self.agencies.contains_key(agency)
    }

    fn signing_keys(&self, agency: &AgencyId, certificate: &Fingerprint) -> Option<&SigningKeys> {
        self.agency(agency)?.signing_keys(certificate)
    }

    fn encryption_key(&self, agency: &AgencyId, key: &Fingerprint) -> Option<KeyStanding> {
        let agency = self.agency(agency)?;
        if agency
            .sealing_key()
            .is_some_and(|current| current.fingerprint() == key)
        {
            return Some(KeyStanding::Current);
        }
        agency.has_encryption_key(key).then_some(KeyStanding::Superseded)
    }
}

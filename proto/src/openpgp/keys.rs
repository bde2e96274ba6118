//! Secret keys and certificates: made, read, and asked what they may do at a moment.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp as sq;
use sq::Profile as CertProfile;
use sq::cert::{Cert, CertBuilder, CertParser, CipherSuite, ValidCert};
use sq::packet::signature::SignatureBuilder;
use sq::parse::Parse;
use sq::policy::StandardPolicy;
use sq::serialize::SerializeInto;
use sq::types::{Features, HashAlgorithm, KeyFlags, PublicKeyAlgorithm, RevocationStatus, SignatureType};
use zeroize::Zeroizing;

use super::sealing::SealingKey;
use super::signature::SigningKeys;
use super::{Fingerprint, fingerprint_of};
use crate::defect::{Defect, KeyError};
use crate::time::Timestamp;

/// What kind of keys to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// v6: Ed25519 for signing, ML-KEM-768+X25519 for encryption.
    V6,
    /// v6: ML-DSA-65+Ed25519 for signing, ML-KEM-768+X25519 for encryption.
    V6PostQuantumSigning,
    /// v4: Ed25519 and X25519, SEIPDv1 only, for partners that use GnuPG.
    V4,
}

/// An agency's secret keys. Their `Debug` is silent; memory is wiped on drop (by the library).
#[derive(Clone)]
pub struct SecretKeys {
    pub(super) cert: Cert,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({})", fingerprint_of(&self.cert.fingerprint()))
    }
}

/// Whole seconds, as OpenPGP keeps time.
fn seconds(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(at.seconds()).unwrap_or(0))
}

impl SecretKeys {
    /// Makes new keys: a certifying primary key, a signing subkey, an encryption subkey. They do not
    /// expire. The randomness is the cryptographic library's.
    ///
    /// # Errors
    /// `KeyGenerationFailed` when the backend lacks an algorithm.
    pub fn generate(kind: KeyKind, user_id: &str, at: Timestamp) -> Result<Self, KeyError> {
        let encryption = KeyFlags::empty()
            .set_transport_encryption()
            .set_storage_encryption();
        let builder = CertBuilder::new()
            .add_userid(user_id)
            .set_creation_time(seconds(at));
        let made = match kind {
            KeyKind::V6 => builder
                .set_profile(CertProfile::RFC9580)
                .map(|b| b.set_cipher_suite(CipherSuite::Cv25519).add_signing_subkey())
                .map(|b| b.add_subkey(encryption, None, CipherSuite::MLDSA65_Ed25519)),
            KeyKind::V6PostQuantumSigning => builder
                .set_profile(CertProfile::RFC9580)
                .map(|b| {
                    b.set_cipher_suite(CipherSuite::MLDSA65_Ed25519)
                        .add_signing_subkey()
                })
                .map(|b| b.add_subkey(encryption, None, None)),
            KeyKind::V4 => builder
                .set_profile(CertProfile::RFC4880)
                .and_then(|b| b.set_features(Features::empty().set_seipdv1()))
                .map(|b| b.set_cipher_suite(CipherSuite::Cv25519).add_signing_subkey())
                .map(|b| b.add_subkey(encryption, None, None)),
        };
        let (cert, _revocation) = made
            .and_then(CertBuilder::generate)
            .map_err(|_| Defect::KeyGenerationFailed)?;
        Ok(Self { cert })
    }

    /// Reads one transferable secret key, binary or armoured.
    ///
    /// # Errors
    /// `CertificateMalformed`; `SecretKeyMissing` when it holds no secrets.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let cert = parse_one(bytes)?;
        if cert.is_tsk() {
            Ok(Self { cert })
        } else {
            Err(Defect::SecretKeyMissing.into())
        }
    }

    /// The binary transferable secret key, unencrypted: for a file that only the owner can read.
    ///
    /// # Errors
    /// `CertificateMalformed` if the library cannot write it.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let bytes = self
            .cert
            .as_tsk()
            .to_vec()
            .map_err(|_| Defect::CertificateMalformed)?;
        Ok(Zeroizing::new(bytes))
    }

    /// The public part.
    pub fn certificate(&self) -> Certificate {
        Certificate {
            cert: self.cert.clone().strip_secret_key_material(),
        }
    }

    /// Fingerprint of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.cert.fingerprint())
    }

    /// A detached binary signature (type 0x00, SHA-512) over `data`, as of `at` (whole seconds).
    ///
    /// # Errors
    /// `CertificateNotValid`, `NoSigningKey`, `SigningFailed`.
    pub fn sign(&self, data: &[u8], at: Timestamp) -> Result<Vec<u8>, KeyError> {
        let policy = StandardPolicy::new();
        let time = seconds(at);
        not_revoked(&self.cert, &policy, time)?;
        let key = self
            .cert
            .keys()
            .with_policy(&policy, time)
            .supported()
            .alive()
            .revoked(false)
            .for_signing()
            .filter(|ka| signs(ka.key().pk_algo()))
            .filter_map(|ka| ka.key().clone().parts_into_secret().ok())
            .find(sq::packet::Key::has_unencrypted_secret)
            .ok_or(Defect::NoSigningKey)?;
        let failed = |_| KeyError::from(Defect::SigningFailed);
        let mut signer = key.into_keypair().map_err(failed)?;
        let signature = SignatureBuilder::new(SignatureType::Binary)
            .set_hash_algo(HashAlgorithm::SHA512)
            .set_signature_creation_time(time)
            .and_then(|b| b.sign_message(&mut signer, data))
            .map_err(failed)?;
        sq::Packet::from(signature).to_vec().map_err(failed)
    }
}

/// The certificate at `at`, if it is valid and not revoked as a whole: the library looks at the revocations
/// of each key by itself, and at those of the certificate only when asked.
pub(super) fn not_revoked<'a>(
    cert: &'a Cert,
    policy: &'a StandardPolicy<'a>,
    at: SystemTime,
) -> Result<ValidCert<'a>, Defect> {
    let valid = cert
        .with_policy(policy, at)
        .map_err(|_| Defect::CertificateNotValid)?;
    match valid.revocation_status() {
        RevocationStatus::Revoked(_) => Err(Defect::CertificateNotValid),
        RevocationStatus::CouldBe(_) | RevocationStatus::NotAsFarAsWeKnow => Ok(valid),
    }
}

/// Algorithms accepted for signing: Ed25519 (v6 and the older EdDSA of v4), ML-DSA-65+Ed25519.
pub(super) fn signs(algorithm: PublicKeyAlgorithm) -> bool {
    use PublicKeyAlgorithm::{Ed25519, EdDSA, MLDSA65_Ed25519};
    matches!(algorithm, EdDSA | Ed25519 | MLDSA65_Ed25519)
}

fn parse_one(bytes: &[u8]) -> Result<Cert, KeyError> {
    let malformed = || KeyError::from(Defect::CertificateMalformed);
    let mut certs = CertParser::from_bytes(bytes).map_err(|_| malformed())?;
    match (certs.next(), certs.next()) {
        (Some(Ok(cert)), None) => Ok(cert),
        _ => Err(malformed()),
    }
}

/// An agency's public keys: one OpenPGP certificate.
#[derive(Clone)]
pub struct Certificate {
    cert: Cert,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.cert == other.cert
    }
}

impl Certificate {
    /// Reads exactly one certificate, binary or armoured; secrets in it are dropped.
    ///
    /// # Errors
    /// `CertificateMalformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            cert: parse_one(bytes)?.strip_secret_key_material(),
        })
    }

    /// Reads a keyring: several certificates one after the other, binary or armoured.
    ///
    /// # Errors
    /// `CertificateMalformed`, with the number of the first bad one as place.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, KeyError> {
        let malformed = |n: usize| KeyError::new(Defect::CertificateMalformed, format!("certificate {n}"));
        let certs = CertParser::from_bytes(bytes).map_err(|_| malformed(1))?;
        let read = |(n, cert): (usize, sq::Result<Cert>)| match cert {
            Ok(cert) => Ok(Self {
                cert: cert.strip_secret_key_material(),
            }),
            Err(_) => Err(malformed(n + 1)),
        };
        certs.enumerate().map(read).collect()
    }

    /// The binary certificate.
    ///
    /// # Errors
    /// `CertificateMalformed` if the library cannot write it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, KeyError> {
        self.cert
            .to_vec()
            .map_err(|_| Defect::CertificateMalformed.into())
    }

    /// Fingerprint of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.cert.fingerprint())
    }

    /// The signing keys that are not revoked at `at`, each with the time it is valid in.
    ///
    /// # Errors
    /// `CertificateNotValid`, `NoSigningKey`.
    pub fn signing_keys_at(&self, at: Timestamp) -> Result<SigningKeys, KeyError> {
        SigningKeys::of(&self.cert, seconds(at))
    }

    /// The key that new parts are sealed to at `at`: the newest valid encryption key.
    ///
    /// # Errors
    /// `CertificateNotValid`, `NoSealingKey`.
    pub fn sealing_key_at(&self, at: Timestamp) -> Result<SealingKey, KeyError> {
        SealingKey::of(&self.cert, seconds(at))
    }

    /// Fingerprints of all encryption keys, also expired ones: what queued parts may be sealed to.
    pub fn encryption_fingerprints(&self) -> Vec<Fingerprint> {
        let encrypts = |key: &PublicKeyAlgorithm| key.for_encryption();
        let keys = self.cert.keys().filter(|ka| encrypts(&ka.key().pk_algo()));
        keys.map(|ka| fingerprint_of(&ka.key().fingerprint())).collect()
    }
}

//! Detached signatures, verified directly: the library's process-wide cache of verified signatures
//! grows without bound, so nothing here goes through it (docs/decisions).

use std::fmt;
use std::time::SystemTime;

use sequoia_openpgp as sq;
use sq::cert::Cert;
use sq::crypto::hash::Hash;
use sq::packet::key::{PublicParts, UnspecifiedRole};
use sq::packet::signature::subpacket::{Subpacket, SubpacketTag, SubpacketValue};
use sq::packet::{Key, Packet, Signature};
use sq::parse::{PacketParser, PacketParserResult, Parse};
use sq::policy::StandardPolicy;
use sq::types::{HashAlgorithm, SignatureType};

use super::keys::{not_revoked, signs};
use super::{Fingerprint, fingerprint_of};
use crate::defect::{Defect, KeyError, SignatureError};
use crate::limits;
use crate::time::Timestamp;

/// A certificate's signing keys, with the policy checks done once. Verifying with them is cheap.
#[derive(Clone)]
pub struct SigningKeys {
    certificate: Fingerprint,
    keys: Vec<SigningKey>,
}

#[derive(Clone)]
struct SigningKey {
    key: Key<PublicParts, UnspecifiedRole>,
    from: Timestamp,
    until: Option<Timestamp>,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({}, {})", self.certificate, self.keys.len())
    }
}

/// When a verified signature says it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureTime(Timestamp);

impl SignatureTime {
    /// The moment, in whole seconds.
    pub fn at(self) -> Timestamp {
        self.0
    }
}

impl SigningKeys {
    pub(super) fn of(cert: &Cert, at: SystemTime) -> Result<Self, KeyError> {
        let policy = StandardPolicy::new();
        let valid = not_revoked(cert, &policy, at)?;
        let until = |time: Option<SystemTime>| time.map(Timestamp::from_system_time);
        // The certificate as a whole ends with its primary key.
        let ends = until(valid.primary_key().key_expiration_time());
        let usable = cert
            .keys()
            .with_policy(&policy, at)
            .supported()
            .revoked(false)
            .for_signing();
        let keys: Vec<_> = usable
            .filter(|ka| signs(ka.key().pk_algo()))
            .map(|ka| SigningKey {
                key: ka.key().clone(),
                from: Timestamp::from_system_time(ka.key().creation_time()),
                until: until(ka.key_expiration_time()).into_iter().chain(ends).min(),
            })
            .collect();
        if keys.is_empty() {
            return Err(Defect::NoSigningKey.into());
        }
        Ok(Self {
            certificate: fingerprint_of(&cert.fingerprint()),
            keys,
        })
    }

    /// Fingerprint of the certificate (primary key).
    pub fn certificate(&self) -> &Fingerprint {
        &self.certificate
    }

    /// Verifies one detached binary signature over `data`.
    ///
    /// # Errors
    /// One of the `Signature…` defects.
    pub fn verify(
        &self,
        data: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<SignatureTime, SignatureError> {
        let signature = parse(signature)?;
        check_form(&signature)?;
        let signer = self.signer(&signature)?;
        let made = check_times(&signature, signer, now)?;
        check_digest(data, &signature, &signer.key)?;
        Ok(SignatureTime(made))
    }

    fn signer(&self, signature: &Signature) -> Result<&SigningKey, Defect> {
        let issuers: Vec<_> = signature
            .hashed_area()
            .iter()
            .filter_map(issuer_fingerprint)
            .collect();
        let [issuer] = issuers.as_slice() else {
            return Err(Defect::SignatureIssuerUnknown);
        };
        let named = |k: &&SigningKey| k.key.fingerprint() == **issuer;
        let signer = self
            .keys
            .iter()
            .find(named)
            .ok_or(Defect::SignatureIssuerUnknown)?;
        if signer.key.version() != signature.version() {
            return Err(Defect::SignatureVersionWrong);
        }
        if signer.key.pk_algo() != signature.pk_algo() {
            return Err(Defect::SignatureAlgorithmRefused);
        }
        let same = |s: &Subpacket| match s.value() {
            SubpacketValue::Issuer(id) => *id == signer.key.keyid(),
            SubpacketValue::IssuerFingerprint(fingerprint) => *fingerprint == signer.key.fingerprint(),
            _ => true,
        };
        let all = signature
            .hashed_area()
            .iter()
            .chain(signature.unhashed_area().iter());
        if all.into_iter().all(same) {
            Ok(signer)
        } else {
            Err(Defect::SignatureIssuerUnknown)
        }
    }
}

fn issuer_fingerprint(subpacket: &Subpacket) -> Option<&sq::Fingerprint> {
    match subpacket.value() {
        SubpacketValue::IssuerFingerprint(fingerprint) => Some(fingerprint),
        _ => None,
    }
}

/// Exactly one signature packet, and nothing else.
fn parse(bytes: &[u8]) -> Result<Signature, Defect> {
    if bytes.len() > limits::SIGNATURE_MAX_BYTES {
        return Err(Defect::SignatureTooLong);
    }
    // Bit 7: a packet and not armour. A length of two kinds only: definite ones.
    if bytes.first().is_none_or(|b| b & 0x80 == 0) {
        return Err(Defect::SignatureMalformed);
    }
    let malformed = |_| Defect::SignatureMalformed;
    let PacketParserResult::Some(parser) = PacketParser::from_bytes(bytes).map_err(malformed)? else {
        return Err(Defect::SignatureMalformed);
    };
    let (packet, rest) = parser.next().map_err(malformed)?;
    match (packet, rest) {
        (Packet::Signature(signature), PacketParserResult::EOF(_)) => Ok(signature),
        _ => Err(Defect::SignatureMalformed),
    }
}

fn check_form(signature: &Signature) -> Result<(), Defect> {
    use HashAlgorithm::{SHA3_256, SHA3_512, SHA256, SHA384, SHA512};
    if signature.typ() != SignatureType::Binary {
        return Err(Defect::SignatureTypeWrong);
    }
    if !matches!(signature.version(), 4 | 6) {
        return Err(Defect::SignatureVersionWrong);
    }
    if !matches!(
        signature.hash_algo(),
        SHA256 | SHA384 | SHA512 | SHA3_256 | SHA3_512
    ) {
        return Err(Defect::SignatureHashRefused);
    }
    if !signs(signature.pk_algo()) {
        return Err(Defect::SignatureAlgorithmRefused);
    }
    let unhashed = signature.unhashed_area().iter().all(allowed_unhashed);
    if unhashed && signature.hashed_area().iter().all(allowed_hashed) {
        Ok(())
    } else {
        Err(Defect::SignatureSubpacketRefused)
    }
}

/// Nobody signed these: they may only repeat who the issuer is.
fn allowed_unhashed(subpacket: &Subpacket) -> bool {
    let tag = subpacket.tag();
    matches!(tag, SubpacketTag::Issuer | SubpacketTag::IssuerFingerprint) && !subpacket.critical()
}

/// A critical subpacket must be one whose meaning is checked here.
fn allowed_hashed(subpacket: &Subpacket) -> bool {
    use SubpacketTag::{Issuer, IssuerFingerprint, SignatureCreationTime, SignatureExpirationTime};
    let understood = [
        SignatureCreationTime,
        SignatureExpirationTime,
        Issuer,
        IssuerFingerprint,
    ];
    !subpacket.critical() || understood.contains(&subpacket.tag())
}

fn check_times(signature: &Signature, signer: &SigningKey, now: Timestamp) -> Result<Timestamp, Defect> {
    let made = signature
        .signature_creation_time()
        .ok_or(Defect::SignatureMalformed)?;
    let made = Timestamp::from_system_time(made);
    if made > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS) {
        return Err(Defect::SignatureInFuture);
    }
    if made < signer.from || signer.until.is_some_and(|until| made >= until) {
        return Err(Defect::SignatureOutsideKeyValidity);
    }
    let expires = signature
        .signature_expiration_time()
        .map(Timestamp::from_system_time);
    if expires.is_some_and(|expires| now >= expires) {
        return Err(Defect::SignatureExpired);
    }
    Ok(made)
}

fn check_digest(
    data: &[u8],
    signature: &Signature,
    key: &Key<PublicParts, UnspecifiedRole>,
) -> Result<(), Defect> {
    let algorithm = signature.hash_algo();
    let mut hash = algorithm
        .context()
        .map_err(|_| Defect::SignatureHashRefused)?
        .for_signature(signature.version());
    if let Signature::V6(signature) = signature {
        if algorithm.salt_size().ok() != Some(signature.salt().len()) {
            return Err(Defect::SignatureMalformed);
        }
        hash.update(signature.salt());
    }
    let bad = |_| Defect::SignatureBad;
    hash.update(data);
    signature.hash(&mut hash).map_err(bad)?;
    let digest = hash.into_digest().map_err(bad)?;
    if !digest.starts_with(signature.digest_prefix()) {
        return Err(Defect::SignatureBad);
    }
    key.verify(signature.mpis(), algorithm, &digest).map_err(bad)
}

//! The authority that a party pins: certificates, and how many of them must have signed.

use std::collections::BTreeSet;

use super::DirectoryError;
use crate::limits;
use crate::openpgp::{Certificate, Fingerprint};
use crate::time::Timestamp;
use crate::wire;

/// Most certificates of an authority.
const CERTIFICATES_MAX_COUNT: usize = 16;
/// Most signatures on a directory: as many again as the authority may have keys, so that it can change
/// keys while older parties still pin the former ones.
pub(super) const SIGNATURES_MAX_COUNT: usize = 2 * CERTIFICATES_MAX_COUNT;

/// The pinned authority of a network.
#[derive(Clone, Debug)]
pub struct Authority {
    certificates: Vec<Certificate>,
    threshold: usize,
}

impl Authority {
    /// Pins these certificates; `threshold` of them must have signed a directory.
    ///
    /// # Errors
    /// No or too many certificates, one twice, or a threshold that is zero or cannot be reached.
    pub fn new(certificates: Vec<Certificate>, threshold: usize) -> Result<Self, DirectoryError> {
        let count = certificates.len();
        let fail = |what: String| Err(DirectoryError::Authority { what });
        if count == 0 || count > CERTIFICATES_MAX_COUNT {
            return fail(format!(
                "{count} certificates, expected 1 to {CERTIFICATES_MAX_COUNT}"
            ));
        }
        if threshold == 0 || threshold > count {
            return fail(format!("a threshold of {threshold} with {count} certificates"));
        }
        let distinct: BTreeSet<Fingerprint> = certificates.iter().map(Certificate::fingerprint).collect();
        if distinct.len() != count {
            return fail("a certificate is given twice".to_owned());
        }
        Ok(Self {
            certificates,
            threshold,
        })
    }

    /// Pins the certificates of an OpenPGP keyring file (armored or binary).
    ///
    /// # Errors
    /// The keyring does not parse; else as [`Self::new`].
    pub fn from_keyring(keyring: &[u8], threshold: usize) -> Result<Self, DirectoryError> {
        let certificates = Certificate::parse_all(keyring).map_err(|error| DirectoryError::Authority {
            what: error.to_string(),
        })?;
        Self::new(certificates, threshold)
    }

    /// How many authority keys must have signed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Counts the distinct authority certificates with a good signature. Signatures by other keys are
    /// passed over: the authority may be changing keys.
    pub(super) fn check(&self, signed: &wire::MultiSigned, now: Timestamp) -> Result<usize, DirectoryError> {
        if signed.signatures.len() > SIGNATURES_MAX_COUNT {
            return Err(DirectoryError::malformed(
                "signatures",
                format!("more than {SIGNATURES_MAX_COUNT}"),
            ));
        }
        if signed
            .signatures
            .iter()
            .any(|s| s.len() > limits::SIGNATURE_MAX_BYTES)
        {
            return Err(DirectoryError::malformed("signatures", "one is too long"));
        }
        let good = self
            .certificates
            .iter()
            .filter_map(|certificate| certificate.signing_keys_at(now).ok())
            .filter(|keys| {
                signed
                    .signatures
                    .iter()
                    .any(|s| keys.verify(&signed.bytes, s, now).is_ok())
            })
            .count();
        if good < self.threshold {
            return Err(DirectoryError::TooFewSignatures {
                good,
                needed: self.threshold,
            });
        }
        Ok(good)
    }
}

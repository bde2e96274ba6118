//! Four eyes: a bundle with signatures of officers, and the check that two of two agencies signed it.

use std::collections::BTreeSet;

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::limits;
use schakel_proto::openpgp::{Certificate, SecretKeys};
use schakel_proto::party::{AgencyId, NetworkName, OfficerId};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::{Bundle, BundleError};

/// Officers, and agencies of theirs, that must have signed.
const SIGNERS_MIN_COUNT: usize = 2;
/// Most signatures on a bundle.
const SIGNATURES_MAX_COUNT: usize = 16;

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
    /// Certificate.
    pub certificate: Certificate,
}

impl OfficerEntry {
    /// All officers of a directory.
    pub fn all(directory: &Directory) -> Vec<Self> {
        directory
            .officers()
            .map(|officer| Self {
                agency: officer.agency().clone(),
                officer: officer.id().clone(),
                certificate: officer.certificate().clone(),
            })
            .collect()
    }
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

fn bad(code: &'static str, sentence: &str) -> BundleError {
    BundleError::new(code, sentence, "signatures", 1)
}

impl SignedBundle {
    /// A bundle without signatures yet.
    pub fn unsigned(bundle: &Bundle) -> Self {
        Self {
            archive: bundle.archive().to_vec(),
            signatures: Vec::new(),
        }
    }

    /// Adds an officer's signature; one of the same officer is replaced. The bundle is loaded first: an
    /// invalid one is not signed.
    pub fn sign(
        &mut self,
        network: &NetworkName,
        officer: &OfficerId,
        keys: &SecretKeys,
        at: Timestamp,
    ) -> Result<(), BundleError> {
        let bundle = Bundle::from_archive(&self.archive)?;
        let signature = keys
            .sign(&bundle.signing_text(network), at)
            .map_err(|error| bad("BUNDLE_SIGNING", &error.to_string()))?;
        self.signatures.retain(|s| s.officer != *officer);
        self.signatures.push(BundleSignature {
            officer: officer.clone(),
            signature,
        });
        Ok(())
    }

    /// Encoded as wire message `GetBundleAnswer`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures = self.signatures.iter().map(|s| wire::BundleSignature {
            officer: s.officer.to_string(),
            signature: s.signature.clone().into(),
        });
        wire::GetBundleAnswer {
            archive: self.archive.clone().into(),
            signatures: signatures.collect(),
        }
        .encode_to_vec()
    }

    /// From a wire message `GetBundleAnswer`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let answer = wire::GetBundleAnswer::decode(bytes)
            .map_err(|_| bad("BUNDLE_ARCHIVE", "neither a bundle archive nor a signed bundle"))?;
        if answer.signatures.len() > SIGNATURES_MAX_COUNT {
            return Err(bad("BUNDLE_SIGNATURE", "too many signatures"));
        }
        let mut signatures = Vec::new();
        for signature in answer.signatures {
            if signature.signature.len() > limits::SIGNATURE_MAX_BYTES {
                return Err(bad("BUNDLE_SIGNATURE", "a signature is too long"));
            }
            let officer = OfficerId::new(&signature.officer)
                .map_err(|error| bad("BUNDLE_SIGNATURE", &error.to_string()))?;
            signatures.push(BundleSignature {
                officer,
                signature: signature.signature.to_vec(),
            });
        }
        Ok(Self {
            archive: answer.archive.to_vec(),
            signatures,
        })
    }

    /// Loads the bundle and checks that at least two officers of two agencies signed it. A signature that does
    /// not hold refuses the bundle, even if two others do.
    pub fn verify(
        &self,
        network: &NetworkName,
        officers: &[OfficerEntry],
        now: Timestamp,
    ) -> Result<VerifiedBundle, BundleError> {
        let bundle = Bundle::from_archive(&self.archive)?;
        let text = bundle.signing_text(network);
        let mut signers = Vec::new();
        for signature in &self.signatures {
            let of = |what: &str| format!("officer {}: {what}", signature.officer);
            let officer = officers
                .iter()
                .find(|o| o.officer == signature.officer)
                .ok_or_else(|| bad("BUNDLE_SIGNER", &of("is not in the directory")))?;
            let keys = officer
                .certificate
                .signing_keys_at(now)
                .map_err(|error| bad("BUNDLE_SIGNER", &of(&error.to_string())))?;
            keys.verify(&text, &signature.signature, now)
                .map_err(|error| bad("BUNDLE_SIGNATURE", &of(&error.to_string())))?;
            signers.push((officer, keys.certificate().clone()));
        }
        let distinct = |count: usize, what: &str| {
            let sentence = format!("signed by {count} of {SIGNERS_MIN_COUNT} {what} needed");
            if count < SIGNERS_MIN_COUNT {
                Err(bad("BUNDLE_FOUR_EYES", &sentence))
            } else {
                Ok(())
            }
        };
        distinct(
            signers
                .iter()
                .map(|(o, _)| &o.officer)
                .collect::<BTreeSet<_>>()
                .len(),
            "officers",
        )?;
        distinct(
            signers
                .iter()
                .map(|(_, f)| f.to_vec())
                .collect::<BTreeSet<_>>()
                .len(),
            "keys",
        )?;
        distinct(
            signers
                .iter()
                .map(|(o, _)| &o.agency)
                .collect::<BTreeSet<_>>()
                .len(),
            "agencies",
        )?;
        let signers = signers
            .iter()
            .map(|(o, _)| (o.agency.clone(), o.officer.clone()))
            .collect();
        Ok(VerifiedBundle { bundle, signers })
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

//! Verification: the sender signed it, and is who the directory and the connection say. The results
//! are proofs that cannot be had otherwise.

use super::descriptor::PartFields;
use super::manifest::ManifestFields;
use super::parse::{CheckedSealing, ParsedHead, ParsedSubmission, Part, Recipient};
use crate::defect::{Defect, PacketError};
use crate::ids::{Digest, PartId};
use crate::limits;
use crate::openpgp::{Fingerprint, SignatureTime, SigningKeys};
use crate::party::{AgencyId, NetworkName};
use crate::time::Timestamp;
use crate::wire;

/// How an encryption key stands in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStanding {
    /// Takes new seals.
    Current,
    /// Takes no new seals; queued parts may still be opened with it.
    Superseded,
}

/// What verification asks of a directory.
pub trait DirectoryView {
    /// Whether the agency is a member.
    fn is_member(&self, agency: &AgencyId) -> bool;

    /// The signing keys of the agency's certificate with this (primary) fingerprint.
    fn signing_keys(&self, agency: &AgencyId, certificate: &Fingerprint) -> Option<&SigningKeys>;

    /// How an encryption key of the agency stands; `None`: it is not the agency's.
    fn encryption_key(&self, agency: &AgencyId, key: &Fingerprint) -> Option<KeyStanding>;
}

/// What the broker knows when it verifies a submission.
#[derive(Clone, Copy)]
pub struct VerifyContext<'a> {
    /// Its network.
    pub network: &'a NetworkName,
    /// The agency that the TLS connection belongs to.
    pub tls_agency: &'a AgencyId,
    /// The directory in force.
    pub directory: &'a dyn DirectoryView,
    /// The moment.
    pub now: Timestamp,
}

/// What a recipient's agent knows when it verifies what it was handed.
#[derive(Clone, Copy)]
pub struct HandedContext<'a> {
    /// Its network.
    pub network: &'a NetworkName,
    /// The agency itself.
    pub recipient: &'a AgencyId,
    /// The directory in force.
    pub directory: &'a dyn DirectoryView,
    /// The moment.
    pub now: Timestamp,
}

/// Proof that a submission is its sender's, fresh, for this network and for members only.
#[derive(Clone, Debug)]
pub struct VerifiedSubmission {
    parsed: ParsedSubmission,
    signed_at: SignatureTime,
}

/// A verified submission and proof that all its ciphertext came.
#[derive(Clone, Debug)]
pub struct CompleteSubmission {
    verified: VerifiedSubmission,
}

/// Verifies a submission.
///
/// # Errors
/// The first defect found.
pub fn verify(parsed: ParsedSubmission, ctx: VerifyContext<'_>) -> Result<VerifiedSubmission, PacketError> {
    let manifest = parsed.manifest();
    if manifest.network != *ctx.network {
        return Err(PacketError::new(Defect::NetworkWrong, "manifest.network"));
    }
    if manifest.sender != *ctx.tls_agency {
        return Err(PacketError::new(Defect::SenderNotCaller, "manifest.sender"));
    }
    let signed_at = verify_signature((manifest, parsed.signed()), ctx.directory, ctx.now)?;
    check_fresh(manifest, ctx.now, 0)?;
    for recipient in parsed.recipients() {
        check_recipient(recipient, ctx.directory)?;
    }
    Ok(VerifiedSubmission { parsed, signed_at })
}

/// The sender's key from the directory, its signature, and that the signature's time fits.
pub(super) fn verify_signature(
    (manifest, signed): (&ManifestFields, &wire::Signed),
    directory: &dyn DirectoryView,
    now: Timestamp,
) -> Result<SignatureTime, PacketError> {
    if !directory.is_member(&manifest.sender) {
        return Err(PacketError::new(Defect::SenderUnknown, "manifest.sender"));
    }
    let keys = directory
        .signing_keys(&manifest.sender, &manifest.sender_key)
        .ok_or_else(|| PacketError::new(Defect::SenderKeyUnknown, "manifest.sender_key"))?;
    let signed_at = keys.verify(&signed.bytes, &signed.signature, now)?;
    let apart = signed_at.at().millis_since(manifest.created).saturating_abs();
    if apart > limits::CLOCK_SKEW_MAX_MILLIS {
        return Err(PacketError::new(
            Defect::SignatureTimeDiffers,
            "manifest.created_ms",
        ));
    }
    Ok(signed_at)
}

fn check_fresh(manifest: &ManifestFields, now: Timestamp, grace_millis: i64) -> Result<(), PacketError> {
    if manifest.created > now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS) {
        return Err(PacketError::new(Defect::CreatedInFuture, "manifest.created_ms"));
    }
    if manifest.expires.plus_millis(grace_millis) <= now {
        return Err(PacketError::new(Defect::PacketExpired, "manifest.expires_ms"));
    }
    Ok(())
}

fn check_recipient(recipient: &Recipient, directory: &dyn DirectoryView) -> Result<(), PacketError> {
    let wrong = |d: Defect| Err(PacketError::new(d, format!("recipient {}", recipient.agency())));
    if !directory.is_member(recipient.agency()) {
        return wrong(Defect::RecipientUnknown);
    }
    match directory.encryption_key(recipient.agency(), recipient.key()) {
        Some(KeyStanding::Current) => Ok(()),
        Some(KeyStanding::Superseded) => wrong(Defect::RecipientKeySuperseded),
        None => wrong(Defect::RecipientKeyUnknown),
    }
}

impl VerifiedSubmission {
    /// The submission.
    pub fn parsed(&self) -> &ParsedSubmission {
        &self.parsed
    }

    /// When the sender signed it.
    pub fn signed_at(&self) -> SignatureTime {
        self.signed_at
    }

    /// Takes the proofs that all ciphertext came: one for each sealing that the descriptors name.
    ///
    /// # Errors
    /// `SealingMissing`, also when one is too many.
    pub fn complete(self, sealings: &[CheckedSealing]) -> Result<CompleteSubmission, PacketError> {
        let wanted: Vec<_> = self.parsed.sealings().collect();
        for sealing in &wanted {
            if sealings
                .iter()
                .filter(|checked| checked.sealing() == *sealing)
                .count()
                != 1
            {
                return Err(PacketError::new(
                    Defect::SealingMissing,
                    sealing.part_id.to_string(),
                ));
            }
        }
        if wanted.len() != sealings.len() {
            return Err(PacketError::new(Defect::SealingMissing, "sealings"));
        }
        Ok(CompleteSubmission { verified: self })
    }
}

impl CompleteSubmission {
    /// The submission.
    pub fn parsed(&self) -> &ParsedSubmission {
        &self.verified.parsed
    }

    /// When the sender signed it.
    pub fn signed_at(&self) -> SignatureTime {
        self.verified.signed_at
    }
}

/// Proof that what a recipient was handed is the sender's and for this recipient.
#[derive(Clone, Debug)]
pub struct VerifiedHanded {
    head: ParsedHead,
    recipient: Recipient,
    signed_at: SignatureTime,
}

/// Verifies what a recipient was handed: the manifest, its own opening, and the openings of the parts
/// it was given. An expired packet is accepted for the clock skew longer: it was on its way.
///
/// # Errors
/// The first defect found.
pub fn verify_handed(
    signed: &wire::Signed,
    recipient: &wire::Opening,
    parts: &[wire::Opening],
    ctx: HandedContext<'_>,
) -> Result<VerifiedHanded, PacketError> {
    let head = ParsedHead::parse(signed, std::slice::from_ref(recipient), parts)?;
    let manifest = head.manifest();
    if manifest.network != *ctx.network {
        return Err(PacketError::new(Defect::NetworkWrong, "manifest.network"));
    }
    let signed_at = verify_signature((manifest, head.signed()), ctx.directory, ctx.now)?;
    check_fresh(manifest, ctx.now, limits::CLOCK_SKEW_MAX_MILLIS)?;
    let [recipient] = head.recipients() else {
        return Err(Defect::RecipientsCountWrong.into());
    };
    if recipient.agency() != ctx.recipient {
        return Err(PacketError::new(Defect::RecipientNotReader, "recipient"));
    }
    if ctx
        .directory
        .encryption_key(recipient.agency(), recipient.key())
        .is_none()
    {
        return Err(PacketError::new(Defect::RecipientKeyUnknown, "recipient"));
    }
    let recipient = recipient.clone();
    let sealed = |p: &Part| p.descriptor().sealing(recipient.profile()).is_some();
    if let Some(part) = head.parts().iter().find(|p| !sealed(p)) {
        return Err(PacketError::new(Defect::SealingsWrong, part.id().to_string()));
    }
    Ok(VerifiedHanded {
        head,
        recipient,
        signed_at,
    })
}

impl VerifiedHanded {
    /// What the manifest says in the open.
    pub fn manifest(&self) -> &ManifestFields {
        self.head.manifest()
    }

    /// The manifest's bytes and signature.
    pub fn signed(&self) -> &wire::Signed {
        self.head.signed()
    }

    /// SHA-256 of the manifest's bytes.
    pub fn manifest_digest(&self) -> Digest {
        self.head.manifest_digest()
    }

    /// The recipient: oneself.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The parts handed over.
    pub fn parts(&self) -> &[Part] {
        self.head.parts()
    }

    /// A part's descriptor by its id.
    pub fn part(&self, id: &PartId) -> Option<&PartFields> {
        self.head.part(id).map(Part::descriptor)
    }

    /// When the sender signed it.
    pub fn signed_at(&self) -> SignatureTime {
        self.signed_at
    }
}

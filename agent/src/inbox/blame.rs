//! Whose doing it is when a delivery does not hold. A signed refusal is evidence against its sender for ever:
//! it is given only for what the sender itself signed or committed to. Whatever the broker, or damage inside
//! it, could have made so is not answered; it comes again.

use std::collections::BTreeSet;

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::packet::Defect;
use schakel_proto::packet::verify::VerifiedHanded;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

/// What a manifest and its openings were judged by.
pub struct Judged<'a> {
    /// The manifest, whose digest the log has.
    pub manifest: &'a wire::Signed,
    /// Openings as the broker gave them.
    pub hand_over: &'a wire::HandOver,
    /// The directory.
    pub directory: &'a Directory,
    /// The moment.
    pub now: Timestamp,
}

/// Whether this defect of manifest and openings is the sender's.
pub fn is_senders(defect: Defect, judged: &Judged<'_>) -> bool {
    match defect {
        // Which openings come, and how often, is the broker's choice; how late, the clocks'.
        Defect::RecipientNotReader
        | Defect::RecipientsCountWrong
        | Defect::RecipientRepeated
        | Defect::PartsCountWrong
        | Defect::PartRepeated
        | Defect::SealingsWrong
        | Defect::CreatedInFuture
        | Defect::PacketExpired => false,
        // No signature can be judged; the manifest that names such a key is the one in the log.
        Defect::SenderUnknown | Defect::SenderKeyUnknown => committed(judged).is_some(),
        _ => committed(judged).is_some_and(|manifest| is_signed(&manifest, judged)),
    }
}

/// The manifest, if it commits to every opening that came.
fn committed(judged: &Judged<'_>) -> Option<wire::Manifest> {
    let manifest = wire::Manifest::decode(&*judged.manifest.bytes).ok()?;
    let digest = |opening: &wire::Opening| Digest::of_all(&[&opening.nonce, &opening.descriptor]);
    let among = |list: &[bytes::Bytes], opening: &wire::Opening| {
        let digest = digest(opening);
        list.iter().any(|one| **one == *digest.as_bytes())
    };
    let recipient = judged.hand_over.recipient.as_ref()?;
    let holds = among(&manifest.recipient_digests, recipient)
        && judged.hand_over.parts.iter().all(|handed| {
            let part = handed.part.as_ref();
            part.is_some_and(|part| among(&manifest.part_digests, part))
        });
    holds.then_some(manifest)
}

/// Whether the sender's signature over the manifest holds.
fn is_signed(manifest: &wire::Manifest, judged: &Judged<'_>) -> bool {
    let keys = || {
        let sender = AgencyId::new(&manifest.sender).ok()?;
        let key = Fingerprint::try_from(&*manifest.sender_key).ok()?;
        judged.directory.agency(&sender)?.signing_keys(&key)
    };
    let signed = judged.manifest;
    keys().is_some_and(|keys| keys.verify(&signed.bytes, &signed.signature, judged.now).is_ok())
}

/// Whether a defect found on opening a part is the sender's: its key packet is one that the sender committed
/// to, and it is not our own disk or keyring, nor a ciphertext that changed.
pub fn is_senders_part(
    defect: Defect,
    handed: &VerifiedHanded,
    part: &schakel_proto::ids::PartId,
    key_packet: &[u8],
) -> bool {
    let underway = matches!(
        defect,
        Defect::ReadFailed
            | Defect::SecretKeyMissing
            | Defect::WriteFailed
            | Defect::CiphertextChanged
            | Defect::PartUnknown
            | Defect::SealingsWrong
            | Defect::KeyPacketNotCommitted
            | Defect::KeyPacketOtherRecipient
    );
    let sealing = handed
        .part(part)
        .and_then(|fields| fields.sealing(handed.recipient().profile()));
    let digests: BTreeSet<_> = sealing.iter().flat_map(|s| &s.key_packet_digests).collect();
    !underway && digests.contains(&Digest::of(key_packet))
}

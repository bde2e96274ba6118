//! Sealing: from a draft to a signed manifest, openings, key packets and streamed ciphertext.

use std::io::{self, Read, Write};

use bytes::Bytes;
use rand::RngCore;
use rand::seq::SliceRandom;
use zeroize::Zeroizing;

use super::descriptor::{PartFields, RecipientFields, Sealing, Subject};
use super::field;
use super::manifest::{Manifest, ManifestFields};
use super::parse::{NONCE_BYTES, ParsedSubmission, encode, opening_digest};
use super::plaintext;
pub use super::sink::{MemorySink, SealSink};
use crate::defect::{Defect, SealError};
use crate::ids::{Digest, PacketId, PartId, Sha256, StatementId};
use crate::limits;
use crate::openpgp::{Encryption, Profile, SealingKey, SecretKeys, SessionKey};
use crate::party::{AgencyId, Code};
use crate::time::Timestamp;
use crate::wire;

/// A packet to be sealed.
pub struct Draft<'a> {
    /// What the manifest will say in the open; `sender_key` must be that of the keys that sign.
    pub manifest: ManifestFields,
    /// Everyone who gets at least one part.
    pub recipients: Vec<DraftRecipient>,
    /// The parts.
    pub parts: Vec<DraftPart<'a>>,
}

/// A recipient and the key to seal to.
#[derive(Clone, Debug)]
pub struct DraftRecipient {
    /// The agency.
    pub agency: AgencyId,
    /// Its encryption key, from the directory.
    pub key: SealingKey,
}

/// A part to be sealed.
pub struct DraftPart<'a> {
    /// Its id, random.
    pub part_id: PartId,
    /// Category code.
    pub category: Code,
    /// Whom it is about.
    pub subjects: Vec<Subject>,
    /// Secrecy of the source.
    pub source_secrecy: Code,
    /// The release (statement).
    pub release_ref: Option<StatementId>,
    /// The measure (statement).
    pub measure_ref: Option<StatementId>,
    /// The sender judged it relevant.
    pub relevant: Option<bool>,
    /// Names were replaced.
    pub pseudonymous: bool,
    /// Sealed: the file's name.
    pub file_name: String,
    /// Sealed: its media type.
    pub media_type: String,
    /// Sealed: its title.
    pub title: String,
    /// The content, read once.
    pub content: &'a mut dyn Read,
    /// Its length in bytes; at least 1.
    pub content_length: u64,
    /// Who gets it: agencies among the draft's recipients.
    pub recipients: Vec<AgencyId>,
}

/// A sealed packet, but for its ciphertext, which went to the sink.
#[derive(Clone, Debug)]
pub struct SealedPacket {
    /// Its id.
    pub packet_id: PacketId,
    /// The manifest and the sender's signature.
    pub manifest: wire::Signed,
    /// Openings of the recipients, in the draft's order.
    pub recipients: Vec<wire::Opening>,
    /// Openings of the parts, in the draft's order.
    pub parts: Vec<wire::Opening>,
    /// All key packets.
    pub key_packets: Vec<wire::KeyPacket>,
    /// The sealings, in the order in which they are to be streamed.
    pub sealings: Vec<SealingInfo>,
}

/// One stream of ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingInfo {
    /// The part.
    pub part_id: PartId,
    /// The profile.
    pub profile: Profile,
    /// Its length in bytes.
    pub length: u64,
}

impl SealedPacket {
    /// The head that opens a submission.
    pub fn head(&self) -> wire::SubmitHead {
        wire::SubmitHead {
            manifest: Some(self.manifest.clone()),
            recipients: self.recipients.clone(),
            parts: self.parts.clone(),
        }
    }
}

/// Seals a draft. Memory stays flat whatever the parts' sizes. `rng` makes session keys, salts, nonces
/// and dummies; ephemeral keys and signature salts come from the cryptographic library.
///
/// # Errors
/// The first defect found; the sink may then hold streams that are to be thrown away.
pub fn seal(
    draft: Draft<'_>,
    keys: &SecretKeys,
    at: Timestamp,
    rng: &mut dyn RngCore,
    sink: &mut dyn SealSink,
) -> Result<SealedPacket, SealError> {
    check_draft(&draft, keys)?;
    let packet_id = draft.manifest.packet_id;
    let mut parts = Vec::with_capacity(draft.parts.len());
    let mut key_packets = Vec::new();
    for part in draft.parts {
        let fields = seal_part(
            part,
            &draft.manifest,
            &draft.recipients,
            rng,
            sink,
            &mut key_packets,
        )?;
        parts.push(fields);
    }
    let sealings = parts
        .iter()
        .flat_map(|p| &p.sealings)
        .map(SealingInfo::of)
        .collect();
    let parts: Vec<_> = parts.iter().map(|p| opening(encode(&p.to_wire()), rng)).collect();
    let recipient = |r: DraftRecipient| RecipientFields {
        agency: r.agency,
        key: r.key.fingerprint().clone(),
    };
    let recipients = draft.recipients.into_iter().map(recipient);
    let recipients: Vec<_> = recipients.map(|r| opening(encode(&r.to_wire()), rng)).collect();
    let manifest = Manifest {
        fields: draft.manifest,
        recipient_digests: digest_list(recipients.iter().map(opening_digest), limits::DIGESTS_COUNT, rng),
        part_digests: digest_list(parts.iter().map(opening_digest), limits::DIGESTS_COUNT, rng),
    };
    let bytes = encode(&manifest.to_wire());
    let signature = keys.sign(&bytes, at)?.into();
    let manifest = wire::Signed { bytes, signature };
    let sealed = SealedPacket {
        packet_id,
        manifest,
        recipients,
        parts,
        key_packets,
        sealings,
    };
    // What we send must pass our own parser.
    ParsedSubmission::parse(&sealed.head())?.with_key_packets(sealed.key_packets.clone())?;
    Ok(sealed)
}

impl SealingInfo {
    fn of(sealing: &Sealing) -> Self {
        Self {
            part_id: sealing.part_id,
            profile: sealing.profile,
            length: sealing.length,
        }
    }
}

fn check_draft(draft: &Draft<'_>, keys: &SecretKeys) -> Result<(), SealError> {
    let invalid = |place: String| Err(SealError::new(Defect::FieldInvalid, place));
    if draft.manifest.sender_key != keys.fingerprint() {
        return invalid("manifest.sender_key".to_owned());
    }
    if !(1..=limits::RECIPIENTS_MAX_COUNT).contains(&draft.recipients.len()) {
        return Err(Defect::RecipientsCountWrong.into());
    }
    if !(1..=limits::PARTS_MAX_COUNT).contains(&draft.parts.len()) {
        return Err(Defect::PartsCountWrong.into());
    }
    for part in &draft.parts {
        let known = |a: &AgencyId| draft.recipients.iter().any(|r| r.agency == *a);
        if part.recipients.is_empty() || !part.recipients.iter().all(known) {
            return invalid(format!("{}.recipients", part.part_id));
        }
        if !(1..=limits::PART_MAX_BYTES).contains(&part.content_length) {
            return Err(SealError::new(
                Defect::ContentLengthWrong,
                part.part_id.to_string(),
            ));
        }
    }
    Ok(())
}

fn opening(descriptor: Bytes, rng: &mut dyn RngCore) -> wire::Opening {
    let nonce = random::<NONCE_BYTES>(rng);
    wire::Opening {
        nonce: Bytes::copy_from_slice(&nonce),
        descriptor,
    }
}

fn random<const N: usize>(rng: &mut dyn RngCore) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Real digests among random dummies, shuffled, `count` in all.
fn digest_list(reals: impl Iterator<Item = Digest>, count: usize, rng: &mut dyn RngCore) -> Vec<Digest> {
    let mut list: Vec<_> = reals.collect();
    while list.len() < count {
        list.push(Digest::from_bytes(random(rng)));
    }
    list.shuffle(rng);
    list
}

fn seal_part(
    part: DraftPart<'_>,
    manifest: &ManifestFields,
    recipients: &[DraftRecipient],
    rng: &mut dyn RngCore,
    sink: &mut dyn SealSink,
    key_packets: &mut Vec<wire::KeyPacket>,
) -> Result<PartFields, SealError> {
    let mine: Vec<_> = recipients
        .iter()
        .filter(|r| part.recipients.contains(&r.agency))
        .collect();
    let mut sealings = Vec::new();
    for profile in [Profile::V6, Profile::V4] {
        if mine.iter().any(|r| r.key.profile() == profile) {
            sealings.push(Streamed::open(&part.part_id, profile, rng, sink)?);
        }
    }
    let header = header(&part, manifest, rng);
    plaintext::check_texts(&header)?;
    let commitment = write_plaintext(&part.part_id, &header, part.content, &mut sealings)?;
    let mut described = Vec::with_capacity(sealings.len());
    for streamed in sealings {
        let packets = streamed.key_packets(part.part_id, &mine)?;
        described.push(streamed.describe(part.part_id, &packets, rng)?);
        key_packets.extend(packets);
    }
    Ok(PartFields {
        part_id: part.part_id,
        category: part.category,
        subjects: part.subjects,
        source_secrecy: part.source_secrecy,
        release_ref: part.release_ref,
        measure_ref: part.measure_ref,
        relevant: part.relevant,
        pseudonymous: part.pseudonymous,
        commitment,
        sealings: described,
    })
}

fn header(part: &DraftPart<'_>, manifest: &ManifestFields, rng: &mut dyn RngCore) -> wire::SealedHeader {
    wire::SealedHeader {
        content_length: part.content_length,
        r#type: plaintext::HEADER_TYPE.to_owned(),
        network: manifest.network.to_string(),
        packet_id: field::bytes(manifest.packet_id.as_bytes()),
        part_id: field::bytes(part.part_id.as_bytes()),
        sender: manifest.sender.to_string(),
        sender_key: field::bytes(manifest.sender_key.as_bytes()),
        file_name: part.file_name.clone(),
        media_type: part.media_type.clone(),
        title: part.title.clone(),
        salt: field::bytes(random::<{ plaintext::SALT_BYTES }>(rng)),
    }
}

/// One sealing while it is written.
struct Streamed {
    profile: Profile,
    session_key: SessionKey,
    sink: Measured,
}

impl Streamed {
    fn open(
        part: &PartId,
        profile: Profile,
        rng: &mut dyn RngCore,
        sink: &mut dyn SealSink,
    ) -> Result<Self, SealError> {
        let inner = sink.open(part, profile).map_err(|_| write_failed(part))?;
        let sink = Measured {
            inner,
            length: 0,
            hasher: Sha256::default(),
        };
        Ok(Self {
            profile,
            session_key: SessionKey::random(rng),
            sink,
        })
    }

    fn key_packets(
        &self,
        part_id: PartId,
        recipients: &[&DraftRecipient],
    ) -> Result<Vec<wire::KeyPacket>, SealError> {
        let mine = recipients.iter().filter(|r| r.key.profile() == self.profile);
        mine.map(|r| {
            Ok(wire::KeyPacket {
                part_id: field::bytes(part_id.as_bytes()),
                recipient: r.agency.to_string(),
                packet: r.key.key_packet(&self.session_key)?.into(),
            })
        })
        .collect()
    }

    fn describe(
        mut self,
        part_id: PartId,
        key_packets: &[wire::KeyPacket],
        rng: &mut dyn RngCore,
    ) -> Result<Sealing, SealError> {
        self.sink.flush().map_err(|_| write_failed(&part_id))?;
        let count = key_packets
            .len()
            .max(limits::KEY_PACKET_DIGESTS_MIN_COUNT)
            .next_power_of_two();
        let digests = key_packets.iter().map(|k| Digest::of(&k.packet));
        Ok(Sealing {
            part_id,
            profile: self.profile,
            length: self.sink.length,
            sha256: self.sink.hasher.finish(),
            key_packet_digests: digest_list(digests, count, rng),
        })
    }
}

fn write_failed(part: &PartId) -> SealError {
    SealError::new(Defect::WriteFailed, part.to_string())
}

const COPY_BYTES: usize = 64 * 1024;

/// Writes header, content and padding into all sealings of a part at once; gives the commitment.
fn write_plaintext(
    part: &PartId,
    header: &wire::SealedHeader,
    content: &mut dyn Read,
    sealings: &mut [Streamed],
) -> Result<Digest, SealError> {
    let bytes = Zeroizing::new(plaintext::encode_header(header));
    if bytes.len() > limits::SEALED_HEADER_MAX_BYTES {
        return Err(SealError::new(Defect::HeaderLengthWrong, part.to_string()));
    }
    let framed = Zeroizing::new(plaintext::framed(&bytes).ok_or(Defect::HeaderLengthWrong)?);
    let padding = plaintext::padding_length(bytes.len(), header.content_length);
    let padding = padding.ok_or(Defect::ContentLengthWrong)?;
    let mut commitment = plaintext::commitment(&header.salt, &framed);
    let mut streams = Vec::with_capacity(sealings.len());
    for sealing in sealings {
        streams.push(Encryption::begin(
            sealing.profile,
            &sealing.session_key,
            &mut sealing.sink,
        )?);
    }
    write_all(&mut streams, &framed, part)?;
    copy_content(
        part,
        header.content_length,
        content,
        &mut commitment,
        &mut streams,
    )?;
    let zeros = [0; 4096];
    let mut left = padding;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
        write_all(&mut streams, zeros.get(..count).unwrap_or_default(), part)?;
        left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    }
    for stream in streams {
        stream.finish()?;
    }
    Ok(commitment.finish())
}

/// Copies exactly as many bytes as announced, and no reader may have more.
fn copy_content(
    part: &PartId,
    length: u64,
    content: &mut dyn Read,
    commitment: &mut Sha256,
    streams: &mut [Encryption<'_>],
) -> Result<(), SealError> {
    let failed = || SealError::new(Defect::ContentReadFailed, part.to_string());
    let mut buffer = Zeroizing::new(vec![0; COPY_BYTES]);
    let mut left = length;
    loop {
        let count = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|_| failed())?,
        };
        if count == 0 {
            break;
        }
        left = left
            .checked_sub(u64::try_from(count).unwrap_or(u64::MAX))
            .ok_or_else(failed)?;
        let piece = buffer.get(..count).unwrap_or_default();
        commitment.update(piece);
        write_all(streams, piece, part)?;
    }
    if left == 0 { Ok(()) } else { Err(failed()) }
}

fn write_all(streams: &mut [Encryption<'_>], bytes: &[u8], part: &PartId) -> Result<(), SealError> {
    streams
        .iter_mut()
        .try_for_each(|s| s.write_all(bytes))
        .map_err(|_| write_failed(part))
}

/// Counts and hashes ciphertext on its way to the sink.
struct Measured {
    inner: Box<dyn Write + Send + Sync>,
    length: u64,
    hasher: Sha256,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.length = self
            .length
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

//! What is inside a seal: `u32 length || sealed header || content || zeros`, and the commitment to it.
//! Both directions.

use std::io::Write;

use prost::Message;

use super::field;
use super::manifest::ManifestFields;
use crate::defect::{Defect, OpenError, PacketError};
use crate::ids::{Digest, PartId, Sha256};
use crate::limits;
use crate::wire;

/// The type that a sealed header names.
pub(super) const HEADER_TYPE: &str = "schakel.v1.SealedHeader";
const COMMITMENT_DOMAIN: &[u8] = b"schakel/part/v1";
const PREFIX_BYTES: u64 = 4;
pub(super) const SALT_BYTES: usize = 32;

/// The smallest size class that holds so many bytes.
pub(super) fn padded_size(unpadded: u64) -> Option<u64> {
    limits::PADDED_SIZES_BYTES
        .into_iter()
        .find(|size| *size >= unpadded)
}

/// Bytes of the prefix, header and content.
fn unpadded_size(header: usize, content: u64) -> Option<u64> {
    let header = u64::try_from(header).ok()?;
    PREFIX_BYTES.checked_add(header)?.checked_add(content)
}

/// Prefix and header, as they stand in the plaintext and in the commitment.
pub(super) fn framed(header: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(header.len()).ok()?;
    let mut framed = Vec::with_capacity(4 + header.len());
    framed.extend(length.to_be_bytes());
    framed.extend(header);
    Some(framed)
}

/// The commitment, begun with what stands before the content.
pub(super) fn commitment(salt: &[u8], framed_header: &[u8]) -> Sha256 {
    let mut hasher = Sha256::default();
    hasher.update(COMMITMENT_DOMAIN);
    hasher.update(salt);
    hasher.update(framed_header);
    hasher
}

/// Zeros to add behind the content.
pub(super) fn padding_length(header: usize, content: u64) -> Option<u64> {
    let unpadded = unpadded_size(header, content)?;
    padded_size(unpadded)?.checked_sub(unpadded)
}

/// Names in the sealed header: bounded, no control characters.
pub(super) fn check_texts(header: &wire::SealedHeader) -> Result<(), PacketError> {
    let texts = [
        ("file_name", &header.file_name),
        ("media_type", &header.media_type),
        ("title", &header.title),
    ];
    for (place, text) in texts {
        if !field::text_fits(text, limits::SEALED_NAME_MAX_BYTES) {
            return Err(PacketError::new(Defect::HeaderTextRefused, place));
        }
    }
    Ok(())
}

/// What the manifest and descriptor say that the plaintext must agree with.
pub(super) struct Expected<'a> {
    pub(super) manifest: &'a ManifestFields,
    pub(super) part_id: PartId,
    pub(super) commitment: Digest,
}

enum State {
    Prefix(Vec<u8>),
    Header {
        length: usize,
        bytes: Vec<u8>,
    },
    Content {
        header: Box<wire::SealedHeader>,
        hasher: Sha256,
        left: u64,
        padding: u64,
    },
}

/// Takes the plaintext in pieces, checks it, and writes the content on.
pub(super) struct Reading<'a> {
    expected: Expected<'a>,
    state: State,
}

impl<'a> Reading<'a> {
    pub(super) fn new(expected: Expected<'a>) -> Self {
        Self {
            expected,
            state: State::Prefix(Vec::new()),
        }
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, mut piece: &[u8], out: &mut dyn Write) -> Result<(), OpenError> {
        while !piece.is_empty() {
            piece = self.step(piece, out)?;
        }
        Ok(())
    }

    /// One step of the state machine; gives back what it did not use.
    fn step<'p>(&mut self, piece: &'p [u8], out: &mut dyn Write) -> Result<&'p [u8], OpenError> {
        match &mut self.state {
            State::Prefix(bytes) => {
                let rest = fill(bytes, 4, piece);
                if let Ok(prefix) = <[u8; 4]>::try_from(bytes.as_slice()) {
                    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
                    if !(1..=limits::SEALED_HEADER_MAX_BYTES).contains(&length) {
                        return Err(Defect::HeaderLengthWrong.into());
                    }
                    self.state = State::Header {
                        length,
                        bytes: Vec::with_capacity(length),
                    };
                }
                Ok(rest)
            }
            State::Header { length, bytes } => {
                let rest = fill(bytes, *length, piece);
                if bytes.len() == *length {
                    self.state = begin_content(&self.expected, bytes)?;
                }
                Ok(rest)
            }
            State::Content {
                hasher,
                left,
                padding,
                ..
            } => {
                let (content, zeros) = split(piece, *left);
                *left -= count(content);
                hasher.update(content);
                out.write_all(content).map_err(|_| Defect::WriteFailed)?;
                if zeros.iter().any(|b| *b != 0) {
                    return Err(Defect::PaddingWrong.into());
                }
                *padding = padding.checked_sub(count(zeros)).ok_or(Defect::PaddingWrong)?;
                Ok(&[])
            }
        }
    }

    /// Ends what never had its padding: a content beside its header, as it was committed to.
    pub(super) fn finish_unpadded(mut self) -> Result<wire::SealedHeader, OpenError> {
        if let State::Content { padding, .. } = &mut self.state {
            *padding = 0;
        }
        self.finish()
    }

    /// Bytes of the content that are still to come; none before the header.
    pub(super) fn left(&self) -> Option<u64> {
        match &self.state {
            State::Content { left, .. } => Some(*left),
            State::Prefix(_) | State::Header { .. } => None,
        }
    }

    /// Ends it: everything came, and is what the sender committed to.
    pub(super) fn finish(self) -> Result<wire::SealedHeader, OpenError> {
        match self.state {
            State::Prefix(_) | State::Header { .. } => Err(Defect::HeaderLengthWrong.into()),
            State::Content { left: 1.., .. } => Err(Defect::ContentLengthWrong.into()),
            State::Content { padding: 1.., .. } => Err(Defect::PaddingWrong.into()),
            State::Content { header, hasher, .. } => {
                if hasher.finish() == self.expected.commitment {
                    Ok(*header)
                } else {
                    Err(Defect::CommitmentDiffers.into())
                }
            }
        }
    }
}

fn begin_content(expected: &Expected<'_>, bytes: &[u8]) -> Result<State, OpenError> {
    let header: wire::SealedHeader = field::decode(bytes, Defect::HeaderMalformed)?;
    field::type_is(&header.r#type, HEADER_TYPE)?;
    check_names_the_same(expected, &header)?;
    check_texts(&header)?;
    if header.salt.len() != SALT_BYTES {
        return Err(OpenError::new(Defect::HeaderMalformed, "salt"));
    }
    if !(1..=limits::PART_MAX_BYTES).contains(&header.content_length) {
        return Err(OpenError::new(Defect::ContentLengthWrong, "content_length"));
    }
    let framed = framed(bytes).ok_or(Defect::HeaderLengthWrong)?;
    let hasher = commitment(&header.salt, &framed);
    let left = header.content_length;
    let padding = padding_length(bytes.len(), left).ok_or(Defect::ContentLengthWrong)?;
    Ok(State::Content {
        header: Box::new(header),
        hasher,
        left,
        padding,
    })
}

fn check_names_the_same(expected: &Expected<'_>, header: &wire::SealedHeader) -> Result<(), OpenError> {
    let manifest = expected.manifest;
    let same = [
        ("network", header.network == manifest.network.as_str()),
        (
            "packet_id",
            header.packet_id.as_ref() == manifest.packet_id.as_bytes(),
        ),
        ("part_id", header.part_id.as_ref() == expected.part_id.as_bytes()),
        ("sender", header.sender == manifest.sender.as_str()),
        (
            "sender_key",
            header.sender_key.as_ref() == manifest.sender_key.as_bytes(),
        ),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((place, _)) => Err(OpenError::new(Defect::HeaderDiffers, *place)),
        None => Ok(()),
    }
}

/// The sealed header as bytes: the content's length stands first, at a fixed place.
pub(super) fn encode_header(header: &wire::SealedHeader) -> Vec<u8> {
    header.encode_to_vec()
}

fn fill<'p>(bytes: &mut Vec<u8>, length: usize, piece: &'p [u8]) -> &'p [u8] {
    let missing = length.saturating_sub(bytes.len()).min(piece.len());
    let (taken, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
    bytes.extend(taken);
    rest
}

fn split(piece: &[u8], left: u64) -> (&[u8], &[u8]) {
    let left = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
    piece.split_at_checked(left).unwrap_or((piece, &[]))
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

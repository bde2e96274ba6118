//! For tests and the fuzzer: each parser followed by its own encoder, and the inside of a seal without a key.

use std::io::Write;

use bytes::Bytes;
use prost::Message;

use super::descriptor::{PartFields, RecipientFields};
use super::manifest::{Manifest, ManifestFields};
use super::open::{OpenedPart, opened};
use super::parse::encode;
use super::plaintext::{Expected, Reading, commitment, framed};
use crate::defect::{OpenError, PacketError};
use crate::ids::{Digest, PartId};
use crate::wire;

/// A manifest, parsed and written again.
///
/// # Errors
/// Those of the parser.
pub fn manifest_again(bytes: &[u8]) -> Result<Bytes, PacketError> {
    Manifest::parse(bytes).map(|manifest| encode(&manifest.to_wire()))
}

/// A recipient's descriptor, parsed and written again.
///
/// # Errors
/// Those of the parser.
pub fn recipient_again(bytes: &[u8]) -> Result<Bytes, PacketError> {
    RecipientFields::parse(bytes).map(|fields| encode(&fields.to_wire()))
}

/// A part's descriptor, parsed and written again.
///
/// # Errors
/// Those of the parser.
pub fn part_again(bytes: &[u8]) -> Result<Bytes, PacketError> {
    PartFields::parse(bytes).map(|fields| encode(&fields.to_wire()))
}

/// What a sender of this plaintext would have committed to, if it has a header that decodes.
pub fn commitment_to(plaintext: &[u8]) -> Option<Digest> {
    let (length, rest) = plaintext.split_first_chunk::<4>()?;
    let (header, rest) = rest.split_at_checked(u32::from_be_bytes(*length).try_into().ok()?)?;
    let said = wire::SealedHeader::decode(header).ok()?;
    let content = rest.get(..said.content_length.try_into().ok()?)?;
    let mut hasher = commitment(&said.salt, &framed(header)?);
    hasher.update(content);
    Some(hasher.finish())
}

/// Reads the plaintext of a part in pieces of at most `piece` bytes, as it comes out of decryption.
///
/// # Errors
/// What is wrong inside.
pub fn read_plaintext(
    (manifest, part_id, commitment): (&ManifestFields, PartId, Digest),
    plaintext: &[u8],
    piece: usize,
    out: &mut dyn Write,
) -> Result<OpenedPart, OpenError> {
    let mut reading = Reading::new(Expected {
        manifest,
        part_id,
        commitment,
    });
    for some in plaintext.chunks(piece.max(1)) {
        reading.take(some, out)?;
    }
    reading.finish().map(opened)
}

//! Opening a part, in two passes: the first decrypts to nowhere and checks the last tag, the header,
//! the padding and the commitment; only then the second writes the content.

use std::fmt;
use std::io::{self, Read, Write};

use super::descriptor::{PartFields, Sealing};
use super::parse::check_key_packet;
use super::plaintext::{Expected, Reading, encode_header, framed};
use super::verify::VerifiedHanded;
use crate::defect::{Defect, OpenError};
use crate::ids::{PartId, Sha256};
use crate::openpgp::{self, ReadFailure, SecretKeys};
use crate::wire;

/// A reader of ciphertext: a file, or bytes in memory.
pub type Ciphertext<'a> = Box<dyn Read + Send + Sync + 'a>;

/// What the sealed header says of a part that was opened and found good. All of it is the sender's
/// text: file names are for showing, not for naming files.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenedPart {
    /// The file's name at the sender.
    pub file_name: String,
    /// Its media type as the sender says.
    pub media_type: String,
    /// Its title.
    pub title: String,
    /// Length of the content, in bytes.
    pub content_length: u64,
    /// The sealed header with its length in front, as the commitment has it: salt and names.
    pub framed_header: Vec<u8>,
}

impl fmt::Debug for OpenedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedPart({} bytes)", self.content_length)
    }
}

/// Opens a part and writes its content to `out`. Nothing is written before everything is checked; if
/// the ciphertext changes between the two passes, the error says so and what was written is to be
/// thrown away.
///
/// # Errors
/// The first defect found.
pub fn open_part(
    handed: &VerifiedHanded,
    part: &PartId,
    key_packet: &[u8],
    ciphertext: &mut dyn FnMut() -> io::Result<Ciphertext<'static>>,
    keys: &SecretKeys,
    out: &mut dyn Write,
) -> Result<OpenedPart, OpenError> {
    let checked = check_part(handed, part, key_packet, ciphertext, keys)?;
    let again = pass(handed, part, key_packet, ciphertext, keys, out)?;
    out.flush().map_err(|_| Defect::WriteFailed)?;
    if again == checked {
        Ok(again)
    } else {
        Err(Defect::CiphertextChanged.into())
    }
}

/// The first pass only: checks everything and gives the content to nobody (for an inbox that stays
/// sealed at rest).
///
/// # Errors
/// As [`open_part`].
pub fn check_part(
    handed: &VerifiedHanded,
    part: &PartId,
    key_packet: &[u8],
    ciphertext: &mut dyn FnMut() -> io::Result<Ciphertext<'static>>,
    keys: &SecretKeys,
) -> Result<OpenedPart, OpenError> {
    pass(handed, part, key_packet, ciphertext, keys, &mut io::sink())
}

fn pass(
    handed: &VerifiedHanded,
    part: &PartId,
    key_packet: &[u8],
    ciphertext: &mut dyn FnMut() -> io::Result<Ciphertext<'static>>,
    keys: &SecretKeys,
    out: &mut dyn Write,
) -> Result<OpenedPart, OpenError> {
    let at = |e: OpenError| {
        if e.place().is_empty() {
            OpenError::new(e.defect(), part.to_string())
        } else {
            e
        }
    };
    let fields = handed
        .part(part)
        .ok_or_else(|| OpenError::new(Defect::PartUnknown, part.to_string()))?;
    check_key_packet(fields, handed.recipient(), key_packet)?;
    let profile = handed.recipient().profile();
    let sealing = fields
        .sealing(profile)
        .ok_or(Defect::SealingsWrong)
        .map_err(OpenError::from)
        .map_err(at)?;
    let inner = ciphertext().map_err(|_| OpenError::new(Defect::ReadFailed, part.to_string()))?;
    let mut reader = Measured {
        inner,
        left: sealing.length,
        overlong: false,
        hasher: Sha256::default(),
    };
    let mut reading = Reading::new(expected(handed, fields));
    // What is wrong inside is said only once the last tag is known to be good.
    let mut inside = Ok(());
    let decrypted = openpgp::decrypt(profile, key_packet, &mut reader, keys, &mut |piece| {
        if inside.is_ok() {
            inside = reading.take(piece, out);
        }
    });
    let header = match reader.check(sealing).and(decrypted).and(inside) {
        Ok(()) => reading.finish(),
        Err(error) => Err(error),
    };
    header.map(opened).map_err(at)
}

fn expected<'a>(handed: &'a VerifiedHanded, fields: &PartFields) -> Expected<'a> {
    Expected {
        manifest: handed.manifest(),
        part_id: fields.part_id,
        commitment: fields.commitment,
    }
}

pub(super) fn opened(header: wire::SealedHeader) -> OpenedPart {
    // Only canonical bytes were taken: these are the same again.
    let framed_header = framed(&encode_header(&header)).unwrap_or_default();
    OpenedPart {
        framed_header,
        file_name: header.file_name,
        media_type: header.media_type,
        title: header.title,
        content_length: header.content_length,
    }
}

/// Reads ciphertext and measures it, so that damage in the store is not taken for the sender's fault.
struct Measured {
    inner: Ciphertext<'static>,
    left: u64,
    overlong: bool,
    hasher: Sha256,
}

impl Read for Measured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(_) => return Err(io::Error::other(ReadFailure)),
            Ok(count) => count,
        };
        match self.left.checked_sub(u64::try_from(count).unwrap_or(u64::MAX)) {
            Some(left) => self.left = left,
            None => {
                self.overlong = true;
                return Err(io::Error::other(ReadFailure));
            }
        }
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl Measured {
    /// Reads what is left, and compares length and digest with the descriptor.
    fn check(mut self, sealing: &Sealing) -> Result<(), OpenError> {
        let drained = io::copy(&mut self, &mut io::sink());
        if self.overlong {
            return Err(Defect::CiphertextChanged.into());
        }
        drained.map_err(|_| Defect::ReadFailed)?;
        let same = self.left == 0 && self.hasher.finish() == sealing.sha256;
        if same {
            Ok(())
        } else {
            Err(Defect::CiphertextChanged.into())
        }
    }
}

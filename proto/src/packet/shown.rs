//! A packet as it is shown to a third party, piece by piece: the manifest, some openings, some contents without
//! their seal. The same checks as at a hand-over, each by itself.

use std::io::{self, Read};

use super::manifest::{Manifest, ManifestFields};
use super::open::{OpenedPart, opened};
use super::parse::{Part, Recipient, open_parts, open_recipients};
use super::plaintext::{Expected, Reading};
use super::verify::{DirectoryView, verify_signature};
use crate::defect::{Defect, OpenError, PacketError};
use crate::ids::Digest;
use crate::limits;
use crate::openpgp::SignatureTime;
use crate::time::Timestamp;
use crate::wire;

/// A manifest that parses; nothing says yet who signed it.
#[derive(Clone, Debug)]
pub struct ShownManifest {
    signed: wire::Signed,
    manifest: Manifest,
}

impl ShownManifest {
    /// Parses the signed bytes.
    ///
    /// # Errors
    /// The first defect found.
    pub fn parse(signed: &wire::Signed) -> Result<Self, PacketError> {
        if signed.signature.len() > limits::SIGNATURE_MAX_BYTES {
            return Err(Defect::SignatureTooLong.into());
        }
        Ok(Self {
            manifest: Manifest::parse(&signed.bytes).map_err(|e| e.within("manifest"))?,
            signed: signed.clone(),
        })
    }

    /// What the manifest says in the open.
    pub fn fields(&self) -> &ManifestFields {
        &self.manifest.fields
    }

    /// SHA-256 of the manifest's bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.signed.bytes)
    }

    /// Its sender signed it, with a key that this directory lists.
    ///
    /// # Errors
    /// The first defect found.
    pub fn signed_by(
        &self,
        directory: &dyn DirectoryView,
        at: Timestamp,
    ) -> Result<SignatureTime, PacketError> {
        verify_signature((self.fields(), &self.signed), directory, at)
    }

    /// A recipient that the manifest commits to.
    ///
    /// # Errors
    /// The opening is not of this manifest, or says something that does not parse.
    pub fn recipient(&self, opening: &wire::Opening) -> Result<Recipient, PacketError> {
        let opened = open_recipients(&self.manifest, std::slice::from_ref(opening))?;
        opened
            .into_iter()
            .next()
            .ok_or_else(|| Defect::RecipientsCountWrong.into())
    }

    /// A part that the manifest commits to.
    ///
    /// # Errors
    /// As [`Self::recipient`].
    pub fn part(&self, opening: &wire::Opening) -> Result<Part, PacketError> {
        let opened = open_parts(&self.manifest, std::slice::from_ref(opening))?;
        opened
            .into_iter()
            .next()
            .ok_or_else(|| Defect::PartsCountWrong.into())
    }

    /// A content without its seal, beside its sealed header with the length in front: what the sender committed to.
    ///
    /// # Errors
    /// The first defect found; `ReadFailed` if the content cannot be read.
    pub fn content(
        &self,
        part: &Part,
        framed_header: &[u8],
        content: &mut dyn Read,
    ) -> Result<OpenedPart, OpenError> {
        let at = |defect: Defect| OpenError::new(defect, part.id().to_string());
        let mut reading = Reading::new(Expected {
            manifest: self.fields(),
            part_id: part.id(),
            commitment: part.descriptor().commitment,
        });
        let mut nowhere = io::sink();
        if framed_header.len() > limits::SEALED_HEADER_MAX_BYTES + 4 {
            return Err(at(Defect::HeaderLengthWrong));
        }
        reading.take(framed_header, &mut nowhere)?;
        let wanted = reading.left().ok_or_else(|| at(Defect::HeaderLengthWrong))?;
        let mut piece = vec![0; limits::CHUNK_MAX_BYTES];
        let mut seen = 0_u64;
        loop {
            let count = match content.read(&mut piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(at(Defect::ReadFailed)),
                Ok(0) => break,
                Ok(count) => count,
            };
            seen = seen.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            if seen > wanted {
                return Err(at(Defect::ContentLengthWrong));
            }
            reading.take(piece.get(..count).unwrap_or_default(), &mut nowhere)?;
        }
        let opened = opened(reading.finish_unpadded().map_err(|e| at(e.defect()))?);
        if opened.framed_header == framed_header {
            Ok(opened)
        } else {
            Err(at(Defect::HeaderLengthWrong))
        }
    }
}

//! C2SP signed notes, taken apart: the text that is signed, and the lines that sign it.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::checkpoint::{CheckpointError, NOTE_MAX_BYTES, SIGNATURES_MAX_COUNT};

/// What every signature line begins with: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// A note whose form holds; nothing of it is checked yet.
pub(super) struct Note<'a> {
    /// What is signed, with its last line end.
    pub(super) body: &'a str,
    signatures: &'a str,
}

/// One signature line of a note.
pub(super) struct Line<'a> {
    /// Whose it says it is.
    pub(super) name: &'a str,
    /// Which key of that name.
    pub(super) id: [u8; 4],
    /// What follows the key id.
    pub(super) signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Splits a note at its last empty line.
    pub(super) fn split(note: &'a [u8]) -> Result<Self, CheckpointError> {
        if note.len() > NOTE_MAX_BYTES {
            return Err(CheckpointError::Malformed);
        }
        let text = std::str::from_utf8(note).map_err(|_| CheckpointError::Malformed)?;
        let end = text.rfind("\n\n").ok_or(CheckpointError::Malformed)?;
        match (text.get(..=end), text.get(end + 2..)) {
            (Some(body), Some(signatures)) => Ok(Self { body, signatures }),
            _ => Err(CheckpointError::Malformed),
        }
    }

    /// Its signature lines, all of the right form.
    pub(super) fn lines(&self) -> Result<Vec<Line<'a>>, CheckpointError> {
        if !self.signatures.ends_with('\n') || self.signatures.lines().count() > SIGNATURES_MAX_COUNT {
            return Err(CheckpointError::Malformed);
        }
        self.signatures.lines().map(Line::parse).collect()
    }
}

impl<'a> Line<'a> {
    /// Reads one line, given without its line end.
    pub(super) fn parse(text: &'a str) -> Result<Self, CheckpointError> {
        let rest = text.strip_prefix(MARK).ok_or(CheckpointError::Malformed)?;
        let (name, value) = rest.split_once(' ').ok_or(CheckpointError::Malformed)?;
        let bytes = STANDARD.decode(value).map_err(|_| CheckpointError::Malformed)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(CheckpointError::Malformed)?;
        Ok(Self {
            name,
            id: *id,
            signature: signature.to_vec(),
        })
    }

    /// The text of a line, without its line end.
    pub(super) fn to_text(&self) -> String {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.signature);
        format!("{MARK}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A key's id: the first 4 bytes of `SHA-256(name || "\n" || algorithm || public key)`.
pub(super) fn key_id(name: &str, algorithm: u8, public: &[u8]) -> [u8; 4] {
    let digest = crate::ids::Digest::of_all(&[name.as_bytes(), b"\n", &[algorithm], public]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

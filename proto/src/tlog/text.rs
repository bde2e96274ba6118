//! Proofs as text, for files that other tools read: an inclusion proof with its checkpoint as C2SP tlog-proof, and
//! the hashes of a consistency proof one per line.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::checkpoint::NOTE_MAX_BYTES;
use super::proof::PROOF_MAX_COUNT;
use crate::ids::Digest;

/// First line of a C2SP tlog-proof.
const PROOF_HEAD: &str = "c2sp.org/tlog-proof@v1";
/// Longest line of a hash, with its end.
const HASH_LINE_BYTES: usize = 45;
/// Longest proof as text, in bytes.
pub const TEXT_MAX_BYTES: usize = NOTE_MAX_BYTES + PROOF_MAX_COUNT * HASH_LINE_BYTES + 64;

/// An inclusion proof and the checkpoint that it leads to; nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionText {
    /// Position of the leaf, from 0.
    pub index: u64,
    /// The audit path, from the leaf up.
    pub path: Vec<Digest>,
    /// The signed note.
    pub note: Vec<u8>,
}

impl InclusionText {
    /// As C2SP tlog-proof, without extra data.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = format!(
            "{PROOF_HEAD}\nindex {}\n{}\n",
            self.index,
            hashes_to_text(&self.path)
        )
        .into_bytes();
        text.extend_from_slice(&self.note);
        text
    }

    /// Reads that one form; none if it is another.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > TEXT_MAX_BYTES {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, note) = text.split_once("\n\n")?;
        let rest = head.strip_prefix(PROOF_HEAD)?.strip_prefix("\nindex ")?;
        let (index, hashes) = rest.split_once('\n').unwrap_or((rest, ""));
        let parsed = Self {
            index: index.parse().ok()?,
            path: hashes.lines().map(hash).collect::<Option<_>>()?,
            note: note.as_bytes().to_vec(),
        };
        (parsed.path.len() <= PROOF_MAX_COUNT && parsed.to_text() == bytes).then_some(parsed)
    }
}

fn hash(line: &str) -> Option<Digest> {
    Digest::try_from(STANDARD.decode(line).ok()?.as_slice()).ok()
}

/// Hashes in base64, one per line.
pub fn hashes_to_text(hashes: &[Digest]) -> String {
    let line = |hash: &Digest| STANDARD.encode(hash.as_bytes()) + "\n";
    hashes.iter().map(line).collect()
}

/// Reads hashes in base64, one per line; none if it is something else, or more than a proof can have.
pub fn hashes_from_text(bytes: &[u8]) -> Option<Vec<Digest>> {
    if bytes.len() > PROOF_MAX_COUNT * HASH_LINE_BYTES {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let hashes: Vec<_> = text.lines().map(hash).collect::<Option<_>>()?;
    (hashes_to_text(&hashes) == text).then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_go_there_and_back_and_nothing_else_is_read() {
        for count in [0, 1, 3] {
            let proof = InclusionText {
                index: 73_894,
                path: (0..count).map(|n: u8| Digest::of(&[n])).collect(),
                note: b"example.com/log\n5\nroot\n\n\xe2\x80\x94 x y\n".to_vec(),
            };
            let text = proof.to_text();
            assert_eq!(InclusionText::parse(&text), Some(proof.clone()));
            let said = String::from_utf8(text).unwrap();
            for (from, to) in [
                ("@v1", "@v2"),
                ("index 7", "index 07"),
                ("index 7", "index x7"),
                ("\n\n", "\n"),
                ("index 73894\n", "index 73894\nAAAA\n"),
            ] {
                let other = said.replacen(from, to, 1);
                assert_ne!(
                    InclusionText::parse(other.as_bytes()),
                    Some(proof.clone()),
                    "{from} {to}"
                );
            }
            let hashes = hashes_to_text(&proof.path);
            assert_eq!(hashes_from_text(hashes.as_bytes()), Some(proof.path));
            assert_eq!(hashes_from_text(format!("{hashes}\n").as_bytes()), None);
        }
        assert_eq!(hashes_from_text(&[b'A'; 129 * 45]), None);
    }
}

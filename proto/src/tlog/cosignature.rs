//! Cosignatures: what a witness signs of a checkpoint that it found consistent with all it saw before, as C2SP
//! tlog-cosignature, with Ed25519 or ML-DSA-44, so that any tool of that family can check them.

use std::fmt;

use aws_lc_rs::signature::{
    ED25519, Ed25519KeyPair, KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::RngCore;
use zeroize::Zeroizing;

use super::checkpoint::SignedCheckpoint;
use super::note::{Line, Note, key_id};
use crate::party::AgencyId;

/// Longest cosignature line, in bytes.
pub const COSIGNATURE_MAX_BYTES: usize = 4 * 1024;
/// Longest name of a witness, in bytes (the length that ML-DSA-44's message has room for).
const NAME_MAX_BYTES: usize = 255;
/// What stands between the log's name and the agency's in a witness' name.
const WITNESS: &str = "/witness/";
/// The first line of what Ed25519 signs.
const ED25519_HEADER: &str = "cosignature/v1";
/// What the message that ML-DSA-44 signs begins with.
const ML_DSA_LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// What is wrong with a cosignature or a witness' key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// It is not a signature line of a note, or not of a cosignature's length.
    #[error("cosignature: malformed")]
    Malformed,
    /// It is by another key than this witness'.
    #[error("cosignature: not by this witness' key")]
    OtherKey,
    /// It does not hold for this checkpoint.
    #[error("cosignature: does not hold")]
    Signature,
    /// A witness' key does not parse.
    #[error("witness key: malformed")]
    Key,
    /// The library did not sign.
    #[error("cosignature: could not be made")]
    Unsigned,
}

/// How a witness signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519, algorithm byte 0x04.
    Ed25519,
    /// ML-DSA-44 (FIPS 204), algorithm byte 0x06: holds against quantum computers too.
    MlDsa44,
}

impl Algorithm {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x04,
            Self::MlDsa44 => 0x06,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            0x04 => Some(Self::Ed25519),
            0x06 => Some(Self::MlDsa44),
            _ => None,
        }
    }

    const fn public_bytes(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::MlDsa44 => 1312,
        }
    }

    const fn signature_bytes(self) -> usize {
        match self {
            Self::Ed25519 => 64,
            Self::MlDsa44 => 2420,
        }
    }
}

/// The name under which an agency cosigns the log named `origin`.
pub fn witness_name(origin: &str, agency: &AgencyId) -> String {
    format!("{origin}{WITNESS}{agency}")
}

/// Public half of a witness' key, with the name it signs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    algorithm: Algorithm,
    public: Vec<u8>,
}

/// A cosignature that holds for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// When it was made, in seconds since 1970, by the witness' clock.
    pub seconds: u64,
    /// The line of the note, without its line end.
    pub line: String,
}

impl WitnessKey {
    /// From the name and the algorithm byte and public key (directory: `WitnessKey`).
    pub fn new(name: &str, key: &[u8]) -> Result<Self, CosignatureError> {
        let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
        let bounded = (1..=NAME_MAX_BYTES).contains(&name.len());
        let (algorithm, public) = key.split_first().ok_or(CosignatureError::Key)?;
        let algorithm = Algorithm::of(*algorithm).ok_or(CosignatureError::Key)?;
        if !plain || !bounded || public.len() != algorithm.public_bytes() {
            return Err(CosignatureError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            algorithm,
            public: public.to_vec(),
        })
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same key under the name of another shard's witness.
    ///
    /// # Errors
    /// The name is none.
    pub fn under(&self, name: &str) -> Result<Self, CosignatureError> {
        Self::new(name, &self.to_bytes())
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Algorithm byte and public key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.algorithm.byte()];
        bytes.extend_from_slice(&self.public);
        bytes
    }

    /// The signed note's text form of a verifier key: `name+id+base64(algorithm || public key)`.
    pub fn to_text(&self) -> String {
        let id = hex::encode(self.id());
        format!("{}+{id}+{}", self.name, STANDARD.encode(self.to_bytes()))
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, self.algorithm.byte(), &self.public)
    }

    /// Whether a line says that it is by this key.
    fn is_of(&self, line: &Line<'_>) -> bool {
        line.name == self.name && line.id == self.id()
    }

    /// Checks one line, given with or without its line end, for a checkpoint.
    ///
    /// # Errors
    /// It is malformed, by another key, or does not hold.
    pub fn check(&self, text: &str, checkpoint: &SignedCheckpoint) -> Result<Cosignature, CosignatureError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if text.len() > COSIGNATURE_MAX_BYTES || text.contains('\n') {
            return Err(CosignatureError::Malformed);
        }
        let line = Line::parse(text).map_err(|_| CosignatureError::Malformed)?;
        if !self.is_of(&line) {
            return Err(CosignatureError::OtherKey);
        }
        self.check_line(&line, checkpoint)
    }

    fn check_line(
        &self,
        line: &Line<'_>,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Cosignature, CosignatureError> {
        let malformed = CosignatureError::Malformed;
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(malformed)?;
        let seconds = u64::from_be_bytes(*time);
        let wrong_length = signature.len() != self.algorithm.signature_bytes();
        if wrong_length || seconds == 0 || i64::try_from(seconds).is_err() {
            return Err(malformed);
        }
        let message = self.message(checkpoint, seconds);
        let holds = match self.algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.public).verify(&message, signature),
            Algorithm::MlDsa44 => {
                UnparsedPublicKey::new(&ML_DSA_44, &self.public).verify(&message, signature)
            }
        };
        holds.map_err(|_| CosignatureError::Signature)?;
        Ok(Cosignature {
            seconds,
            line: line.to_text(),
        })
    }

    /// The latest of this key's cosignatures in a checkpoint's note; none: it has none there.
    ///
    /// # Errors
    /// One that says it is by this key does not hold.
    pub fn find(&self, checkpoint: &SignedCheckpoint) -> Result<Option<Cosignature>, CosignatureError> {
        let lines = Note::split(checkpoint.note()).and_then(|note| note.lines());
        let lines = lines.map_err(|_| CosignatureError::Malformed)?;
        let mut found: Option<Cosignature> = None;
        for line in lines.iter().filter(|line| self.is_of(line)) {
            let one = self.check_line(line, checkpoint)?;
            if found.as_ref().is_none_or(|before| before.seconds < one.seconds) {
                found = Some(one);
            }
        }
        Ok(found)
    }

    /// What is signed of a checkpoint at a time.
    fn message(&self, checkpoint: &SignedCheckpoint, seconds: u64) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let body = checkpoint.checkpoint().to_body();
                format!("{ED25519_HEADER}\ntime {seconds}\n{body}").into_bytes()
            }
            Algorithm::MlDsa44 => {
                let mut message = ML_DSA_LABEL.to_vec();
                counted(&mut message, &self.name);
                message.extend_from_slice(&seconds.to_be_bytes());
                counted(&mut message, checkpoint.origin());
                message.extend_from_slice(&0_u64.to_be_bytes());
                message.extend_from_slice(&checkpoint.size().to_be_bytes());
                message.extend_from_slice(checkpoint.root().as_bytes());
                message
            }
        }
    }
}

/// A name after its length in one byte; both names are bounded far below 256.
fn counted(message: &mut Vec<u8>, name: &str) {
    message.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    message.extend_from_slice(name.as_bytes());
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    MlDsa44(PqdsaKeyPair),
}

/// Secret half of a witness' key: cosigns checkpoints.
pub struct WitnessSecret {
    key: WitnessKey,
    seed: Zeroizing<[u8; 32]>,
    pair: Pair,
}

/// Silent: never shows the secret.
impl fmt::Debug for WitnessSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessSecret({})", self.key.name)
    }
}

impl WitnessSecret {
    /// A new one for the witness named `name`.
    pub fn generate(
        algorithm: Algorithm,
        name: &str,
        rng: &mut dyn RngCore,
    ) -> Result<Self, CosignatureError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(algorithm, name, seed)
    }

    fn from_seed(
        algorithm: Algorithm,
        name: &str,
        seed: Zeroizing<[u8; 32]>,
    ) -> Result<Self, CosignatureError> {
        let mut key = vec![algorithm.byte()];
        let pair = match algorithm {
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice());
                let pair = pair.map_err(|_| CosignatureError::Key)?;
                key.extend_from_slice(pair.public_key().as_ref());
                Pair::Ed25519(pair)
            }
            Algorithm::MlDsa44 => {
                let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, seed.as_slice());
                let pair = pair.map_err(|_| CosignatureError::Key)?;
                key.extend_from_slice(pair.public_key().as_ref());
                Pair::MlDsa44(pair)
            }
        };
        let key = WitnessKey::new(name, &key)?;
        Ok(Self { key, seed, pair })
    }

    /// Reads the signer form: `PRIVATE+KEY+name+id+base64(algorithm || seed)`, white space around it ignored.
    pub fn from_text(text: &str) -> Result<Self, CosignatureError> {
        let rest = text
            .trim()
            .strip_prefix("PRIVATE+KEY+")
            .ok_or(CosignatureError::Key)?;
        let mut fields = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CosignatureError::Key);
        };
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| CosignatureError::Key)?);
        let (byte, seed) = bytes.split_first().ok_or(CosignatureError::Key)?;
        let algorithm = Algorithm::of(*byte).ok_or(CosignatureError::Key)?;
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| CosignatureError::Key)?;
        let secret = Self::from_seed(algorithm, name, Zeroizing::new(seed))?;
        if hex::encode(secret.key.id()) == id {
            Ok(secret)
        } else {
            Err(CosignatureError::Key)
        }
    }

    /// The signer form, to be kept in a file of mode 0600.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![self.key.algorithm.byte()]);
        bytes.extend_from_slice(self.seed.as_slice());
        let seed = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let id = hex::encode(self.key.id());
        Zeroizing::new(format!("PRIVATE+KEY+{}+{id}+{}\n", self.key.name, seed.as_str()))
    }

    /// The same key under the name of another shard's witness.
    ///
    /// # Errors
    /// The name is none.
    pub fn under(&self, name: &str) -> Result<Self, CosignatureError> {
        Self::from_seed(self.key.algorithm, name, self.seed.clone())
    }

    /// The same key under its witness' name in the shard named `origin`.
    ///
    /// # Errors
    /// That is no name.
    pub fn for_shard(&self, origin: &str) -> Result<Self, CosignatureError> {
        match self.key.name.rsplit_once(WITNESS) {
            Some((_, agency)) => self.under(&format!("{origin}{WITNESS}{agency}")),
            None => self.under(&self.key.name),
        }
    }

    /// The public half.
    pub const fn public(&self) -> &WitnessKey {
        &self.key
    }

    /// Cosigns a checkpoint at a time, in seconds since 1970. Whether it may, the caller must know: it has proved that
    /// the checkpoint continues all that it saw, and has cosigned none that is larger.
    ///
    /// # Errors
    /// The time is not after 1970, or the library does not sign.
    pub fn cosign(
        &self,
        checkpoint: &SignedCheckpoint,
        seconds: u64,
    ) -> Result<Cosignature, CosignatureError> {
        if seconds == 0 || i64::try_from(seconds).is_err() {
            return Err(CosignatureError::Unsigned);
        }
        let message = self.key.message(checkpoint, seconds);
        let mut signature = seconds.to_be_bytes().to_vec();
        match &self.pair {
            Pair::Ed25519(pair) => signature.extend_from_slice(pair.sign(&message).as_ref()),
            Pair::MlDsa44(pair) => {
                let mut made = vec![0; ML_DSA_44_SIGNING.signature_len()];
                let length = pair.sign(&message, &mut made);
                made.truncate(length.map_err(|_| CosignatureError::Unsigned)?);
                signature.append(&mut made);
            }
        }
        let line = Line {
            name: &self.key.name,
            id: self.key.id(),
            signature,
        };
        Ok(Cosignature {
            seconds,
            line: line.to_text(),
        })
    }
}

/// The note of a checkpoint with these lines behind its own.
pub fn with_lines<'a>(note: &[u8], lines: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut note = note.to_vec();
    for line in lines {
        note.extend_from_slice(line.as_bytes());
        note.push(b'\n');
    }
    note
}

//! Checkpoints: the signed size and root of the log, as C2SP tlog-checkpoint in a C2SP signed note
//! with an Ed25519 signature, so that any tool of that family can read and witness them.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::RngCore;
use zeroize::Zeroizing;

use super::note::{Line, Note, key_id};
use crate::ids::Digest;

/// Longest note read, in bytes: room for the cosignatures of 32 witnesses.
pub const NOTE_MAX_BYTES: usize = 128 * 1024;
/// Most signature lines read.
pub const SIGNATURES_MAX_COUNT: usize = 100;
/// Longest origin, in bytes.
pub const ORIGIN_MAX_BYTES: usize = 128;
/// Signed-note algorithm byte of Ed25519.
const ALGORITHM_ED25519: u8 = 0x01;

/// What is wrong with a checkpoint or a log key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is not a signed note that holds a checkpoint.
    #[error("checkpoint: malformed")]
    Malformed,
    /// It is another log's.
    #[error("checkpoint: of another log")]
    Origin,
    /// No signature line is by the log key.
    #[error("checkpoint: not signed by the log key")]
    Unsigned,
    /// The signature by the log key does not hold.
    #[error("checkpoint: the signature does not hold")]
    Signature,
    /// The shard is frozen, and this is beyond its end or another end.
    #[error("checkpoint: beyond the end of a frozen shard, or of another end")]
    Frozen,
    /// The shard begins behind this size.
    #[error("checkpoint: of a size at which its shard had not begun")]
    Before,
    /// A log key or origin does not parse.
    #[error("log key: malformed")]
    Key,
}

/// Size and root of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, e.g. `rupel.example/log`.
    pub origin: String,
    /// Leaves in the tree.
    pub size: u64,
    /// Root of the tree.
    pub root: Digest,
}

/// A checkpoint whose signature by the log key was checked; keeps the note it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

/// Public half of a log key, with the origin it signs for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    origin: String,
    public: [u8; 32],
}

/// Secret half of a log key: signs checkpoints.
pub struct LogSecret {
    key: LogKey,
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

/// Whether a log may have this name: printable ASCII without `+`, of bounded length.
///
/// # Errors
/// It may not.
pub fn check_origin(origin: &str) -> Result<(), CheckpointError> {
    let plain = origin.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    let bounded = (1..=ORIGIN_MAX_BYTES).contains(&origin.len());
    if plain && bounded {
        Ok(())
    } else {
        Err(CheckpointError::Key)
    }
}

fn array32(bytes: &[u8]) -> Result<[u8; 32], CheckpointError> {
    <[u8; 32]>::try_from(bytes).map_err(|_| CheckpointError::Key)
}

impl LogKey {
    /// From the origin and the 32 bytes of the Ed25519 public key (directory: `LogDescription`).
    pub fn new(origin: &str, public: &[u8]) -> Result<Self, CheckpointError> {
        check_origin(origin)?;
        Ok(Self {
            origin: origin.to_owned(),
            public: array32(public)?,
        })
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The Ed25519 public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The signed note's key id: the first 4 bytes of `SHA-256(name || "\n" || 0x01 || public key)`.
    fn id(&self) -> [u8; 4] {
        key_id(&self.origin, ALGORITHM_ED25519, &self.public)
    }

    /// From the signed note's text form of a verifier key, white space around it ignored.
    ///
    /// # Errors
    /// It is not of that form, or of another algorithm.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let mut fields = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CheckpointError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| CheckpointError::Key)?;
        let Some((&ALGORITHM_ED25519, public)) = bytes.split_first() else {
            return Err(CheckpointError::Key);
        };
        let key = Self::new(name, public)?;
        if hex::encode(key.id()) == id {
            Ok(key)
        } else {
            Err(CheckpointError::Key)
        }
    }

    /// The signed note's text form of a verifier key: `name+id+base64(0x01 || public key)`.
    pub fn to_text(&self) -> String {
        let mut bytes = vec![ALGORITHM_ED25519];
        bytes.extend_from_slice(&self.public);
        format!(
            "{}+{}+{}",
            self.origin,
            hex::encode(self.id()),
            STANDARD.encode(bytes)
        )
    }
}

impl LogSecret {
    /// A new one for the log named `origin`.
    pub fn generate(origin: &str, rng: &mut dyn RngCore) -> Result<Self, CheckpointError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(origin, seed)
    }

    fn from_seed(origin: &str, seed: Zeroizing<[u8; 32]>) -> Result<Self, CheckpointError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| CheckpointError::Key)?;
        let key = LogKey::new(origin, pair.public_key().as_ref())?;
        Ok(Self { key, seed, pair })
    }

    /// Reads the signer form: `PRIVATE+KEY+name+id+base64(0x01 || seed)`, white space around it ignored.
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let rest = text
            .trim()
            .strip_prefix("PRIVATE+KEY+")
            .ok_or(CheckpointError::Key)?;
        let mut fields = rest.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CheckpointError::Key);
        };
        let bytes = Zeroizing::new(STANDARD.decode(key).map_err(|_| CheckpointError::Key)?);
        let (ALGORITHM_ED25519, seed) = bytes
            .split_first()
            .map(|(a, s)| (*a, s))
            .ok_or(CheckpointError::Key)?
        else {
            return Err(CheckpointError::Key);
        };
        let secret = Self::from_seed(name, Zeroizing::new(array32(seed)?))?;
        if hex::encode(secret.key.id()) == id {
            Ok(secret)
        } else {
            Err(CheckpointError::Key)
        }
    }

    /// The signer form, to be kept in a file of mode 0600.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![ALGORITHM_ED25519]);
        bytes.extend_from_slice(self.seed.as_slice());
        let key = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        let id = hex::encode(self.key.id());
        Zeroizing::new(format!("PRIVATE+KEY+{}+{id}+{}\n", self.key.origin, key.as_str()))
    }

    /// The public half.
    pub const fn public(&self) -> &LogKey {
        &self.key
    }

    /// Signs size and root of this log.
    pub fn sign(&self, size: u64, root: Digest) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            origin: self.key.origin.clone(),
            size,
            root,
        };
        let body = checkpoint.to_body();
        let line = Line {
            name: &self.key.origin,
            id: self.key.id(),
            signature: self.pair.sign(body.as_bytes()).as_ref().to_vec(),
        };
        let note = format!("{body}\n{}\n", line.to_text());
        SignedCheckpoint {
            checkpoint,
            note: note.into_bytes(),
        }
    }
}

/// Silent: never shows the secret.
impl fmt::Debug for LogSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogSecret({})", self.key.origin)
    }
}

impl fmt::Debug for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedCheckpoint({:?})", self.checkpoint)
    }
}

impl Checkpoint {
    /// The text that is signed: origin, size in decimal, root in base64, one per line.
    pub(super) fn to_body(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root.as_bytes())
        )
    }

    fn parse(body: &str) -> Result<Self, CheckpointError> {
        let mut lines = body.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        let number = size.parse::<u64>().map_err(|_| CheckpointError::Malformed)?;
        let root = STANDARD.decode(root).map_err(|_| CheckpointError::Malformed)?;
        let root = Digest::try_from(root.as_slice()).map_err(|_| CheckpointError::Malformed)?;
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: number,
            root,
        };
        // One text form only: no leading zeros, no extension lines.
        if checkpoint.to_body() == body {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Malformed)
        }
    }
}

impl SignedCheckpoint {
    /// Reads a signed note and checks the log's own signature; other lines (witnesses) are kept and ignored.
    pub fn open(note: &[u8], key: &LogKey) -> Result<Self, CheckpointError> {
        let split = Note::split(note)?;
        let body = split.body;
        let checkpoint = Checkpoint::parse(body)?;
        if checkpoint.origin != key.origin {
            return Err(CheckpointError::Origin);
        }
        let mut found = false;
        for line in split.lines()? {
            if line.name != key.origin || line.id != key.id() {
                continue;
            }
            let public = UnparsedPublicKey::new(&ED25519, key.public.as_slice());
            public
                .verify(body.as_bytes(), &line.signature)
                .map_err(|_| CheckpointError::Signature)?;
            found = true;
        }
        if found {
            Ok(Self {
                checkpoint,
                note: note.to_vec(),
            })
        } else {
            Err(CheckpointError::Unsigned)
        }
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Root of the tree.
    pub const fn root(&self) -> Digest {
        self.checkpoint.root
    }

    /// Name of the log.
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// Size and root, as they are signed.
    pub(super) const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The signed note.
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The note with the lines of this key only: without those of witnesses.
    ///
    /// # Errors
    /// The key signed none of them.
    pub fn bare(&self, key: &LogKey) -> Result<Self, CheckpointError> {
        let split = Note::split(&self.note)?;
        let own = |line: &Line<'_>| line.name == key.origin && line.id == key.id();
        let mut note = format!("{}\n", split.body);
        for line in split.lines()?.iter().filter(|line| own(line)) {
            note.push_str(&line.to_text());
            note.push('\n');
        }
        Self::open(note.as_bytes(), key)
    }
}

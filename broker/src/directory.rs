//! The directory in force: read from the operator's file, verified against the pinned authority, never
//! older than the newest ever seen here, and logged before it is used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prost::Message;
use schakel_proto::directory::{Authority, Directory, DirectoryError};
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::party::NetworkName;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;

use crate::config::Config;

/// Where directories come from and what they are checked against.
pub struct Source {
    file: PathBuf,
    authority: Authority,
    network: NetworkName,
    development: bool,
}

impl Source {
    /// From the configuration; `development`: whether a directory minted for development is accepted.
    ///
    /// # Errors
    /// The authority's keyring cannot be read or used.
    pub fn new(config: &Config, development: bool) -> Result<Self, Refusal> {
        let keyring = read(&config.authority, limits::DIRECTORY_MAX_BYTES)?;
        let authority = Authority::from_keyring(&keyring, config.authority_threshold)?;
        Ok(Self {
            file: config.directory.clone(),
            authority,
            network: config.network.clone(),
            development,
        })
    }

    /// Reads and verifies the file as it is now.
    ///
    /// # Errors
    /// It cannot be read, does not verify, or was minted for development and may not be.
    pub fn load(&self, now: Timestamp) -> Result<Directory, Refusal> {
        self.verify(&self.bytes()?, now)
    }

    /// Verifies a directory that was in force at a moment; that it has ended since does not matter.
    ///
    /// # Errors
    /// The authority did not sign it.
    pub fn former(&self, encoded: &[u8], at: Timestamp) -> Result<Directory, Refusal> {
        Ok(Directory::verify_encoded(
            encoded,
            &self.authority,
            &self.network,
            at,
        )?)
    }

    /// The file as it is now, for looking back only: it may have ended.
    ///
    /// # Errors
    /// It cannot be read, or the authority did not sign it.
    pub fn as_it_is(&self, now: Timestamp) -> Result<Directory, Refusal> {
        self.former(&self.bytes()?, now)
    }

    fn bytes(&self) -> Result<Vec<u8>, Refusal> {
        read(&self.file, 2 * limits::DIRECTORY_MAX_BYTES)
    }

    /// Verifies a directory that is to come into force.
    ///
    /// # Errors
    /// It does not hold, has ended, or was minted for development and may not be.
    pub fn verify(&self, encoded: &[u8], now: Timestamp) -> Result<Directory, Refusal> {
        let directory = Directory::verify_encoded(encoded, &self.authority, &self.network, now)?;
        if now > directory.valid_until() {
            return Err(DirectoryError::Expired {
                valid_until: directory.valid_until(),
            }
            .into());
        }
        if directory.development() && !self.development {
            let sentence = "The directory was minted for development, with keys that anyone may have";
            let remedy = "Use the network's real directory, or start with --development on a test network.";
            return Err(Refusal::new(
                Fault::Precondition,
                "DIRECTORY_DEVELOPMENT",
                sentence,
                remedy,
            ));
        }
        Ok(directory)
    }
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
/// It cannot be read or is longer.
pub fn read(file: &Path, max: usize) -> Result<Vec<u8>, Refusal> {
    use std::io::Read as _;
    let place = || file.display().to_string();
    let unreadable = |error: std::io::Error| {
        let sentence = format!("A configured file cannot be read ({})", error.kind());
        Refusal::new(
            Fault::Precondition,
            "FILE_UNREADABLE",
            sentence,
            "Put the file back.",
        )
        .at(place())
    };
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > max {
        let sentence = format!("A configured file is longer than {max} bytes");
        let refusal = Refusal::new(
            Fault::Precondition,
            "FILE_TOO_LONG",
            sentence,
            "Put the right file there.",
        );
        return Err(refusal.at(place()));
    }
    Ok(bytes)
}

/// What is told once, and again only of another file.
#[derive(Debug, Default)]
pub(crate) struct Once(Mutex<Option<Digest>>);

impl Once {
    /// Whether this was not told last.
    pub(crate) fn is_news(&self, file: Digest) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(file) != Some(file)
    }
}

/// How long the judgement of a directory's keys holds, in milliseconds.
const JUDGED_MAX_MILLIS: i64 = 10 * 60 * 1000;

/// The directory in force, shared by all calls.
pub struct Directories {
    source: Source,
    current: RwLock<Arc<Directory>>,
    /// The file that was looked at last, and when it was judged.
    seen: Mutex<Option<(Digest, Timestamp)>>,
    /// The older file that was told of.
    older: Once,
}

impl Directories {
    /// Begins with `first`, which has been logged.
    pub fn new(source: Source, first: Directory) -> Self {
        Self {
            source,
            current: RwLock::new(Arc::new(first)),
            seen: Mutex::new(None),
            older: Once::default(),
        }
    }

    /// What directories are checked against.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The one in force at this moment. A call takes it once and is judged by it throughout.
    pub fn current(&self) -> Arc<Directory> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the file holds now, if that is to replace the current one: newer, or the same with its keys
    /// judged at `now`. The caller logs a newer one, then calls `activate`. None: looked at a moment ago. On a store that
    /// is `shared` another broker may have brought a newer one into force: an older file is told of once.
    ///
    /// # Errors
    /// The file is refused; the current directory stays in force.
    pub fn next(&self, now: Timestamp, shared: bool) -> Result<Option<Directory>, Refusal> {
        let encoded = self.source.bytes()?;
        let file = Digest::of(&encoded);
        let before = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(digest, judged): (Digest, Timestamp)| {
            digest == file && (0..JUDGED_MAX_MILLIS).contains(&now.millis_since(judged))
        };
        if before.is_some_and(fresh) {
            return Ok(None);
        }
        let judged = self.source.verify(&encoded, now).and_then(|next| {
            let current = self.current();
            let next = if shared && next.version() < current.version() {
                if self.older.is_news(file) {
                    let (file, version) = (next.version(), current.version());
                    tracing::warn!(
                        file,
                        version,
                        "the directory file is older than what another broker brought into force: replace it"
                    );
                }
                self.source.verify(&current.signed().encode_to_vec(), now)?
            } else {
                next
            };
            Ok(Some(Directory::accept_newer(&current, next)?))
        });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((file, now));
        judged
    }

    /// Has the file looked at again, even if it did not change.
    pub fn look_again(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The one in force, if its validity is not over: without one nothing is accepted or handed over.
    ///
    /// # Errors
    /// Its validity is over.
    pub fn valid(&self, now: Timestamp) -> Result<Arc<Directory>, Refusal> {
        let current = self.current();
        if now > current.valid_until() {
            let expired = DirectoryError::Expired {
                valid_until: current.valid_until(),
            };
            return Err(Refusal {
                fault: Fault::Unavailable,
                ..Refusal::from(expired)
            }
            .retry_after(60_000));
        }
        Ok(current)
    }

    /// Puts `next` in force, unless something newer came in between.
    pub fn activate(&self, next: Directory) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if next.version() >= current.version() {
            *current = Arc::new(next);
        }
    }
}

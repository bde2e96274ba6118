//! OpenPGP as Schakel uses it (RFC 9580, RFC 9980). This file and its folder are the only ones that
//! name the OpenPGP library.

mod key_packet;

mod keys;

mod opening;

#[cfg(feature = "vectors")]
pub mod probe;

mod sealing;

mod signature;

use std::fmt;
use std::str::FromStr;

pub use key_packet::{KeyPacketHead, KeyReference};
pub use keys::{Certificate, KeyKind, SecretKeys};
pub(crate) use opening::{ReadFailure, decrypt};
pub use sealing::{Encryption, SealingKey, SessionKey};
pub use signature::{SignatureTime, SigningKeys};

use crate::ids::IdError;

pub use crate::defect::{Defect, KeyError, SignatureError};

/// How a part is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// SEIPDv2 with AES-256 and OCB, v6 session-key packets.
    V6,
    /// SEIPDv1 with AES-256 and MDC, v3 session-key packets: for recipients that use GnuPG.
    V4,
}

/// The fingerprint of an OpenPGP key: 20 bytes (v4) or 32 bytes (v6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Its bytes: 20 or 32.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As an owned vector, for wire messages.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.clone()
    }

    /// The profile that a part for this key is sealed in.
    pub fn profile(&self) -> Profile {
        if self.0.len() == 32 {
            Profile::V6
        } else {
            Profile::V4
        }
    }
}

impl TryFrom<&[u8]> for Fingerprint {
    type Error = IdError;
    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        match bytes.len() {
            20 | 32 => Ok(Self(bytes.to_vec())),
            got => Err(IdError::Length {
                what: "fingerprint",
                expected: 32,
                got,
            }),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let form = "40 or 64 upper-case hexadecimal digits";
        let wrong = IdError::Form {
            what: "fingerprint",
            form,
        };
        if text.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(wrong);
        }
        let bytes = hex::decode(text).map_err(|_| wrong)?;
        Self::try_from(bytes.as_slice())
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn fingerprint_of(fingerprint: &sequoia_openpgp::Fingerprint) -> Fingerprint {
    Fingerprint(fingerprint.as_bytes().to_vec())
}

//! Newtypes for identifiers: two of a kind cannot be swapped, and each has one text form.

use std::fmt;
use std::str::FromStr;

use rand::RngCore;

use crate::time::Timestamp;

/// What is wrong with a text or byte form of an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The byte form has another length.
    #[error("{what}: {got} bytes, expected {expected}")]
    Length {
        /// Kind of identifier.
        what: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        got: usize,
    },
    /// The text form does not parse.
    #[error("{what}: not of the form {form}")]
    Form {
        /// Kind of identifier.
        what: &'static str,
        /// The form expected.
        form: &'static str,
    },
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// From its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// As an owned vector, for wire messages.
            pub fn to_vec(self) -> Vec<u8> {
                self.0.to_vec()
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;
            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                <[u8; $len]>::try_from(bytes).map(Self).map_err(|_| IdError::Length {
                    what: $what,
                    expected: $len,
                    got: bytes.len(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let form = concat!($prefix, "<lower-case hexadecimal>");
                let digits = text.strip_prefix($prefix).ok_or(IdError::Form { what: $what, form })?;
                if digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(IdError::Form { what: $what, form });
                }
                let bytes = hex::decode(digits).map_err(|_| IdError::Form { what: $what, form })?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

byte_id!(
    /// A packet: UUID version 7 (RFC 9562), made by the sender.
    PacketId, 16, "packet id", "packet-"
);
byte_id!(
    /// A statement: UUID version 7 (RFC 9562), made by the agency that signs it.
    StatementId, 16, "statement id", "statement-"
);
byte_id!(
    /// A part of a packet: random.
    PartId, 16, "part id", "part-"
);
byte_id!(
    /// A case: random, never derived from a name or number.
    CaseRef, 16, "case reference", "case-"
);
byte_id!(
    /// A person within one case: random, never derived from a name or number.
    SubjectRef, 16, "subject reference", "subject-"
);
byte_id!(
    /// A log entry's body: random.
    EntryId, 16, "entry id", "entry-"
);
byte_id!(
    /// One attempt at a delivery (lease token): random.
    DeliveryId, 16, "delivery id", "delivery-"
);
byte_id!(
    /// A SHA-256 digest (FIPS 180-4).
    Digest, 32, "SHA-256 digest", "sha256:"
);

fn random<const N: usize>(rng: &mut dyn RngCore) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn uuid_v7(at: Timestamp, rng: &mut dyn RngCore) -> [u8; 16] {
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random(rng))
        .into_uuid()
        .into_bytes()
}

impl PacketId {
    /// A new one, made at `at`.
    pub fn new(at: Timestamp, rng: &mut dyn RngCore) -> Self {
        Self(uuid_v7(at, rng))
    }

    /// Whether the bytes are a UUID of version 7 and the RFC 9562 variant.
    pub fn is_v7(&self) -> bool {
        let id = uuid::Uuid::from_bytes(self.0);
        id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122
    }
}

impl StatementId {
    /// A new one, made at `at`.
    pub fn new(at: Timestamp, rng: &mut dyn RngCore) -> Self {
        Self(uuid_v7(at, rng))
    }
}

macro_rules! random_id {
    ($($name:ident)*) => { $(
        impl $name {
            /// A new random one.
            pub fn random(rng: &mut dyn RngCore) -> Self {
                Self(random(rng))
            }
        }
    )* };
}
random_id!(PartId CaseRef SubjectRef EntryId DeliveryId);

impl Digest {
    /// SHA-256 of one run of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_all(&[bytes])
    }

    /// SHA-256 of several runs of bytes, one after the other.
    pub fn of_all(runs: &[&[u8]]) -> Self {
        let mut hasher = Sha256::default();
        for run in runs {
            hasher.update(run);
        }
        hasher.finish()
    }
}

/// SHA-256 over bytes that arrive in pieces.
#[derive(Clone)]
pub struct Sha256(aws_lc_rs::digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }
}

impl Sha256 {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        Digest(bytes)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn text_and_bytes_go_there_and_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let case = CaseRef::random(&mut rng);
        assert_eq!(case.to_string().parse(), Ok(case));
        assert_eq!(CaseRef::try_from(case.as_bytes().as_slice()), Ok(case));
        let packet = PacketId::new(Timestamp::from_millis(1_795_278_600_000), &mut rng);
        assert!(packet.is_v7());
        assert_eq!(packet.to_string().parse(), Ok(packet));
    }

    #[test]
    fn another_kind_or_case_of_text_is_refused() {
        assert!("part-00".parse::<CaseRef>().is_err());
        assert!("case-00".parse::<CaseRef>().is_err());
        assert!(format!("case-{}", "AA".repeat(16)).parse::<CaseRef>().is_err());
    }

    #[test]
    fn digest_matches_the_published_test_vector() {
        // FIPS 180-4, "abc".
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
        assert_eq!(Digest::of_all(&[b"a", b"", b"bc"]), Digest::of(b"abc"));
    }
}

//! Every way in which a packet, a signature or a key can be wrong: one table of stable codes
//! (docs/format/packet.md explains each), and the errors that carry them.

use std::borrow::Cow;
use std::fmt;

use crate::refusal::{Fault, Refusal};

pub(crate) const SENDER: &str = "The sender's software must be corrected; do not send it again as it is.";
pub(crate) const SEAL_ANEW: &str = "Fetch the directory and seal the packet anew.";
pub(crate) const KEEP: &str = "Keep the packet apart, do not open it otherwise, and tell the sender.";
pub(crate) const KEYS: &str = "Have the agency's key officer look at this certificate.";

macro_rules! defects {
    ($( $variant:ident $code:literal $fault:ident $remedy:ident $sentence:literal )*) => {
        /// What is wrong. A code never changes its meaning and is never used for another.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Defect {
            $( #[doc = $sentence] $variant, )*
        }

        impl Defect {
            /// All of them, in about the order in which a packet meets the checks.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Stable code, `UPPER_SNAKE_CASE`.
            pub const fn code(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }

            /// One sentence, without full stop.
            pub const fn sentence(self) -> &'static str {
                match self { $( Self::$variant => $sentence, )* }
            }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $( Self::$variant => $remedy, )* }
            }

            /// Who must act.
            pub const fn fault(self) -> Fault {
                match self { $( Self::$variant => Fault::$fault, )* }
            }
        }
    };
}

defects! {
    // Parsing: manifest, descriptors, openings.
    ManifestTooLong "MANIFEST_TOO_LONG" Invalid SENDER "The manifest is longer than allowed"
    ManifestMalformed "MANIFEST_MALFORMED" Invalid SENDER "The manifest does not decode"
    DescriptorTooLong "DESCRIPTOR_TOO_LONG" Invalid SENDER "A descriptor is longer than allowed"
    DescriptorMalformed "DESCRIPTOR_MALFORMED" Invalid SENDER "A descriptor does not decode"
    NotCanonical "NOT_CANONICAL" Invalid SENDER "The bytes are not the canonical encoding of what they say (unknown, repeated or misplaced fields)"
    TypeWrong "TYPE_WRONG" Invalid SENDER "The message names another type than expected here"
    FieldMissing "FIELD_MISSING" Invalid SENDER "A field that must be set is not"
    FieldInvalid "FIELD_INVALID" Invalid SENDER "A field does not have the form it must have"
    PacketIdNotV7 "PACKET_ID_NOT_V7" Invalid SENDER "The packet id is not a UUID of version 7"
    TimesWrong "TIMES_WRONG" Invalid SENDER "The packet expires before it is created, or a time is before 1970"
    LifeTooLong "LIFE_TOO_LONG" Invalid SENDER "The packet lives longer than allowed"
    DigestsCountWrong "DIGESTS_COUNT_WRONG" Invalid SENDER "A digest list of the manifest does not have its fixed length"
    DigestRepeated "DIGEST_REPEATED" Invalid SENDER "A digest stands twice in one list"
    RecipientsCountWrong "RECIPIENTS_COUNT_WRONG" Invalid SENDER "There are no recipients, or more than allowed"
    PartsCountWrong "PARTS_COUNT_WRONG" Invalid SENDER "There are no parts, or more than allowed"
    OpeningNonceWrong "OPENING_NONCE_WRONG" Invalid SENDER "An opening's nonce does not have 32 bytes"
    OpeningNotInManifest "OPENING_NOT_IN_MANIFEST" Invalid SENDER "An opening does not match any digest of the manifest"
    RecipientRepeated "RECIPIENT_REPEATED" Invalid SENDER "An agency or key is a recipient twice"
    PartRepeated "PART_REPEATED" Invalid SENDER "A part id stands twice"
    SubjectsCountWrong "SUBJECTS_COUNT_WRONG" Invalid SENDER "A part has more subjects than allowed"
    SubjectRepeated "SUBJECT_REPEATED" Invalid SENDER "A part names a subject twice"
    SealingsWrong "SEALINGS_WRONG" Invalid SENDER "A part must have one sealing per profile, in the order v6, v4"
    SealingLengthWrong "SEALING_LENGTH_WRONG" Invalid SENDER "A sealing is shorter or longer than any padded part can be"
    SealingRepeated "SEALING_REPEATED" Invalid SENDER "Two sealings have the same digest"
    KeyPacketDigestsWrong "KEY_PACKET_DIGESTS_WRONG" Invalid SENDER "A sealing's key-packet digests are not 4, 8, 16, 32 or 64 in number"
    // Key packets.
    KeyPacketStray "KEY_PACKET_STRAY" Invalid SENDER "A session-key packet is for a part or recipient that the packet does not have"
    KeyPacketRepeated "KEY_PACKET_REPEATED" Invalid SENDER "There are two session-key packets for one part and recipient"
    KeyPacketTooLong "KEY_PACKET_TOO_LONG" Invalid SENDER "A session-key packet is longer than allowed"
    KeyPacketMalformed "KEY_PACKET_MALFORMED" Invalid SENDER "This is not exactly one public-key encrypted session-key packet"
    KeyPacketVersionWrong "KEY_PACKET_VERSION_WRONG" Invalid SENDER "The session-key packet's version does not fit the profile"
    KeyPacketWildcard "KEY_PACKET_WILDCARD" Invalid SENDER "The session-key packet does not say whose it is"
    KeyPacketOtherRecipient "KEY_PACKET_OTHER_RECIPIENT" Invalid SENDER "The session-key packet names another key than the recipient's"
    KeyPacketAlgorithmRefused "KEY_PACKET_ALGORITHM_REFUSED" Invalid SENDER "The session-key packet uses an algorithm that is not allowed"
    KeyPacketNotCommitted "KEY_PACKET_NOT_COMMITTED" Invalid SENDER "The session-key packet's digest is not in the part's descriptor"
    KeyPacketMissing "KEY_PACKET_MISSING" Invalid SENDER "A part, sealing or recipient has no session-key packet"
    // Ciphertext.
    SealingNotEncryptedData "SEALING_NOT_ENCRYPTED_DATA" Invalid SENDER "The sealing does not begin as an encrypted-data packet of its profile"
    SealingLengthDiffers "SEALING_LENGTH_DIFFERS" Invalid SENDER "The sealing does not have the length its descriptor says"
    SealingDigestDiffers "SEALING_DIGEST_DIFFERS" Invalid SENDER "The sealing does not have the digest its descriptor says"
    SealingMissing "SEALING_MISSING" Invalid SENDER "A sealing that a descriptor names did not come, or came twice"
    // Verification.
    NetworkWrong "NETWORK_WRONG" Invalid SENDER "The message belongs to another network"
    SenderNotCaller "SENDER_NOT_CALLER" Forbidden SENDER "The sender is not the agency that the connection belongs to"
    SenderUnknown "SENDER_UNKNOWN" Forbidden KEYS "The sender is not in the directory"
    SenderKeyUnknown "SENDER_KEY_UNKNOWN" Forbidden KEYS "The sender's key is not in the directory"
    CreatedInFuture "CREATED_IN_FUTURE" Invalid SENDER "The packet was created in the future: the sender's clock is ahead"
    PacketExpired "PACKET_EXPIRED" Precondition SEAL_ANEW "The packet has expired"
    RecipientUnknown "RECIPIENT_UNKNOWN" Precondition SEAL_ANEW "A recipient is not in the directory"
    RecipientKeyUnknown "RECIPIENT_KEY_UNKNOWN" Precondition SEAL_ANEW "A recipient's key is not in the directory"
    RecipientKeySuperseded "RECIPIENT_KEY_SUPERSEDED" Precondition SEAL_ANEW "A recipient's key takes no new seals"
    RecipientNotReader "RECIPIENT_NOT_READER" Invalid KEEP "The recipient opening is for another agency"
    // Signatures.
    SignatureTooLong "SIGNATURE_TOO_LONG" Invalid SENDER "The signature is longer than allowed"
    SignatureMalformed "SIGNATURE_MALFORMED" Invalid SENDER "This is not exactly one binary OpenPGP signature packet"
    SignatureTypeWrong "SIGNATURE_TYPE_WRONG" Invalid SENDER "The signature is not of type 0x00 (binary document)"
    SignatureVersionWrong "SIGNATURE_VERSION_WRONG" Invalid SENDER "The signature's version is not 4 or 6, or not that of its key"
    SignatureHashRefused "SIGNATURE_HASH_REFUSED" Invalid SENDER "The signature uses a hash algorithm that is not allowed"
    SignatureAlgorithmRefused "SIGNATURE_ALGORITHM_REFUSED" Invalid SENDER "The signature uses a public-key algorithm that is not allowed"
    SignatureSubpacketRefused "SIGNATURE_SUBPACKET_REFUSED" Invalid SENDER "The signature carries a subpacket that is not allowed"
    SignatureIssuerUnknown "SIGNATURE_ISSUER_UNKNOWN" Unauthenticated KEYS "The signature was not made by a signing key of this certificate"
    SignatureInFuture "SIGNATURE_IN_FUTURE" Invalid SENDER "The signature was made in the future: the signer's clock is ahead"
    SignatureExpired "SIGNATURE_EXPIRED" Invalid SENDER "The signature has expired"
    SignatureOutsideKeyValidity "SIGNATURE_OUTSIDE_KEY_VALIDITY" Unauthenticated KEYS "The signature was made when its key was not valid"
    SignatureBad "SIGNATURE_BAD" Unauthenticated SENDER "The signature does not match"
    SignatureTimeDiffers "SIGNATURE_TIME_DIFFERS" Invalid SENDER "The signature was made at another time than the message says"
    // Opening.
    PartUnknown "PART_UNKNOWN" NotFound KEEP "The packet as handed over does not have this part"
    SecretKeyMissing "SECRET_KEY_MISSING" Precondition KEYS "The secret key that this part is sealed to is not here"
    SessionKeyRefused "SESSION_KEY_REFUSED" Invalid KEEP "The session key does not open"
    EncryptedDataMalformed "ENCRYPTED_DATA_MALFORMED" Invalid KEEP "This is not exactly one encrypted-data packet"
    EncryptedDataVersionWrong "ENCRYPTED_DATA_VERSION_WRONG" Invalid KEEP "The encrypted data has another version than its profile"
    EncryptedDataAlgorithmRefused "ENCRYPTED_DATA_ALGORITHM_REFUSED" Invalid KEEP "The encrypted data is not AES-256 (OCB in profile v6)"
    DecryptionFailed "DECRYPTION_FAILED" Invalid KEEP "The encrypted data does not authenticate"
    InnerCompressed "INNER_COMPRESSED" Invalid KEEP "There is a compressed-data packet inside the encryption"
    InnerEncrypted "INNER_ENCRYPTED" Invalid KEEP "There is encryption inside the encryption"
    InnerSigned "INNER_SIGNED" Invalid KEEP "There is a signature inside the encryption"
    InnerNotLiteral "INNER_NOT_LITERAL" Invalid KEEP "There is something else than a literal-data packet inside the encryption"
    InnerSeveral "INNER_SEVERAL" Invalid KEEP "There is more than one literal-data packet inside the encryption"
    LiteralNotPlain "LITERAL_NOT_PLAIN" Invalid KEEP "The literal-data packet is not binary, or has a name or date"
    TrailingData "TRAILING_DATA" Invalid KEEP "There is something behind the encrypted-data packet"
    HeaderLengthWrong "HEADER_LENGTH_WRONG" Invalid KEEP "The sealed header is missing, or longer than allowed"
    HeaderMalformed "HEADER_MALFORMED" Invalid KEEP "The sealed header does not decode"
    HeaderDiffers "HEADER_DIFFERS" Invalid KEEP "The sealed header names another packet, part, sender or network than the manifest"
    HeaderTextRefused "HEADER_TEXT_REFUSED" Invalid KEEP "A name in the sealed header is too long or holds control characters"
    ContentLengthWrong "CONTENT_LENGTH_WRONG" Invalid KEEP "The content is empty, too long, or not as long as the sealed header says"
    PaddingWrong "PADDING_WRONG" Invalid KEEP "The plaintext is not padded with zeros to the smallest size class that fits"
    CommitmentDiffers "COMMITMENT_DIFFERS" Invalid KEEP "What was sealed is not what the sender committed to"
    CiphertextChanged "CIPHERTEXT_CHANGED" Internal KEEP "The stored ciphertext changed or is damaged"
    ReadFailed "READ_FAILED" Internal KEEP "The ciphertext could not be read"
    WriteFailed "WRITE_FAILED" Internal KEEP "The output could not be written"
    // Keys and certificates.
    CertificateMalformed "CERTIFICATE_MALFORMED" Precondition KEYS "This is not exactly one OpenPGP certificate"
    CertificateNotValid "CERTIFICATE_NOT_VALID" Precondition KEYS "The certificate is not valid at this time"
    NoSigningKey "NO_SIGNING_KEY" Precondition KEYS "The certificate has no valid signing key"
    NoSealingKey "NO_SEALING_KEY" Precondition KEYS "The certificate has no valid encryption key of an allowed algorithm"
    KeyGenerationFailed "KEY_GENERATION_FAILED" Internal KEYS "The key could not be made: the cryptographic library lacks the algorithm"
    // Sealing.
    SigningFailed "SIGNING_FAILED" Internal KEYS "The signature could not be made"
    SealingFailed "SEALING_FAILED" Internal KEYS "The encryption failed"
    ContentReadFailed "CONTENT_READ_FAILED" Internal SENDER "The content could not be read, or has another length than announced"
}

/// A defect and where it is. The place holds field names, numbers and part ids only: it is log-safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) defect: Defect,
    pub(crate) place: Cow<'static, str>,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.refusal(), f)
    }
}

impl Located {
    fn refusal(&self) -> Refusal {
        let defect = self.defect;
        Refusal::new(defect.fault(), defect.code(), defect.sentence(), defect.remedy()).at(self.place.clone())
    }
}

macro_rules! errors {
    ($( $(#[$doc:meta])* $name:ident )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Located);

        impl $name {
            /// An error at a place (field, part; nothing secret).
            pub fn new(defect: Defect, place: impl Into<Cow<'static, str>>) -> Self {
                Self(Located { defect, place: place.into() })
            }

            /// What is wrong.
            pub fn defect(&self) -> Defect {
                self.0.defect
            }

            /// The stable code.
            pub fn code(&self) -> &'static str {
                self.0.defect.code()
            }

            /// Where.
            pub fn place(&self) -> &str {
                &self.0.place
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::error::Error for $name {}

        impl From<$name> for Refusal {
            fn from(error: $name) -> Self {
                error.0.refusal()
            }
        }

        impl From<Defect> for $name {
            fn from(defect: Defect) -> Self {
                Self::new(defect, "")
            }
        }
    )* };
}

errors! {
    /// Why a certificate, key or signature cannot be made or used.
    KeyError
    /// Why a signature is refused.
    SignatureError
    /// Why a packet is refused before anything is opened.
    PacketError
    /// Why a part cannot be opened.
    OpenError
    /// Why a packet cannot be sealed.
    SealError
}

macro_rules! becomes {
    ($($from:ident => $to:ident)*) => { $(
        impl From<$from> for $to {
            fn from(error: $from) -> Self {
                Self(error.0)
            }
        }
    )* };
}
becomes! {
    SignatureError => PacketError
    KeyError => OpenError
    KeyError => SealError
    PacketError => SealError
    PacketError => OpenError
}

impl PacketError {
    /// The same at a place further out: `outer.inner`.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> Self {
        let place = if self.0.place.is_empty() {
            outer.to_string()
        } else {
            format!("{outer}.{}", self.0.place)
        };
        Self::new(self.0.defect, place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_upper_snake() {
        let codes: BTreeSet<_> = Defect::ALL.iter().map(|d| d.code()).collect();
        assert_eq!(codes.len(), Defect::ALL.len());
        assert!(codes.iter().all(|c| {
            c.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        }));
    }

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let error = PacketError::new(Defect::FieldInvalid, "sender").within("manifest");
        let text = error.to_string();
        assert!(
            text.contains("FIELD_INVALID") && text.contains("manifest.sender"),
            "{text}"
        );
        let refusal = Refusal::from(error);
        assert_eq!(
            (refusal.code, refusal.place.as_str()),
            ("FIELD_INVALID", "manifest.sender")
        );
        assert!(!refusal.remedy.is_empty());
    }
}

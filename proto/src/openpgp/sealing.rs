//! Encryption: a session key per part and profile, one key packet per recipient kept apart, and the
//! encrypted data as a stream.

use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

use rand::RngCore;
use sequoia_openpgp as sq;
use sq::cert::Cert;
use sq::packet::key::{PublicParts, UnspecifiedRole};
use sq::packet::{Key, PKESK, Packet};
use sq::policy::StandardPolicy;
use sq::serialize::SerializeInto;
use sq::serialize::stream::{Encryptor, LiteralWriter, Message};
use sq::types::{AEADAlgorithm, DataFormat, PublicKeyAlgorithm, SymmetricAlgorithm};
use zeroize::Zeroizing;

use super::keys::not_revoked;
use super::{Fingerprint, Profile, fingerprint_of};
use crate::defect::{Defect, KeyError, SealError};

/// A recipient's public encryption key, valid when it was chosen.
#[derive(Clone)]
pub struct SealingKey {
    fingerprint: Fingerprint,
    key: Key<PublicParts, UnspecifiedRole>,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.fingerprint)
    }
}

impl SealingKey {
    pub(super) fn of(cert: &Cert, at: SystemTime) -> Result<Self, KeyError> {
        let policy = StandardPolicy::new();
        not_revoked(cert, &policy, at)?;
        let keys = cert
            .keys()
            .with_policy(&policy, at)
            .supported()
            .alive()
            .revoked(false);
        let newest = keys
            .for_transport_encryption()
            .filter(|ka| seals(ka.key().version(), ka.key().pk_algo()))
            .max_by_key(|ka| ka.key().creation_time())
            .ok_or(Defect::NoSealingKey)?;
        let key = newest.key().clone();
        Ok(Self {
            fingerprint: fingerprint_of(&key.fingerprint()),
            key,
        })
    }

    /// Fingerprint of the encryption key itself (not of its certificate).
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The profile that parts for this key are sealed in.
    pub fn profile(&self) -> Profile {
        self.fingerprint.profile()
    }

    /// The session key, encrypted for this recipient: one PKESK packet.
    ///
    /// # Errors
    /// `SealingFailed`.
    pub fn key_packet(&self, session_key: &SessionKey) -> Result<Vec<u8>, SealError> {
        let session_key = session_key.to_sequoia();
        let pkesk: PKESK = match self.profile() {
            Profile::V6 => sq::packet::pkesk::PKESK6::for_recipient(&session_key, &self.key)
                .map_err(|_| Defect::SealingFailed)?
                .into(),
            Profile::V4 => {
                sq::packet::pkesk::PKESK3::for_recipient(SymmetricAlgorithm::AES256, &session_key, &self.key)
                    .map_err(|_| Defect::SealingFailed)?
                    .into()
            }
        };
        Packet::from(pkesk)
            .to_vec()
            .map_err(|_| Defect::SealingFailed.into())
    }
}

/// Algorithms that parts are sealed with.
fn seals(version: u8, algorithm: PublicKeyAlgorithm) -> bool {
    use PublicKeyAlgorithm::{ECDH, MLKEM768_X25519, X25519};
    match version {
        6 => matches!(algorithm, MLKEM768_X25519 | X25519),
        4 => matches!(algorithm, ECDH | X25519),
        _ => false,
    }
}

/// An AES-256 key, used for one part in one profile only. Wiped on drop.
pub struct SessionKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey")
    }
}

impl SessionKey {
    /// A fresh one.
    pub fn random(rng: &mut dyn RngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    pub(super) fn to_sequoia(&self) -> sq::crypto::SessionKey {
        sq::crypto::SessionKey::from(self.0.as_slice())
    }
}

/// Encrypts what is written to it into one encrypted-data packet: an ordinary literal-data packet
/// (binary, no name, no date) inside. Takes up to 16 MiB of memory, whatever the length.
pub struct Encryption<'a>(Message<'a>);

impl fmt::Debug for Encryption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryption")
    }
}

/// An encrypted-data packet on `sink`; what is written to it stands inside as it is.
pub(super) fn encrypted<'a, W>(
    profile: Profile,
    session_key: &SessionKey,
    sink: W,
) -> Result<Message<'a>, SealError>
where
    W: Write + Send + Sync + 'a,
{
    let failed = |_| SealError::from(Defect::SealingFailed);
    let message = Message::new(sink);
    let encryptor =
        Encryptor::with_session_key(message, SymmetricAlgorithm::AES256, session_key.to_sequoia())
            .map_err(failed)?;
    let encryptor = match profile {
        Profile::V6 => encryptor.aead_algo(AEADAlgorithm::OCB),
        Profile::V4 => encryptor,
    };
    encryptor.build().map_err(failed)
}

impl<'a> Encryption<'a> {
    /// Begins the packet on `sink`.
    ///
    /// # Errors
    /// `SealingFailed`.
    pub fn begin<W>(profile: Profile, session_key: &SessionKey, sink: W) -> Result<Self, SealError>
    where
        W: Write + Send + Sync + 'a,
    {
        LiteralWriter::new(encrypted(profile, session_key, sink)?)
            .format(DataFormat::Binary)
            .build()
            .map(Self)
            .map_err(|_| Defect::SealingFailed.into())
    }

    /// Writes the last tag and ends the packet.
    ///
    /// # Errors
    /// `SealingFailed`.
    pub fn finish(self) -> Result<(), SealError> {
        self.0.finalize().map_err(|_| Defect::SealingFailed.into())
    }
}

impl Write for Encryption<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

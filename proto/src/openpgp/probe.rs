//! For tests and the fuzzer: the inside of an encrypted-data packet, with a session key that they choose.

use std::io::Write;

use super::opening::{decrypt_with, session_key};
use super::sealing::{SessionKey, encrypted};
use super::{Defect, Profile, SecretKeys};
use crate::defect::{OpenError, SealError};

/// One encrypted-data packet with these packets inside, whatever they are.
///
/// # Errors
/// `SealingFailed`.
pub fn encrypt_packets(profile: Profile, key: &SessionKey, packets: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut out = Vec::new();
    let mut message = encrypted(profile, key, &mut out)?;
    let failed = SealError::from(Defect::SealingFailed);
    message.write_all(packets).map_err(|_| failed.clone())?;
    message.finalize().map_err(|_| failed)?;
    Ok(out)
}

/// What the reader of a part does with encrypted data once it has the session key.
///
/// # Errors
/// The `EncryptedData…`, `Inner…` and `TrailingData` defects, and `DecryptionFailed`.
pub fn read_packets(
    profile: Profile,
    key: &SessionKey,
    ciphertext: &[u8],
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), OpenError> {
    decrypt_with(profile, &key.to_sequoia(), &mut { ciphertext }, take)
}

/// Opens a session-key packet.
///
/// # Errors
/// The `KeyPacket…` defects, `SecretKeyMissing`, `SessionKeyRefused`.
pub fn open_session_key(profile: Profile, packet: &[u8], keys: &SecretKeys) -> Result<(), OpenError> {
    session_key(profile, packet, keys).map(|_| ())
}

//! Decryption: one key packet and one encrypted-data packet, of exactly the form that sealing makes.

use std::io::{self, Read};

use sequoia_openpgp as sq;
use sq::crypto::{KeyPair, SessionKey};
use sq::packet::{Packet, SEIP};
use sq::parse::buffered_reader::BufferedReader;
use sq::parse::{PacketParser, PacketParserResult, Parse};
use sq::types::{AEADAlgorithm, DataFormat, SymmetricAlgorithm};
use zeroize::Zeroizing;

use super::key_packet::KeyPacketHead;
use super::keys::SecretKeys;
use super::{Profile, fingerprint_of};
use crate::defect::{Defect, OpenError};

/// Largest AEAD chunk accepted: it is held in memory (RFC 9580 section 5.13.2 allows up to this).
const AEAD_CHUNK_MAX_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 64 * 1024;
/// A random block and its last two octets again, and the MDC packet: 18 and 22 (RFC 9580 section 5.13.1).
const SEIP_V1_MIN_BYTES: usize = 18 + 22;
/// What the library may read ahead of the prefix of a version 1 packet (some 64 KiB), and more.
const SEIP_V1_AHEAD_BYTES: usize = 256 * 1024;

/// Decrypts one encrypted-data packet and hands the plaintext on in pieces *before* the last tag is
/// checked: the caller must release nothing until this returns `Ok`.
///
/// # Errors
/// `SecretKeyMissing`, `SessionKeyRefused`, and the `EncryptedData…`, `Inner…` and `TrailingData`
/// defects.
pub fn decrypt(
    profile: Profile,
    key_packet: &[u8],
    ciphertext: &mut (dyn Read + Send + Sync),
    keys: &SecretKeys,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), OpenError> {
    let session_key = session_key(profile, key_packet, keys)?;
    decrypt_with(profile, &session_key, ciphertext, take)
}

/// As [`decrypt`], with the session key at hand.
pub(super) fn decrypt_with(
    profile: Profile,
    session_key: &SessionKey,
    ciphertext: &mut (dyn Read + Send + Sync),
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), OpenError> {
    let parser =
        PacketParser::from_reader(ciphertext).map_err(|e| read_or(&e, Defect::EncryptedDataMalformed))?;
    let PacketParserResult::Some(mut parser) = parser else {
        return Err(Defect::EncryptedDataMalformed.into());
    };
    check_outer(&parser.packet, profile)?;
    check_long_enough(&mut parser, profile)?;
    let algorithm = Some(SymmetricAlgorithm::AES256);
    parser
        .decrypt(algorithm, session_key)
        .map_err(|e| read_or(&e, Defect::DecryptionFailed))?;
    let (_, inner) = parser
        .recurse()
        .map_err(|e| read_or(&e, Defect::DecryptionFailed))?;
    let PacketParserResult::Some(mut literal) = inner else {
        return Err(Defect::InnerNotLiteral.into());
    };
    check_literal(&literal.packet)?;
    if literal.recursion_depth() != 1 {
        return Err(Defect::InnerNotLiteral.into());
    }
    let mut buffer = Zeroizing::new(vec![0; READ_BYTES]);
    loop {
        let count = literal
            .read(&mut buffer)
            .map_err(|e| io_or(&e, Defect::DecryptionFailed))?;
        match buffer.get(..count) {
            None | Some([]) => break,
            Some(bytes) => take(bytes),
        }
    }
    let (_, rest) = literal
        .next()
        .map_err(|e| read_or(&e, Defect::DecryptionFailed))?;
    check_end(rest, profile)
}

pub(super) fn session_key(
    profile: Profile,
    key_packet: &[u8],
    keys: &SecretKeys,
) -> Result<SessionKey, OpenError> {
    let head = KeyPacketHead::parse(key_packet, profile)?;
    let named = |key: &sq::packet::Key<_, _>| head.reference().names(&fingerprint_of(&key.fingerprint()));
    let key = keys
        .cert
        .keys()
        .map(|ka| ka.key().clone())
        .filter(|key| named(key))
        .filter_map(|key| key.parts_into_secret().ok())
        .find(sq::packet::Key::has_unencrypted_secret)
        .ok_or(Defect::SecretKeyMissing)?;
    let mut pair: KeyPair = key.into_keypair().map_err(|_| Defect::SecretKeyMissing)?;
    let packet = Packet::from_bytes(key_packet).map_err(|_| Defect::KeyPacketMalformed)?;
    let Packet::PKESK(pkesk) = packet else {
        return Err(Defect::KeyPacketMalformed.into());
    };
    let hint = match profile {
        Profile::V6 => None,
        Profile::V4 => Some(SymmetricAlgorithm::AES256),
    };
    let (algorithm, session_key) = pkesk.decrypt(&mut pair, hint).ok_or(Defect::SessionKeyRefused)?;
    if algorithm.is_some_and(|a| a != SymmetricAlgorithm::AES256) || session_key.len() != 32 {
        return Err(Defect::SessionKeyRefused.into());
    }
    Ok(session_key)
}

fn check_outer(packet: &Packet, profile: Profile) -> Result<(), Defect> {
    match (packet, profile) {
        (Packet::SEIP(SEIP::V1(_)), Profile::V4) => Ok(()),
        (Packet::SEIP(SEIP::V2(seip)), Profile::V6) => {
            let strong = seip.symmetric_algo() == SymmetricAlgorithm::AES256;
            if strong && seip.aead() == AEADAlgorithm::OCB && seip.chunk_size() <= AEAD_CHUNK_MAX_BYTES {
                Ok(())
            } else {
                Err(Defect::EncryptedDataAlgorithmRefused)
            }
        }
        (Packet::SEIP(_), _) => Err(Defect::EncryptedDataVersionWrong),
        _ => Err(Defect::EncryptedDataMalformed),
    }
}

/// The library panics on a version 1 packet whose prefix it cannot consume a second time (2.4.2: `decrypt` unwraps that,
/// from a reader that holds the MDC back and reads ahead): one that has no room for prefix and MDC packet, and one whose
/// pieces end too early. Whoever has the session key can make one. What it reads ahead is read here first, where an error
/// is an answer.
fn check_long_enough(parser: &mut PacketParser<'_>, profile: Profile) -> Result<(), OpenError> {
    if profile == Profile::V6 {
        return Ok(());
    }
    let body = parser
        .data(SEIP_V1_AHEAD_BYTES)
        .map_err(|e| io_or(&e, Defect::EncryptedDataMalformed))?;
    if body.len() < SEIP_V1_MIN_BYTES {
        return Err(Defect::EncryptedDataMalformed.into());
    }
    Ok(())
}

fn check_literal(packet: &Packet) -> Result<(), Defect> {
    match packet {
        Packet::Literal(literal) => {
            let plain = literal.filename().is_none() && literal.date().is_none();
            if plain && literal.format() == DataFormat::Binary {
                Ok(())
            } else {
                Err(Defect::LiteralNotPlain)
            }
        }
        other => Err(refused_inside(other)),
    }
}

fn refused_inside(packet: &Packet) -> Defect {
    match packet {
        Packet::Literal(_) => Defect::InnerSeveral,
        Packet::CompressedData(_) => Defect::InnerCompressed,
        Packet::SEIP(_) | Packet::PKESK(_) | Packet::SKESK(_) => Defect::InnerEncrypted,
        Packet::Signature(_) | Packet::OnePassSig(_) => Defect::InnerSigned,
        _ => Defect::InnerNotLiteral,
    }
}

#[expect(
    deprecated,
    reason = "the library calls MDC packets deprecated; profile v4 has one"
)]
fn is_mdc(packet: &Packet) -> bool {
    matches!(packet, Packet::MDC(_))
}

#[expect(
    deprecated,
    reason = "the library calls MDC packets deprecated; profile v4 has one"
)]
fn is_valid_mdc(packet: &Packet) -> bool {
    matches!(packet, Packet::MDC(mdc) if mdc.valid())
}

/// After the literal data: in profile v4 the MDC packet, and then the end of everything.
fn check_end(rest: PacketParserResult<'_>, profile: Profile) -> Result<(), OpenError> {
    let failed = |e: sq::anyhow::Error| read_or(&e, Defect::DecryptionFailed);
    let rest = match (rest, profile) {
        (PacketParserResult::EOF(_), Profile::V6) => return Ok(()),
        (PacketParserResult::EOF(_), Profile::V4) => return Err(Defect::DecryptionFailed.into()),
        (PacketParserResult::Some(parser), Profile::V4) if is_mdc(&parser.packet) => {
            let (packet, rest) = parser.next().map_err(failed)?;
            if !is_valid_mdc(&packet) {
                return Err(Defect::DecryptionFailed.into());
            }
            rest
        }
        (rest, _) => rest,
    };
    match rest {
        PacketParserResult::EOF(_) => Ok(()),
        PacketParserResult::Some(parser) if parser.recursion_depth() == 0 => Err(Defect::TrailingData.into()),
        PacketParserResult::Some(parser) => Err(refused_inside(&parser.packet).into()),
    }
}

/// Reading the store failed, or the data is wrong.
fn read_or(error: &sq::anyhow::Error, otherwise: Defect) -> OpenError {
    match error.downcast_ref::<io::Error>() {
        Some(error) => io_or(error, otherwise),
        None => otherwise.into(),
    }
}

fn io_or(error: &io::Error, otherwise: Defect) -> OpenError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ReadFailure>())
    {
        Some(_) => Defect::ReadFailed.into(),
        None => otherwise.into(),
    }
}

/// Marks an error of the ciphertext's reader, so that it is not taken for damaged data.
#[derive(Debug, thiserror::Error)]
#[error("reading failed")]
pub(crate) struct ReadFailure;

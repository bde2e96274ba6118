//! OpenPGP as an attacker would write it: encrypted data with anything inside, key packets and
//! signatures of any form. The only test file that names the OpenPGP library.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use sequoia_openpgp as sq;
use sq::cert::{Cert, CertBuilder, CertRevocationBuilder, CipherSuite};
use sq::packet::key::{PublicParts, SecretParts, UnspecifiedRole};
use sq::packet::pkesk::{PKESK3, PKESK6};
use sq::packet::signature::SignatureBuilder;
use sq::packet::{Key, PKESK, Packet};
use sq::parse::Parse;
use sq::serialize::SerializeInto;
use sq::serialize::stream::{Encryptor, LiteralWriter, Message, Signer};
use sq::types::{
    AEADAlgorithm, HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType, SymmetricAlgorithm,
};

use super::forge::Forge;

/// The session key of everything forged here.
const SESSION_KEY: [u8; 32] = [0x5A; 32];

/// How to encrypt.
#[derive(Clone, Copy)]
pub enum How {
    V1(SymmetricAlgorithm),
    V2(SymmetricAlgorithm, AEADAlgorithm),
}

pub const V4: How = How::V1(SymmetricAlgorithm::AES256);
pub const V6: How = How::V2(SymmetricAlgorithm::AES256, AEADAlgorithm::OCB);

fn cert(keys: &SecretKeys) -> Cert {
    Cert::from_bytes(&*keys.to_bytes().unwrap()).unwrap()
}

fn encryption_key(keys: &SecretKeys) -> Key<PublicParts, UnspecifiedRole> {
    let cert = cert(keys);
    let key = cert
        .keys()
        .find(|k| k.key().pk_algo().for_encryption())
        .unwrap()
        .key()
        .clone();
    key.parts_into_public()
}

fn session_key(length: usize) -> sq::crypto::SessionKey {
    SESSION_KEY[..length].to_vec().into()
}

/// A key packet in the profile of `keys`, for any session key.
pub fn key_packet(keys: &SecretKeys, v6: bool, key: &[u8]) -> Vec<u8> {
    let recipient = encryption_key(keys);
    let key = key.to_vec().into();
    let pkesk: PKESK = if v6 {
        PKESK6::for_recipient(&key, &recipient).unwrap().into()
    } else {
        PKESK3::for_recipient(SymmetricAlgorithm::AES256, &key, &recipient)
            .unwrap()
            .into()
    };
    Packet::from(pkesk).to_vec().unwrap()
}

/// A key packet that does not say whose it is.
pub fn wildcard_key_packet(keys: &SecretKeys, v6: bool) -> Vec<u8> {
    let recipient = encryption_key(keys);
    let pkesk: PKESK = if v6 {
        let mut pkesk = PKESK6::for_recipient(&session_key(32), &recipient).unwrap();
        pkesk.set_recipient(None);
        pkesk.into()
    } else {
        let mut pkesk =
            PKESK3::for_recipient(SymmetricAlgorithm::AES256, &session_key(32), &recipient).unwrap();
        pkesk.set_recipient(None);
        pkesk.into()
    };
    Packet::from(pkesk).to_vec().unwrap()
}

/// One encrypted-data packet around any packets.
pub fn encrypted(how: How, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let message = Message::new(&mut out);
    let encryptor = match how {
        How::V1(cipher) => {
            Encryptor::with_session_key(message, cipher, session_key(cipher.key_size().unwrap())).unwrap()
        }
        How::V2(cipher, aead) => {
            Encryptor::with_session_key(message, cipher, session_key(cipher.key_size().unwrap()))
                .unwrap()
                .aead_algo(aead)
        }
    };
    let mut writer = encryptor.build().unwrap();
    writer.write_all(inner).unwrap();
    writer.finalize().unwrap();
    out
}

/// Any packet in the new format.
pub fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC0 | tag, 255];
    packet.extend((body.len() as u32).to_be_bytes());
    packet.extend(body);
    packet
}

/// A literal-data packet.
pub fn literal(format: u8, name: &[u8], date: u32, data: &[u8]) -> Vec<u8> {
    let mut body = vec![format, name.len() as u8];
    body.extend(name);
    body.extend(date.to_be_bytes());
    body.extend(data);
    packet(11, &body)
}

pub fn plain_literal(data: &[u8]) -> Vec<u8> {
    literal(b'b', b"", 0, data)
}

/// One-pass signature, literal, signature.
pub fn signed_inside(keys: &SecretKeys, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let signer = signing_key(keys).into_keypair().unwrap();
    let message = Signer::new(Message::new(&mut out), signer)
        .unwrap()
        .build()
        .unwrap();
    let mut writer = LiteralWriter::new(message).build().unwrap();
    writer.write_all(data).unwrap();
    writer.finalize().unwrap();
    out
}

fn signing_key(keys: &SecretKeys) -> Key<SecretParts, UnspecifiedRole> {
    // The signing subkey stands before the encryption subkey.
    let cert = cert(keys);
    let key = cert
        .keys()
        .subkeys()
        .find(|k| k.key().pk_algo().for_signing())
        .unwrap()
        .key()
        .clone();
    key.role_into_unspecified().parts_into_secret().unwrap()
}

fn primary_key(keys: &SecretKeys) -> Key<SecretParts, UnspecifiedRole> {
    cert(keys)
        .primary_key()
        .key()
        .clone()
        .role_into_unspecified()
        .parts_into_secret()
        .unwrap()
}

/// Keys with a signing and an encryption subkey, made at `at`, which end an hour after.
pub fn expired_keys(at: Timestamp) -> SecretKeys {
    let cert = made(at, Some(Duration::from_secs(3600)));
    SecretKeys::parse(&cert.as_tsk().to_vec().unwrap()).unwrap()
}

/// Keys revoked an hour after they were made.
pub fn revoked_keys(at: Timestamp) -> SecretKeys {
    let cert = made(at, None);
    let primary = cert.primary_key().key().clone().parts_into_secret().unwrap();
    let revocation = CertRevocationBuilder::new()
        .set_signature_creation_time(time(at.plus_millis(3_600_000)))
        .unwrap()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"stolen")
        .unwrap()
        .build(&mut primary.into_keypair().unwrap(), &cert, None)
        .unwrap();
    let (revoked, _) = cert.insert_packets(Packet::from(revocation)).unwrap();
    SecretKeys::parse(&revoked.as_tsk().to_vec().unwrap()).unwrap()
}

fn made(at: Timestamp, life: Option<Duration>) -> Cert {
    let encryption = KeyFlags::empty().set_transport_encryption();
    let builder = CertBuilder::new()
        .add_userid("former <former@rupel.example>")
        .set_creation_time(time(at))
        .set_profile(sq::Profile::RFC9580)
        .unwrap()
        .set_cipher_suite(CipherSuite::Cv25519)
        .add_subkey(KeyFlags::empty().set_signing(), life, None)
        .add_subkey(encryption, life, None);
    builder.generate().unwrap().0
}

pub fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(at.seconds() as u64)
}

/// A signature of any form.
pub fn signature(
    keys: &SecretKeys,
    kind: SignatureType,
    at: Timestamp,
    data: &[u8],
    change: impl FnOnce(SignatureBuilder) -> SignatureBuilder,
) -> Vec<u8> {
    sign(signing_key(keys), kind, at, data, change)
}

/// A signature by the certifying primary key.
pub fn signature_by_primary(keys: &SecretKeys, at: Timestamp, data: &[u8]) -> Vec<u8> {
    sign(primary_key(keys), SignatureType::Binary, at, data, |b| b)
}

fn sign(
    key: Key<SecretParts, UnspecifiedRole>,
    kind: SignatureType,
    at: Timestamp,
    data: &[u8],
    change: impl FnOnce(SignatureBuilder) -> SignatureBuilder,
) -> Vec<u8> {
    let mut signer = key.into_keypair().unwrap();
    let builder = SignatureBuilder::new(kind).set_hash_algo(HashAlgorithm::SHA512);
    let builder = change(builder.set_signature_creation_time(time(at)).unwrap());
    let signature = match kind {
        SignatureType::Timestamp => builder.sign_timestamp(&mut signer).unwrap(),
        _ => builder.sign_message(&mut signer, data).unwrap(),
    };
    Packet::from(signature).to_vec().unwrap()
}

impl Forge<'_> {
    /// The sealed header that the first part ought to have.
    pub fn header(&self, content: &[u8]) -> wire::SealedHeader {
        wire::SealedHeader {
            content_length: content.len() as u64,
            r#type: "schakel.v1.SealedHeader".to_owned(),
            network: self.manifest.network.clone(),
            packet_id: self.manifest.packet_id.clone(),
            part_id: self.parts[0].message.part_id.clone(),
            sender: self.manifest.sender.clone(),
            sender_key: self.manifest.sender_key.clone(),
            file_name: "verslag-1.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            title: "Verslag 1 (verzonnen)".to_owned(),
            salt: vec![0x33; 32].into(),
        }
    }

    /// Plaintext with this header, committed to as it is; padded to 4 KiB.
    pub fn plaintext(&mut self, header: &wire::SealedHeader, content: &[u8]) -> Vec<u8> {
        self.plaintext_of(&header.encode_to_vec(), &header.salt, content)
    }

    pub fn plaintext_of(&mut self, header: &[u8], salt: &[u8], content: &[u8]) -> Vec<u8> {
        let mut plain = (header.len() as u32).to_be_bytes().to_vec();
        plain.extend(header);
        plain.extend(content);
        let commitment = Digest::of_all(&[b"schakel/part/v1", salt, &plain]);
        self.parts[0].message.commitment = commitment.to_vec().into();
        plain.resize(4096, 0);
        plain
    }

    /// Encrypts other packets as the first sealing, with a key packet for the reader to match.
    pub fn reseal(&mut self, how: How, inner: &[u8]) {
        self.set_sealing(0, encrypted(how, inner));
        self.rekey(&SESSION_KEY);
    }

    /// A key packet for the reader that holds this session key.
    pub fn rekey(&mut self, session_key: &[u8]) {
        let reader = &self.world.keys(&self.reader)[0];
        let v6 = self.sealings[0].profile == 6;
        self.set_key_packet(0, key_packet(reader, v6, session_key));
    }

    /// Good plaintext of the first part, to be put into a bad wrapping.
    pub fn good_plaintext(&mut self) -> Vec<u8> {
        let content = b"Verzonnen verslag.\n";
        let header = self.header(content);
        self.plaintext(&header, content)
    }
}

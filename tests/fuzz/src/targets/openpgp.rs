//! OpenPGP as it comes from outside: session-key packets, encrypted data, certificates, signatures.

use std::sync::LazyLock;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::openpgp::{Certificate, KeyPacketHead, Profile, SecretKeys, SessionKey, probe};
use schakel_proto::packet::{OpenError, PacketError};
use schakel_proto::vectors::NOW;

use crate::fixtures::{SIGNING, VECTORS, bytes_of, secrets};
use crate::{choice, chosen, refused};

/// What is signed.
const DATA: &[u8] = b"what was signed";
const PROFILES: [Profile; 2] = [Profile::V6, Profile::V4];

fn profile(way: u8) -> Profile {
    if way & 1 == 0 { Profile::V6 } else { Profile::V4 }
}

/// A session-key packet is of one profile, and only its recipient's keys open it.
pub fn key_packet(input: &[u8]) {
    let heads = PROFILES.map(|profile| KeyPacketHead::parse(input, profile));
    assert!(heads.iter().any(Result::is_err), "of both profiles");
    for (head, profile) in heads.into_iter().zip(PROFILES) {
        match head {
            Ok(_) => secrets().for_each(|keys| {
                if let Err(error) = probe::open_session_key(profile, input, keys) {
                    refused(error);
                }
            }),
            Err(defect) => refused(PacketError::from(defect)),
        }
    }
}

/// The vectors' session-key packets.
pub fn key_packets() -> Vec<Vec<u8>> {
    let all = VECTORS.iter().flat_map(|v| &v.key_packets);
    all.map(|k| k.packet.0.clone()).collect()
}

static SESSION_KEY: LazyLock<SessionKey> =
    LazyLock::new(|| SessionKey::random(&mut StdRng::seed_from_u64(2)));

/// Encrypted data as it comes, or packets that are encrypted first: what comes out is never more than what went in.
pub fn encrypted(input: &[u8]) {
    let (way, rest) = choice(input);
    let profile = profile(way);
    let sealed = match way & 2 {
        0 => rest.to_vec(),
        _ => probe::encrypt_packets(profile, &SESSION_KEY, rest).unwrap(),
    };
    let mut out = 0;
    let read = probe::read_packets(profile, &SESSION_KEY, &sealed, &mut |piece| out += piece.len());
    assert!(out <= input.len(), "{} bytes became {out}", input.len());
    if let Err(error) = read {
        refused(error);
    }
}

/// Packets of each kind inside the encryption, and the vectors' ciphertexts.
pub fn all_encrypted() -> Vec<Vec<u8>> {
    let packet = |tag: u8, body: &[u8]| {
        let mut packet = vec![0xC0 | tag, 255];
        packet.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        packet.extend(body);
        packet
    };
    let literal = packet(11, b"b\0\0\0\0\0content");
    let partial = [&[0xCB, 0xE4][..], b"b\0\0\0\0\0content123", &[2, b'4', b'5']].concat();
    let stored = packet(8, &[&[0], literal.as_slice()].concat());
    let deflated = packet(8, &[1, 1, 5, 0, 0xFA, 0xFF, 0xCB, 3, b'b', 0, 0]);
    let sealed = |profile| probe::encrypt_packets(profile, &SESSION_KEY, &literal).unwrap();
    let inside = [
        literal.clone(),
        partial,
        stored,
        deflated,
        literal.repeat(2),
        packet(18, &sealed(Profile::V4)),
        sealed(Profile::V6),
        packet(11, b"t\x03abc\0\0\0\x01text"),
        packet(10, b"PGP"),
        packet(21, &[0; 30]),
        packet(2, &[4, 0, 22, 8, 0, 0, 0, 0, 0, 0]),
        packet(1, &[3; 40]),
    ];
    let inside = inside
        .iter()
        .flat_map(|packets| [chosen(2, packets), chosen(3, packets)]);
    // A right prefix, and an end behind the first of several pieces: the library panics on it (see `opening`).
    let long = probe::encrypt_packets(Profile::V4, &SESSION_KEY, &packet(11, &[b'b'; 600])).unwrap();
    let pieces = [&[0xD2, 0xE9], &long[3..3 + 512]].concat();
    let outside = [
        chosen(0, &sealed(Profile::V6)),
        chosen(1, &sealed(Profile::V4)),
        chosen(1, &pieces),
    ];
    let vectors = VECTORS.iter().flat_map(|v| &v.sealings).take(40);
    let way = |n: u8| u8::from(n != 6);
    let vectors = vectors.map(|s| chosen(way(s.profile), &s.data.0[..s.data.0.len().min(5000)]));
    inside.chain(outside).chain(vectors).collect()
}

/// One certificate, a ring of them, or secret keys. A certificate that is read is written so that it reads as the same.
pub fn certificate(input: &[u8]) {
    let (way, bytes) = choice(input);
    let read = match way % 3 {
        0 => Certificate::parse(bytes).map(|certificate| check_certificate(&certificate)),
        1 => Certificate::parse_all(bytes).map(|_| ()),
        _ => SecretKeys::parse(bytes).map(|keys| drop(keys.certificate())),
    };
    if let Err(error) = read {
        refused(OpenError::from(error));
    }
}

fn check_certificate(certificate: &Certificate) {
    // Not every subpacket that the library reads can it write; nobody writes certificates of others.
    if let Ok(bytes) = certificate.to_bytes() {
        let again = Certificate::parse(&bytes).unwrap();
        assert_eq!(again.fingerprint(), certificate.fingerprint());
    }
    let asked = [
        certificate.signing_keys_at(NOW).map(|_| ()),
        certificate.sealing_key_at(NOW).map(|_| ()),
    ];
    let errors = asked.into_iter().filter_map(Result::err);
    errors.map(OpenError::from).for_each(refused);
}

/// The members' certificates and secret keys.
pub fn certificates() -> Vec<Vec<u8>> {
    let public = |keys: &SecretKeys| bytes_of(&keys.certificate());
    let ring: Vec<u8> = secrets().take(2).flat_map(public).collect();
    let secret = |keys: &SecretKeys| chosen(2, &keys.to_bytes().unwrap());
    let one = secrets()
        .map(|keys| chosen(0, &public(keys)))
        .filter(|c| c.len() < 8000);
    one.chain(secrets().map(secret).filter(|keys| keys.len() < 8000))
        .chain([chosen(1, &ring)])
        .collect()
}

/// A signature that holds, holds over nothing else.
pub fn signature(input: &[u8]) {
    let (way, signature) = choice(input);
    let signer = &SIGNING[usize::from(way) % SIGNING.len()];
    match signer.verify(DATA, signature, NOW) {
        Ok(at) => {
            assert_eq!(signer.verify(DATA, signature, NOW), Ok(at));
            let other = signer.verify(b"what was signed.", signature, NOW);
            assert!(other.is_err(), "holds over something else");
            let strange = SIGNING
                .iter()
                .filter(|keys| keys.certificate() != signer.certificate());
            for keys in strange {
                assert!(
                    keys.verify(DATA, signature, NOW).is_err(),
                    "holds for another signer"
                );
            }
        }
        Err(error) => refused(OpenError::from(PacketError::from(error))),
    }
}

/// Signatures by each member, and the vectors'.
pub fn signatures() -> Vec<Vec<u8>> {
    let own = secrets().enumerate().map(|(n, keys)| {
        let signature = keys.sign(DATA, NOW).unwrap();
        chosen(u8::try_from(n).unwrap(), &signature)
    });
    let vectors = VECTORS.iter().map(|v| chosen(0, &v.manifest.signature.0));
    own.chain(vectors).collect()
}

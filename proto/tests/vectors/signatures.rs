//! Signatures over good manifests that must not be accepted.

use schakel_proto::openpgp::SecretKeys;
use schakel_proto::packet::Defect::{
    SenderKeyUnknown, SignatureBad, SignatureExpired, SignatureHashRefused, SignatureInFuture,
    SignatureIssuerUnknown, SignatureMalformed, SignatureOutsideKeyValidity, SignatureSubpacketRefused,
    SignatureTimeDiffers, SignatureTooLong, SignatureTypeWrong,
};
use schakel_proto::vectors::{NOW, PacketVector, World};
use sequoia_openpgp::packet::signature::subpacket::{NotationDataFlags, Subpacket, SubpacketValue};
use sequoia_openpgp::types::{HashAlgorithm, SignatureType};

use super::forge::{Forge, agency};
use super::inner;
use super::{Recipe, hostile};

fn keys(world: &World) -> SecretKeys {
    world.keys(&agency("pz-rupel"))[0].clone()
}

/// A plain packet, its good signature changed afterwards.
fn spoilt(world: &World, change: impl FnOnce(&mut Vec<u8>)) -> PacketVector {
    let mut vector = Forge::plain(world).signed();
    change(&mut vector.manifest.signature.0);
    vector
}

/// A plain packet with another type of signature.
fn typed(world: &World, kind: SignatureType) -> PacketVector {
    Forge::plain(world).signed_with(|bytes| inner::signature(&keys(world), kind, NOW, bytes, |b| b))
}

/// Where expired and revoked keys stand among those of an agency that has any, from the end.
const EXPIRED: usize = 2;
const REVOKED: usize = 1;

/// A packet signed now, by another key of the sender.
fn by_former_key(world: &World, from_the_end: usize) -> PacketVector {
    let all = world.keys(&agency("pz-rupel"));
    let keys = &all[all.len() - from_the_end];
    let mut forge = Forge::plain(world);
    forge.manifest.sender_key = keys.fingerprint().to_vec().into();
    forge.signed_with(|bytes| inner::signature(keys, SignatureType::Binary, NOW, bytes, |b| b))
}

pub const RECIPES: &[&[Recipe]] = &[FORMS, MEANINGS];

const FORMS: &[Recipe] = &[
    hostile("signature-missing", SignatureMalformed, "no signature", |w| {
        spoilt(w, Vec::clear)
    }),
    hostile(
        "signature-garbage",
        SignatureMalformed,
        "a signature of random bytes",
        |w| {
            spoilt(w, |s| {
                *s = (0..150)
                    .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                    .collect()
            })
        },
    ),
    hostile(
        "signature-too-long",
        SignatureTooLong,
        "a signature of more than 8 KiB",
        |w| spoilt(w, |s| s.resize(8 * 1024 + 1, 0)),
    ),
    hostile(
        "signature-twice",
        SignatureMalformed,
        "two good signatures, one after the other",
        |w| spoilt(w, |s| s.extend_from_within(..)),
    ),
    hostile(
        "signature-with-literal",
        SignatureMalformed,
        "a signature followed by another packet",
        |w| spoilt(w, |s| s.extend(inner::plain_literal(b"x"))),
    ),
    hostile(
        "signature-in-armour",
        SignatureMalformed,
        "an armoured signature",
        |w| {
            spoilt(w, |s| {
                let mut writer =
                    sequoia_openpgp::armor::Writer::new(Vec::new(), sequoia_openpgp::armor::Kind::Signature)
                        .unwrap();
                std::io::Write::write_all(&mut writer, s).unwrap();
                *s = writer.finalize().unwrap();
            })
        },
    ),
    hostile(
        "signature-last-bit",
        SignatureBad,
        "the last bit of the signature flipped",
        |w| spoilt(w, |s| *s.last_mut().unwrap() ^= 1),
    ),
    hostile(
        "manifest-bit-flipped",
        SignatureBad,
        "one bit of the case reference flipped",
        |w| {
            let mut vector = Forge::plain(w).signed();
            let case_ref = wire_case_ref(&vector);
            let at = vector
                .manifest
                .bytes
                .0
                .windows(16)
                .position(|x| x == case_ref.as_slice())
                .unwrap();
            vector.manifest.bytes.0[at] ^= 1;
            vector
        },
    ),
    hostile(
        "signature-of-another-packet",
        SignatureBad,
        "the sender's signature over another packet",
        |w| {
            let other = Forge::good(
                w,
                "pz-rupel",
                &[(b"ander", &["parket-antwerpen"])],
                "parket-antwerpen",
                50,
            );
            let signature = other.signed().manifest.signature;
            spoilt(w, |s| *s = signature.0)
        },
    ),
];

fn wire_case_ref(vector: &PacketVector) -> Vec<u8> {
    let manifest: schakel_proto::wire::Manifest =
        prost::Message::decode(vector.manifest.bytes.0.as_slice()).unwrap();
    manifest.case_ref.to_vec()
}

const MEANINGS: &[Recipe] = &[
    hostile(
        "signature-over-text",
        SignatureTypeWrong,
        "a text signature (type 0x01)",
        |w| typed(w, SignatureType::Text),
    ),
    hostile(
        "signature-of-a-time",
        SignatureTypeWrong,
        "a timestamp signature (type 0x40)",
        |w| typed(w, SignatureType::Timestamp),
    ),
    hostile(
        "signature-weak-hash",
        SignatureHashRefused,
        "a v4 signature with SHA-224",
        |w| {
            let to = "parket-antwerpen";
            let forge = Forge::good(
                w,
                "jh-antwerpen-dader",
                &[(b"Verzonnen verslag.\n", &[to])],
                to,
                51,
            );
            let keys = w.keys(&agency("jh-antwerpen-dader"))[0].clone();
            forge.signed_with(|bytes| {
                inner::signature(&keys, SignatureType::Binary, NOW, bytes, |b| {
                    b.set_hash_algo(HashAlgorithm::SHA224)
                })
            })
        },
    ),
    hostile(
        "signature-by-primary-key",
        SignatureIssuerUnknown,
        "by the primary key, which may only certify",
        |w| Forge::plain(w).signed_with(|bytes| inner::signature_by_primary(&keys(w), NOW, bytes)),
    ),
    hostile(
        "signature-in-future",
        SignatureInFuture,
        "made six minutes ahead",
        |w| {
            let mut forge = Forge::plain(w);
            forge.sign_at = NOW.plus_millis(6 * 60_000);
            forge.signed()
        },
    ),
    hostile(
        "signature-expired",
        SignatureExpired,
        "made two minutes ago, valid for one",
        |w| {
            Forge::plain(w).signed_with(|bytes| {
                let at = NOW.plus_millis(-120_000);
                inner::signature(&keys(w), SignatureType::Binary, at, bytes, |b| {
                    b.set_signature_validity_period(std::time::Duration::from_secs(60))
                        .unwrap()
                })
            })
        },
    ),
    hostile(
        "signature-before-its-key",
        SignatureOutsideKeyValidity,
        "dated before the key was made",
        |w| {
            Forge::plain(w).signed_with(|bytes| {
                let at = NOW.plus_millis(-2 * 86_400_000);
                inner::signature(&keys(w), SignatureType::Binary, at, bytes, |b| b)
            })
        },
    ),
    hostile(
        "signature-after-its-key",
        SignatureOutsideKeyValidity,
        "by a key of the sender that has expired",
        |w| by_former_key(w, EXPIRED),
    ),
    hostile(
        "signature-by-revoked-key",
        SenderKeyUnknown,
        "by a key of the sender that was revoked",
        |w| by_former_key(w, REVOKED),
    ),
    hostile(
        "signature-backdated",
        SignatureTimeDiffers,
        "dated an hour before the packet",
        |w| {
            let mut forge = Forge::plain(w);
            forge.sign_at = NOW.plus_millis(-3_600_000);
            forge.signed()
        },
    ),
    hostile(
        "signature-critical-notation",
        SignatureSubpacketRefused,
        "a critical notation that nobody here knows",
        |w| {
            Forge::plain(w).signed_with(|bytes| {
                inner::signature(&keys(w), SignatureType::Binary, NOW, bytes, |b| {
                    let flags = NotationDataFlags::empty().set_human_readable();
                    b.add_notation("rule@rupel.example", b"x", flags, true).unwrap()
                })
            })
        },
    ),
    hostile(
        "signature-unhashed-notation",
        SignatureSubpacketRefused,
        "something added outside what is signed",
        |w| {
            Forge::plain(w).signed_with(|bytes| {
                inner::signature(&keys(w), SignatureType::Binary, NOW, bytes, |b| {
                    b.modify_unhashed_area(|mut area| {
                        let added = SubpacketValue::PreferredKeyServer(b"x".to_vec());
                        area.add(Subpacket::new(added, false)?)?;
                        Ok(area)
                    })
                    .unwrap()
                })
            })
        },
    ),
];

//! Hostile descriptors and openings, committed to and signed by their sender all the same.

use schakel_proto::ids::Digest;
use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::packet::Defect::{
    DescriptorMalformed, DescriptorTooLong, DigestRepeated, FieldInvalid, FieldMissing,
    KeyPacketDigestsWrong, KeyPacketNotCommitted, KeyPacketStray, NotCanonical, OpeningNonceWrong,
    OpeningNotInManifest, PartRepeated, PartsCountWrong, RecipientKeySuperseded, RecipientKeyUnknown,
    RecipientNotReader, RecipientRepeated, RecipientUnknown, RecipientsCountWrong, SealingLengthWrong,
    SealingRepeated, SealingsWrong, SubjectRepeated, SubjectsCountWrong, TypeWrong,
};
use schakel_proto::vectors::{NOW, PacketVector, World};
use schakel_proto::wire;

use super::forge::{Forge, agency};
use super::inner;
use super::{Recipe, at_broker, hostile};

/// A plain packet with its part descriptor changed.
fn part(world: &World, change: impl FnOnce(&mut wire::PartDescriptor)) -> PacketVector {
    let mut forge = Forge::plain(world);
    change(&mut forge.parts[0].message);
    forge.signed()
}

pub const RECIPES: &[&[Recipe]] = &[OPENINGS, PARTS, SEALINGS, RECIPIENTS];

const OPENINGS: &[Recipe] = &[
    hostile("no-parts", PartsCountWrong, "a packet without parts", |w| {
        let mut forge = Forge::plain(w);
        forge.parts.clear();
        forge.signed()
    }),
    at_broker(
        "no-recipients",
        RecipientsCountWrong,
        Some(OpeningNonceWrong),
        "a packet without recipients",
        |w| {
            let mut forge = Forge::plain(w);
            forge.recipients.clear();
            forge.signed()
        },
    ),
    hostile("nonce-short", OpeningNonceWrong, "a nonce of 31 bytes", |w| {
        let mut forge = Forge::plain(w);
        forge.parts[0].nonce.pop();
        forge.signed()
    }),
    hostile(
        "nonce-shifted",
        OpeningNonceWrong,
        "the last byte of the nonce moved into the descriptor: the digest is the same",
        |w| {
            let mut vector = Forge::plain(w).signed();
            let byte = vector.parts[0].nonce.0.pop().unwrap();
            vector.parts[0].descriptor.0.insert(0, byte);
            vector
        },
    ),
    hostile(
        "part-opening-changed",
        OpeningNotInManifest,
        "a descriptor that the sender did not commit to",
        |w| {
            let mut vector = Forge::plain(w).signed();
            *vector.parts[0].descriptor.0.last_mut().unwrap() ^= 1;
            vector
        },
    ),
    hostile(
        "recipient-opening-changed",
        OpeningNotInManifest,
        "a recipient that the sender did not commit to",
        |w| {
            let mut vector = Forge::plain(w).signed();
            *vector.recipients[0].descriptor.0.last_mut().unwrap() ^= 1;
            vector
        },
    ),
    hostile(
        "part-of-another-packet",
        OpeningNotInManifest,
        "a part of another packet of the same sender, opened here",
        |w| {
            let other = Forge::good(
                w,
                "pz-rupel",
                &[(b"ander", &["parket-antwerpen"])],
                "parket-antwerpen",
                40,
            )
            .signed();
            let mut vector = Forge::plain(w).signed();
            (vector.parts, vector.key_packets, vector.sealings) =
                (other.parts, other.key_packets, other.sealings);
            vector
        },
    ),
    hostile(
        "recipient-list-as-parts",
        OpeningNotInManifest,
        "a recipient's opening in a part's place",
        |w| {
            let mut vector = Forge::plain(w).signed();
            vector.parts = vector.recipients.clone();
            vector
        },
    ),
    hostile(
        "descriptor-garbage",
        DescriptorMalformed,
        "a descriptor that is not protobuf",
        |w| {
            let mut forge = Forge::plain(w);
            forge.parts[0].raw = Some(b"\xff\xff geen descriptor".to_vec());
            forge.signed()
        },
    ),
    hostile(
        "descriptor-too-long",
        DescriptorTooLong,
        "a descriptor of more than 16 KiB",
        |w| {
            let mut forge = Forge::plain(w);
            forge.parts[0].raw = Some(vec![0; 16 * 1024 + 1]);
            forge.signed()
        },
    ),
    hostile(
        "descriptor-unknown-field",
        NotCanonical,
        "a descriptor with an unknown field",
        |w| {
            let mut forge = Forge::plain(w);
            let mut raw = prost::Message::encode_to_vec(&forge.parts[0].message);
            raw.extend([0xFA, 0x07, 1, b'x']);
            forge.parts[0].raw = Some(raw);
            forge.signed()
        },
    ),
    hostile(
        "descriptor-other-type",
        TypeWrong,
        "a part descriptor that names another type",
        |w| part(w, |p| p.r#type = "schakel.v1.RecipientDescriptor".to_owned()),
    ),
];

const PARTS: &[Recipe] = &[
    hostile(
        "part-twice",
        PartRepeated,
        "two descriptors for one part id",
        |w| {
            let mut forge = Forge::plain(w);
            let mut again = forge.parts[0].clone();
            again.at = Some((again.at.unwrap() + 1) % 64);
            again.message.category = "protected_address".to_owned();
            forge.parts.push(again);
            forge.signed()
        },
    ),
    at_broker(
        "sealing-twice",
        SealingRepeated,
        None,
        "two parts that claim the same ciphertext",
        |w| {
            let mut forge = Forge::plain(w);
            let mut again = forge.parts[0].clone();
            again.at = Some((again.at.unwrap() + 1) % 64);
            again.message.part_id = vec![9; 16].into();
            forge.parts.push(again);
            forge.signed()
        },
    ),
    hostile("category-missing", FieldMissing, "a part without category", |w| {
        part(w, |p| p.category.clear())
    }),
    hostile(
        "category-not-a-code",
        FieldInvalid,
        "a category in capitals",
        |w| part(w, |p| p.category = "FACTS".to_owned()),
    ),
    hostile(
        "commitment-short",
        FieldInvalid,
        "a commitment of 20 bytes",
        |w| part(w, |p| p.commitment = p.commitment.slice(..20)),
    ),
    hostile(
        "subject-twice",
        SubjectRepeated,
        "one subject as victim and as perpetrator",
        |w| {
            part(w, |p| {
                let mut again = p.subjects[0].clone();
                again.role = "perpetrator".to_owned();
                p.subjects.push(again);
            })
        },
    ),
    hostile("too-many-subjects", SubjectsCountWrong, "33 subjects", |w| {
        part(w, |p| {
            let subject = p.subjects[0].clone();
            p.subjects = (0..33)
                .map(|n| wire::Subject {
                    subject_ref: vec![n; 16].into(),
                    ..subject.clone()
                })
                .collect();
        })
    }),
];

const SEALINGS: &[Recipe] = &[
    hostile("no-sealings", SealingsWrong, "a part without sealing", |w| {
        part(w, |p| p.sealings.clear())
    }),
    hostile(
        "profile-unknown",
        SealingsWrong,
        "a profile that does not exist",
        |w| part(w, |p| p.sealings[0].profile = 7),
    ),
    hostile(
        "profile-twice",
        SealingsWrong,
        "two sealings in one profile",
        |w| {
            part(w, |p| {
                let mut again = p.sealings[0].clone();
                again.sha256 = Digest::of(b"other").to_vec().into();
                p.sealings.push(again);
            })
        },
    ),
    hostile(
        "sealing-length-zero",
        SealingLengthWrong,
        "a sealing of no length",
        |w| part(w, |p| p.sealings[0].length = 0),
    ),
    hostile(
        "sealing-length-huge",
        SealingLengthWrong,
        "a sealing of 2^63 bytes",
        |w| part(w, |p| p.sealings[0].length = 1 << 63),
    ),
    hostile(
        "key-packet-digests-five",
        KeyPacketDigestsWrong,
        "a number of key-packet digests that tells the recipients",
        |w| part(w, |p| p.sealings[0].key_packet_digests.push(vec![1; 32].into())),
    ),
    hostile(
        "key-packet-digest-twice",
        DigestRepeated,
        "a key-packet digest stands twice",
        |w| {
            part(w, |p| {
                let digests = &mut p.sealings[0].key_packet_digests;
                digests[0] = digests[1].clone();
            })
        },
    ),
];

const RECIPIENTS: &[Recipe] = &[
    at_broker(
        "recipient-twice",
        RecipientRepeated,
        None,
        "an agency that is a recipient twice",
        |w| {
            let mut forge = Forge::plain(w);
            let mut again = forge.recipients[0].clone();
            again.at = Some((again.at.unwrap() + 1) % 64);
            again.nonce[0] ^= 1;
            forge.recipients.push(again);
            forge.signed()
        },
    ),
    at_broker(
        "recipient-unknown",
        RecipientUnknown,
        None,
        "one of the recipients is not a member",
        |w| {
            let parts: [(&[u8], &[&str]); 1] =
                [(b"Verzonnen verslag.\n", &["parket-antwerpen", "caw-rupel"])];
            let mut forge = Forge::good(w, "pz-rupel", &parts, "parket-antwerpen", 41);
            rename(&mut forge, "caw-rupel", "caw-nergens");
            forge.signed()
        },
    ),
    hostile(
        "recipient-key-of-an-attacker",
        RecipientKeyUnknown,
        "sealed to a key that is not the recipient's",
        |w| {
            let made = NOW.plus_millis(-3_600_000);
            let attacker = SecretKeys::generate(KeyKind::V6, "niemand", made).unwrap();
            sealed_to(w, "parket-antwerpen", &attacker)
        },
    ),
    at_broker(
        "recipient-key-superseded",
        RecipientKeySuperseded,
        None,
        "sealed to the key that the recipient used before",
        |w| {
            let old = w.keys(&agency("caw-rupel"))[1].clone();
            sealed_to(w, "caw-rupel", &old)
        },
    ),
    at_broker(
        "recipient-key-expired",
        RecipientKeySuperseded,
        None,
        "sealed to a key of the recipient that has expired",
        |w| {
            let all = w.keys(&agency("caw-rupel"));
            sealed_to(w, "caw-rupel", &all[all.len() - 2])
        },
    ),
    at_broker(
        "recipient-key-revoked",
        RecipientKeySuperseded,
        None,
        "sealed to a key of the recipient that was revoked",
        |w| {
            let all = w.keys(&agency("caw-rupel"));
            sealed_to(w, "caw-rupel", &all[all.len() - 1])
        },
    ),
    at_broker(
        "handed-to-another",
        KeyPacketStray,
        Some(RecipientNotReader),
        "handed to an agency that it is not for",
        |w| {
            let mut forge = Forge::plain(w);
            forge.reader = agency("ocmw-boom");
            forge.key_packets[0].recipient = "ocmw-boom".to_owned();
            forge.signed()
        },
    ),
    at_broker(
        "profile-of-nobody",
        KeyPacketNotCommitted,
        Some(SealingsWrong),
        "sealed for GnuPG only, to a recipient that does not use it",
        |w| part(w, |p| p.sealings[0].profile = 2),
    ),
];

fn rename(forge: &mut Forge<'_>, from: &str, to: &str) {
    for slot in forge.recipients.iter_mut().filter(|s| s.message.agency == from) {
        slot.message.agency = to.to_owned();
    }
    for packet in forge.key_packets.iter_mut().filter(|k| k.recipient == from) {
        packet.recipient = to.to_owned();
    }
}

/// A packet to `reader`, sealed to a key of one's choice.
fn sealed_to(world: &World, reader: &str, keys: &SecretKeys) -> PacketVector {
    let mut forge = Forge::good(
        world,
        "pz-rupel",
        &[(b"Verzonnen verslag.\n", &[reader])],
        reader,
        42,
    );
    let key = keys.certificate().encryption_fingerprints().remove(0);
    forge.recipients[0].message.key = key.to_vec().into();
    let plain = forge.good_plaintext();
    forge.reseal(inner::V6, &inner::plain_literal(&plain));
    forge.set_key_packet(0, inner::key_packet(keys, true, &[0x5A; 32]));
    forge.contents[0].file_name = "verslag-1.txt".to_owned();
    forge.contents[0].media_type = "text/plain".to_owned();
    forge.signed()
}

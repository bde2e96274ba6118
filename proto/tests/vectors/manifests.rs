//! Hostile manifests, signed by their sender all the same.

use prost::Message;
use schakel_proto::packet::Defect::{
    CreatedInFuture, DigestRepeated, DigestsCountWrong, FieldInvalid, FieldMissing, LifeTooLong,
    ManifestMalformed, ManifestTooLong, NetworkWrong, NotCanonical, PacketExpired, PacketIdNotV7,
    SenderKeyUnknown, SenderNotCaller, SenderUnknown, SignatureIssuerUnknown, TimesWrong, TypeWrong,
};
use schakel_proto::vectors::{NOW, PacketVector, World};
use schakel_proto::wire;

use super::forge::{Forge, agency};
use super::{Recipe, at_broker, hostile};

/// A plain packet with its manifest changed before it is signed.
fn changed(world: &World, change: impl FnOnce(&mut wire::Manifest)) -> PacketVector {
    let mut forge = Forge::plain(world);
    change(&mut forge.manifest);
    forge.signed()
}

/// A plain packet whose manifest bytes are changed before they are signed.
fn rewritten(world: &World, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> PacketVector {
    let forge = Forge::plain(world);
    let bytes = change(forge.manifest.encode_to_vec());
    forge.signed_as(bytes)
}

pub const RECIPES: &[&[Recipe]] = &[ENCODINGS, CONTENTS, TIMES, SENDERS];

const ENCODINGS: &[Recipe] = &[
    hostile(
        "manifest-garbage",
        ManifestMalformed,
        "the manifest is not protobuf",
        |w| rewritten(w, |_| b"\xff\xff\xff\xff geen manifest".to_vec()),
    ),
    hostile("manifest-empty", TypeWrong, "the manifest is empty", |w| {
        rewritten(w, |_| Vec::new())
    }),
    hostile(
        "manifest-too-long",
        ManifestTooLong,
        "the manifest is longer than 64 KiB",
        |w| {
            rewritten(w, |mut bytes| {
                bytes.resize(64 * 1024 + 1, 0);
                bytes
            })
        },
    ),
    hostile(
        "manifest-unknown-field",
        NotCanonical,
        "a field that this version does not know",
        |w| {
            rewritten(w, |mut bytes| {
                bytes.extend([0xFA, 0x07, 1, b'x']); // field 127
                bytes
            })
        },
    ),
    hostile(
        "manifest-field-twice",
        NotCanonical,
        "the purpose stands twice: two readers could disagree",
        |w| {
            rewritten(w, |mut bytes| {
                let purpose = wire::Manifest {
                    purpose: "other_purpose".to_owned(),
                    ..Default::default()
                };
                bytes.extend(purpose.encode_to_vec());
                bytes
            })
        },
    ),
    hostile(
        "manifest-fields-out-of-order",
        NotCanonical,
        "fields in another order",
        |w| {
            rewritten(w, |bytes| {
                let mut manifest = wire::Manifest::decode(bytes.as_slice()).unwrap();
                let purpose = std::mem::take(&mut manifest.purpose);
                let mut reordered = manifest.encode_to_vec();
                reordered.extend(
                    wire::Manifest {
                        purpose,
                        ..Default::default()
                    }
                    .encode_to_vec(),
                );
                reordered
            })
        },
    ),
    hostile(
        "manifest-default-written-out",
        NotCanonical,
        "an empty field that is written out",
        |w| {
            rewritten(w, |mut bytes| {
                bytes.splice(0..0, [0x72, 0]); // in_reply_to, empty
                bytes
            })
        },
    ),
    hostile(
        "manifest-long-varint",
        NotCanonical,
        "a number in more bytes than it needs",
        |w| {
            rewritten(w, |bytes| {
                let mut manifest = wire::Manifest::decode(bytes.as_slice()).unwrap();
                manifest.roster_version_seen = None;
                let before = wire::Manifest {
                    r#type: manifest.r#type.clone(),
                    network: manifest.network.clone(),
                    packet_id: manifest.packet_id.clone(),
                    case_ref: manifest.case_ref.clone(),
                    ..Default::default()
                };
                let at = before.encoded_len();
                let mut bytes = manifest.encode_to_vec();
                bytes.splice(at..at, [0x28, 0x81, 0x00]);
                bytes
            })
        },
    ),
];

const CONTENTS: &[Recipe] = &[
    hostile(
        "manifest-other-type",
        TypeWrong,
        "a statement's type in a manifest's place",
        |w| changed(w, |m| m.r#type = "schakel.v1.Statement".to_owned()),
    ),
    hostile(
        "manifest-other-network",
        NetworkWrong,
        "signed for another network",
        |w| changed(w, |m| m.network = "schelde".to_owned()),
    ),
    hostile(
        "packet-id-not-v7",
        PacketIdNotV7,
        "the packet id is a random UUID",
        |w| {
            changed(w, |m| {
                let mut id = m.packet_id.to_vec();
                id[6] = id[6] & 0x0F | 0x40;
                m.packet_id = id.into();
            })
        },
    ),
    hostile(
        "packet-id-short",
        FieldInvalid,
        "the packet id has 15 bytes",
        |w| changed(w, |m| m.packet_id = m.packet_id.slice(..15)),
    ),
    hostile("no-legal-basis", FieldMissing, "no legal basis is given", |w| {
        changed(w, |m| m.legal_basis = None)
    }),
    hostile(
        "purpose-not-a-code",
        FieldInvalid,
        "the purpose holds a line break and a right-to-left override",
        |w| changed(w, |m| m.purpose = "protect\u{202e}\nvictim".to_owned()),
    ),
    hostile(
        "sixty-three-digests",
        DigestsCountWrong,
        "a digest list that is too short to hide its length",
        |w| {
            let mut forge = Forge::plain(w);
            forge.manifest.part_digests.pop();
            let last = forge.manifest.part_digests.len();
            if forge.parts[0].at == Some(last) {
                forge.parts[0].at = Some(0);
            }
            forge.signed()
        },
    ),
    hostile(
        "digest-twice",
        DigestRepeated,
        "a digest stands twice in the list",
        |w| {
            let mut forge = Forge::plain(w);
            let at = forge.parts[0].at.unwrap();
            let (from, to) = ((at + 1) % 64, (at + 2) % 64);
            forge.manifest.part_digests[to] = forge.manifest.part_digests[from].clone();
            forge.signed()
        },
    ),
];

const TIMES: &[Recipe] = &[
    hostile(
        "expires-before-created",
        TimesWrong,
        "it expires before it was created",
        |w| changed(w, |m| m.expires_ms = m.created_ms - 1),
    ),
    hostile(
        "life-too-long",
        LifeTooLong,
        "it lives longer than 30 days",
        |w| changed(w, |m| m.expires_ms = m.created_ms + 30 * 86_400_000 + 1),
    ),
    hostile(
        "created-in-future",
        CreatedInFuture,
        "created nine minutes ahead, signed four minutes ahead",
        |w| {
            let mut forge = Forge::plain(w);
            forge.manifest.created_ms += 9 * 60_000;
            forge.sign_at = NOW.plus_millis(4 * 60_000 + 30_000);
            forge.signed()
        },
    ),
    hostile("expired", PacketExpired, "it expired ten minutes ago", |w| {
        let mut forge = Forge::plain(w);
        forge.now = NOW.plus_millis(14 * 86_400_000 + 600_000);
        forge.signed()
    }),
    at_broker(
        "expired-on-its-way",
        PacketExpired,
        None,
        "it expired a minute ago: too late to submit, but what is on its way may arrive",
        |w| {
            let mut forge = Forge::plain(w);
            forge.now = NOW.plus_millis(14 * 86_400_000 + 60_000);
            forge.signed()
        },
    ),
];

const SENDERS: &[Recipe] = &[
    at_broker(
        "sender-is-not-the-caller",
        SenderNotCaller,
        None,
        "a good packet, submitted over another agency's connection",
        |w| {
            let mut forge = Forge::plain(w);
            forge.caller = agency("ocmw-boom");
            forge.signed()
        },
    ),
    hostile(
        "sender-unknown",
        SenderUnknown,
        "the sender is not a member",
        |w| {
            let mut forge = Forge::plain(w);
            forge.manifest.sender = "pz-nergens".to_owned();
            forge.caller = agency("pz-nergens");
            forge.signed()
        },
    ),
    hostile(
        "sender-key-of-another",
        SenderKeyUnknown,
        "the sender names another agency's key",
        |w| {
            let mut forge = Forge::plain(w);
            forge.manifest.sender_key = w.keys(&agency("ocmw-boom"))[0].fingerprint().to_vec().into();
            forge.signed()
        },
    ),
    hostile(
        "sender-impersonated",
        SignatureIssuerUnknown,
        "signed by a member in the name of another",
        |w| {
            let mut forge = Forge::plain(w);
            forge.signer = w.keys(&agency("ocmw-boom"))[0].clone();
            forge.signed()
        },
    ),
];

//! Forged and malformed submissions by a member: each refused with its code and counted, none leaves anything but one
//! leaf; an honest packet after them still gets through.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::time::Timestamp;
use schakel_proto::wire::submit_frame::Frame;
use schakel_proto::wire::{self, SubmitFrame};
use schakel_proto::{limits, refusal};
use schakel_tests::system::leaves::{MARK, refused_submissions, rejection_leaves, tally};
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::peer::{self, runtime};
use schakel_tests::system::player::{Piece, Player, Sealed};
use schakel_tests::system::scan::ids_in_folder;
use schakel_tests::system::told::{count, seeded};

const PARTS: [Piece<'_>; 2] = [
    Piece {
        category: "facts_summary",
        to: &["parket-antwerpen"],
        content: b"Eerste vaststelling.",
    },
    Piece {
        category: "risk_assessment",
        to: &["parket-antwerpen"],
        content: &[b'r'; 300_000],
    },
];

/// A forger: what it needs to make a hostile submission out of an honest one.
struct Forger {
    police: Player,
    other: Player,
    case: CaseRef,
}

impl Forger {
    fn honest(&mut self) -> Sealed {
        let manifest = self.police.manifest(self.case, "prosecution", "legal_duty");
        self.police.seal(manifest, &PARTS)
    }

    /// An honest packet, then its head changed.
    fn head(&mut self, change: impl FnOnce(&mut Self, &mut wire::SubmitHead)) -> (Sealed, Vec<SubmitFrame>) {
        let sealed = self.honest();
        let mut frames = sealed.frames();
        let Some(Frame::Head(head)) = &mut frames[0].frame else {
            unreachable!()
        };
        let mut changed = std::mem::take(head);
        change(self, &mut changed);
        frames[0].frame = Some(Frame::Head(changed));
        (sealed, frames)
    }

    /// An honest packet, its manifest changed and signed again by its sender.
    fn manifest(&mut self, change: impl FnOnce(&mut wire::Manifest)) -> (Sealed, Vec<SubmitFrame>) {
        self.head(|forger, head| {
            let signed = head.manifest.as_ref().unwrap();
            let mut manifest = wire::Manifest::decode(signed.bytes.clone()).unwrap();
            change(&mut manifest);
            let at = Timestamp::from_millis(manifest.created_ms);
            head.manifest = Some(forger.police.sign_at(manifest.encode_to_vec(), at));
        })
    }

    /// An honest packet whose first recipient's descriptor is another, committed to and signed all the same.
    fn recipient(
        &mut self,
        change: impl FnOnce(&mut wire::RecipientDescriptor),
    ) -> (Sealed, Vec<SubmitFrame>) {
        self.head(|forger, head| {
            let opening = &mut head.recipients[0];
            let digest = |o: &wire::Opening| Digest::of_all(&[&o.nonce, &o.descriptor]).to_vec();
            let former = digest(opening);
            let mut descriptor = wire::RecipientDescriptor::decode(opening.descriptor.clone()).unwrap();
            change(&mut descriptor);
            opening.descriptor = descriptor.encode_to_vec().into();
            let signed = head.manifest.as_ref().unwrap();
            let mut manifest = wire::Manifest::decode(signed.bytes.clone()).unwrap();
            let slot = manifest
                .recipient_digests
                .iter_mut()
                .find(|d| **d == *former)
                .unwrap();
            *slot = digest(opening).into();
            let at = Timestamp::from_millis(manifest.created_ms);
            head.manifest = Some(forger.police.sign_at(manifest.encode_to_vec(), at));
        })
    }

    /// An honest packet, its key packets changed.
    fn keys(&mut self, change: impl FnOnce(&mut Vec<wire::KeyPacket>)) -> (Sealed, Vec<SubmitFrame>) {
        let sealed = self.honest();
        let mut frames = sealed.frames();
        let Some(Frame::KeyPackets(keys)) = &mut frames[1].frame else {
            unreachable!()
        };
        change(&mut keys.key_packets);
        (sealed, frames)
    }

    /// An honest packet, its stream of chunks changed.
    fn chunks(&mut self, change: impl FnOnce(&mut Vec<wire::SubmitChunk>)) -> (Sealed, Vec<SubmitFrame>) {
        let sealed = self.honest();
        let mut changed = sealed.clone();
        change(&mut changed.chunks);
        let frames = changed.frames();
        (sealed, frames)
    }
}

fn flip(bytes: &mut bytes::Bytes, at: usize) {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    *bytes = changed.into();
}

type Act = fn(&mut Forger) -> (Sealed, Vec<SubmitFrame>);

/// What is done, the code it must give, and how.
const ACTS: &[(&str, &str, Act)] = &[
    ("signature altered", "SIGNATURE_BAD", |f| {
        f.head(|_, head| {
            let signature = &mut head.manifest.as_mut().unwrap().signature;
            flip(signature, signature.len() - 1);
        })
    }),
    ("signature stripped", "SIGNATURE_MALFORMED", |f| {
        f.head(|_, head| head.manifest.as_mut().unwrap().signature.clear())
    }),
    ("two signatures, one of them bad", "SIGNATURE_MALFORMED", |f| {
        f.head(|f, head| {
            let signed = head.manifest.as_mut().unwrap();
            let other = f.other.sign(signed.bytes.to_vec()).signature;
            signed.signature = [&signed.signature[..], &other[..]].concat().into();
        })
    }),
    ("to an agency that is no member", "RECIPIENT_UNKNOWN", |f| {
        let (sealed, mut frames) = f.recipient(|recipient| "ocmw-nergens".clone_into(&mut recipient.agency));
        if let Some(Frame::KeyPackets(keys)) = &mut frames[1].frame {
            let all = keys.key_packets.iter_mut();
            all.for_each(|key| "ocmw-nergens".clone_into(&mut key.recipient));
        }
        (sealed, frames)
    }),
    ("too many recipients", "RECIPIENTS_COUNT_WRONG", |f| {
        f.head(|_, head| head.recipients = vec![head.recipients[0].clone(); limits::RECIPIENTS_MAX_COUNT + 1])
    }),
    ("too many session keys", "KEY_PACKETS_TOO_MANY", |f| {
        f.keys(|keys| *keys = vec![keys[0].clone(); 100])
    }),
    ("case altered, signature kept", "SIGNATURE_BAD", |f| {
        f.head(|_, head| {
            let signed = head.manifest.as_mut().unwrap();
            let mut manifest = wire::Manifest::decode(signed.bytes.clone()).unwrap();
            flip(&mut manifest.case_ref, 3);
            signed.bytes = manifest.encode_to_vec().into();
        })
    }),
    ("signed by another member", "SIGNATURE_ISSUER_UNKNOWN", |f| {
        f.head(|f, head| {
            let bytes = head.manifest.as_ref().unwrap().bytes.to_vec();
            head.manifest = Some(f.other.sign(bytes));
        })
    }),
    (
        "another member's packet as one's own (C09)",
        "SENDER_NOT_CALLER",
        |f| {
            let manifest = f.other.manifest(f.case, "prosecution", "legal_duty");
            let sealed = f.other.seal(manifest, &PARTS);
            let frames = sealed.frames();
            (sealed, frames)
        },
    ),
    ("of another network", "NETWORK_WRONG", |f| {
        f.manifest(|m| "elders".clone_into(&mut m.network))
    }),
    ("of another type", "TYPE_WRONG", |f| {
        f.manifest(|m| "schakel.v1.Statement".clone_into(&mut m.r#type))
    }),
    ("made in the future", "SIGNATURE_IN_FUTURE", |f| {
        f.manifest(|m| m.created_ms += 3_600_000)
    }),
    ("dated otherwise than signed", "SIGNATURE_TIME_DIFFERS", |f| {
        f.head(|f, head| {
            let manifest = head.manifest.as_ref().unwrap().bytes.to_vec();
            head.manifest = Some(f.police.sign_at(manifest, now().plus_millis(-3_600_000)));
        })
    }),
    ("long expired", "PACKET_EXPIRED", |f| {
        f.manifest(|m| (m.created_ms, m.expires_ms) = (m.created_ms - 18_000_000, m.created_ms - 15_000_000))
    }),
    ("living too long", "LIFE_TOO_LONG", |f| {
        f.manifest(|m| m.expires_ms = m.created_ms + limits::PACKET_LIFE_MAX_MILLIS + 1)
    }),
    ("id of another version", "PACKET_ID_NOT_V7", |f| {
        f.manifest(|m| {
            let mut id = m.packet_id.to_vec();
            id[6] = 0x40;
            m.packet_id = id.into();
        })
    }),
    ("a digest list cut short", "DIGESTS_COUNT_WRONG", |f| {
        f.manifest(|m| drop(m.part_digests.pop()))
    }),
    ("a manifest too long", "MANIFEST_TOO_LONG", |f| {
        f.head(|f, head| head.manifest = Some(f.police.sign(vec![1; limits::MANIFEST_MAX_BYTES + 1])))
    }),
    ("rubbish as manifest (C01)", "MANIFEST_MALFORMED", |f| {
        f.head(|f, head| head.manifest = Some(f.police.sign(vec![0xff; 500])))
    }),
    ("category of a part altered", "OPENING_NOT_IN_MANIFEST", |f| {
        f.head(|_, head| {
            let mut part = wire::PartDescriptor::decode(head.parts[0].descriptor.clone()).unwrap();
            "aggregate_stats".clone_into(&mut part.category);
            head.parts[0].descriptor = part.encode_to_vec().into();
        })
    }),
    ("a part of another packet (C08)", "OPENING_NOT_IN_MANIFEST", |f| {
        let other = f.honest();
        f.head(|_, head| head.parts[0] = other.packet.parts[0].clone())
    }),
    ("a part twice", "PART_REPEATED", |f| {
        f.head(|_, head| head.parts[1] = head.parts[0].clone())
    }),
    ("no parts", "PARTS_COUNT_WRONG", |f| {
        f.head(|_, head| head.parts.clear())
    }),
    ("no recipients", "RECIPIENTS_COUNT_WRONG", |f| {
        f.head(|_, head| head.recipients.clear())
    }),
    ("a session key replaced", "KEY_PACKET_NOT_COMMITTED", |f| {
        let other = f.honest();
        f.keys(|keys| keys[0].packet = other.packet.key_packets[0].packet.clone())
    }),
    ("a session key left out", "KEY_PACKET_MISSING", |f| {
        f.keys(|keys| drop(keys.pop()))
    }),
    ("a session key twice", "KEY_PACKET_REPEATED", |f| {
        f.keys(|keys| keys[1] = keys[0].clone())
    }),
    ("a session key for a stranger", "KEY_PACKET_STRAY", |f| {
        f.keys(|keys| "ocmw-boom".clone_into(&mut keys[0].recipient))
    }),
    ("ciphertext altered (C04)", "SEALING_DIGEST_DIFFERS", |f| {
        f.chunks(|chunks| flip(&mut chunks[1].data, 1_000))
    }),
    ("ciphertext cut short (C05)", "CHUNK_OUT_OF_ORDER", |f| {
        f.chunks(|chunks| drop(chunks.pop()))
    }),
    (
        "ciphertext of one part as the other's",
        "CHUNK_OUT_OF_ORDER",
        |f| f.chunks(|chunks| chunks.swap(0, 1)),
    ),
    ("more ciphertext than announced", "CHUNK_OUT_OF_ORDER", |f| {
        f.chunks(|chunks| chunks.push(chunks[chunks.len() - 1].clone()))
    }),
];

#[test]
fn c01_c08_c09_forged_and_malformed_packets_are_refused_and_leave_nothing() {
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let mut rng = seeded();
    let (kept, hostile, leaves) = runtime().block_on(async {
        let mut player = |id| Player::of(&town, id, StdRng::from_rng(&mut rng));
        let (mut police, stranger) = (player("pz-rupel"), player("pz-rupel-opvolgcel"));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let mut forger = Forger {
            police,
            other: stranger,
            case,
        };
        let mut hostile = Vec::new();
        for (what, code, act) in ACTS {
            let (sealed, frames) = act(&mut forger);
            let refused = forger.police.submit(frames).await.expect_err(what);
            let said = refusal::from_status(&refused).map(|r| r.code).unwrap_or_default();
            assert_eq!(said, *code, "{what}: {refused}");
            let outcome = wire::GetOutcomeRequest {
                packet_id: sealed.id().to_vec().into(),
            };
            let unknown = forger.police.client.get_outcome(outcome).await.expect_err(what);
            assert_eq!(unknown.code(), tonic::Code::NotFound, "{what}: {unknown}");
            hostile.push(*sealed.id().as_bytes());
        }
        let honest = forger.honest();
        forger
            .police
            .submit(honest.frames())
            .await
            .expect("an honest packet after all that");
        let leaves = rejection_leaves(&mut forger.police.client).await;
        (*honest.id().as_bytes(), hostile, leaves)
    });
    let codes: Vec<String> = ACTS.iter().map(|(_, code, _)| (*code).to_owned()).collect();
    assert_eq!(leaves, codes, "one leaf for each, in their order");
    let mut counted = refused_submissions(&town);
    counted.remove(MARK);
    assert_eq!(counted, tally(&codes), "each is counted once");
    town.take_broker().stop();
    let mut ids = hostile.clone();
    ids.push(kept);
    let found = ids_in_folder(&town.network().broker_data(), &ids);
    assert_eq!(
        found,
        [kept].into(),
        "the honest packet is in the store, no hostile one is"
    );
    count(
        hostile.len() as u64,
        "kinds of forgery refused, none left a trace",
    );
}

#[test]
fn i01_a_stolen_tls_key_alone_submits_nothing_in_anothers_name() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let case = police
            .open_case(&["pz-rupel", "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        // The thief has the TLS key of the police zone, and only its own OpenPGP key.
        let stolen = peer::as_agency(&town, &schakel_tests::system::network::agency("pz-rupel"));
        let mut thief = Player::with(&town, "pz-rupel-opvolgcel", stolen, StdRng::from_rng(&mut rng));
        let manifest = thief.manifest(case, "prosecution", "legal_duty");
        let own = thief.seal(manifest, &PARTS[..1]);
        let refused = thief.submit(own.frames()).await.unwrap_err();
        assert_eq!(refusal::from_status(&refused).unwrap().code, "SENDER_NOT_CALLER");
        let honest = police.manifest(case, "prosecution", "legal_duty");
        let mut sealed = police.seal(honest, &PARTS[..1]);
        sealed.packet.manifest = thief.sign(sealed.packet.manifest.bytes.to_vec());
        let refused = thief.submit(sealed.frames()).await.unwrap_err();
        assert_eq!(
            refusal::from_status(&refused).unwrap().code,
            "SIGNATURE_ISSUER_UNKNOWN"
        );
        // Whose key was stolen sees both in the log.
        let leaves = rejection_leaves(&mut police.client).await;
        assert_eq!(leaves, ["SENDER_NOT_CALLER", "SIGNATURE_ISSUER_UNKNOWN"]);
    });
    let counted = refused_submissions(&town);
    assert_eq!(
        (counted["SENDER_NOT_CALLER"], counted["SIGNATURE_ISSUER_UNKNOWN"]),
        (1, 1)
    );
}

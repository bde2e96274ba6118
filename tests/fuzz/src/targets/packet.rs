//! The packet: manifest, descriptors, a whole submission, ciphertext that streams by, what is inside a seal.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::limits;
use schakel_proto::packet::descriptor::Sealing;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::packet::parse::{ParsedSubmission, SealingCheck, opening_digest};
use schakel_proto::packet::verify::{VerifyContext, verify};
use schakel_proto::packet::{PacketError, Profile, probe};
use schakel_proto::vectors::PacketVector;
use schakel_proto::wire::{self, submit_frame::Frame};

use crate::fixtures::{VECTORS, WORLD};
use crate::{choice, chosen, refused};

/// What parses is written again as it was.
pub fn manifest(input: &[u8]) {
    match probe::manifest_again(input) {
        Ok(again) => {
            assert_eq!(again, input, "another manifest is written than was read");
            assert!(ManifestFields::parse(input).is_ok());
        }
        Err(error) => refused(error),
    }
}

/// The vectors' manifests.
pub fn manifests() -> Vec<Vec<u8>> {
    VECTORS.iter().map(|v| v.manifest.bytes.0.clone()).collect()
}

/// A descriptor is one of a recipient or of a part, never both, and is written again as it was.
pub fn descriptor(input: &[u8]) {
    let (recipient, part) = (probe::recipient_again(input), probe::part_again(input));
    assert!(recipient.is_err() || part.is_err(), "a recipient that is a part");
    for read in [recipient, part] {
        match read {
            Ok(again) => assert_eq!(again, input, "another descriptor is written than was read"),
            Err(error) => refused(error),
        }
    }
}

/// The vectors' descriptors.
pub fn descriptors() -> Vec<Vec<u8>> {
    let all = VECTORS.iter().flat_map(|v| v.recipients.iter().chain(&v.parts));
    all.map(|opening| opening.descriptor.0.clone()).collect()
}

/// The manifests that members of the network really signed.
static SIGNED: LazyLock<BTreeSet<Digest>> = LazyLock::new(|| {
    let all = VECTORS.iter().map(|v| Digest::of(&v.manifest.bytes.0));
    all.collect()
});

/// Frames of a submission, one after the other. If the first bit says so, the manifest is made to commit to the
/// openings, and the descriptors to the key packets: else nearly everything fails at the first digest.
pub fn submission(input: &[u8]) {
    let (way, mut rest) = choice(input);
    let (mut head, mut packets) = (None, Vec::new());
    while let Ok(frame) = wire::SubmitFrame::decode_length_delimited(&mut rest) {
        match frame.frame {
            Some(Frame::Head(said)) => head = Some(said),
            Some(Frame::KeyPackets(some)) => packets.extend(some.key_packets),
            Some(Frame::Chunk(_)) | None => {}
        }
    }
    let Some(mut head) = head else { return };
    if way & 1 == 1 {
        commit(&mut head, &packets);
    }
    let parsed = ParsedSubmission::parse(&head).and_then(|head| head.with_key_packets(packets));
    match parsed {
        Ok(parsed) => {
            check_parsed(&head, &parsed);
            check_verified(&parsed);
        }
        Err(error) => refused(error),
    }
}

fn commit(head: &mut wire::SubmitHead, packets: &[wire::KeyPacket]) {
    let digests: Vec<Bytes> = packets
        .iter()
        .map(|p| Digest::of(&p.packet).to_vec().into())
        .collect();
    for opening in &mut head.parts {
        let Ok(mut part) = wire::PartDescriptor::decode(opening.descriptor.clone()) else {
            continue;
        };
        for sealing in &mut part.sealings {
            for (to, from) in sealing.key_packet_digests.iter_mut().zip(&digests) {
                *to = from.clone();
            }
        }
        opening.descriptor = part.encode_to_vec().into();
    }
    let Some(signed) = &mut head.manifest else { return };
    let Ok(mut manifest) = wire::Manifest::decode(signed.bytes.clone()) else {
        return;
    };
    let pairs = [
        (&mut manifest.recipient_digests, &head.recipients),
        (&mut manifest.part_digests, &head.parts),
    ];
    for (digests, openings) in pairs {
        for (to, opening) in digests.iter_mut().zip(openings) {
            *to = opening_digest(opening).to_vec().into();
        }
    }
    signed.bytes = manifest.encode_to_vec().into();
}

/// Nothing is lost on the way from the wire, and nothing is over its limit.
fn check_parsed(head: &wire::SubmitHead, parsed: &ParsedSubmission) {
    assert_eq!(parsed.recipients().len(), head.recipients.len());
    assert_eq!(parsed.parts().len(), head.parts.len());
    assert!(parsed.parts().len() <= limits::PARTS_MAX_COUNT);
    assert_eq!(Some(parsed.signed()), head.manifest.as_ref());
    for key in parsed.key_packets() {
        assert_eq!(parsed.key_packet(&key.part_id, &key.recipient), Some(key));
    }
    let openings = parsed.parts().iter().map(|p| p.opening()).collect::<Vec<_>>();
    assert_eq!(openings, head.parts.iter().collect::<Vec<_>>());
}

/// Only what a member signed verifies.
fn check_verified(parsed: &ParsedSubmission) {
    let manifest = parsed.manifest();
    let context = VerifyContext {
        network: &WORLD.network,
        tls_agency: &manifest.sender,
        directory: &*WORLD,
        now: manifest.created.plus_millis(1000),
    };
    match verify(parsed.clone(), context) {
        Ok(verified) => {
            let digest = verified.parsed().manifest_digest();
            assert!(SIGNED.contains(&digest), "verified, but signed by nobody");
        }
        Err(error) => refused(error),
    }
}

/// The vectors' submissions as they are, and the good ones to be changed and mended.
pub fn submissions() -> Vec<Vec<u8>> {
    let frames = |v: &PacketVector| {
        let packets = wire::SubmitKeyPackets {
            key_packets: v.wire_key_packets(),
        };
        let mut bytes = Vec::new();
        for frame in [Frame::Head(v.head()), Frame::KeyPackets(packets)] {
            let frame = wire::SubmitFrame { frame: Some(frame) };
            frame.encode_length_delimited(&mut bytes).unwrap();
        }
        bytes
    };
    let as_is = VECTORS.iter().map(|v| chosen(0, &frames(v)));
    let mended = VECTORS
        .iter()
        .filter(|v| v.is_good())
        .map(|v| chosen(1, &frames(v)));
    as_is.chain(mended).collect()
}

/// A part of the good vectors: who expects it, and its description.
static PART: LazyLock<(ManifestFields, PartId, Sealing)> = LazyLock::new(|| {
    let vector = schakel_proto::vectors::named("good-v6");
    let head = ParsedSubmission::parse(&vector.head()).unwrap();
    let part = head.parts().first().unwrap();
    let sealing = part.descriptor().sealings.first().unwrap().clone();
    (head.manifest().clone(), part.id(), sealing)
});

/// Ciphertext that streams by: how it is cut makes no difference, and only what was described passes.
pub fn sealing(input: &[u8]) {
    let (way, data) = choice(input);
    let mut described = PART.2.clone();
    described.profile = if way & 1 == 0 { Profile::V6 } else { Profile::V4 };
    if way & 2 == 0 {
        described.length = u64::try_from(data.len()).unwrap();
    }
    if way & 4 == 0 {
        described.sha256 = Digest::of(data);
    }
    let pass = |size: usize| -> Result<_, PacketError> {
        let mut check = SealingCheck::new(&described);
        for piece in data.chunks(size) {
            check.update(piece)?;
        }
        check.finish()
    };
    let cut = pass(usize::from(way >> 3) + 1);
    let whole = pass(data.len().max(1));
    assert_eq!(cut.is_ok(), whole.is_ok(), "the cut decides");
    match cut {
        Ok(checked) => {
            assert_eq!(checked.sealing(), &described);
            assert_eq!(described.sha256, Digest::of(data));
            assert_eq!(described.length, u64::try_from(data.len()).unwrap());
        }
        Err(error) => refused(error),
    }
}

/// The vectors' ciphertexts, described as they are; long ones cut.
pub fn sealings() -> Vec<Vec<u8>> {
    let all = VECTORS.iter().flat_map(|v| &v.sealings);
    let cut = |data: &[u8]| data[..data.len().min(6000)].to_vec();
    let way = |profile: u8| if profile == 6 { 0x50 } else { 0x51 };
    all.map(|s| chosen(way(s.profile), &cut(&s.data.0))).collect()
}

/// What is inside a seal: how it is cut makes no difference; what opens is as long as it says, and as committed to.
pub fn plaintext(input: &[u8]) {
    let (way, plaintext) = choice(input);
    let (manifest, part, _) = &*PART;
    let committed = match way & 1 {
        0 => probe::commitment_to(plaintext),
        _ => None,
    };
    let commitment = committed.unwrap_or(Digest::from_bytes([7; 32]));
    let read = |piece: usize| {
        let mut out = Vec::new();
        let read = probe::read_plaintext((manifest, *part, commitment), plaintext, piece, &mut out);
        (read, out)
    };
    let (cut, out) = read(usize::from(way >> 1) * 7 + 1);
    let (whole, same) = read(usize::MAX);
    match (cut, whole) {
        (Ok(cut), Ok(whole)) => {
            assert!(cut == whole && out == same, "the cut decides");
            assert_eq!(u64::try_from(out.len()).unwrap(), cut.content_length);
            let size = u64::try_from(plaintext.len()).unwrap();
            assert!(limits::PADDED_SIZES_BYTES.contains(&size), "not padded: {size}");
            assert_eq!(committed, Some(commitment), "opened, but committed to by nobody");
        }
        (Err(cut), Err(_)) => refused(cut),
        _ => panic!("the cut decides"),
    }
}

/// Plaintexts as a sender makes them.
pub fn plaintexts() -> Vec<Vec<u8>> {
    let (manifest, part, _) = &*PART;
    let plaintext = |content: &[u8], title: &str| {
        let header = wire::SealedHeader {
            r#type: "schakel.v1.SealedHeader".to_owned(),
            network: manifest.network.to_string(),
            packet_id: manifest.packet_id.to_vec().into(),
            part_id: part.to_vec().into(),
            sender: manifest.sender.to_string(),
            sender_key: manifest.sender_key.to_vec().into(),
            file_name: "report.txt".to_owned(),
            media_type: "text/plain".to_owned(),
            title: title.to_owned(),
            salt: vec![5; 32].into(),
            content_length: u64::try_from(content.len()).unwrap(),
        };
        let header = header.encode_to_vec();
        let mut all = u32::try_from(header.len()).unwrap().to_be_bytes().to_vec();
        all.extend(header);
        all.extend(content);
        let size = limits::PADDED_SIZES_BYTES
            .into_iter()
            .find(|s| *s >= all.len() as u64)
            .unwrap();
        all.resize(usize::try_from(size).unwrap(), 0);
        all
    };
    let texts = [
        plaintext(b"x", ""),
        plaintext(&[b'y'; 3000], "Report"),
        plaintext(&[], "none"),
    ];
    let ways = [0_u8, 1, 0x42];
    ways.iter()
        .flat_map(|way| texts.iter().map(|text| chosen(*way, text)))
        .collect()
}

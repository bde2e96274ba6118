//! A member that signs what does not hold: a good packet whose first part is another, committed to all the same.

use prost::Message;
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::time::Timestamp;
use schakel_proto::wire::{self, submit_frame::Frame};

use super::player::{Player, Sealed};

/// The frames of a packet of one part and one recipient, with other ciphertext and, if given, another session-key
/// packet and commitment; descriptor and manifest say so, and `player` signs them.
pub fn recommitted(
    player: &Player,
    sealed: &Sealed,
    ciphertext: Vec<u8>,
    other: Option<(Vec<u8>, Digest)>,
) -> Vec<wire::SubmitFrame> {
    let mut head = sealed.packet.head();
    let own = &sealed.packet.key_packets[0];
    let part = &mut head.parts[0];
    let former = Digest::of_all(&[&part.nonce, &part.descriptor]);
    let mut descriptor = wire::PartDescriptor::decode(part.descriptor.clone()).unwrap();
    descriptor.sealings[0].length = ciphertext.len() as u64;
    descriptor.sealings[0].sha256 = Digest::of(&ciphertext).to_vec().into();
    let mut key_packet = own.clone();
    if let Some((packet, commitment)) = other {
        descriptor.commitment = commitment.to_vec().into();
        let digest = Digest::of(&own.packet).to_vec();
        for one in &mut descriptor.sealings[0].key_packet_digests {
            if **one == *digest {
                *one = Digest::of(&packet).to_vec().into();
            }
        }
        key_packet.packet = packet.into();
    }
    part.descriptor = descriptor.encode_to_vec().into();
    let mut manifest = wire::Manifest::decode(head.manifest.unwrap().bytes).unwrap();
    for one in &mut manifest.part_digests {
        if **one == *former.as_bytes() {
            *one = Digest::of_all(&[&part.nonce, &part.descriptor]).to_vec().into();
        }
    }
    let at = Timestamp::from_millis(manifest.created_ms);
    head.manifest = Some(player.sign_at(manifest.encode_to_vec(), at));
    let keys = wire::SubmitKeyPackets {
        key_packets: vec![key_packet],
    };
    let first = [Frame::Head(head), Frame::KeyPackets(keys)];
    let chunks = ciphertext
        .chunks(limits::CHUNK_MAX_BYTES)
        .enumerate()
        .map(|(n, data)| {
            Frame::Chunk(wire::SubmitChunk {
                offset: (n * limits::CHUNK_MAX_BYTES) as u64,
                data: data.to_vec().into(),
                ..sealed.chunks[0].clone()
            })
        });
    let frame = |frame| wire::SubmitFrame { frame: Some(frame) };
    first.into_iter().chain(chunks).map(frame).collect()
}

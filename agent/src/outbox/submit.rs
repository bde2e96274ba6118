//! Submitting: the same bytes with the same id as often as it takes. The frames come from the files.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use bytes::Bytes;
use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::limits;
use schakel_proto::packet::parse::ParsedSubmission;
use schakel_proto::packet::{PacketError, Profile};
use schakel_proto::refusal::Refusal;
use schakel_proto::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Outbox;
use super::record::Accepted;
use super::seal::sealing_name;
use crate::problem::Problem;
use crate::transport::Client;

/// Frames read ahead of the network.
const FRAMES_AHEAD_COUNT: usize = 4;
/// Key packets go in frames of at most about this many bytes.
const KEY_PACKETS_FRAME_BYTES: usize = 512 * 1024;

/// One sealing to stream.
struct Stream {
    path: PathBuf,
    part_id: Bytes,
    profile: Profile,
    length: u64,
}

/// Everything of a submission but the ciphertext, which is read while it is sent.
struct Submission {
    head: wire::SubmitHead,
    key_packets: Vec<wire::KeyPacket>,
    streams: Vec<Stream>,
}

fn load(outbox: &Outbox, packet: &PacketId) -> Result<Submission, Problem> {
    let head = outbox.head(packet)?;
    let key_packets = outbox.key_packets(packet)?.key_packets;
    let folder = outbox.folder(*packet);
    let damaged = |e: PacketError| Problem::damaged(&folder, Refusal::from(e));
    let parsed = ParsedSubmission::parse(&head).map_err(damaged)?;
    let streams = parsed.sealings().map(|sealing| Stream {
        path: folder.join(sealing_name(&sealing.part_id, sealing.profile)),
        part_id: sealing.part_id.to_vec().into(),
        profile: sealing.profile,
        length: sealing.length,
    });
    let streams = streams.collect();
    Ok(Submission {
        head,
        key_packets,
        streams,
    })
}

/// Submits a packet and gives the broker's answer that it is durable there.
pub async fn submit(
    outbox: &std::sync::Arc<Outbox>,
    client: &mut Client,
    packet: PacketId,
) -> Result<Accepted, Problem> {
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD_COUNT);
    let reader = {
        let outbox = std::sync::Arc::clone(outbox);
        tokio::task::spawn_blocking(move || read_frames(&outbox, &packet, &sender))
    };
    let answer = client.submit(ReceiverStream::new(receiver)).await;
    reader
        .await
        .map_err(|e| Problem::damaged(&outbox.folder(packet), e))??;
    let answer = answer?.into_inner();
    if *answer.packet_id != *packet.as_bytes() {
        return Err(
            Problem::distrust("ANSWER_OTHER_PACKET", "the broker answered for another packet").at(packet),
        );
    }
    let leaf = Digest::try_from(&*answer.leaf_hash)
        .map_err(|e| Problem::distrust("ANSWER_LEAF", format!("the broker's answer names no leaf: {e}")))?;
    Ok(Accepted {
        leaf,
        at_ms: answer.accepted_ms,
        log_index: None,
    })
}

fn read_frames(
    outbox: &Outbox,
    packet: &PacketId,
    sender: &mpsc::Sender<wire::SubmitFrame>,
) -> Result<(), Problem> {
    use wire::submit_frame::Frame;
    let submission = load(outbox, packet)?;
    let send = |frame: Frame| {
        sender
            .blocking_send(wire::SubmitFrame { frame: Some(frame) })
            .is_ok()
    };
    if !send(Frame::Head(submission.head)) {
        return Ok(()); // The broker has answered already: its answer says why.
    }
    let mut frame = wire::SubmitKeyPackets::default();
    let mut size = 0;
    for key_packet in submission.key_packets {
        size += key_packet.packet.len() + 128;
        frame.key_packets.push(key_packet);
        if size >= KEY_PACKETS_FRAME_BYTES {
            size = 0;
            if !send(Frame::KeyPackets(std::mem::take(&mut frame))) {
                return Ok(());
            }
        }
    }
    if !frame.key_packets.is_empty() && !send(Frame::KeyPackets(frame)) {
        return Ok(());
    }
    for stream in &submission.streams {
        if !read_stream(stream, &send)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_stream(stream: &Stream, send: &impl Fn(wire::submit_frame::Frame) -> bool) -> Result<bool, Problem> {
    let failed = |e: std::io::Error| Problem::io(&e, &stream.path);
    let mut file = File::open(&stream.path).map_err(failed)?;
    let profile = match stream.profile {
        Profile::V6 => wire::Profile::V6,
        Profile::V4 => wire::Profile::V4,
    };
    let mut offset = 0;
    while offset < stream.length {
        let left = usize::try_from(stream.length - offset).unwrap_or(usize::MAX);
        let mut data = vec![0; left.min(limits::CHUNK_MAX_BYTES)];
        file.read_exact(&mut data).map_err(failed)?;
        let count = data.len() as u64;
        let chunk = wire::SubmitChunk {
            part_id: stream.part_id.clone(),
            profile: profile.into(),
            offset,
            data: data.into(),
        };
        if !send(wire::submit_frame::Frame::Chunk(chunk)) {
            return Ok(false);
        }
        offset += count;
    }
    Ok(true)
}

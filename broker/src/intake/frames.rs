//! The frames of a submission, in their order and within their bounds: head, key packets, chunks.
//! Nothing is kept that was not announced, and nobody is waited for without a limit.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use prost::Message;
use schakel_proto::limits;
use schakel_proto::packet::{Defect, PacketError};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire::{self, submit_frame::Frame};
use tokio::time::Instant;

use crate::intake::held::{Held, Hold};

/// Longest all session-key packets of a submission together.
const KEY_PACKETS_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Time that a submission of any size has.
const LEAST: Duration = Duration::from_secs(120);

/// What arrives.
pub type SubmitStream = Pin<Box<dyn Stream<Item = Result<wire::SubmitFrame, tonic::Status>> + Send>>;

/// The stream of one submission, read front to back.
pub struct Frames {
    stream: SubmitStream,
    /// The first chunk, read to see that the key packets had ended.
    ahead: Option<wire::SubmitChunk>,
    until: Instant,
    /// Longest pause between two frames.
    idle: Duration,
    /// Whose memory head and key packets count against.
    whose: Option<(AgencyId, Held)>,
    holds: Vec<Hold>,
    /// What came in frames too short to count one by one.
    loose_bytes: usize,
}

impl Frames {
    /// A submission that begins now.
    pub fn new(stream: SubmitStream) -> Self {
        Self {
            stream,
            ahead: None,
            until: Instant::now() + LEAST,
            idle: Duration::from_millis(limits::BODY_MAX_MILLIS),
            whose: None,
            holds: Vec::new(),
            loose_bytes: 0,
        }
    }

    /// The same, of `agency`: head and key packets are held in its share of memory; `idle` is the longest pause.
    #[must_use]
    pub fn of(mut self, agency: &AgencyId, held: &Held, idle: Duration) -> Self {
        self.whose = Some((agency.clone(), held.clone()));
        self.idle = idle;
        self
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        if let Some((agency, held)) = &self.whose {
            self.loose_bytes += bytes;
            if let Some(hold) = held.take(agency, self.loose_bytes)? {
                self.holds.push(hold);
                self.loose_bytes = 0;
            }
        }
        Ok(())
    }

    /// The first frame.
    ///
    /// # Errors
    /// Another frame, the end, a pause, a broken stream.
    pub async fn head(&mut self) -> Result<wire::SubmitHead, Refusal> {
        match self.next().await? {
            Some(Frame::Head(head)) => {
                self.hold(head.encoded_len())?;
                Ok(head)
            }
            Some(_) => Err(out_of_order("The first frame is not the head", "frame")),
            None => Err(out_of_order("The stream ended before its head", "frame")),
        }
    }

    /// The key packets that follow the head, at most `max_count`.
    ///
    /// # Errors
    /// Another frame, too many or too long ones, a pause, a broken stream.
    pub async fn key_packets(&mut self, max_count: usize) -> Result<Vec<wire::KeyPacket>, Refusal> {
        let mut all = Vec::new();
        let mut bytes = 0;
        loop {
            match self.next().await? {
                Some(Frame::KeyPackets(some)) => {
                    self.hold(some.encoded_len())?;
                    let long = some
                        .key_packets
                        .iter()
                        .any(|key| key.packet.len() > limits::KEY_PACKET_MAX_BYTES);
                    bytes += some.key_packets.iter().map(|key| key.packet.len()).sum::<usize>();
                    let many = all.len() + some.key_packets.len() > max_count;
                    if long {
                        return Err(PacketError::new(Defect::KeyPacketTooLong, "key_packets").into());
                    }
                    if many || bytes > KEY_PACKETS_MAX_BYTES {
                        return Err(too_many(max_count));
                    }
                    all.extend(some.key_packets);
                }
                Some(Frame::Chunk(chunk)) => {
                    self.ahead = Some(chunk);
                    return Ok(all);
                }
                None => return Ok(all),
                Some(Frame::Head(_)) => return Err(out_of_order("A second head", "frame")),
            }
        }
    }

    /// Gives the submission the time that `bytes` of ciphertext may take.
    pub fn expect(&mut self, bytes: u64) {
        self.until = Instant::now() + LEAST + Duration::from_secs(bytes / limits::SLOWEST_BYTES_PER_SECOND);
    }

    /// The next chunk; none at the end.
    ///
    /// # Errors
    /// Another frame, a too long or empty chunk, a pause, a broken stream.
    pub async fn chunk(&mut self) -> Result<Option<wire::SubmitChunk>, Refusal> {
        let chunk = match self.ahead.take() {
            Some(chunk) => chunk,
            None => match self.next().await? {
                None => return Ok(None),
                Some(Frame::Chunk(chunk)) => chunk,
                Some(_) => return Err(out_of_order("A chunk was due, another frame came", "frame")),
            },
        };
        if chunk.data.is_empty() || chunk.data.len() > limits::CHUNK_MAX_BYTES {
            let sentence = format!("A chunk has {} bytes", chunk.data.len());
            return Err(out_of_order(sentence, "chunk.data"));
        }
        Ok(Some(chunk))
    }

    async fn next(&mut self) -> Result<Option<Frame>, Refusal> {
        let idle = Instant::now() + self.idle;
        let frame = tokio::time::timeout_at(idle.min(self.until), self.stream.next()).await;
        match frame {
            Ok(None) => Ok(None),
            Ok(Some(Ok(wire::SubmitFrame { frame: Some(frame) }))) => Ok(Some(frame)),
            Ok(Some(Ok(wire::SubmitFrame { frame: None }))) => Err(out_of_order("An empty frame", "frame")),
            Ok(Some(Err(status))) => Err(broken(&status)),
            Err(_) => Err(Refusal::new(
                Fault::Unavailable,
                "SUBMIT_TOO_SLOW",
                "The next frame did not come in time",
                "Check the line, then submit the same packet again; nothing of it was kept.",
            )
            .retry_after(5_000)),
        }
    }
}

fn too_many(max_count: usize) -> Refusal {
    let sentence = format!("There are more session-key packets than parts times recipients ({max_count})");
    let remedy = "Send one for each part and each recipient that the part is sealed to.";
    Refusal::new(Fault::Invalid, "KEY_PACKETS_TOO_MANY", sentence, remedy).at("key_packets")
}

fn out_of_order(sentence: impl Into<String>, place: &'static str) -> Refusal {
    let remedy = "Send head, key packets, then each sealing's chunks in the order of the head.";
    Refusal::new(Fault::Invalid, "FRAMES_OUT_OF_ORDER", sentence, remedy).at(place)
}

fn broken(status: &tonic::Status) -> Refusal {
    match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            let sentence = format!("A frame is longer than {} bytes", limits::MESSAGE_MAX_BYTES);
            Refusal::new(Fault::Invalid, "FRAME_TOO_LONG", sentence, "Send shorter frames.")
        }
        tonic::Code::Internal | tonic::Code::InvalidArgument => {
            let sentence = "A frame does not decode";
            Refusal::new(
                Fault::Invalid,
                "FRAME_MALFORMED",
                sentence,
                "Send frames of schakel.v1.SubmitFrame.",
            )
        }
        _ => {
            let remedy = "Submit the same packet again; nothing of it was kept.";
            Refusal::new(
                Fault::Unavailable,
                "STREAM_BROKEN",
                "The stream broke off",
                remedy,
            )
            .retry_after(1_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn frames(frames: Vec<Option<Frame>>) -> Frames {
        Frames::new(Box::pin(stream::iter(
            frames.into_iter().map(|frame| Ok(wire::SubmitFrame { frame })),
        )))
    }

    fn chunk(len: usize) -> Option<Frame> {
        Some(Frame::Chunk(wire::SubmitChunk {
            data: vec![7; len].into(),
            ..Default::default()
        }))
    }

    fn keys(count: usize, len: usize) -> Option<Frame> {
        let key = wire::KeyPacket {
            packet: vec![1; len].into(),
            ..Default::default()
        };
        Some(Frame::KeyPackets(wire::SubmitKeyPackets {
            key_packets: vec![key; count],
        }))
    }

    #[tokio::test]
    async fn the_order_is_head_key_packets_chunks() {
        let head = Some(Frame::Head(wire::SubmitHead::default()));
        let mut good = frames(vec![head.clone(), keys(1, 9), keys(2, 9), chunk(3), chunk(4)]);
        assert!(good.head().await.is_ok());
        assert_eq!(good.key_packets(3).await.map(|keys| keys.len()), Ok(3));
        assert_eq!(
            good.chunk().await.map(|chunk| chunk.map(|c| c.data.len())),
            Ok(Some(3))
        );
        assert_eq!(
            good.chunk().await.map(|chunk| chunk.map(|c| c.data.len())),
            Ok(Some(4))
        );
        assert_eq!(good.chunk().await, Ok(None));
        for wrong in [vec![], vec![chunk(1)], vec![None], vec![keys(1, 1)]] {
            assert_eq!(
                frames(wrong).head().await.unwrap_err().code,
                "FRAMES_OUT_OF_ORDER"
            );
        }
        assert!(frames(vec![head.clone()]).key_packets(1).await.is_err());
        assert!(frames(vec![head]).chunk().await.is_err());
    }

    #[tokio::test]
    async fn counts_and_lengths_are_bounded() {
        let many = frames(vec![keys(2, 9), keys(2, 9)]).key_packets(3).await;
        assert_eq!(many.unwrap_err().code, "KEY_PACKETS_TOO_MANY");
        let long = frames(vec![keys(1, limits::KEY_PACKET_MAX_BYTES + 1)])
            .key_packets(3)
            .await;
        assert_eq!(long.unwrap_err().code, "KEY_PACKET_TOO_LONG");
        assert!(frames(vec![chunk(0)]).chunk().await.is_err());
        assert!(frames(vec![chunk(limits::CHUNK_MAX_BYTES)]).chunk().await.is_ok());
        assert!(
            frames(vec![chunk(limits::CHUNK_MAX_BYTES + 1)])
                .chunk()
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_broken_stream_is_told_from_a_bad_frame() {
        let errors = [
            (tonic::Status::cancelled(""), "STREAM_BROKEN"),
            (tonic::Status::out_of_range(""), "FRAME_TOO_LONG"),
            (tonic::Status::internal(""), "FRAME_MALFORMED"),
        ];
        for (status, code) in errors {
            let mut frames = Frames::new(Box::pin(stream::iter([Err(status)])));
            assert_eq!(frames.head().await.unwrap_err().code, code);
        }
    }
}

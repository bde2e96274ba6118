//! Deliver: what was decided goes out in four steps, each of which takes what the one before it proved:
//! ciphertext streamed, decision committed, leaf under a signed checkpoint, openings and keys sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use schakel_proto::ids::{DeliveryId, Digest, PartId};
use schakel_proto::limits;
use schakel_proto::openpgp::Profile;
use schakel_proto::packet::parse::Part;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire::{self, receive_frame::Frame};
use tokio::sync::mpsc;

use crate::accept::stored_profile;
use crate::activate;
use crate::decide::{self, Decided};
use crate::redact::safe;
use crate::roles::Caller;
use crate::state::State;
use crate::store::{HandOver, HandedOver, Lease, StoreError};

/// How often a commit that could not be confirmed is repeated; it is idempotent.
const CONFIRM_MAX_COUNT: usize = 5;
/// Rest before such a repetition.
const CONFIRM_REST: Duration = Duration::from_millis(200);
/// Slowest recipient that keeps its lease after a hand-over, in bytes per millisecond.
const SLOWEST_BYTES_PER_MILLI: u64 = 256;
/// Age of a decision, in milliseconds, from which on it is made again before it is committed: what ends by
/// time may have ended while the ciphertext was on its way.
const DECISION_AGE_MAX_MILLIS: i64 = 5_000;
/// Longest wait for a committed leaf to come under a checkpoint.
const CHECKPOINT_MAX: Duration = Duration::from_secs(20);

/// The frames to one recipient's stream. Sending waits for the recipient: that is the flow control.
#[derive(Clone)]
pub struct Line {
    frames: mpsc::Sender<Result<wire::ReceiveFrame, tonic::Status>>,
    /// The delivery that was offered and is neither handed over nor dropped.
    offered: Arc<Mutex<Option<Bytes>>>,
}

impl Line {
    /// Frames go into `sender`, which is bounded.
    pub fn new(sender: mpsc::Sender<Result<wire::ReceiveFrame, tonic::Status>>) -> Self {
        Self {
            frames: sender,
            offered: Arc::default(),
        }
    }

    /// Sends one frame. Of a delivery that was never offered nothing is said, not even that it was
    /// dropped: the recipient must not count what is withheld from it.
    ///
    /// # Errors
    /// The recipient is gone.
    pub async fn send(&self, frame: Frame) -> Result<(), Refusal> {
        if !self.speaks(&frame) {
            return Ok(());
        }
        self.frames
            .send(Ok(wire::ReceiveFrame { frame: Some(frame) }))
            .await
            .map_err(|_| gone())
    }

    /// Waits for room for one frame.
    ///
    /// # Errors
    /// The recipient is gone.
    async fn place(&self) -> Result<Place<'_>, Refusal> {
        self.frames.reserve().await.map_err(|_| gone())
    }

    /// Puts a frame where there is room for it.
    fn put(&self, place: Place<'_>, frame: Frame) {
        if self.speaks(&frame) {
            place.send(Ok(wire::ReceiveFrame { frame: Some(frame) }));
        }
    }

    fn speaks(&self, frame: &Frame) -> bool {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        match frame {
            Frame::Offer(offer) => *offered = Some(offer.delivery.clone()),
            Frame::Dropped(dropped) => return offered.take_if(|open| *open == dropped.delivery).is_some(),
            Frame::HandOver(_) => *offered = None,
            Frame::Chunk(_) | Frame::Settled(_) => {}
        }
        true
    }

    /// Ends the stream with a refusal.
    pub async fn refuse(&self, refusal: &Refusal) {
        // A recipient that is gone needs no reason.
        let _gone = self.frames.send(Err(refusal.to_status())).await;
    }

    /// Waits until the recipient is gone.
    pub async fn gone(&self) {
        self.frames.closed().await;
    }
}

/// Room for one frame on a line.
type Place<'a> = mpsc::Permit<'a, Result<wire::ReceiveFrame, tonic::Status>>;

fn gone() -> Refusal {
    let sentence = "The recipient's stream has ended";
    Refusal::new(Fault::Unavailable, "STREAM_BROKEN", sentence, "Connect again.")
}

/// A decision whose `deliver` parts have been streamed, sealed and nameless. Nobody can open them yet.
pub struct Streamed {
    decided: Decided,
    streams: Vec<(u32, PartId)>,
    bytes: u64,
}

/// Streams the ciphertext of what was decided `deliver`; of anything else not a byte.
///
/// # Errors
/// The recipient is gone, or stored ciphertext is damaged: the session then has the recipient forget
/// what was offered.
pub async fn stream(state: &State, line: &Line, decided: Decided) -> Result<Streamed, Refusal> {
    if !decided.delivers() {
        return Ok(Streamed {
            decided,
            streams: Vec::new(),
            bytes: 0,
        });
    }
    let profile = decided
        .recipient()
        .map(|recipient| recipient.profile())
        .ok_or_else(|| unsealed("recipient"))?;
    let mut streams = Vec::new();
    let mut offered = Vec::new();
    for (number, part) in (1..).zip(decided.delivered()) {
        let sealing = part
            .descriptor()
            .sealing(profile)
            .ok_or_else(|| unsealed(&part.id().to_string()))?;
        offered.push(wire::OfferedStream {
            stream: number,
            length: sealing.length,
        });
        streams.push((number, part.id()));
    }
    let bytes = offered.iter().map(|one| one.length).sum();
    let delivery = token(decided.lease());
    let manifest = Some(decided.lease().packet.manifest.clone());
    line.send(Frame::Offer(wire::Offer {
        delivery,
        manifest,
        streams: offered,
    }))
    .await?;
    for (number, part) in &streams {
        one(state, line, decided.lease(), (*number, *part), profile).await?;
    }
    Ok(Streamed {
        decided,
        streams,
        bytes,
    })
}

async fn one(
    state: &State,
    line: &Line,
    lease: &Lease,
    (number, part): (u32, PartId),
    profile: Profile,
) -> Result<(), Refusal> {
    let mut reader = state
        .store
        .content(lease.packet.packet, part, stored_profile(profile))
        .await?;
    let mut offset = 0;
    let mut renewed = state.clock.now();
    while let Some(data) = reader.next().await? {
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        line.send(Frame::Chunk(wire::Chunk {
            delivery: token(lease),
            stream: number,
            offset,
            data,
        }))
        .await?;
        offset += length;
        let now = state.clock.now();
        if now.millis_since(renewed) > limits::LEASE_MILLIS / 4 {
            let until = now.plus_millis(limits::LEASE_MILLIS);
            if !state.store.renew(lease.token, now, until).await? {
                let sentence = "The delivery was given up while it was on its way";
                return Err(Refusal::new(
                    Fault::Unavailable,
                    "LEASE_LOST",
                    sentence,
                    "It is decided anew.",
                ));
            }
            renewed = now;
        }
    }
    Ok(())
}

fn token(lease: &Lease) -> Bytes {
    lease.token.to_vec().into()
}

fn unsealed(place: &str) -> Refusal {
    let sentence = "A part that is to be delivered has no sealing for its recipient";
    Refusal::new(
        Fault::Internal,
        "CORRUPT",
        sentence,
        "The operator must restore the store.",
    )
    .at(place)
}

async fn drop_it(line: &Line, lease: &Lease) -> Result<(), Refusal> {
    line.send(Frame::Dropped(wire::Dropped {
        delivery: token(lease),
    }))
    .await
}

/// How committing ended.
pub enum Commit {
    /// Durable, and there is something to hand over.
    Committed(Box<Committed>),
    /// Facts, rules or directory changed meanwhile: decide again, under the same lease.
    Changed(Box<Lease>),
    /// Durable or given up, and nothing is to be handed over.
    Nothing,
}

/// A decision that is durable with its leaf; the recipient cannot open anything yet.
pub struct Committed {
    streamed: Streamed,
    leaf_hash: Digest,
}

/// Commits the decision and its leaf, if everything it was made on is still so.
///
/// # Errors
/// The store could not commit or confirm, or the recipient is gone.
pub async fn commit(state: &State, line: &Line, streamed: Streamed) -> Result<Commit, Refusal> {
    let streamed = match still(state, streamed).await? {
        Ok(streamed) => streamed,
        Err(lease) => {
            drop_it(line, &lease).await?;
            return Ok(Commit::Changed(lease));
        }
    };
    let hand_over = streamed.decided.to_hand_over(state).await?;
    let ended = confirmed(state, hand_over).await?;
    let lease = streamed.decided.lease();
    let offered = !streamed.streams.is_empty();
    match ended {
        HandedOver::Committed {
            leaf_hash: Some(leaf_hash),
            delivers: true,
        } => {
            let now = state.clock.now();
            let until = now.plus_millis(time_for(&streamed));
            // A lease that ended meanwhile only means that the packet may be delivered once more.
            let _ended = state.store.renew(lease.token, now, until).await?;
            Ok(Commit::Committed(Box::new(Committed { streamed, leaf_hash })))
        }
        HandedOver::Committed { .. } => {
            let (packet, counts) = (lease.packet.packet, streamed.decided.counts());
            tracing::info!(
                packet = safe(packet),
                recipient = safe(&lease.recipient),
                ?counts,
                "nothing goes"
            );
            Ok(Commit::Nothing)
        }
        HandedOver::Changed => {
            if offered {
                drop_it(line, lease).await?;
            }
            Ok(Commit::Changed(Box::new(streamed.decided.into_lease())))
        }
        HandedOver::LeaseLost => {
            if offered {
                drop_it(line, lease).await?;
            }
            Ok(Commit::Nothing)
        }
    }
}

/// A decision that has aged is made again, on what is streamed already; if it comes out otherwise, what was
/// streamed is of no use.
async fn still(state: &State, streamed: Streamed) -> Result<Result<Streamed, Box<Lease>>, Refusal> {
    let before = &streamed.decided;
    if state.clock.now().millis_since(before.at()) <= DECISION_AGE_MAX_MILLIS {
        return Ok(Ok(streamed));
    }
    let decided = decide::decide(state, before.lease().clone()).await?;
    let same = decided
        .delivered()
        .map(Part::id)
        .eq(before.delivered().map(Part::id));
    if same {
        Ok(Ok(Streamed { decided, ..streamed }))
    } else {
        Ok(Err(Box::new(decided.into_lease())))
    }
}

/// Repeats a hand-over that could not be confirmed; the store gives the original answer.
async fn confirmed(state: &State, hand_over: HandOver) -> Result<HandedOver, Refusal> {
    for _ in 1..CONFIRM_MAX_COUNT {
        match state.store.hand_over(hand_over.clone()).await {
            Err(StoreError::Unconfirmed(_)) => tokio::time::sleep(CONFIRM_REST).await,
            ended => return Ok(ended?),
        }
    }
    Ok(state.store.hand_over(hand_over).await?)
}

/// A committed decision with the proof that it and the acceptance stand under a signed checkpoint.
pub struct Proved {
    committed: Committed,
    submission: wire::Evidence,
    consignment: wire::Evidence,
}

/// Waits until the leaf is under a signed checkpoint, and fetches the proofs.
///
/// # Errors
/// The log has stopped, or the case's erasure key is gone.
pub async fn prove(state: &State, committed: Committed) -> Result<Proved, Refusal> {
    let lease = committed.streamed.decided.lease();
    let waited = tokio::time::timeout(CHECKPOINT_MAX, state.log.wait_for(committed.leaf_hash)).await;
    let _index = waited.map_err(|_| {
        let sentence = "The log does not get under a checkpoint";
        Refusal::new(Fault::Unavailable, "LOG_STOPPED", sentence, "Try again later.").retry_after(5_000)
    })??;
    let store = state.store.as_ref();
    let consignment = state
        .evidences
        .of(store, &lease.recipient, committed.leaf_hash)
        .await?;
    let submission = state.evidences.submission(store, lease.packet.leaf_hash).await?;
    let erased = || {
        let sentence = "The evidence of this case was erased";
        Refusal::new(
            Fault::Internal,
            "EVIDENCE_ERASED",
            sentence,
            "Nothing of the case can be handed over.",
        )
    };
    let (consignment, submission) = (consignment.ok_or_else(erased)?, submission.ok_or_else(erased)?);
    Ok(Proved {
        committed,
        submission,
        consignment,
    })
}

/// What was handed over and is not acknowledged yet.
pub struct Sent {
    token: DeliveryId,
}

impl Sent {
    /// The lease that runs until the acknowledgement.
    pub fn token(&self) -> DeliveryId {
        self.token
    }
}

/// Sends openings, session keys and proofs: from here on the recipient can open what it was given. In the last
/// moment, when there is room on the line, the caller must still be who it was under the directory of then,
/// and the work must not have ended: what is recalled or over meanwhile is not sent, and none is given.
///
/// # Errors
/// The recipient is gone, or its TLS identity is no longer the agency's.
pub async fn send(
    state: &State,
    caller: &Caller,
    line: &Line,
    proved: Proved,
) -> Result<Option<Sent>, Refusal> {
    let Proved {
        committed: Committed { streamed, .. },
        submission,
        consignment,
    } = proved;
    let lease = streamed.decided.lease();
    let parts = handed_parts(&streamed)?;
    let (packet, count) = (lease.packet.packet, parts.len());
    let frame = wire::HandOver {
        delivery: token(lease),
        recipient: Some(lease.opening.clone()),
        parts,
        submission: Some(submission),
        consignment: Some(consignment),
    };
    let place = line.place().await?;
    activate::must_be_current(state).await?;
    let _still = caller.again(state.directories.current())?;
    let now = state.clock.now();
    let until = now.plus_millis(time_for(&streamed));
    if !state.store.renew(lease.token, now, until).await? {
        drop(place);
        tracing::info!(packet = safe(packet), "ended before its keys were sent");
        drop_it(line, lease).await?;
        return Ok(None);
    }
    line.put(place, Frame::HandOver(frame));
    tracing::info!(
        packet = safe(packet),
        recipient = safe(&lease.recipient),
        parts = count,
        "handed over"
    );
    Ok(Some(Sent { token: lease.token }))
}

/// Opening and session-key packet of each part that was streamed.
fn handed_parts(streamed: &Streamed) -> Result<Vec<wire::HandedPart>, Refusal> {
    let lease = streamed.decided.lease();
    let mut parts = Vec::with_capacity(streamed.streams.len());
    for (stream, id) in &streamed.streams {
        let part = streamed.decided.head().part(id);
        let key = lease
            .key_packets
            .iter()
            .find(|key| key.part_id.as_ref() == id.as_bytes());
        let (Some(part), Some(key)) = (part, key) else {
            return Err(unsealed(&id.to_string()));
        };
        parts.push(wire::HandedPart {
            stream: *stream,
            part: Some(part.opening().clone()),
            key_packet: key.packet.clone(),
        });
    }
    Ok(parts)
}

/// How long a recipient may take before the delivery is given to its next turn, in milliseconds.
fn time_for(streamed: &Streamed) -> i64 {
    let time = i64::try_from(streamed.bytes / SLOWEST_BYTES_PER_MILLI).unwrap_or(i64::MAX);
    limits::LEASE_MILLIS.saturating_add(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_what_was_never_offered_not_a_word_is_said() {
        let (frames, mut sent) = mpsc::channel(8);
        let line = Line::new(frames);
        let (one, other) = (Bytes::from_static(b"one"), Bytes::from_static(b"other"));
        let offer = |delivery: &Bytes| {
            Frame::Offer(wire::Offer {
                delivery: delivery.clone(),
                ..Default::default()
            })
        };
        let dropped = |delivery: &Bytes| {
            Frame::Dropped(wire::Dropped {
                delivery: delivery.clone(),
            })
        };
        line.send(dropped(&one)).await.unwrap();
        assert!(
            sent.try_recv().is_err(),
            "withheld, and failed before anything was offered"
        );
        line.send(offer(&one)).await.unwrap();
        line.send(dropped(&other)).await.unwrap();
        line.send(dropped(&one)).await.unwrap();
        line.send(dropped(&one)).await.unwrap();
        drop(line);
        let mut got = Vec::new();
        while let Some(frame) = sent.recv().await {
            got.push(frame.unwrap().frame.unwrap());
        }
        assert_eq!(got, [offer(&one), dropped(&one)]);
    }
}

//! Intake: everything is bounded before it costs anything. What comes out is parsed and complete but
//! for its ciphertext, which is fetched after the sender was verified and admitted.

pub mod rates;

pub mod frames;

pub mod held;

pub mod rejection;

pub mod sealings;

pub mod turns;

use std::time::Duration;

use schakel_proto::packet::parse::ParsedSubmission;
use schakel_proto::refusal::{Fault, Refusal};

use crate::roles::Caller;
use crate::state::State;
use crate::store::{StoreError, StoreHealth};
use frames::{Frames, SubmitStream};
use rates::Place;
use turns::Turn;

/// A submission whose head and key packets are within every bound and fit each other. Nobody has
/// checked who signed it.
pub struct Received {
    caller: Caller,
    parsed: ParsedSubmission,
    frames: Frames,
    place: Place,
    turn: Turn,
}

/// Takes head and key packets off the stream.
///
/// # Errors
/// Too fast, too many at once, no room, frames out of order, or a defect of the head.
pub async fn receive(state: &State, caller: Caller, stream: SubmitStream) -> Result<Received, Refusal> {
    let now = state.clock.now();
    let place = state.submissions.enter(caller.agency(), now)?;
    let _valid = state.directories.valid(now)?;
    match state.store.health() {
        StoreHealth::Full => return Err(StoreError::Full.into()),
        StoreHealth::Away => return Err(StoreError::Away("it is not reached".into()).into()),
        StoreHealth::Ready | StoreHealth::Stopped => {}
    }
    let idle = Duration::from_secs(state.bounds.body_max_seconds);
    let mut frames = Frames::new(stream).of(caller.agency(), &state.held, idle);
    let head = frames.head().await?;
    // Nobody has a turn while the network is waited for.
    let turn = state.turns.take(caller.agency()).await?;
    let head = ParsedSubmission::parse(&head)?;
    drop(turn);
    for sealing in head.sealings() {
        if sealing.length > state.bounds.part_max_bytes {
            let sentence = format!("A part is longer than {} bytes", state.bounds.part_max_bytes);
            let remedy = "Send a shorter part, or ask the broker's operator for its limits.";
            let refusal = Refusal::new(Fault::Invalid, "PART_TOO_LONG", sentence, remedy);
            return Err(refusal.at(sealing.part_id.to_string()));
        }
    }
    let key_packets = frames
        .key_packets(head.parts().len() * head.recipients().len())
        .await?;
    let turn = state.turns.take(caller.agency()).await?;
    let parsed = head.with_key_packets(key_packets)?;
    frames.expect(parsed.sealings().map(|sealing| sealing.length).sum());
    Ok(Received {
        caller,
        parsed,
        frames,
        place,
        turn,
    })
}

impl Received {
    /// For the next stage.
    pub(crate) fn into_parts(self) -> (Caller, ParsedSubmission, Rest) {
        (
            self.caller,
            self.parsed,
            Rest {
                frames: self.frames,
                place: self.place,
                turn: Some(self.turn),
            },
        )
    }
}

/// What is still to come of a submission, with its place among those in flight.
pub(crate) struct Rest {
    pub(crate) frames: Frames,
    place: Place,
    /// Until it is admitted.
    turn: Option<Turn>,
}

impl Rest {
    /// Everything is checked that can be before the ciphertext: the agency's next submission has its turn.
    pub(crate) fn checked(&mut self) {
        self.turn = None;
    }

    /// Nothing more comes; the place is held until the packet is durable.
    pub(crate) fn into_place(self) -> Place {
        self.place
    }
}

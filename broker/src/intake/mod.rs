//! Intake: everything is bounded before it costs anything. What comes out is parsed and complete but
//! for its ciphertext, which is fetched after the sender was verified and admitted.

pub mod rates;

pub mod frames;

pub mod held;

pub mod rejection;

pub mod sealings;

use std::time::Duration;

use schakel_proto::packet::parse::ParsedSubmission;
use schakel_proto::refusal::{Fault, Refusal};

use crate::roles::Caller;
use crate::state::State;
use crate::store::StoreHealth;
use frames::{Frames, SubmitStream};
use rates::Place;

/// A submission whose head and key packets are within every bound and fit each other. Nobody has
/// checked who signed it.
pub struct Received {
    caller: Caller,
    parsed: ParsedSubmission,
    frames: Frames,
    place: Place,
}

/// Takes head and key packets off the stream.
///
/// # Errors
/// Too fast, too many at once, no room, frames out of order, or a defect of the head.
pub async fn receive(state: &State, caller: Caller, stream: SubmitStream) -> Result<Received, Refusal> {
    let now = state.clock.now();
    let place = state.submissions.enter(caller.agency(), now)?;
    let _valid = state.directories.valid(now)?;
    if state.store.health() == StoreHealth::Full {
        return Err(crate::store::StoreError::Full.into());
    }
    let idle = Duration::from_secs(state.bounds.body_max_seconds);
    let mut frames = Frames::new(stream).of(caller.agency(), &state.held, idle);
    let head = ParsedSubmission::parse(&frames.head().await?)?;
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
    let parsed = head.with_key_packets(key_packets)?;
    frames.expect(parsed.sealings().map(|sealing| sealing.length).sum());
    Ok(Received {
        caller,
        parsed,
        frames,
        place,
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
            },
        )
    }
}

/// What is still to come of a submission, with its place among those in flight.
pub(crate) struct Rest {
    pub(crate) frames: Frames,
    place: Place,
}

impl Rest {
    /// Nothing more comes; the place is held until the packet is durable.
    pub(crate) fn into_place(self) -> Place {
        self.place
    }
}

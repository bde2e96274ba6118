//! The ciphertext of an admitted packet: streamed into the store, each sealing in its announced turn,
//! length and digest checked; memory stays flat.

use schakel_proto::ids::PartId;
use schakel_proto::openpgp::Profile;
use schakel_proto::packet::descriptor::Sealing;
use schakel_proto::packet::parse::{CheckedSealing, SealingCheck};
use schakel_proto::packet::verify::CompleteSubmission;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::wire;

use crate::admit::AdmittedPacket;
use crate::intake::frames::Frames;
use crate::intake::rates::Place;
use crate::roles::Caller;
use crate::state::State;
use crate::store::StoredContent;

/// An admitted packet whose ciphertext came, whole and unchanged; not yet durable.
pub struct CompletePacket {
    caller: Caller,
    submission: CompleteSubmission,
    outlook: Vec<wire::Outlook>,
    contents: Vec<Content>,
    place: Place,
}

/// One sealing's bytes in the store.
pub(crate) struct Content {
    pub(crate) part: PartId,
    pub(crate) profile: Profile,
    pub(crate) stored: StoredContent,
}

/// Fetches all ciphertext.
///
/// # Errors
/// Bytes that are missing, too many or others than announced; a pause; no room. Nothing is kept then.
pub async fn fetch(state: &State, admitted: AdmittedPacket) -> Result<CompletePacket, Refusal> {
    let (caller, submission, outlook, mut rest) = admitted.into_parts();
    let sealings: Vec<Sealing> = submission.parsed().sealings().cloned().collect();
    let mut proofs = Vec::with_capacity(sealings.len());
    let mut contents = Vec::with_capacity(sealings.len());
    for sealing in &sealings {
        let (proof, stored) = one(state, sealing, &mut rest.frames).await?;
        proofs.push(proof);
        contents.push(Content {
            part: sealing.part_id,
            profile: sealing.profile,
            stored,
        });
    }
    if rest.frames.chunk().await?.is_some() {
        return Err(stray("There is more than the head announced"));
    }
    let place = rest.into_place();
    let submission = submission.complete(&proofs)?;
    Ok(CompletePacket {
        caller,
        submission,
        outlook,
        contents,
        place,
    })
}

async fn one(
    state: &State,
    sealing: &Sealing,
    frames: &mut Frames,
) -> Result<(CheckedSealing, StoredContent), Refusal> {
    let mut check = SealingCheck::new(sealing);
    let mut spool = state.store.spool(sealing.length).await?;
    while check.position() < sealing.length {
        let Some(chunk) = frames.chunk().await? else {
            return Err(stray("The stream ended before all chunks came").at(sealing.part_id.to_string()));
        };
        let in_turn = chunk.part_id.as_ref() == sealing.part_id.as_bytes()
            && chunk.profile == sealing.profile.to_wire()
            && chunk.offset == check.position();
        if !in_turn {
            return Err(stray("A chunk is not the one that was due").at(sealing.part_id.to_string()));
        }
        check.update(&chunk.data)?;
        spool.write(&chunk.data).await?;
    }
    let proof = check.finish()?;
    let stored = spool.finish(sealing.sha256).await?;
    Ok((proof, stored))
}

fn stray(sentence: &'static str) -> Refusal {
    let remedy = "Send each sealing's chunks in the order of the head, without gap or overlap.";
    Refusal::new(Fault::Invalid, "CHUNK_OUT_OF_ORDER", sentence, remedy)
}

impl CompletePacket {
    /// The submission and the proof that it is complete.
    pub fn submission(&self) -> &CompleteSubmission {
        &self.submission
    }

    /// For the next stage.
    pub(crate) fn into_parts(
        self,
    ) -> (
        Caller,
        CompleteSubmission,
        Vec<wire::Outlook>,
        Vec<Content>,
        Place,
    ) {
        (
            self.caller,
            self.submission,
            self.outlook,
            self.contents,
            self.place,
        )
    }
}

//! Receipts: out of the log, to each agency what concerns it, in log order, each entry under a signed
//! checkpoint; and consistency proofs between checkpoints, for everyone.

use std::sync::Arc;

use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire;
use tokio::sync::mpsc;

use crate::roles::Caller;
use crate::state::State;

/// Entries read at once.
const PAGE_COUNT: usize = 64;
/// Entries ahead of a slow reader.
const AHEAD_COUNT: usize = 16;

/// What a follower gets.
pub type EvidenceFrames = mpsc::Receiver<Result<wire::FollowEvidenceFrame, tonic::Status>>;

/// Sends everything that concerns the caller from a position on, then what comes, until the reader goes,
/// the broker stops or the caller is no longer who it was. `place` is held for as long.
pub fn follow(
    state: Arc<State>,
    caller: Caller,
    request: &wire::FollowEvidenceRequest,
    place: crate::intake::rates::Place,
) -> EvidenceFrames {
    let (line, frames) = mpsc::channel(AHEAD_COUNT);
    let from = request.after_index_plus_one;
    tokio::spawn(async move {
        let _place = place;
        let mut stop = state.stop.clone();
        let end = tokio::select! {
            end = run(&state, caller, from, &line) => end,
            _ = stop.wait_for(|stop| *stop) => Ok(()),
            () = line.closed() => Ok(()),
        };
        if let Err(refusal) = end {
            // A reader that is gone needs no reason.
            let _gone = line.send(Err(refusal.to_status())).await;
        }
    });
    frames
}

type Line = mpsc::Sender<Result<wire::FollowEvidenceFrame, tonic::Status>>;

async fn run(state: &State, mut caller: Caller, mut from: u64, line: &Line) -> Result<(), Refusal> {
    let mut news = state.log.watch();
    loop {
        news.mark_unchanged();
        loop {
            caller = caller.again(state.directories.current())?;
            let page = state
                .evidences
                .since(state.store.as_ref(), caller.agency(), from, PAGE_COUNT)
                .await?;
            let (evidences, next) = page;
            for evidence in evidences {
                let frame = wire::FollowEvidenceFrame {
                    evidence: Some(evidence),
                };
                if line.send(Ok(frame)).await.is_err() {
                    return Ok(());
                }
            }
            if next == from {
                break;
            }
            from = next;
        }
        if news.changed().await.is_err() {
            return Err(stopped());
        }
    }
}

fn stopped() -> Refusal {
    let sentence = "The broker's log has stopped";
    Refusal::new(Fault::Unavailable, "LOG_STOPPED", sentence, "Try again later.").retry_after(5_000)
}

/// The newest checkpoint with its cosignatures, and the proof from size `from_size` to `to_size` (0: to the newest).
///
/// # Errors
/// The log is empty, or shorter than what the caller saw: then it was rewritten or restored.
pub async fn consistency(
    state: &State,
    request: &wire::GetConsistencyRequest,
) -> Result<wire::GetConsistencyAnswer, Refusal> {
    let latest = state.store.latest_checkpoint().await?.ok_or_else(|| {
        let sentence = "The log has no checkpoint yet";
        Refusal::new(Fault::Unavailable, "LOG_EMPTY", sentence, "Try again later.").retry_after(1_000)
    })?;
    let (from, to) = match (request.from_size, request.to_size) {
        (from, 0) => (from, latest.size),
        range => range,
    };
    if from > latest.size || to > latest.size {
        let sentence = format!("The log has {} leaves, fewer than were seen before", latest.size);
        let remedy = "Keep the checkpoint that was seen as evidence and tell the network's authority.";
        return Err(Refusal::new(Fault::Precondition, "LOG_SHORTER", sentence, remedy).at("from_size"));
    }
    if from > to {
        let sentence = "A proof leads from a smaller size to a larger one";
        let refusal = Refusal::new(
            Fault::Invalid,
            "SIZES_REVERSED",
            sentence,
            "Ask for it the other way round.",
        );
        return Err(refusal.at("to_size"));
    }
    let proof = match from {
        0 => Vec::new(),
        from if from == to => Vec::new(),
        from => state.store.consistency(from, to).await?,
    };
    let proof = proof.iter().map(|hash| hash.to_vec().into()).collect();
    let from_root = if from < to && from.is_power_of_two() {
        let level = u8::try_from(from.trailing_zeros()).unwrap_or(u8::MAX);
        state.store.node(Node { level, index: 0 }).await?
    } else {
        None
    };
    Ok(wire::GetConsistencyAnswer {
        checkpoint: state.cosigned.dress(&latest),
        proof,
        from_root: from_root.map(|root| root.to_vec().into()).unwrap_or_default(),
    })
}

/// Takes the caller's cosignature, if it brings one; then says what is to be cosigned and what was.
///
/// # Errors
/// The cosignature does not hold, or its maker is no witness.
pub async fn cosign(
    state: &State,
    caller: &Caller,
    request: &wire::CosignRequest,
) -> Result<wire::CosignAnswer, Refusal> {
    let (store, directory, now) = (state.store.as_ref(), caller.directory(), state.clock.now());
    if !request.cosignature.is_empty() {
        let brought = (caller.agency(), request);
        state.cosigned.take(store, brought, (directory, now)).await?;
    }
    let newest = store.latest_checkpoint().await?;
    state
        .cosigned
        .held_up(store, newest.as_ref(), (directory, now))
        .await
}

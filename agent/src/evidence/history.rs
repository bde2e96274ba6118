//! One history behind all the checkpoints of a pack: the broker is asked for the proof from each of them to the newest.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogKey, SignedCheckpoint};
use schakel_proto::tlog::proof::check_consistency;

use crate::agent::Agent;
use crate::audit;
use crate::problem::{Kind, Problem};

/// Attempts to get proofs that all end in the same checkpoint while the log grows.
const ATTEMPTS_MAX_COUNT: usize = 16;
/// Proofs asked for at once.
const AT_ONCE_COUNT: usize = 16;

/// The newest checkpoint, and the proof that it extends each smaller one, by its size.
pub(super) struct History {
    pub(super) newest: SignedCheckpoint,
    pub(super) proofs: BTreeMap<u64, Vec<Digest>>,
}

/// What can be said without asking: the newest that is there, and no proofs.
pub(super) fn known(checkpoints: &BTreeMap<u64, SignedCheckpoint>) -> Option<History> {
    let newest = checkpoints.values().next_back()?.clone();
    let proofs = BTreeMap::new();
    Some(History { newest, proofs })
}

/// Asks the broker. A contradiction is kept and ends all trust, as at any other contact.
///
/// # Errors
/// The broker is not reached, shows another history, or shows checkpoints faster than proofs.
pub(super) async fn asked(
    agent: &Arc<Agent>,
    key: &LogKey,
    checkpoints: &BTreeMap<u64, SignedCheckpoint>,
) -> Result<History, Problem> {
    let mut client = agent.client();
    for checkpoint in checkpoints.values() {
        agent.audit.place(&mut client, key, checkpoint).await?;
    }
    for _ in 0..ATTEMPTS_MAX_COUNT {
        let newest = audit::fetch(&mut client, key, 0).await?.checkpoint;
        let smaller = checkpoints.keys().copied().filter(|size| *size < newest.size());
        let ask = |size| {
            let mut client = agent.client();
            async move {
                audit::fetch(&mut client, key, size)
                    .await
                    .map(|answer| (size, answer))
            }
        };
        let answers: Vec<_> = stream::iter(smaller.map(ask).collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE_COUNT)
            .try_collect()
            .await?;
        if answers
            .iter()
            .any(|(_, answer)| answer.checkpoint.size() != newest.size())
        {
            continue;
        }
        agent.audit.place(&mut client, key, &newest).await?;
        let mut proofs = BTreeMap::new();
        for (size, answer) in answers {
            let Some(older) = checkpoints.get(&size) else {
                continue;
            };
            check_consistency(size, newest.size(), &answer.proof, &older.root(), &newest.root()).map_err(
                |e| Problem::distrust("LOG_CHECKPOINT", format!("the broker's proof does not hold: {e}")),
            )?;
            proofs.insert(size, answer.proof);
        }
        return Ok(History { newest, proofs });
    }
    let sentence = "the broker shows no checkpoint that all proofs end in";
    let remedy = "Try again when less is going on.";
    Err(Problem::new(Kind::Later, "LOG_MOVING", sentence, remedy))
}

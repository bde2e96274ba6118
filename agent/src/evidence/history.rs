//! One history behind all the checkpoints of a pack: the broker is asked for the proof from each of them to the newest.

use std::collections::BTreeMap;
use std::sync::Arc;

use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::shards::Shards;

use crate::agent::Agent;
use crate::problem::Problem;

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
/// The broker is not reached, or shows another history.
pub(super) async fn asked(
    agent: &Arc<Agent>,
    shards: &Shards,
    checkpoints: &BTreeMap<u64, SignedCheckpoint>,
) -> Result<History, Problem> {
    let mut client = agent.client();
    let newest = agent.audit.fetch(&mut client, shards, 0).await?.checkpoint;
    agent.audit.place(&mut client, shards, &newest).await?;
    let mut proofs = BTreeMap::new();
    for (size, older) in checkpoints {
        let proof = agent.audit.between(&mut client, shards, (older, &newest)).await?;
        if *size < newest.size() {
            proofs.insert(*size, proof);
        }
    }
    Ok(History { newest, proofs })
}

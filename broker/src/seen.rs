//! What a sender says that it saw of the log must be of this log. An agent that is told of another history accepts
//! nothing of the packet and answers nothing, since it cannot know who lies: so a member that makes one up would have its
//! packets come again and again at honest recipients. The broker can know, and refuses.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::packet::manifest::CheckpointSeen;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::proof::check_consistency;

use crate::store::Store;

/// Checkpoints remembered as this log's.
const KNOWN_MAX_COUNT: usize = 1_024;

/// Checkpoints that were found to be of this log.
#[derive(Default)]
pub struct Known(Mutex<VecDeque<(u64, Digest)>>);

impl Known {
    /// Checks what a manifest says that its sender saw.
    ///
    /// # Errors
    /// It is not of this log; or the store does not answer.
    pub async fn check(
        &self,
        store: &dyn Store,
        directory: &Directory,
        seen: Option<&CheckpointSeen>,
    ) -> Result<(), Refusal> {
        let Some(seen) = seen else { return Ok(()) };
        let one = (seen.size, seen.root);
        let shards = directory.log().shards();
        shards
            .within(&seen.origin, seen.size, &seen.root)
            .map_err(|_| unknown())?;
        if self.has(one) {
            return Ok(());
        }
        let newest = store.latest_checkpoint().await?;
        let Some(newest) = newest.filter(|newest| seen.size <= newest.size) else {
            return Err(unknown());
        };
        let proof = if (1..newest.size).contains(&seen.size) {
            store.consistency(seen.size, newest.size).await?
        } else {
            Vec::new()
        };
        check_consistency(seen.size, newest.size, &proof, &seen.root, &newest.root).map_err(|_| unknown())?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX_COUNT {
            known.pop_front();
        }
        known.push_back(one);
        Ok(())
    }

    fn has(&self, one: (u64, Digest)) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(&one)
    }
}

fn unknown() -> Refusal {
    let sentence = "The packet names a checkpoint that is not of this log";
    let remedy = "Fetch the newest checkpoint and have it proved against the one that was seen; if that fails, tell \
                  the network's authority. Then seal anew.";
    Refusal::new(Fault::Precondition, "CHECKPOINT_UNKNOWN", sentence, remedy).at("manifest.checkpoint_seen")
}

//! What a former shard's key signed beyond the end of its shard: whoever shows it to us has a stolen key, or got it from
//! somebody who has. It is kept beside the shard's last checkpoint, and proves that to anybody.

use std::time::Duration;

use schakel_proto::evidence::EvidenceError;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{CheckpointError, NOTE_MAX_BYTES, SignedCheckpoint};
use schakel_proto::tlog::contradiction::Given;
use schakel_proto::tlog::proof::PROOF_MAX_COUNT;
use schakel_proto::tlog::shards::{Opens, Shards};
use schakel_proto::wire;
use tokio::time::Instant;

use super::{Answer, Audit, COSIGNED, LAST};
use crate::agent::Agent;
use crate::disk;
use crate::problem::{Kind, Problem};
use crate::transport::{Client, bounded};

/// The code of a checkpoint beyond the end of a frozen shard.
pub const FROZEN: &str = "LOG_FROZEN";
/// The code of a checkpoint of a shard that our directory does not name.
pub const UNKNOWN: &str = "LOG_SHARD_UNKNOWN";

/// The code of a broker whose log has fewer leaves than we saw.
pub(super) const SHORTER: &str = "LOG_SHORTER";
/// How long a broker may say so before it counts: brokers on one database are some 100 ms behind each other.
const BEHIND_MAX: Duration = Duration::from_secs(5);
/// How often it is asked meanwhile.
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(200);

/// A checkpoint of a name that the directory does not have: ours may be older than the log's newest shard.
fn unknown() -> Problem {
    let sentence = "the log shows a checkpoint of a shard that our directory does not name";
    let remedy = "The agent fetches the newest directory and tries again by itself.";
    Problem::new(Kind::Later, UNKNOWN, sentence, remedy)
}

/// Why evidence of the log is not taken; `code` where nothing more is known.
pub fn problem(error: &EvidenceError, code: &str, what: &str) -> Problem {
    match error {
        EvidenceError::Checkpoint(CheckpointError::Origin) => unknown(),
        EvidenceError::Checkpoint(CheckpointError::Frozen) => {
            Problem::distrust(FROZEN, format!("{what}{error}"))
        }
        _ => Problem::distrust(code, format!("{what}{error}")),
    }
}

/// Proves that the log goes on where we saw it last; a newer directory is fetched if it is in a shard that ours does not
/// name. That it is empty is no problem.
pub async fn contact(agent: &Agent, client: &mut Client) -> Result<(), Problem> {
    let view = agent.network.view()?;
    match agent.audit.contact(client, view.shards()).await {
        Err(problem) if problem.code == "LOG_EMPTY" => Ok(()),
        Err(problem) if problem.code == UNKNOWN => {
            agent.network.refresh(client).await?;
            let view = agent.network.view()?;
            agent.audit.contact(client, view.shards()).await
        }
        placed => placed,
    }
}

impl Audit {
    /// Opens a note that we are shown. What a former shard's key signed beyond its end is kept as proof.
    pub(crate) fn opened(&self, shards: &Shards, note: &[u8]) -> Result<SignedCheckpoint, Problem> {
        shards.open(note).map_err(|error| match error {
            CheckpointError::Origin => unknown(),
            CheckpointError::Frozen => self.forged(shards, note),
            error => {
                let sentence = format!("the broker's checkpoint does not hold: {error}");
                Problem::distrust("LOG_CHECKPOINT", sentence)
            }
        })
    }

    /// Keeps a checkpoint that a former shard's key signed beyond its end, and refuses everything from here on.
    pub(crate) fn forged(&self, shards: &Shards, note: &[u8]) -> Problem {
        let what = "a frozen shard of the log was continued: somebody else has its key";
        let Some(forged) = shards.forged(note) else {
            return Problem::distrust(FROZEN, what);
        };
        let kept = self.contradict(forged.shard.last(), &forged.checkpoint, what);
        Problem::distrust(FROZEN, what).at(kept.place)
    }

    /// The same where a hand-over's evidence was not taken for this reason; else the problem as it is.
    pub(crate) fn forged_in(&self, shards: &Shards, hand_over: &wire::HandOver, problem: Problem) -> Problem {
        let shown = [&hand_over.submission, &hand_over.consignment]
            .into_iter()
            .flatten();
        let mut notes = shown.map(|evidence| &*evidence.checkpoint);
        match notes.find(|note| problem.code == FROZEN && shards.forged(note).is_some()) {
            Some(note) => self.forged(shards, note),
            None => problem,
        }
    }

    /// Notes of ours that are beyond the end of their shard: we were shown them before we knew of the end. They are kept as
    /// proof, and the shard's last checkpoint takes their place.
    pub(super) fn set_aside(&self, shards: &Shards) -> Result<Option<Problem>, Problem> {
        let mut problem = None;
        for name in [LAST, COSIGNED] {
            let path = self.dir.join(name);
            let note = disk::read(&path, NOTE_MAX_BYTES as u64)?.unwrap_or_default();
            if let Some(forged) = shards.forged(&note) {
                problem = Some(self.forged(shards, &note));
                self.disk.write(&path, forged.shard.last().note())?;
            }
        }
        Ok(problem)
    }

    /// The newest checkpoint, with the proof from this size to it.
    pub(crate) async fn fetch(
        &self,
        client: &mut Client,
        shards: &Shards,
        from_size: u64,
    ) -> Result<Answer, Problem> {
        self.fetch_between(client, shards, (from_size, 0)).await
    }

    /// The newest checkpoint, and the proof between two sizes; 0 as the second: to the newest. A broker that says that its
    /// log is shorter is asked again for a while: it may be a moment behind another one, at which we saw more.
    pub(super) async fn fetch_between(
        &self,
        client: &mut Client,
        shards: &Shards,
        sizes: (u64, u64),
    ) -> Result<Answer, Problem> {
        let until = Instant::now() + BEHIND_MAX;
        loop {
            match self.fetch_once(client, shards, sizes).await {
                Err(problem) if problem.code == SHORTER && Instant::now() < until => {
                    tracing::debug!(
                        from = sizes.0,
                        "the broker's log is shorter than what was seen: asked again"
                    );
                    tokio::time::sleep(ASK_AGAIN_EVERY).await;
                }
                answer => return answer,
            }
        }
    }

    async fn fetch_once(
        &self,
        client: &mut Client,
        shards: &Shards,
        (from_size, to_size): (u64, u64),
    ) -> Result<Answer, Problem> {
        let request = bounded(wire::GetConsistencyRequest { from_size, to_size });
        let answer = client.get_consistency(request).await?.into_inner();
        let checkpoint = self.opened(shards, &answer.checkpoint)?;
        let wrong = |what: String| Problem::distrust("LOG_CHECKPOINT", what);
        if answer.proof.len() > PROOF_MAX_COUNT {
            return Err(wrong("the consistency proof is too long".into()));
        }
        let proof: Result<Vec<_>, _> = answer.proof.iter().map(|h| Digest::try_from(&**h)).collect();
        let proof = proof.map_err(|e| wrong(format!("the consistency proof is malformed: {e}")))?;
        // Nothing is believed because of it: what is not a hash is as good as nothing.
        let from_root = Digest::try_from(&*answer.from_root).ok();
        let given = Given { proof, from_root };
        Ok(Answer { checkpoint, given })
    }
}

//! Receipts become witnessed: when enough witnesses have cosigned a checkpoint, each log entry kept beside a packet that
//! stands in its tree gets the proof of it, checked as anybody can check it offline. A receipt that is witnessed once
//! stays so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use schakel_proto::evidence;
use schakel_proto::ids::{Digest, PacketId};
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::shards::Opens;
use schakel_proto::tlog::witnessed::{Standing, check};
use schakel_proto::wire;

use crate::agent::{Agent, blocking};
use crate::directory::View;
use crate::disk;
use crate::outbox::record::Cosigned;
use crate::problem::Problem;
use crate::transport::Client;

/// Entries that are proved witnessed in one round; the others follow in the next.
const ENTRIES_MAX_COUNT: usize = 512;

/// The newest witnessed checkpoint that this agent checked.
#[derive(Default)]
pub struct Newest(Mutex<Option<SignedCheckpoint>>);

impl Newest {
    /// Its size; none: there was none since the start.
    pub fn size(&self) -> Option<u64> {
        self.get().map(|one| one.size())
    }

    /// Its note.
    pub fn note(&self) -> Option<Vec<u8>> {
        self.get().map(|one| one.note().to_vec())
    }

    fn get(&self) -> Option<SignedCheckpoint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes up what the broker says that enough witnesses cosigned, and proves with it what it proves.
///
/// # Errors
/// It does not hold, or is not of the history that this agent saw: then nothing is taken from it.
pub async fn take(agent: &Arc<Agent>, client: &mut Client, view: &View, note: &[u8]) -> Result<(), Problem> {
    let known = agent.witness.newest.get();
    let checkpoint = match known {
        Some(known) if note.is_empty() || known.note() == note => known,
        known => {
            if note.is_empty() {
                return Ok(());
            }
            let checkpoint = judge(agent, view, note)?;
            if known.is_some_and(|known| known.size() > checkpoint.size()) {
                return Ok(());
            }
            agent.audit.place(client, view.shards(), &checkpoint).await?;
            let newest = Some(checkpoint.clone());
            *agent
                .witness
                .newest
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = newest;
            checkpoint
        }
    };
    prove(agent, client, view, checkpoint).await
}

/// Packets that the broker took and does not show the receipt of, though the log has gone on: it withholds the receipt,
/// or never logged them. Their sealed copies stay here.
pub fn overdue(agent: &Agent) -> Vec<PacketId> {
    let now = agent.clock.now();
    let records = agent.outbox.all();
    let late = records.iter().filter(|record| record.is_receipt_overdue(now));
    late.map(|record| record.packet).collect()
}

/// Says once of each packet that its receipt is overdue, and keeps what was promised beside the log's newest checkpoint.
pub async fn note_overdue(agent: &Arc<Agent>) -> Result<(), Problem> {
    let agent = Arc::clone(agent);
    blocking(move || {
        for packet in overdue(&agent).into_iter().take(ENTRIES_MAX_COUNT) {
            let record = agent.outbox.known(&packet)?;
            let path = agent.outbox.folder(packet).join("receipt-overdue.json");
            if path.is_file() {
                continue;
            }
            let seen = agent.checkpoint_seen()?;
            let promised = serde_json::json!({
                "packet": packet,
                "accepted": record.accepted,
                "noticed_ms": agent.clock.now().millis(),
                "checkpoint_size": seen.as_ref().map(|seen| seen.size),
                "checkpoint_root": seen.as_ref().map(|seen| hex::encode(&seen.root)),
            });
            agent.disk.write(&path, &disk::to_json(&promised, &path)?)?;
            tracing::error!(%packet, "alarm: RECEIPT_OVERDUE: the broker took a packet and shows no receipt of it");
        }
        Ok(())
    })
    .await
}

/// The note, if enough of the directory's witnesses cosigned it.
fn judge(agent: &Agent, view: &View, note: &[u8]) -> Result<SignedCheckpoint, Problem> {
    let wrong = |what: String| Problem::distrust("WITNESSED_WRONG", what);
    let checkpoint = agent.audit.opened(view.shards(), note)?;
    let standing = view.directory().log().watch().standing(&checkpoint);
    let standing = standing.map_err(|e| wrong(format!("what is shown as witnessed does not hold: {e}")))?;
    match standing {
        Standing::Witnessed { .. } => Ok(checkpoint),
        Standing::Provisional { by, needed } => {
            let count = by.len();
            let sentence = format!("shown as witnessed, but {count} witnesses cosigned it and {needed} must");
            Err(wrong(sentence))
        }
    }
}

/// Proves the entries that this checkpoint's tree holds.
async fn prove(
    agent: &Arc<Agent>,
    client: &mut Client,
    view: &View,
    cosigned: SignedCheckpoint,
) -> Result<(), Problem> {
    let size = cosigned.size();
    let mut room = ENTRIES_MAX_COUNT;
    let mut proofs: BTreeMap<u64, Vec<Digest>> = BTreeMap::new();
    for record in agent.outbox.all() {
        let due: Vec<u64> = record.provisional.range(..size).take(room).copied().collect();
        if due.is_empty() {
            continue;
        }
        room -= due.len();
        let mut proved = Vec::with_capacity(due.len());
        for index in due {
            let Some(kept) = agent.outbox.evidence(&record.packet, index)? else {
                continue;
            };
            // One of a log that was closed since stays as it is; the others go on.
            let Ok(own) = view.shards().open(&kept.checkpoint) else {
                continue;
            };
            let proof = match proofs.get(&own.size()) {
                Some(proof) => proof.clone(),
                None => {
                    let sides = (&own, &cosigned);
                    agent.audit.between(client, view.shards(), sides).await?
                }
            };
            let consistency = proof.iter().map(|hash| hash.to_vec().into()).collect();
            proofs.insert(own.size(), proof);
            let proof = wire::WitnessProof {
                size,
                checkpoint: cosigned.note().to_vec().into(),
                consistency,
            };
            proved.push((index, kept, proof));
        }
        keep(agent, record.packet, proved).await?;
        agent.changed();
    }
    Ok(())
}

/// Checks the proofs of a packet's entries as anybody would, and keeps them.
async fn keep(
    agent: &Arc<Agent>,
    packet: PacketId,
    proved: Vec<(u64, wire::Evidence, wire::WitnessProof)>,
) -> Result<(), Problem> {
    let agent = Arc::clone(agent);
    blocking(move || {
        let view = agent.network.view()?;
        let wrong = |what: String| Problem::distrust("WITNESSED_WRONG", what).at(packet);
        let watch = view.directory().log().watch();
        let mut witnessed = Vec::with_capacity(proved.len());
        for (index, kept, proof) in proved {
            let checked = evidence::check(&kept, agent.network.name(), view.shards());
            let checked = checked.map_err(|e| wrong(e.to_string()))?;
            let standing = check(&checked, &proof, view.shards(), watch).map_err(|e| wrong(e.to_string()))?;
            let Standing::Witnessed { by } = standing else {
                continue;
            };
            let cosigned = Cosigned {
                size: proof.size,
                by: by.into_iter().map(|one| one.agency).collect(),
                of: watch.count(),
                needed: watch.needed(),
            };
            agent.outbox.keep_witness(&packet, index, proof)?;
            witnessed.push((index, cosigned));
        }
        agent.outbox.update(&packet, |record| {
            for (index, cosigned) in witnessed {
                record.note_witnessed(index, cosigned);
            }
        })?;
        Ok(())
    })
    .await
}

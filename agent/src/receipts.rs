//! The sender's side of the log: every entry that concerns us is checked, kept beside its packet, and
//! turned into the outcome of each part for each recipient. Only what is proved here settles a packet.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use schakel_proto::evidence::{self, CheckedEvidence, Decision, Event};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::party::AgencyId;
use schakel_proto::wire;

use crate::agent::{Agent, blocking};
use crate::clock::randomness;
use crate::disk;
use crate::outbox::record::{Accepted, PartState, Record, State};
use crate::problem::Problem;
use crate::transport::backoff::Backoff;

/// File that holds the position in the log from which to go on.
const CURSOR: &str = "evidence-cursor.json";

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(randomness());
    loop {
        let problem = match follow(&agent, &mut backoff).await {
            Ok(()) => Problem::from(tonic::Status::unavailable("the stream of evidence ended")),
            Err(problem) => problem,
        };
        if problem.is_temporary() {
            tracing::debug!(code = problem.code, "following the log again");
        } else {
            tracing::error!(
                code = problem.code,
                sentence = problem.sentence,
                "evidence does not hold"
            );
        }
        tokio::time::sleep(
            backoff
                .next(problem.retry_after_ms)
                .max(Duration::from_millis(50)),
        )
        .await;
    }
}

async fn follow(agent: &Arc<Agent>, backoff: &mut Backoff) -> Result<(), Problem> {
    let view = agent.network.view()?;
    let path = agent.config.data_dir.join(CURSOR);
    let after_index_plus_one: u64 = disk::read_json(&path)?.unwrap_or_default();
    let mut client = agent.client();
    let request = wire::FollowEvidenceRequest { after_index_plus_one };
    let mut frames = client.follow_evidence(request).await?.into_inner();
    let mut next = after_index_plus_one;
    while let Some(frame) = frames.message().await? {
        backoff.reset();
        let evidence = frame.evidence.unwrap_or_default();
        let wrong = |e: evidence::EvidenceError| Problem::distrust("EVIDENCE_WRONG", e.to_string());
        let checked = evidence::check(&evidence, agent.network.name(), view.log_key()).map_err(wrong)?;
        if checked.index() < next {
            return Err(Problem::distrust(
                "EVIDENCE_ORDER",
                "an entry came out of the log's order",
            ));
        }
        agent
            .audit
            .place(&mut client, view.log_key(), checked.checkpoint())
            .await?;
        next = checked.index() + 1;
        let (agent, path) = (Arc::clone(agent), path.clone());
        blocking(move || {
            apply(&agent, &evidence, &checked)?;
            agent.disk.write(&path, &disk::to_json(&next, &path)?)
        })
        .await?;
    }
    Ok(())
}

/// Applies one checked entry. Idempotent: entries seen before change nothing.
fn apply(agent: &Agent, evidence: &wire::Evidence, checked: &CheckedEvidence) -> Result<(), Problem> {
    let body = checked.body();
    let ours = body.sender.as_ref() == Some(agent.network.agency());
    let Some(packet) = body.packet.filter(|_| ours) else {
        return Ok(());
    };
    let Some(record) = agent.outbox.get(&packet) else {
        return Ok(());
    };
    if body.manifest_digest != Some(record.manifest_digest) {
        tracing::error!(%packet, "alarm: the log names our packet with another manifest");
        return Ok(());
    }
    agent.outbox.keep_evidence(&packet, checked.index(), evidence)?;
    let acknowledged = match body.event {
        Event::ContentHandover | Event::ContentHandoverFailure => match acknowledgement(agent, checked) {
            Ok(said) => Some(said),
            Err(problem) => {
                tracing::error!(%packet, code = problem.code, "alarm: an acknowledgement does not hold");
                return Ok(());
            }
        },
        _ => None,
    };
    agent
        .outbox
        .update(&packet, |record| change(record, checked, acknowledged.as_ref()))?;
    if agent.outbox.settle_if_proved(&packet)? {
        tracing::info!(%packet, "settled: every outcome is proved");
    }
    agent.changed();
    Ok(())
}

/// What a recipient signed.
struct Said {
    recipient: AgencyId,
    parts: Vec<PartId>,
    state: PartState,
    reason: String,
}

/// Checks that the recipient itself signed the acknowledgement that the entry is about.
fn acknowledgement(agent: &Agent, checked: &CheckedEvidence) -> Result<Said, Problem> {
    let wrong = |what: &str| Problem::distrust("ACKNOWLEDGEMENT_WRONG", format!("an acknowledgement {what}"));
    let body = checked.body();
    let signed = checked.attachment().ok_or_else(|| wrong("is missing"))?;
    let said = wire::Acknowledgement::decode(&*signed.bytes).map_err(|_| wrong("does not parse"))?;
    let recipient = body.recipient.clone().ok_or_else(|| wrong("is nobody's"))?;
    let packet = PacketId::try_from(&*said.packet_id).ok();
    let digest = Digest::try_from(&*said.manifest_digest).ok();
    let about_it = said.r#type == "schakel.v1.Acknowledgement"
        && said.network == agent.network.name().as_str()
        && said.recipient == recipient.as_str()
        && packet == body.packet
        && digest == body.manifest_digest;
    if !about_it {
        return Err(wrong("is about something else"));
    }
    let view = agent.network.view()?;
    let key = Fingerprint::try_from(&*said.recipient_key).map_err(|_| wrong("names no key"))?;
    let keys = view
        .directory()
        .agency(&recipient)
        .and_then(|a| a.signing_keys(&key));
    let keys = keys.ok_or_else(|| wrong("is signed with a key that is not the recipient's"))?;
    keys.verify(&signed.bytes, &signed.signature, agent.clock.now())
        .map_err(|_| wrong("has a signature that does not hold"))?;
    let (state, event) = match said.outcome.as_str() {
        "received" | "taken" => (PartState::Received, Event::ContentHandover),
        "refused" => (PartState::Refused, Event::ContentHandoverFailure),
        _ => return Err(wrong("has an unknown outcome")),
    };
    if body.event != event {
        return Err(wrong("says something else than the log"));
    }
    let parts: Result<Vec<_>, _> = said.part_ids.iter().map(|id| PartId::try_from(&**id)).collect();
    let parts = parts.map_err(|_| wrong("names no parts"))?;
    Ok(Said {
        recipient,
        parts,
        state,
        reason: crate::problem::printable(&said.reason, 48),
    })
}

fn change(record: &mut Record, checked: &CheckedEvidence, acknowledged: Option<&Said>) {
    let (body, index) = (checked.body(), checked.index());
    match body.event {
        Event::SubmissionAcceptance => {
            if record.state == State::Sealed {
                record.state = State::Accepted;
            }
            let (leaf, at_ms) = (checked.leaf_hash(), body.at.millis());
            record.accepted = Some(Accepted {
                leaf,
                at_ms,
                log_index: Some(index),
            });
        }
        Event::ContentConsignment | Event::ContentWithheld => {
            for decision in checked.shown().into_iter().chain(checked.hidden()) {
                decided(record, decision, body.at.millis(), index);
            }
        }
        Event::ContentHandover | Event::ContentHandoverFailure => {
            let Some(said) = acknowledged else { return };
            for outcome in &mut record.outcomes {
                let meant = outcome.recipient == said.recipient && said.parts.contains(&outcome.part);
                if meant && !outcome.state.is_final() {
                    outcome.state = said.state;
                    if !said.reason.is_empty() {
                        outcome.reason.clone_from(&said.reason);
                    }
                    outcome.since_ms = body.at.millis();
                    outcome.log_index = Some(index);
                }
            }
        }
        Event::Recalled => ended(record, PartState::Recalled, body.at.millis(), index),
        Event::Expired => ended(record, PartState::Expired, body.at.millis(), index),
        _ => {}
    }
}

fn decided(record: &mut Record, decision: &Decision, at_ms: i64, index: u64) {
    for part in decision.parts() {
        let state = match part.outcome.as_str() {
            "deliver" => PartState::HandedOver,
            "withhold" => PartState::Withheld,
            "hold-for-consent" => PartState::Held,
            "deny-packet" => PartState::Denied,
            _ => continue,
        };
        let same = |o: &&mut crate::outbox::record::Outcome| {
            o.recipient == *decision.recipient() && o.part == part.part
        };
        let Some(outcome) = record.outcomes.iter_mut().find(same) else {
            continue;
        };
        if outcome.state.is_final() || outcome.log_index.is_some_and(|seen| seen >= index) {
            continue;
        }
        outcome.state = state;
        outcome.reason.clone_from(&part.reason);
        outcome.obligations.clone_from(&part.obligations);
        outcome.since_ms = at_ms;
        outcome.log_index = Some(index);
    }
}

/// Everything that was not handed over ends so; at the packet's expiry also what was not acknowledged.
fn ended(record: &mut Record, state: PartState, at_ms: i64, index: u64) {
    for outcome in &mut record.outcomes {
        let on_its_way = outcome.state == PartState::HandedOver && state == PartState::Recalled;
        if outcome.state.is_final() || on_its_way {
            continue;
        }
        outcome.state = state;
        outcome.since_ms = at_ms;
        outcome.log_index = Some(index);
    }
    if state == PartState::Recalled
        && let Some(recall) = &mut record.recall
    {
        recall.answered = true;
    }
}

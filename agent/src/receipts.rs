//! The sender's side of the log: every entry that concerns us is checked, kept beside its packet, and
//! turned into the outcome of each part for each recipient. Only what is proved here settles a packet; what
//! is not, yet, is judged again when the directory changes.

pub(crate) mod judge;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use schakel_proto::evidence::{self, CheckedEvidence, Decision, Event, MISLABELLED, NO_FURTHER_USE};
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::contradiction::Seen;
use schakel_proto::tlog::shards::Shards;
use schakel_proto::wire;

use crate::agent::{Agent, blocking};
use crate::audit;
use crate::audit::gossip::{Heard, OTHER_HISTORY};
use crate::beats::Monitor;
use crate::clock::randomness;
use crate::disk;
use crate::inbox::record::Kind;
use crate::link::gone_on;
use crate::outbox::record::{Accepted, Fulfilled, HandedOver, Outcome, PartState, Record};
use crate::problem::Problem;
use crate::transport::Client;
use crate::transport::backoff::Backoff;
use crate::transport::brokers::Stay;
use judge::{Said, Word, judge};

/// What was not proved is judged again at least this often.
const JUDGE_AGAIN_EVERY: Duration = Duration::from_secs(60);
/// Unproved entries kept for one packet.
const UNPROVED_MAX_COUNT: usize = 256;
/// Fulfilled obligations kept for one part and recipient.
const FULFILLED_MAX_COUNT: usize = 64;
/// File that holds the position in the log from which to go on.
const CURSOR: &str = "evidence-cursor.json";

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(randomness());
    loop {
        let (stay, client) = agent.at_broker();
        let problem = match follow(&agent, (stay, client), &mut backoff).await {
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
        agent.brokers().failed(stay, &problem);
        let pause = backoff.next(problem.retry_after_ms);
        let pause = pause.max(Duration::from_millis(50));
        agent.beats.rest(Monitor::Receipts, pause).await;
    }
}

async fn follow(
    agent: &Arc<Agent>,
    (stay, mut client): (Stay, Client),
    backoff: &mut Backoff,
) -> Result<(), Problem> {
    let path = agent.config.data_dir.join(CURSOR);
    let after_index_plus_one: u64 = disk::read_json(&path)?.unwrap_or_default();
    let request = wire::FollowEvidenceRequest { after_index_plus_one };
    let mut frames = client.follow_evidence(request).await?.into_inner();
    let mut next = after_index_plus_one;
    let mut changes = agent.watch();
    let mut judged = None;
    loop {
        agent.beats.beat(Monitor::Receipts);
        judge_again(agent, &mut judged).await?;
        let frame = tokio::select! {
            frame = frames.message() => frame?,
            _ = changes.changed() => continue,
            () = agent.brokers().left(stay) => return Err(gone_on()),
            () = agent.beats.rest(Monitor::Receipts, JUDGE_AGAIN_EVERY) => {
                judged = None;
                continue;
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        backoff.reset();
        let evidence = frame.evidence.unwrap_or_default();
        let checked = check_newest(agent, &mut client, &evidence).await?;
        let view = agent.network.view()?;
        if checked.index() < next {
            return Err(Problem::distrust(
                "EVIDENCE_ORDER",
                "an entry came out of the log's order",
            ));
        }
        agent
            .audit
            .place(&mut client, view.shards(), checked.checkpoint())
            .await?;
        next = checked.index() + 1;
        let (heard, own) = (said_in(&checked), checked.checkpoint().clone());
        let proved = {
            let agent = Arc::clone(agent);
            blocking(move || apply(&agent, &evidence, &checked)).await?
        };
        if let Some((said, signed)) = heard.filter(|_| proved) {
            compare(agent, &mut client, &said, &signed, &own).await?;
        }
        // Only now: an entry that could not be compared yet comes again.
        {
            let (agent, path) = (Arc::clone(agent), path.clone());
            blocking(move || agent.disk.write(&path, &disk::to_json(&next, &path)?)).await?;
        }
        if !proved {
            // Perhaps our directory is older than what was signed.
            if let Err(problem) = agent.network.refresh(&mut client).await {
                tracing::debug!(code = problem.code, "no newer directory");
            }
        }
    }
}

/// An acknowledgement within an entry.
fn said_in(checked: &CheckedEvidence) -> Option<(wire::Acknowledgement, wire::Signed)> {
    let event = checked.body().event;
    let answered = matches!(
        event,
        Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled
    );
    let signed = checked.attachment().filter(|_| answered)?;
    let said = wire::Acknowledgement::decode(&*signed.bytes).ok()?;
    Some((said, signed.clone()))
}

/// Compares the checkpoint that a recipient says it saw with our history: what contradicts it is kept, and an alarm; it
/// unsettles nothing that the log proves.
async fn compare(
    agent: &Agent,
    client: &mut Client,
    said: &wire::Acknowledgement,
    signed: &wire::Signed,
    own: &SignedCheckpoint,
) -> Result<(), Problem> {
    let ours = said.recipient == agent.network.agency().as_str();
    let Some(seen) = said.checkpoint_seen.as_ref().filter(|_| !ours) else {
        return Ok(());
    };
    let Ok(root) = Digest::try_from(&*seen.root) else {
        return Ok(());
    };
    let heard = Heard {
        seen: Seen {
            size: seen.size,
            root,
        },
        origin: &seen.origin,
        by: &said.recipient,
        signed,
        what: "acknowledgement",
    };
    let view = agent.network.view()?;
    match agent.audit.hear(client, view.shards(), &heard, own).await {
        Err(problem) if problem.code == OTHER_HISTORY => Ok(()),
        other => other,
    }
}

fn check(agent: &Agent, shards: &Shards, evidence: &wire::Evidence) -> Result<CheckedEvidence, Problem> {
    let checked = evidence::check(evidence, agent.network.name(), shards);
    checked.map_err(|error| {
        let problem = audit::shards::problem(&error, "EVIDENCE_WRONG", "");
        if problem.code == audit::shards::FROZEN {
            agent.audit.forged(shards, &evidence.checkpoint)
        } else {
            problem
        }
    })
}

/// The same of an entry that comes from the log now: a newer directory is fetched if it is of a shard that ours does not
/// name.
async fn check_newest(
    agent: &Agent,
    client: &mut Client,
    evidence: &wire::Evidence,
) -> Result<CheckedEvidence, Problem> {
    let checked = check(agent, agent.network.view()?.shards(), evidence);
    match checked {
        Err(problem) if problem.code == audit::shards::UNKNOWN => {}
        checked => return checked,
    }
    agent.network.refresh(client).await?;
    check(agent, agent.network.view()?.shards(), evidence)
}

/// Applies one checked entry; false if it does not prove what it says, yet. Idempotent: entries seen before
/// change nothing.
fn apply(agent: &Agent, evidence: &wire::Evidence, checked: &CheckedEvidence) -> Result<bool, Problem> {
    let body = checked.body();
    if matches!(body.event, Event::StatementAccepted | Event::FactsChanged)
        && let Some(case) = body.case
    {
        agent.stir(case);
    }
    if body.recipient.as_ref() == Some(agent.network.agency()) {
        answered(agent, evidence, checked)?;
    }
    let ours = body.sender.as_ref() == Some(agent.network.agency());
    let Some(packet) = body.packet.filter(|_| ours) else {
        return Ok(true);
    };
    let Some(record) = agent.outbox.get(&packet) else {
        return Ok(true);
    };
    if body.manifest_digest != Some(record.manifest_digest) {
        tracing::error!(%packet, "alarm: the log names our packet with another manifest");
        return Ok(true);
    }
    agent.outbox.keep_evidence(&packet, checked.index(), evidence)?;
    match judge(agent, &record, checked) {
        Ok(said) => take(agent, packet, checked, said.as_ref()).map(|()| true),
        Err(problem) => {
            tracing::error!(%packet, code = problem.code, sentence = problem.sentence, "alarm: unproved");
            agent.outbox.update(&packet, |record| {
                record.note_kept(checked.index());
                if record.unproved.len() < UNPROVED_MAX_COUNT {
                    record.unproved.insert(checked.index());
                }
            })?;
            Ok(false)
        }
    }
}

/// The log has an answer of ours, or a later word: which one, it says itself.
fn answered(agent: &Agent, evidence: &wire::Evidence, checked: &CheckedEvidence) -> Result<(), Problem> {
    let body = checked.body();
    let told = matches!(
        body.event,
        Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled
    );
    let (Some(packet), Some(signed), true) = (body.packet, checked.attachment(), told) else {
        return Ok(());
    };
    let Ok(said) = wire::Acknowledgement::decode(&*signed.bytes) else {
        return Ok(());
    };
    let Ok(consignment) = Digest::try_from(&*said.consignment_leaf) else {
        return Ok(());
    };
    agent
        .inbox
        .keep_evidence((packet, consignment), checked.index(), evidence)?;
    let later = match said.outcome.as_str() {
        "taken" => Some(Kind::Taken),
        "fulfilled" => Some(Kind::Fulfilled),
        _ => None,
    };
    if let Some(kind) = later {
        let parts = said.part_ids.iter().filter_map(|id| PartId::try_from(&**id).ok());
        for part in parts {
            let word = (kind, said.obligation.as_str());
            agent
                .inbox
                .later_settled((packet, consignment), part, word, checked.leaf_hash())?;
        }
        return Ok(());
    }
    let delivery = agent.inbox.get(packet, consignment);
    if let Some(delivery) = delivery.filter(|delivery| delivery.settled.is_none()) {
        agent
            .inbox
            .settled(packet, delivery.consignment, checked.leaf_hash())?;
        agent.changed();
    }
    Ok(())
}

/// What an entry proves becomes the packet's state.
fn take(
    agent: &Agent,
    packet: PacketId,
    checked: &CheckedEvidence,
    said: Option<&Said>,
) -> Result<(), Problem> {
    agent.outbox.update(&packet, |record| {
        record.unproved.remove(&checked.index());
        record.note_kept(checked.index());
        change(record, checked, said);
    })?;
    if agent.outbox.settle_if_proved(&packet)? {
        tracing::info!(%packet, "settled: every outcome is proved");
    }
    agent.changed();
    Ok(())
}

/// Judges again what was not proved, unless that was done with this directory; `judged` is its version.
async fn judge_again(agent: &Arc<Agent>, judged: &mut Option<u64>) -> Result<(), Problem> {
    let version = agent.network.view()?.directory().version();
    if judged.replace(version) == Some(version) {
        return Ok(());
    }
    let mut open = agent.outbox.all();
    open.retain(|record| !record.unproved.is_empty());
    if open.is_empty() {
        return Ok(());
    }
    let agent = Arc::clone(agent);
    blocking(move || {
        let view = agent.network.view()?;
        for record in open {
            for index in &record.unproved {
                let kept = agent.outbox.evidence(&record.packet, *index)?.unwrap_or_default();
                let checked = check(&agent, view.shards(), &kept)?;
                let current = agent.outbox.known(&record.packet)?;
                if let Ok(said) = judge(&agent, &current, &checked) {
                    tracing::info!(packet = %record.packet, index, "what was unproved holds now");
                    take(&agent, record.packet, &checked, said.as_ref())?;
                }
            }
        }
        Ok(())
    })
    .await
}

fn change(record: &mut Record, checked: &CheckedEvidence, acknowledged: Option<&Said>) {
    let (body, index) = (checked.body(), checked.index());
    match body.event {
        Event::SubmissionAcceptance => {
            let (leaf, at_ms) = (checked.leaf_hash(), body.at.millis());
            let log_index = Some(index);
            let accepted = Accepted {
                leaf,
                at_ms,
                log_index,
            };
            if record.prove_accepted(accepted) {
                tracing::error!(packet = %record.packet, "alarm: ended here, but the broker has it: it goes on");
            }
        }
        Event::ContentConsignment | Event::ContentWithheld => {
            for decision in checked.shown().into_iter().chain(checked.hidden()) {
                decided(record, decision, body.at.millis(), index);
            }
        }
        Event::ContentHandover | Event::ContentHandoverFailure | Event::ObligationFulfilled => {
            let Some(said) = acknowledged else { return };
            for outcome in &mut record.outcomes {
                if outcome.recipient == said.recipient && said.parts.contains(&outcome.part) {
                    heard(outcome, said, body.at.millis(), index);
                }
            }
        }
        Event::Recalled => ended(record, PartState::Recalled, body.at.millis(), index),
        Event::Expired => ended(record, PartState::Expired, body.at.millis(), index),
        _ => {}
    }
}

/// What a recipient signed of one part.
fn heard(outcome: &mut Outcome, said: &Said, at_ms: i64, index: u64) {
    match &said.word {
        Word::Taken => {
            outcome.taken_ms.get_or_insert(said.done_ms);
        }
        Word::Fulfilled(obligation) => {
            let apart = [NO_FURTHER_USE, MISLABELLED].contains(&obligation.as_str());
            let bound = outcome.obligations.contains(obligation) || outcome.bound.contains(obligation);
            if !apart && !bound {
                tracing::error!(part = %outcome.part, "alarm: an obligation was reported that no decision names");
                return;
            }
            let known = outcome.fulfilled.iter().any(|one| one.obligation == *obligation);
            if !known && obligation == MISLABELLED {
                let (part, recipient) = (outcome.part, &outcome.recipient);
                tracing::error!(%part, %recipient, "alarm: the recipient says that a part is not what its label says");
            }
            if !known && outcome.fulfilled.len() < FULFILLED_MAX_COUNT {
                outcome.fulfilled.push(Fulfilled {
                    obligation: obligation.clone(),
                    done_ms: said.done_ms,
                    log_index: index,
                });
            }
        }
        Word::State(state) if !outcome.state.is_final() => {
            outcome.state = *state;
            if !said.reason.is_empty() {
                outcome.reason.clone_from(&said.reason);
            }
            outcome.since_ms = at_ms;
            outcome.log_index = Some(index);
        }
        Word::State(_) => {}
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
        let same = |o: &&mut Outcome| o.recipient == *decision.recipient() && o.part == part.part;
        let Some(outcome) = record.outcomes.iter_mut().find(same) else {
            continue;
        };
        if state == PartState::HandedOver {
            let new = part.obligations.iter().filter(|one| !outcome.bound.contains(one));
            let new: Vec<String> = new.cloned().collect();
            outcome.bound.extend(new);
        }
        if state == PartState::HandedOver && outcome.handed_over.is_none_or(|last| last.log_index < index) {
            outcome.handed_over = Some(HandedOver {
                at_ms: decision.at().millis(),
                facts_count: decision.facts_count(),
                log_index: index,
            });
        }
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

//! The outbox's loop: submits what is sealed, hands in recalls, seals anew when the roster had changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use schakel_proto::ids::PacketId;

use crate::agent::{Agent, blocking};
use crate::clock::randomness;
use crate::outbox::record::{Record, State};
use crate::outbox::submit::submit;
use crate::problem::{Kind, Problem};
use crate::transport::backoff::Backoff;

/// Packets submitted at once.
const AT_ONCE_MAX_COUNT: usize = 4;
/// Times that a packet is sealed anew for a roster that changed again.
const SEALED_AGAIN_MAX_COUNT: u32 = 3;
/// Reason code of a packet whose roster version is not the case's.
const STALE_ROSTER: &str = "DENY_STALE_ROSTER";
/// The outbox is looked through at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(randomness());
    loop {
        let stay = agent.brokers().stay();
        let wait = match round(&agent).await {
            None => {
                backoff.reset();
                LOOK_EVERY
            }
            Some(problem) => {
                tracing::warn!(code = problem.code, "submission is tried again");
                agent.brokers().failed(stay, &problem);
                backoff.next(problem.retry_after_ms)
            }
        };
        // A wake-up is only heeded at once when nothing failed: else the wait protects the broker.
        if wait == LOOK_EVERY {
            let _rung = tokio::time::timeout(wait, agent.outgoing.notified()).await;
        } else {
            tokio::time::sleep(wait).await;
        }
    }
}

fn is_due(record: &Record) -> bool {
    let recall = record.recall.as_ref().is_some_and(|r| !r.answered) && !record.state.is_final();
    recall || record.state == State::Sealed
}

/// One look through the outbox; gives a temporary problem if there was one.
async fn round(agent: &Arc<Agent>) -> Option<Problem> {
    let due: Vec<_> = agent
        .outbox
        .all()
        .into_iter()
        .filter(|r| is_due(r))
        .map(|r| r.packet)
        .collect();
    if due.is_empty() {
        return None;
    }
    if let Err(problem) = agent.network.view() {
        return Some(problem);
    }
    let mut due = due.into_iter();
    let mut running = FuturesUnordered::new();
    let (mut failed, mut unreachable) = (None, false);
    loop {
        while !unreachable && running.len() < AT_ONCE_MAX_COUNT {
            let Some(packet) = due.next() else { break };
            running.push(one(agent, packet));
        }
        match running.next().await {
            None => return failed,
            Some(Ok(())) => {}
            Some(Err(problem)) => {
                // What ails one packet does not keep the others; a broker that is busy or away does.
                unreachable |= problem.kind == Kind::Later;
                failed = Some(problem);
            }
        }
    }
}

/// One packet: done, or a problem that is worth another attempt.
async fn one(agent: &Arc<Agent>, packet: PacketId) -> Result<(), Problem> {
    let record = agent.outbox.known(&packet)?;
    let result = if record.recall.as_ref().is_some_and(|r| !r.answered) {
        agent.hand_in_recall(packet).await.map(|_| ())
    } else {
        attempt(agent, packet).await
    };
    match result {
        Err(problem) if !problem.is_temporary() && problem.kind != Kind::Refused => {
            tracing::error!(%packet, code = problem.code, "a packet cannot be submitted");
            Err(problem)
        }
        Err(problem) if problem.is_temporary() => Err(problem),
        Err(problem) => {
            tracing::warn!(%packet, code = problem.code, "refused");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn attempt(agent: &Arc<Agent>, packet: PacketId) -> Result<(), Problem> {
    let _guard = agent.lock(packet).await;
    let record = agent.outbox.known(&packet)?;
    if record.state != State::Sealed || record.recall.is_some() || agent.outbox.end_replacement(&packet)? {
        return Ok(());
    }
    if agent.clock.now().millis() > record.expires_ms {
        let sentence = "its time was over before the broker could be reached";
        let problem = Problem::new(Kind::Refused, "PACKET_EXPIRED", sentence, "Send it again.");
        agent.outbox.refused(&packet, problem.at(packet))?;
        agent.changed();
        return Ok(());
    }
    match submit(&agent.outbox, &mut agent.client(), packet).await {
        Ok(answer) => {
            tracing::info!(%packet, "accepted by the broker");
            let outbox = Arc::clone(&agent.outbox);
            blocking(move || outbox.accepted(&packet, answer).map(|_| ())).await?;
        }
        Err(problem) if problem.is_temporary() || problem.kind != Kind::Refused => return Err(problem),
        Err(problem) => refused(agent, &record, problem).await?,
    }
    agent.changed();
    Ok(())
}

/// Whether a recipient is refused for the roster's version: a packet is taken as soon as one recipient may have
/// it, so sealing anew may help, whatever the others are refused for.
fn is_stale(problem: &Problem) -> bool {
    problem.code == STALE_ROSTER || problem.recipients.iter().any(|r| r.reason == STALE_ROSTER)
}

async fn refused(agent: &Arc<Agent>, record: &Record, problem: Problem) -> Result<(), Problem> {
    if is_stale(&problem) && record.sealed_before_count < SEALED_AGAIN_MAX_COUNT {
        match agent.seal_again(record).await {
            Ok(new) => {
                tracing::info!(old = %record.packet, new = %new.packet, "sealed anew: the roster had changed");
                return agent.outbox.replaced(record.packet, new.packet);
            }
            Err(again) if again.is_temporary() => return Err(again),
            Err(again) => return agent.outbox.refused(&record.packet, again),
        }
    }
    tracing::warn!(packet = %record.packet, code = problem.code, "refused by the broker");
    agent.outbox.refused(&record.packet, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::RecipientProblem;

    #[test]
    fn one_recipient_with_a_stale_roster_is_enough_to_seal_anew() {
        let refused = |reasons: &[&str]| {
            let one = |reason: &&str| RecipientProblem {
                recipient: "parket-antwerpen".to_owned(),
                reason: (*reason).to_owned(),
                obligations: Vec::new(),
            };
            let recipients = reasons.iter().map(one).collect();
            Problem {
                recipients,
                ..Problem::new(Kind::Refused, "DENIED", "", "")
            }
        };
        assert!(is_stale(&refused(&["DENY_NOT_ON_ROSTER", STALE_ROSTER])));
        assert!(is_stale(&refused(&[STALE_ROSTER, STALE_ROSTER])));
        assert!(!is_stale(&refused(&["DENY_NOT_ON_ROSTER"])));
        assert!(!is_stale(&refused(&[])));
    }
}

//! The keeper: destroys what is due, and looks again at the ground of what was handed over, to us and by us,
//! whenever the log says that the facts of its case changed; and once an hour, for what ends by time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use schakel_proto::ids::{CaseRef, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::agent::{Agent, blocking, no_rules};
use crate::beats::Monitor;
use crate::ground::{Ground, HandOver, head_of};
use crate::inbox::record::{Answer, Delivery};
use crate::outbox::record::{Ended, Outcome, Record};
use crate::problem::Problem;
use crate::retention;
use crate::transport::bounded;

/// How often it looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// Parts destroyed in one look; the next look takes the rest.
const DESTROYED_MAX_COUNT: usize = 256;
/// Cases looked at again between two looks at the clock.
const CASES_MAX_COUNT: usize = 64;
/// Cases that could not be looked at, after which the broker is given a rest.
const FAILED_MAX_COUNT: usize = 8;
/// Rest after the broker was not reached.
const REST: Duration = Duration::from_secs(5);
/// Every case is looked at again this often, in milliseconds.
const AGAIN_MILLIS: i64 = 3_600_000;

/// Runs until the daemon ends.
pub async fn run(agent: Arc<Agent>) {
    // What is due does not wait for the broker.
    let destroying = async {
        loop {
            destroy(&agent).await;
            agent.beats.rest(Monitor::Keeper, TICK).await;
        }
    };
    tokio::join!(destroying, looking(&agent), retention::run(&agent));
}

async fn looking(agent: &Arc<Agent>) {
    let mut all_at: Option<Timestamp> = None;
    loop {
        let now = agent.clock.now();
        if all_at.is_none_or(|last| now.millis_since(last).saturating_abs() >= AGAIN_MILLIS) {
            all_at = Some(now);
            standing_cases(agent)
                .into_iter()
                .for_each(|case| agent.stir(case));
        }
        let rest = look_again(agent).await;
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = agent.stirring.notified(), if rest == TICK => {}
        }
    }
}

async fn destroy(agent: &Arc<Agent>) {
    let keeper = Arc::clone(agent);
    let done = blocking(move || {
        let now = keeper.clock.now();
        keeper.inbox.destroy_due(now, DESTROYED_MAX_COUNT)
    });
    match done.await {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => {
            for (packet, part) in gone {
                tracing::info!(%packet, %part, "destroyed, as an obligation says");
            }
            agent.changed();
        }
        Err(problem) => {
            tracing::error!(
                code = problem.code,
                place = problem.place,
                "alarm: what is due is not destroyed"
            );
        }
    }
}

/// The cases of which something was handed over and is still there.
fn standing_cases(agent: &Agent) -> BTreeSet<CaseRef> {
    let received = agent
        .inbox
        .all()
        .into_iter()
        .filter(|d| is_kept(d))
        .map(|d| d.case);
    let sent = agent
        .outbox
        .all()
        .into_iter()
        .filter(|r| handed(r).next().is_some());
    received.chain(sent.map(|record| record.case)).collect()
}

fn is_kept(delivery: &Delivery) -> bool {
    delivery.answer == Answer::Received && delivery.parts.iter().any(|part| part.deleted_ms.is_none())
}

/// The outcomes of which a hand-over is known.
fn handed(record: &Record) -> impl Iterator<Item = (&Outcome, HandOver)> {
    record.outcomes.iter().filter_map(|outcome| {
        let last = outcome.handed_over?;
        let then = HandOver {
            at: Timestamp::from_millis(last.at_ms),
            facts_count: last.facts_count,
        };
        Some((outcome, then))
    })
}

/// Looks again at cases that changed; gives how long to rest. One that cannot be looked at keeps no other: it is
/// put back after the others if another try may help; else it is looked at again with all cases.
async fn look_again(agent: &Arc<Agent>) -> Duration {
    let (mut later, mut rest) = (Vec::new(), Duration::ZERO);
    for _ in 0..CASES_MAX_COUNT {
        let Some(case) = agent.stirred().pop_first() else {
            rest = TICK;
            break;
        };
        let Err(problem) = look_at(agent, case).await else {
            continue;
        };
        if problem.is_temporary() {
            later.push(case);
            tracing::debug!(code = problem.code, "the ground of a case is looked at later");
        } else {
            tracing::error!(%case, code = problem.code, sentence = problem.sentence, "a case cannot be looked at");
        }
        if later.len() >= FAILED_MAX_COUNT {
            break;
        }
    }
    if later.is_empty() {
        return rest;
    }
    agent.stirred().extend(later);
    REST
}

async fn look_at(agent: &Arc<Agent>, case: CaseRef) -> Result<(), Problem> {
    let received: Vec<_> = agent
        .inbox
        .all()
        .into_iter()
        .filter(|d| d.case == case && is_kept(d))
        .collect();
    let sent = agent
        .outbox
        .all()
        .into_iter()
        .filter(|record| record.case == case);
    let sent: Vec<_> = sent.filter(|record| handed(record).next().is_some()).collect();
    if received.is_empty() && sent.is_empty() {
        return Ok(());
    }
    let shown = match agent.facts(case).await {
        Ok(_) => true,
        Err(problem) if problem.code == "CASE_UNKNOWN" => false,
        Err(problem) => return Err(problem),
    };
    let known = agent.facts.known(&case);
    // What is not shown to us, the broker must be asked about; it answers for our own packets only.
    let hides = |fact: &schakel_proto::statement::Fact| fact.statement().is_none();
    let half_seen = !shown || known.as_ref().is_none_or(|chain| chain.facts().iter().any(hides));
    let mut told = Told::new();
    if half_seen {
        for record in &sent {
            told.extend(ask(agent, record.packet).await?);
        }
    }
    let keeper = Arc::clone(agent);
    blocking(move || keeper.note_grounds(case, shown, (&received, &sent), &told)).await?;
    agent.changed();
    Ok(())
}

/// What the broker says of our packets: why a part would not go to a recipient any more.
type Told = BTreeMap<(PacketId, AgencyId, PartId), String>;

async fn ask(agent: &Agent, packet: PacketId) -> Result<Told, Problem> {
    let request = wire::GetOutcomeRequest {
        packet_id: packet.to_vec().into(),
    };
    let answer = agent.client().get_outcome(bounded(request)).await?.into_inner();
    let one = |part: wire::PartState| {
        let recipient = AgencyId::new(&part.recipient).ok()?;
        let id = PartId::try_from(&*part.part_id).ok()?;
        let reason = crate::problem::printable(&part.ended, 64);
        Some(((packet, recipient, id), reason)).filter(|(_, reason)| !reason.is_empty())
    };
    Ok(answer.parts.into_iter().filter_map(one).collect())
}

impl Agent {
    /// The facts of a case changed: the keeper looks at what was handed over in it.
    pub(crate) fn stir(&self, case: CaseRef) {
        self.stirred().insert(case);
        self.stirring.notify_one();
    }

    fn stirred(&self) -> std::sync::MutexGuard<'_, BTreeSet<CaseRef>> {
        self.stirred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_grounds(
        &self,
        case: CaseRef,
        shown: bool,
        (received, sent): (&[Arc<Delivery>], &[Arc<Record>]),
        told: &Told,
    ) -> Result<(), Problem> {
        let Some(engine) = self.network.engine() else {
            return Err(no_rules());
        };
        let view = self.network.view()?;
        let known = self.facts.known(&case);
        let ground = Ground {
            engine: &engine,
            directory: view.directory(),
            known: known.unwrap_or_else(|| schakel_proto::statement::FactChain::empty(case)),
            shown,
            now: self.clock.now(),
        };
        for delivery in received {
            self.note_received(&ground, delivery)?;
        }
        for record in sent {
            self.note_sent(&ground, record, told)?;
        }
        Ok(())
    }

    fn note_received(&self, ground: &Ground<'_>, delivery: &Delivery) -> Result<(), Problem> {
        let (manifest, hand_over) = self.inbox.proofs(delivery)?;
        let openings = hand_over
            .parts
            .into_iter()
            .map(|part| part.part.unwrap_or_default());
        let recipient = hand_over.recipient.into_iter().collect();
        let head = head_of(manifest, recipient, openings.collect())?;
        let kept = delivery.parts.iter().filter(|part| part.deleted_ms.is_none());
        let kept: Vec<_> = kept.map(|part| part.part).collect();
        let then = HandOver {
            at: Timestamp::from_millis(delivery.decided_ms),
            facts_count: delivery.facts_count,
        };
        for (part, reason) in ground.ended(&head, &kept, self.network.agency(), then) {
            // To whom the case is not shown any more nobody takes part in it; but who left is we.
            let left = |reason: &String| !ground.shown && reason == "DENY_SENDER_NOT_IN_CASE";
            let reason = reason.map(|reason| {
                if left(&reason) {
                    "DENY_RECIPIENT_NOT_IN_CASE".to_owned()
                } else {
                    reason
                }
            });
            if let Some(reason) = &reason {
                tracing::info!(packet = %delivery.packet, %part, reason, "the ground of a part has ended");
            }
            let lifted = ground.is_lifted(&head, &part);
            self.inbox
                .note_ground(delivery, part, (reason.as_deref(), lifted), ground.now)?;
        }
        Ok(())
    }

    fn note_sent(&self, ground: &Ground<'_>, record: &Record, told: &Told) -> Result<(), Problem> {
        let head = self.outbox.head(&record.packet)?;
        let head = head_of(head.manifest.unwrap_or_default(), head.recipients, head.parts)?;
        let mut found = BTreeMap::new();
        for (outcome, then) in handed(record) {
            let own = ground.ended(&head, &[outcome.part], &outcome.recipient, then);
            let own = own
                .into_iter()
                .find_map(|(_, reason)| reason)
                .map(|reason| (reason, true));
            let key = (record.packet, outcome.recipient.clone(), outcome.part);
            let broker = || told.get(&key).map(|reason| (reason.clone(), false));
            found.insert((outcome.recipient.clone(), outcome.part), own.or_else(broker));
        }
        let since_ms = ground.now.millis();
        self.outbox.update(&record.packet, |record| {
            for outcome in &mut record.outcomes {
                let Some(now) = found.get(&(outcome.recipient.clone(), outcome.part)) else {
                    continue;
                };
                let before = outcome.ended.as_ref().map(|ended| ended.reason.as_str());
                if before != now.as_ref().map(|(reason, _)| reason.as_str()) {
                    outcome.ended = now.clone().map(|(reason, own)| Ended {
                        reason,
                        since_ms,
                        own,
                    });
                }
            }
        })?;
        Ok(())
    }
}

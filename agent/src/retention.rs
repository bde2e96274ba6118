//! Retention: what was sent and what was received goes when the agency has kept it for its time, with everything that
//! proves it; so do the facts of cases of which nothing else is left. Content that an obligation ends goes earlier
//! (`keeper`), sealed copies go when every outcome is proved (`outbox`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schakel_proto::ids::CaseRef;
use schakel_proto::time::Timestamp;

use crate::agent::{Agent, blocking};
use crate::inbox::record::Delivery;
use crate::outbox::record::Record;
use crate::problem::Problem;

/// Pause between two rounds, and before the first.
const ROUND_EVERY: Duration = Duration::from_secs(3_600);
/// Most packets, hand-overs and cases that go in one round, each.
const GONE_MAX_COUNT: usize = 256;

/// For how many whole years what is kept; each period ends with its last day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A packet that we sent, after the last word about it.
    pub sent_years: u16,
    /// A hand-over that we answered, after the last word about it.
    pub received_years: u16,
}

/// What went in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Packets that we sent.
    pub sent: usize,
    /// Hand-overs.
    pub received: usize,
    /// Cases whose facts were kept for nothing else.
    pub cases: usize,
}

/// Runs until the daemon ends.
pub(crate) async fn run(agent: &Arc<Agent>) {
    loop {
        tokio::time::sleep(ROUND_EVERY).await;
        let keeper = Arc::clone(agent);
        match blocking(move || keeper.sweep()).await {
            Ok(gone) if gone == Gone::default() => {}
            Ok(Gone {
                sent,
                received,
                cases,
            }) => {
                tracing::info!(sent, received, cases, "what had been kept for its time went");
                agent.changed();
            }
            Err(problem) => {
                let (code, place) = (problem.code, problem.place);
                tracing::error!(code, place, "alarm: what was kept for its time does not go");
            }
        }
    }
}

/// The last word about a packet that we sent.
fn last_sent(record: &Record) -> i64 {
    let words = record.outcomes.iter().flat_map(|outcome| {
        let fulfilled = outcome.fulfilled.iter().map(|one| one.done_ms);
        fulfilled.chain([outcome.since_ms]).chain(outcome.taken_ms)
    });
    words.fold(record.created_ms, i64::max)
}

/// The last word about a hand-over.
fn last_received(delivery: &Delivery) -> i64 {
    let words = delivery.parts.iter().filter_map(|part| part.deleted_ms);
    words.fold(delivery.at_ms, i64::max)
}

impl Agent {
    /// One round. What goes does not come back, so it waits while this machine's time cannot be believed: the directory
    /// must be valid at it, and the broker's clock must not differ.
    ///
    /// # Errors
    /// This machine's trouble; what went before it stays gone.
    pub fn sweep(&self) -> Result<Gone, Problem> {
        let now = self.clock.now();
        let Ok(view) = self.network.view() else {
            return Ok(Gone::default());
        };
        if view.directory().fresh(now).is_err() || self.network.skew().problem().is_some() {
            tracing::debug!("retention waits: the time cannot be believed");
            return Ok(Gone::default());
        }
        self.let_go(now)
    }

    /// Lets go what was kept for its time by `now`.
    ///
    /// # Errors
    /// As [`Agent::sweep`].
    pub fn let_go(&self, now: Timestamp) -> Result<Gone, Problem> {
        let Retention {
            sent_years,
            received_years,
        } = self.config.retention;
        let is_over = |millis: i64, years| Timestamp::from_millis(millis).after_years(years) <= now;
        let mut gone = Gone::default();
        for record in self.outbox.all() {
            let over = record.state.is_final() && is_over(last_sent(&record), sent_years);
            if over && gone.sent < GONE_MAX_COUNT && self.outbox.forget(&record.packet)? {
                gone.sent += 1;
            }
        }
        for delivery in self.inbox.all() {
            let over = is_over(last_received(&delivery), received_years);
            let place = (delivery.packet, delivery.consignment);
            if over && gone.received < GONE_MAX_COUNT && self.inbox.forget(place.0, place.1)? {
                gone.received += 1;
            }
        }
        let sent = self.outbox.all().into_iter().map(|record| record.case);
        let received = self.inbox.all().into_iter().map(|delivery| delivery.case);
        let needed: BTreeSet<CaseRef> = sent.chain(received).collect();
        let years = sent_years.max(received_years);
        for (case, last) in self.facts.cases() {
            let over = last.is_none_or(|last| last.after_years(years) <= now);
            if over && !needed.contains(&case) && gone.cases < GONE_MAX_COUNT {
                self.facts.forget(&case)?;
                gone.cases += 1;
            }
        }
        Ok(gone)
    }
}

//! A fair queue for what costs processor time: each agency has as many submissions (and questions about their outcome)
//! being checked at once as there are processors, the others of it wait in their order. Whoever sends a hundred at once
//! waits for itself; another agency's submission waits for what runs, never for what stands in that line.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest wait for a turn: a line is at most as long as an agency has places, each takes milliseconds.
const WAIT: Duration = Duration::from_secs(30);

/// The turns of each agency.
pub struct Turns {
    /// For each agency.
    at_once: usize,
    /// Longest wait in line.
    wait: Duration,
    lines: Mutex<HashMap<AgencyId, Arc<Semaphore>>>,
}

/// Being checked now; the next in line follows on drop.
pub struct Turn {
    /// Held for its drop.
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// So many as there are processors.
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from), WAIT)
    }

    fn new(at_once: usize, wait: Duration) -> Self {
        Self {
            at_once,
            wait,
            lines: Mutex::default(),
        }
    }

    fn line(&self, agency: &AgencyId) -> Arc<Semaphore> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= limits::AGENCIES_MAX_COUNT && !lines.contains_key(agency) {
            // Agencies that left the directory, and whoever has nothing under way.
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = lines.entry(agency.clone());
        Arc::clone(line.or_insert_with(|| Arc::new(Semaphore::new(self.at_once))))
    }

    /// Waits until it is the turn of this submission of `agency`.
    ///
    /// # Errors
    /// It was not within half a minute.
    pub async fn take(&self, agency: &AgencyId) -> Result<Turn, Refusal> {
        let turn = tokio::time::timeout(self.wait, self.line(agency).acquire_owned()).await;
        // A line is never closed.
        let permit = turn.ok().and_then(Result::ok).ok_or_else(|| {
            let sentence = "The broker did not come to this submission in half a minute";
            let remedy = "Wait as long as retry_after_ms says, then try again with fewer at once.";
            Refusal::new(Fault::Exhausted, "BUSY", sentence, remedy).retry_after(1_000)
        })?;
        Ok(Turn { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agency(id: &str) -> AgencyId {
        AgencyId::new(id).unwrap()
    }

    #[tokio::test]
    async fn a_long_line_is_its_own_agencys() {
        let turns = Arc::new(Turns::new(2, WAIT));
        let (hot, calm) = (agency("pz-hot"), agency("caw-calm"));
        let held = [turns.take(&hot).await.unwrap(), turns.take(&hot).await.unwrap()];
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (turns, hot) = (Arc::clone(&turns), hot.clone());
                tokio::spawn(async move { turns.take(&hot).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(
            waiting.iter().all(|one| !one.is_finished()),
            "two at once, no more"
        );
        assert!(
            turns.take(&calm).await.is_ok(),
            "another agency does not wait for them"
        );
        drop(held);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn nobody_waits_without_end() {
        let turns = Turns::new(1, Duration::from_millis(10));
        let hot = agency("pz-hot");
        let _held = turns.take(&hot).await.unwrap();
        let refused = turns.take(&hot).await.err().unwrap();
        assert_eq!((refused.code, refused.retry_after_millis), ("BUSY", 1_000));
    }

    #[tokio::test]
    async fn lines_that_nobody_stands_in_are_forgotten() {
        let turns = Turns::new(1, WAIT);
        for n in 0..=limits::AGENCIES_MAX_COUNT {
            drop(turns.take(&agency(&format!("pz-{n}"))).await);
        }
        assert!(turns.lines.lock().unwrap().len() <= limits::AGENCIES_MAX_COUNT);
    }
}

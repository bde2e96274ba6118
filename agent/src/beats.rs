//! Loops that die silently are found: each beats, and what has not been heard of for twice its interval is told by
//! `status` and by an alarm, until it beats again. (A loop that ends takes the daemon with it: see `daemon`.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::Agent;

/// How often it is looked for what fell silent.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The loops that nobody would miss at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Monitor {
    /// Audits the log: what the witness' round does, with a key or without.
    Audit,
    /// Destroys what is due.
    Keeper,
    /// Keeps directory and rules fresh.
    Directory,
    /// Follows the log for receipts.
    Receipts,
}

impl Monitor {
    /// All of them: with their names, and the longest time between two beats in seconds, its work included. Whoever
    /// waits for the broker may wait for a call's 30 s.
    pub const ALL: [(Self, &'static str, u64); 4] = [
        (Self::Audit, "audit", 15),
        (Self::Keeper, "keeper", 15),
        (Self::Directory, "directory", 60),
        (Self::Receipts, "receipts", 20),
    ];
}

/// When each was heard of last, in milliseconds since the start; 0: not yet.
#[derive(Debug)]
pub struct Beats {
    began: Instant,
    last: [AtomicU64; Monitor::ALL.len()],
}

impl Default for Beats {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            last: Default::default(),
        }
    }
}

impl Beats {
    /// It is there.
    pub fn beat(&self, monitor: Monitor) {
        for (last, (one, ..)) in self.last.iter().zip(Monitor::ALL) {
            if one == monitor {
                last.store(self.now().max(1), Ordering::Relaxed);
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Beats through a pause.
    pub async fn rest(&self, monitor: Monitor, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            self.beat(monitor);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }

    /// Names of what has not been heard of for twice its interval, and for how many seconds.
    pub fn silent(&self) -> Vec<(&'static str, u64)> {
        self.silent_at(self.now())
    }

    fn silent_at(&self, now: u64) -> Vec<(&'static str, u64)> {
        let all = self.last.iter().zip(Monitor::ALL);
        all.filter_map(|(last, (_, name, seconds))| {
            let last = Some(last.load(Ordering::Relaxed)).filter(|last| *last > 0)?;
            let silence = now.saturating_sub(last);
            (silence > 2_000 * seconds).then_some((name, silence / 1_000))
        })
        .collect()
    }
}

/// Raises the alarm, until the daemon has ended; in a thread of its own, for what hangs may hold the runtime's.
///
/// # Errors
/// There is no thread for it.
pub fn watch(agent: &Arc<Agent>) -> std::io::Result<()> {
    let agent = Arc::downgrade(agent);
    let thread = std::thread::Builder::new().name("beats".to_owned());
    thread.spawn(move || look(&agent)).map(drop)
}

fn look(agent: &Weak<Agent>) {
    let mut told: Vec<&'static str> = Vec::new();
    loop {
        std::thread::sleep(LOOK_EVERY);
        let Some(agent) = agent.upgrade() else { return };
        let silent: Vec<&'static str> = agent.beats.silent().into_iter().map(|(name, _)| name).collect();
        for name in silent.iter().filter(|name| !told.contains(name)) {
            tracing::error!(monitor = name, "alarm: a monitor has fallen silent");
        }
        for name in told.iter().filter(|name| !silent.contains(name)) {
            tracing::info!(monitor = name, "the monitor is heard of again");
        }
        told = silent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn l14_a_loop_is_silent_after_two_of_its_intervals_and_not_before() {
        for (monitor, name, seconds) in Monitor::ALL {
            let beats = Beats::default();
            assert!(
                beats.silent_at(u64::MAX).is_empty(),
                "what never began is not missed"
            );
            beats.rest(monitor, Duration::from_millis(1)).await;
            let [last] = beats
                .last
                .iter()
                .map(|last| last.load(Ordering::Relaxed))
                .filter(|last| *last > 0)
                .collect::<Vec<_>>()[..]
            else {
                panic!("one beats");
            };
            assert!(beats.silent_at(last + 2_000 * seconds).is_empty(), "{name}");
            assert_eq!(beats.silent_at(last + 2_000 * seconds + 1), [(name, 2 * seconds)]);
            beats.beat(monitor);
            assert!(beats.silent().is_empty(), "{name}");
        }
    }
}

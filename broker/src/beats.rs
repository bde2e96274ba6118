//! Monitors that die silently are found: whatever runs beside the calls beats, and what has not been heard of for twice
//! its interval makes the broker unready, by name, until it beats again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// What runs beside the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Monitor {
    /// Puts leaves under checkpoints.
    Sequencer,
    /// Looks for newer files of the operator.
    Files,
    /// Ends packets whose life is over, and tells how many rejections got no entry.
    Expiry,
    /// Looks for what is overdue.
    Overdue,
    /// Lets go what was kept for its time.
    Retention,
    /// Looks whether store and log still run.
    Readiness,
}

impl Monitor {
    /// All of them, in the order of their numbers: with their names, and the longest time between two beats in
    /// seconds, its work included.
    pub const ALL: [(Self, &'static str, u64); 6] = [
        (Self::Sequencer, "sequencer", 5),
        (Self::Files, "files", 15),
        (Self::Expiry, "expiry", 15),
        (Self::Overdue, "overdue", 60),
        (Self::Retention, "retention", 30),
        (Self::Readiness, "readiness", 5),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(one, ..)| *one == self)
            .map_or("", |(_, name, _)| name)
    }

    /// The longest time between two of its beats.
    pub fn interval(self) -> Duration {
        let found = Self::ALL.iter().find(|(one, ..)| *one == self);
        Duration::from_secs(found.map_or(0, |(.., seconds)| *seconds))
    }
}

/// When each was heard of last, in milliseconds since the start; 0: not yet, it is only watched from its first beat on.
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
            tokio::time::sleep(left.min(monitor.interval() / 2)).await;
        }
    }

    /// What has not been heard of for twice its interval, and since when.
    pub fn silent(&self) -> Vec<(Monitor, Duration)> {
        self.silent_at(self.now())
    }

    fn silent_at(&self, now: u64) -> Vec<(Monitor, Duration)> {
        let silence = |last: &AtomicU64| match last.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            last => Duration::from_millis(now.saturating_sub(last)),
        };
        let all = self.last.iter().zip(Monitor::ALL);
        all.map(|(last, (monitor, ..))| (monitor, silence(last)))
            .filter(|(monitor, silence)| *silence > 2 * monitor.interval())
            .collect()
    }

    /// How long each has been silent, as Prometheus reads it.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# HELP schakel_monitor_silent Monitors that were not heard of for twice their interval.\n\
             # TYPE schakel_monitor_silent gauge\n",
        );
        let silent = self.silent();
        for (monitor, name, _) in Monitor::ALL {
            let is_silent = u8::from(silent.iter().any(|(one, _)| *one == monitor));
            text.push_str(&format!(
                "schakel_monitor_silent{{monitor=\"{name}\"}} {is_silent}\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(beats: &Beats, now: u64) -> Vec<&'static str> {
        let silent = beats.silent_at(now);
        silent.iter().map(|(monitor, _)| monitor.as_str()).collect()
    }

    #[tokio::test]
    async fn l14_a_monitor_is_silent_after_two_of_its_intervals_and_not_before() {
        for (monitor, name, seconds) in Monitor::ALL {
            let beats = Beats::default();
            assert!(
                names(&beats, u64::MAX).is_empty(),
                "what never began is not missed"
            );
            beats.rest(monitor, Duration::from_millis(1)).await;
            let last: u64 = beats.last.iter().map(|last| last.load(Ordering::Relaxed)).sum();
            assert!(names(&beats, last + 2_000 * seconds).is_empty(), "{name}");
            assert_eq!(names(&beats, last + 2_000 * seconds + 1), [name]);
            beats.beat(monitor);
            assert!(beats.silent().is_empty(), "{name}");
            let line = format!("schakel_monitor_silent{{monitor=\"{name}\"}} 0\n");
            assert!(beats.to_text().contains(&line), "{name}");
        }
    }
}

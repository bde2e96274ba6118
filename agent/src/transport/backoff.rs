//! Waiting between attempts: exponential with full jitter, bounded.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Shortest ceiling of a wait.
const BASE_MILLIS: u64 = 100;
/// Longest wait.
const CEILING_MILLIS: u64 = 15_000;

/// Chooses the waits of one loop.
pub struct Backoff {
    attempts: u32,
    ceiling_millis: u64,
    rng: StdRng,
}

impl Backoff {
    /// For one loop, with its own randomness.
    pub fn new(rng: StdRng) -> Self {
        Self::up_to(CEILING_MILLIS, rng)
    }

    /// The same, with another longest wait.
    pub fn up_to(ceiling_millis: u64, rng: StdRng) -> Self {
        Self {
            attempts: 0,
            ceiling_millis,
            rng,
        }
    }

    /// Something worked: the next wait is short again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Anything from 0 to this, whatever happened before.
    pub fn spread(&mut self, millis: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=millis))
    }

    /// The next wait: anything from 0 to the ceiling, which doubles with each failure up to the longest (15 s);
    /// never shorter than `at_least_millis`, the wait that the other side asked for (also bounded).
    pub fn next(&mut self, at_least_millis: u32) -> Duration {
        let doubled = BASE_MILLIS.saturating_mul(1 << self.attempts.min(20));
        self.attempts = self.attempts.saturating_add(1);
        let wait = self.rng.random_range(0..=doubled.min(self.ceiling_millis));
        Duration::from_millis(wait.saturating_add(u64::from(at_least_millis).min(4 * CEILING_MILLIS)))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn n11_waits_grow_are_spread_and_stay_bounded() {
        let mut backoff = Backoff::new(StdRng::seed_from_u64(7));
        let waits: Vec<_> = (0..64).map(|_| backoff.next(0)).collect();
        assert!(waits[0] <= Duration::from_millis(BASE_MILLIS));
        assert!(waits.iter().all(|w| *w <= Duration::from_millis(CEILING_MILLIS)));
        let late: std::collections::BTreeSet<_> = waits[20..].iter().collect();
        assert!(late.len() > 30, "full jitter: late waits differ");
        assert!(
            late.iter()
                .any(|w| **w < Duration::from_millis(CEILING_MILLIS / 4))
        );
        backoff.reset();
        assert!(backoff.next(0) <= Duration::from_millis(BASE_MILLIS));
        assert!(backoff.next(500) >= Duration::from_millis(500));
        assert!(backoff.next(u32::MAX) <= Duration::from_millis(5 * CEILING_MILLIS));
    }
}

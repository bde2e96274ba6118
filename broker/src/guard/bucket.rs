//! A bucket of tokens on the monotonic clock, for what a peer may do without asking for anything.

use tokio::time::Instant;

/// Tokens are kept in thousandths, so that a millisecond refills a whole number of them.
const SCALE: u64 = 1_000;

/// Tokens that come back by the second, up to a burst.
#[derive(Debug)]
pub struct Bucket {
    level: u64,
    full: u64,
    per_second: u64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(burst: u64, per_second: u64, now: Instant) -> Self {
        let full = burst.saturating_mul(SCALE);
        Self {
            level: full,
            full,
            per_second,
            at: now,
        }
    }

    /// Takes `count` tokens; false if there are not as many.
    pub fn take(&mut self, count: u64, now: Instant) -> bool {
        let millis = now.saturating_duration_since(self.at).as_millis();
        if let (true, Ok(millis)) = (millis > 0, u64::try_from(millis)) {
            let back = millis.saturating_mul(self.per_second);
            self.level = self.level.saturating_add(back).min(self.full);
            self.at = now;
        }
        let wanted = count.saturating_mul(SCALE);
        let enough = self.level >= wanted;
        if enough {
            self.level -= wanted;
        }
        enough
    }

    /// Puts `count` tokens back.
    pub fn give(&mut self, count: u64) {
        self.level = self
            .level
            .saturating_add(count.saturating_mul(SCALE))
            .min(self.full);
    }

    /// When it was used last.
    pub const fn used(&self) -> Instant {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_empties_refills_and_never_overflows() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(2, 10, start);
        assert!(bucket.take(1, start) && bucket.take(1, start) && !bucket.take(1, start));
        assert!(!bucket.take(1, after(99)));
        assert!(bucket.take(1, after(100)) && !bucket.take(1, after(100)));
        bucket.give(100);
        assert!(bucket.take(2, after(100)) && !bucket.take(1, after(100)));
        assert!(bucket.take(2, after(1_000_000)) && !bucket.take(1, after(1_000_000)));
    }
}

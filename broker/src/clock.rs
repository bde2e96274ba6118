//! Time and randomness: the one place of the broker that reads the ambient ones.

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::time::Timestamp;

/// Tells the time. Everything else takes a `Timestamp` or a `Clock`.
pub trait Clock: Send + Sync {
    /// This moment, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the broker reads the clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from_system_time(std::time::SystemTime::now())
    }
}

/// A generator seeded from the operating system, for nonces, lease tokens and entry ids.
pub fn seeded_rng() -> StdRng {
    StdRng::from_os_rng()
}

/// A clock that tests set.
#[derive(Debug)]
pub struct SetClock(std::sync::atomic::AtomicI64);

impl SetClock {
    /// A clock that shows `at` until it is set again.
    pub fn at(at: Timestamp) -> Self {
        Self(std::sync::atomic::AtomicI64::new(at.millis()))
    }

    /// Shows `at` from now on.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.millis(), std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_clock_is_past_2026_and_a_set_clock_shows_what_it_was_set_to() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_767_225_600_000));
        let clock = SetClock::at(Timestamp::from_millis(5));
        clock.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
    }
}

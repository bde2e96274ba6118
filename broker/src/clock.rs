//! Time and randomness: the one place of the broker that reads the ambient ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

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

/// A clock that is ahead of the machine's by what a file says, in milliseconds: simulated time, for
/// development networks only. The file is read at each look, so that all processes that share it agree.
#[derive(Debug)]
pub struct SimulatedClock {
    file: PathBuf,
    ahead: AtomicI64,
}

impl SimulatedClock {
    /// A clock that follows `file`.
    ///
    /// # Errors
    /// The file cannot be read, or holds no number.
    pub fn following(file: &Path) -> std::io::Result<Self> {
        Ok(Self {
            file: file.to_owned(),
            ahead: AtomicI64::new(ahead(file)?),
        })
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        // A file that cannot be read just now changes nothing.
        if let Ok(ahead) = ahead(&self.file) {
            self.ahead.store(ahead, Ordering::SeqCst);
        }
        SystemClock.now().plus_millis(self.ahead.load(Ordering::SeqCst))
    }
}

fn ahead(file: &Path) -> std::io::Result<i64> {
    let wrong = |e: std::num::ParseIntError| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    std::fs::read_to_string(file)?.trim().parse().map_err(wrong)
}

/// A generator seeded from the operating system, for nonces, lease tokens and entry ids.
pub fn seeded_rng() -> StdRng {
    StdRng::from_os_rng()
}

/// A clock that tests set.
#[derive(Debug)]
pub struct SetClock(AtomicI64);

impl SetClock {
    /// A clock that shows `at` until it is set again.
    pub fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.millis()))
    }

    /// Shows `at` from now on.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.millis(), Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests say what fails by panicking")]

    use super::*;

    #[test]
    fn the_machine_clock_is_past_2026_and_a_set_clock_shows_what_it_was_set_to() {
        assert!(SystemClock.now() > Timestamp::from_millis(1_767_225_600_000));
        let clock = SetClock::at(Timestamp::from_millis(5));
        clock.set(Timestamp::from_millis(7));
        assert_eq!(clock.now(), Timestamp::from_millis(7));
    }

    #[test]
    fn simulated_time_follows_its_file_and_keeps_the_last_when_it_cannot_be_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(SimulatedClock::following(file.path()).is_err(), "an empty file");
        std::fs::write(file.path(), "86400000\n").unwrap();
        let clock = SimulatedClock::following(file.path()).unwrap();
        let day = 24 * 3600 * 1000;
        let ahead = || clock.now().millis() - SystemClock.now().millis();
        assert!((day - 60_000..=day).contains(&ahead()), "{}", ahead());
        std::fs::write(file.path(), (2 * day).to_string()).unwrap();
        assert!((2 * day - 60_000..=2 * day).contains(&ahead()), "{}", ahead());
        std::fs::write(file.path(), "soon").unwrap();
        assert!((2 * day - 60_000..=2 * day).contains(&ahead()), "{}", ahead());
    }
}

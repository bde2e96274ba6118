//! The only place of the agent that names the ambient clock and the ambient randomness.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::time::Timestamp;

/// Where the time comes from: a parameter everywhere else.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
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

/// Randomness seeded by the operating system, for identifiers, nonces and jitter.
pub fn randomness() -> StdRng {
    StdRng::from_os_rng()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests say what fails by panicking")]

    use super::*;

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

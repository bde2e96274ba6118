//! The only place of the agent that names the ambient clock and the ambient randomness.

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

/// Randomness seeded by the operating system, for identifiers, nonces and jitter.
pub fn randomness() -> StdRng {
    StdRng::from_os_rng()
}

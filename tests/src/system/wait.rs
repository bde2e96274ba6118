//! Waiting with a limit: never for a fixed time, never without an end.

use std::time::{Duration, Instant};

/// Longest wait for anything on one machine; generous, since nothing here asserts speed. More than two leases (60 s each): what
/// was on its way to an agent that stopped is offered again when its lease ends.
pub const LIMIT: Duration = Duration::from_secs(150);

/// Asks every 20 ms until there is an answer.
///
/// # Panics
/// When `what` has not come within [`LIMIT`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    try_until(LIMIT, &mut ask).unwrap_or_else(|| panic!("waited {} s for {what}", LIMIT.as_secs()))
}

/// As [`until`], with another limit, and none instead of a panic.
pub fn try_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if began.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

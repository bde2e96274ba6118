//! A network, a log and a broker that says what the test wants.

pub mod broker;

pub mod ledger;

pub mod parcel;

pub mod town;

mod wires;

use std::time::{Duration, Instant};

/// Asks until there is an answer; a generous limit only keeps a broken test from hanging.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "waited in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

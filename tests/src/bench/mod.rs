//! `schakel-bench`: how many packets a broker takes and hands over, on this machine, beside what the machine's disk,
//! its processor and the bare protocol give in the same run. Real processes, real TLS, real keys; packets are sealed
//! before a clock starts, and every one must come exactly once to each of its recipients, or the run fails.
//! docs/performance.md says how to read it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be set up stops"
)]

use std::fmt;

use crate::system::backend::Backend;

pub mod figures;

pub mod usage;

pub mod ledger;

pub mod load;

pub mod bare;

pub mod reference;

pub mod run;

/// Who sends.
pub const SENDER: &str = "pz-rupel";
/// Who receives, if nobody says otherwise: three agencies that may have a summary of facts from the police.
pub const RECIPIENTS: [&str; 3] = ["pz-rupel-opvolgcel", "jh-antwerpen-slachtoffer", "vh-antwerpen"];
/// Submissions that the broker lets one agency have in flight, as the bench configures it.
pub const IN_FLIGHT_MAX_COUNT: usize = 64;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Order {
    /// Content lengths of a part, bytes; one part a packet.
    pub sizes: Vec<u64>,
    /// Connections of the sender.
    pub senders: usize,
    /// Submissions at once on each of them.
    pub in_flight: usize,
    /// Streams of each recipient.
    pub streams: usize,
    /// Packets in one measured window; fewer of large ones.
    pub packets: usize,
    /// Packets before the first window, of which no time is taken.
    pub warm_up: usize,
    /// Windows of each size.
    pub windows: usize,
    /// Cases that the packets are spread over.
    pub cases: usize,
    /// Time for each reference in each window, milliseconds.
    pub reference_millis: u64,
    /// What the brokers keep everything in.
    pub backend: Backend,
    /// Brokers on it, 1 or 2: connections go to them in turn.
    pub brokers: usize,
    /// Of case references, contents and the choice of cases.
    pub seed: u64,
}

/// Why the run failed: a packet lost, doubled or refused, or a thing of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble(String);

impl Trouble {
    /// One that says this.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        Self(format!(
            "a call failed: {:?}: {}",
            status.code(),
            status.message()
        ))
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self(format!("a file or a process: {error}"))
    }
}

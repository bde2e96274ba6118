//! Every parser of bytes that come from outside: what it must hold for any input, and what it is fed first.
//! `src/program.rs` hands them to libFuzzer, `tests/parsers` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test material: a broken fixture or a broken promise must stop the run"
)]

use std::time::{Duration, Instant};

use schakel_proto::refusal::{Fault, Refusal};

mod fixtures;

mod targets;

/// Longest that one input may keep a processor busy.
const SLOWEST: Duration = Duration::from_secs(1);
/// The same where a whole bundle is compiled, without optimisation: not what a stranger may ask for.
const SLOWEST_HEAVY: Duration = Duration::from_secs(20);
/// Longest text of a refusal, in bytes.
const SAID_MAX_BYTES: usize = 2048;

/// One parser, or several of one kind.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Parses, and panics where a promise is broken.
    run: fn(&[u8]),
    /// What it is fed first.
    seeds: fn() -> Vec<Vec<u8>>,
    /// Executions of the long run.
    pub long_runs: u64,
    /// Longest that one input may take.
    slowest: Duration,
}

/// All of them: the packet, OpenPGP, facts and directory, the log, what administrators write, the local API.
pub const ALL: &[Target] = &[
    Target::new("manifest", targets::packet::manifest, targets::packet::manifests),
    Target::new(
        "descriptor",
        targets::packet::descriptor,
        targets::packet::descriptors,
    ),
    Target::new(
        "submission",
        targets::packet::submission,
        targets::packet::submissions,
    ),
    Target::new("sealing", targets::packet::sealing, targets::packet::sealings),
    Target::new(
        "plaintext",
        targets::packet::plaintext,
        targets::packet::plaintexts,
    ),
    Target::new(
        "key_packet",
        targets::openpgp::key_packet,
        targets::openpgp::key_packets,
    ),
    Target::new(
        "encrypted",
        targets::openpgp::encrypted,
        targets::openpgp::all_encrypted,
    ),
    Target::new(
        "certificate",
        targets::openpgp::certificate,
        targets::openpgp::certificates,
    ),
    Target::new(
        "signature",
        targets::openpgp::signature,
        targets::openpgp::signatures,
    ),
    Target::new("statement", targets::facts::statement, targets::facts::statements),
    Target::new("facts", targets::facts::chain, targets::facts::chains),
    Target::new(
        "directory",
        targets::facts::directory,
        targets::facts::directories,
    ),
    Target::new("checkpoint", targets::log::checkpoint, targets::log::checkpoints),
    Target::new("proof", targets::log::proof, targets::log::proofs),
    Target::new("evidence", targets::log::evidence, targets::log::all_evidence),
    Target::new("leaf", targets::log::body, targets::log::bodies),
    Target::new("log_path", targets::log::path, targets::log::paths),
    Target::new(
        "broker_config",
        targets::settings::broker,
        targets::settings::broker_files,
    ),
    Target::new(
        "agent_config",
        targets::settings::agent,
        targets::settings::agent_files,
    ),
    Target::new("policy_text", targets::policy::text, targets::policy::texts),
    Target::new(
        "bundle_archive",
        targets::policy::archive,
        targets::policy::archives,
    ),
    Target::new("bundle", targets::policy::bundle, targets::policy::bundles).heavy(),
    Target::new("request", targets::api::request, targets::api::requests),
    Target::new("pack", targets::pack::pack, targets::pack::packs),
    Target::new("identifier", targets::api::identifier, targets::api::identifiers),
];

/// Targets that break a promise behind four bytes that no seed holds: the fuzzer must find each.
pub const PLANTED: &[Target] = &[
    Target::new("planted_panic", targets::planted::panic, targets::planted::seeds),
    Target::new(
        "planted_memory",
        targets::planted::memory,
        targets::planted::seeds,
    ),
    Target::new("planted_sloth", targets::planted::sloth, targets::planted::seeds),
];

impl Target {
    const fn new(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self {
            name,
            run,
            seeds,
            long_runs: 10_000_000,
            slowest: SLOWEST,
        }
    }

    /// Each input costs a good part of a second: a whole bundle is compiled.
    const fn heavy(mut self) -> Self {
        self.long_runs = 10_000;
        self.slowest = SLOWEST_HEAVY;
        self
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().chain(PLANTED).find(|target| target.name == name)
    }

    /// What it is fed first.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }

    /// One input.
    ///
    /// # Panics
    /// When a promise is broken: of the parser, or of the time that an input may take.
    pub fn run(&self, input: &[u8]) {
        let began = Instant::now();
        (self.run)(input);
        if began.elapsed() > self.slowest {
            // The machine may have been busy with other things: what counts is the processor's time.
            let before = busy();
            (self.run)(input);
            let took = busy().saturating_sub(before);
            assert!(took <= self.slowest, "{}: takes {took:?}", self.name);
        }
    }
}

/// How long this thread has kept a processor busy.
fn busy() -> Duration {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with scheduler statistics");
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}

/// What every refusal of outside bytes must be: the other side's fault, with a stable code, short, and fit for a log.
fn refused(refusal: impl Into<Refusal>) {
    let refusal = refusal.into();
    assert_ne!(
        refusal.fault,
        Fault::Internal,
        "outside bytes are not our fault: {refusal}"
    );
    stable(refusal.code);
    said(&refusal.to_string());
}

/// A code that programs may rely on.
fn stable(code: &str) {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    assert!(
        !code.is_empty() && code.bytes().all(plain),
        "not a code: {code:?}"
    );
}

/// A text that may stand in a log.
fn said(text: &str) {
    assert!(text.len() <= SAID_MAX_BYTES, "{} bytes are said", text.len());
    assert!(
        !text.chars().any(char::is_control),
        "control characters are said: {text:?}"
    );
}

/// The first byte, by which an input chooses among ways, and the rest.
fn choice(input: &[u8]) -> (u8, &[u8]) {
    input
        .split_first()
        .map_or((0, &[][..]), |(first, rest)| (*first, rest))
}

/// An input that chooses a way.
fn chosen(way: u8, rest: &[u8]) -> Vec<u8> {
    [&[way], rest].concat()
}

//! Bounds on what agencies may ask of the broker.

use std::collections::BTreeMap;

use schakel_proto::limits;
use toml::Spanned;

use super::{ConfigError, Source};

/// Bounds that an operator may change. Each has its ceiling in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max_count: usize,
    /// Connections at once of one TLS identity.
    pub connections_per_identity_max_count: usize,
    /// Handshakes under way at once.
    pub handshakes_max_count: usize,
    /// Handshakes under way at once from one address.
    pub handshakes_per_address_max_count: usize,
    /// Handshakes begun per second, of all together.
    pub handshakes_per_second_max_count: u64,
    /// From the TCP connection to the end of the HTTP/2 preface.
    pub handshake_max_seconds: u64,
    /// One header block or control frame; a connection's first request.
    pub headers_max_seconds: u64,
    /// One request that comes in one message; one DATA frame; a pause within a submission.
    pub body_max_seconds: u64,
    /// A connection without an open request.
    pub idle_max_seconds: u64,
    /// Requests that one TLS identity may begin per minute, finished or not.
    pub requests_per_minute_max_count: u32,
    /// Requests of one TLS identity at once, until their answer is taken.
    pub requests_open_max_count: usize,
    /// Submissions and statements of one agency per minute.
    pub submissions_per_minute_max_count: u32,
    /// Submissions of one agency at once.
    pub submissions_at_once_max_count: usize,
    /// Memory for what all agencies are sending or being sent.
    pub memory_max_bytes: usize,
    /// Longest sealing of a part.
    pub part_max_bytes: u64,
    /// Longest life of a packet.
    pub packet_life_max_millis: i64,
    /// Rejection leaves per member and hour (malformed and forged submissions).
    pub rejection_leaves_per_hour_max_count: u32,
    /// Wait for calls in flight when the broker is told to stop.
    pub drain_max_seconds: u64,
}

impl Bounds {
    /// Requests that one TLS identity may begin per minute: never less than twice the submissions that it may make.
    pub fn requests_per_minute(&self) -> u64 {
        let submissions = u64::from(self.submissions_per_minute_max_count).saturating_mul(2);
        u64::from(self.requests_per_minute_max_count).max(submissions)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max_count: 4096,
            connections_per_identity_max_count: 16,
            handshakes_max_count: 512,
            handshakes_per_address_max_count: 64,
            handshakes_per_second_max_count: 100,
            handshake_max_seconds: limits::TLS_HANDSHAKE_MAX_MILLIS / 1000,
            headers_max_seconds: limits::HEADERS_MAX_MILLIS / 1000,
            body_max_seconds: limits::BODY_MAX_MILLIS / 1000,
            idle_max_seconds: limits::IDLE_MAX_MILLIS / 1000,
            requests_per_minute_max_count: 120_000,
            requests_open_max_count: 256,
            submissions_per_minute_max_count: 600,
            submissions_at_once_max_count: 16,
            memory_max_bytes: 96 << 20,
            part_max_bytes: limits::PART_MAX_BYTES + (limits::PART_MAX_BYTES >> 4),
            packet_life_max_millis: limits::PACKET_LIFE_MAX_MILLIS,
            rejection_leaves_per_hour_max_count: 12,
            drain_max_seconds: 20,
        }
    }
}

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// How a setting gets to its place.
type Set = fn(&mut Bounds, u64);

/// A number that was checked against a ceiling that fits.
fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Every setting: its name, its ceiling, its place.
fn settings() -> [(&'static str, u64, Set); 18] {
    let most = Bounds::default();
    let life_days = most.packet_life_max_millis.unsigned_abs() / DAY_MILLIS;
    [
        ("connections_max_count", 65_536, |b, n| {
            b.connections_max_count = count(n)
        }),
        ("connections_per_identity_max_count", 1024, |b, n| {
            b.connections_per_identity_max_count = count(n);
        }),
        ("handshakes_max_count", 4096, |b, n| {
            b.handshakes_max_count = count(n)
        }),
        ("handshakes_per_address_max_count", 4096, |b, n| {
            b.handshakes_per_address_max_count = count(n);
        }),
        ("handshakes_per_second_max_count", 100_000, |b, n| {
            b.handshakes_per_second_max_count = n;
        }),
        ("handshake_max_seconds", most.handshake_max_seconds, |b, n| {
            b.handshake_max_seconds = n
        }),
        ("headers_max_seconds", most.headers_max_seconds, |b, n| {
            b.headers_max_seconds = n
        }),
        ("body_max_seconds", most.body_max_seconds, |b, n| {
            b.body_max_seconds = n
        }),
        ("idle_max_seconds", 3600, |b, n| b.idle_max_seconds = n),
        ("requests_per_minute_max_count", 100_000_000, |b, n| {
            b.requests_per_minute_max_count = small(n);
        }),
        ("requests_open_max_count", 65_536, |b, n| {
            b.requests_open_max_count = count(n)
        }),
        ("submissions_per_minute_max_count", 1_000_000, |b, n| {
            b.submissions_per_minute_max_count = small(n);
        }),
        ("submissions_at_once_max_count", 1024, |b, n| {
            b.submissions_at_once_max_count = count(n);
        }),
        ("memory_max_mebibytes", 65_536, |b, n| {
            b.memory_max_bytes = count(n) << 20
        }),
        ("part_max_bytes", most.part_max_bytes, |b, n| b.part_max_bytes = n),
        ("packet_life_max_days", life_days, |b, n| {
            b.packet_life_max_millis = (n * DAY_MILLIS).cast_signed();
        }),
        ("rejection_leaves_per_hour_max_count", 3600, |b, n| {
            b.rejection_leaves_per_hour_max_count = small(n);
        }),
        ("drain_max_seconds", 600, |b, n| b.drain_max_seconds = n),
    ]
}

/// The `[limits]` section: known names only, each between 1 and its ceiling.
pub(super) fn read(
    source: &Source<'_>,
    given: &BTreeMap<String, Spanned<u64>>,
) -> Result<Bounds, ConfigError> {
    let mut bounds = Bounds::default();
    let settings = settings();
    for (name, value) in given {
        let Some((_, max, set)) = settings.iter().find(|(known, ..)| known == name) else {
            let sentence = format!("unknown setting [limits] {name}");
            return Err(source.error(value, sentence, "docs/operating/broker.md lists every setting."));
        };
        let number = *value.get_ref();
        if number == 0 || number > *max {
            let sentence = format!("{name} = {number} is out of range");
            return Err(source.error(value, sentence, format!("Write a number from 1 to {max}.")));
        }
        set(&mut bounds, number);
    }
    Ok(bounds)
}

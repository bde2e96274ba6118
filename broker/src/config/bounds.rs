//! Bounds on what agencies may ask of the broker.

use std::collections::BTreeMap;

use schakel_proto::limits;
use toml::Spanned;

use super::{ConfigError, Source};

/// Bounds that an operator may lower. Each has its ceiling in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max_count: usize,
    /// Connections at once of one TLS identity.
    pub connections_per_identity_max_count: usize,
    /// Submissions and statements of one agency per minute.
    pub submissions_per_minute_max_count: u32,
    /// Submissions of one agency at once.
    pub submissions_at_once_max_count: usize,
    /// Longest sealing of a part.
    pub part_max_bytes: u64,
    /// Longest life of a packet.
    pub packet_life_max_millis: i64,
    /// Rejection leaves per member and hour (malformed and forged submissions).
    pub rejection_leaves_per_hour_max_count: u32,
    /// Wait for calls in flight when the broker is told to stop.
    pub drain_max_seconds: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max_count: 4096,
            connections_per_identity_max_count: 16,
            submissions_per_minute_max_count: 600,
            submissions_at_once_max_count: 16,
            part_max_bytes: limits::PART_MAX_BYTES + (limits::PART_MAX_BYTES >> 4),
            packet_life_max_millis: limits::PACKET_LIFE_MAX_MILLIS,
            rejection_leaves_per_hour_max_count: 12,
            drain_max_seconds: 20,
        }
    }
}

/// The `[limits]` section: known names only, each between 1 and its ceiling.
pub(super) fn read(
    source: &Source<'_>,
    given: &BTreeMap<String, Spanned<u64>>,
) -> Result<Bounds, ConfigError> {
    let mut bounds = Bounds::default();
    let ceiling = Bounds::default();
    let day = 24 * 3600 * 1000;
    for (name, value) in given {
        let number = *value.get_ref();
        let max = match name.as_str() {
            "connections_max_count" => 65_536,
            "connections_per_identity_max_count" => 1024,
            "submissions_per_minute_max_count" => 1_000_000,
            "submissions_at_once_max_count" => 1024,
            "part_max_bytes" => ceiling.part_max_bytes,
            "packet_life_max_days" => ceiling.packet_life_max_millis.unsigned_abs() / day,
            "rejection_leaves_per_hour_max_count" => 3600,
            "drain_max_seconds" => 600,
            _ => {
                let sentence = format!("unknown setting [limits] {name}");
                return Err(source.error(value, sentence, "docs/operating/broker.md lists every setting."));
            }
        };
        if number == 0 || number > max {
            let sentence = format!("{name} = {number} is out of range");
            return Err(source.error(value, sentence, format!("Write a number from 1 to {max}.")));
        }
        let (count, small) = (
            usize::try_from(number).unwrap_or(1),
            u32::try_from(number).unwrap_or(1),
        );
        match name.as_str() {
            "connections_max_count" => bounds.connections_max_count = count,
            "connections_per_identity_max_count" => bounds.connections_per_identity_max_count = count,
            "submissions_per_minute_max_count" => bounds.submissions_per_minute_max_count = small,
            "submissions_at_once_max_count" => bounds.submissions_at_once_max_count = count,
            "part_max_bytes" => bounds.part_max_bytes = number,
            "packet_life_max_days" => bounds.packet_life_max_millis = (number * day).cast_signed(),
            "rejection_leaves_per_hour_max_count" => bounds.rejection_leaves_per_hour_max_count = small,
            _ => bounds.drain_max_seconds = number,
        }
    }
    Ok(bounds)
}

//! Time as a value: milliseconds since the Unix epoch, UTC. Nothing here reads a clock.

use std::fmt;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment plus a number of milliseconds (saturating).
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment; negative if it is later (saturating).
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As the standard library's type, for libraries that take one; times before 1970 become 1970.
    pub fn to_system_time(self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    /// From the standard library's type; times before 1970 become 1970.
    pub fn from_system_time(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T16:30:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// What is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written as 2026-11-21 (its first, UTC) or 2026-11-21T16:30:00Z")]
pub struct TimeError;

/// A day (its first moment, UTC), or RFC 3339 with `Z` or an offset.
impl std::str::FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let whole = if text.contains('T') {
            text.to_owned()
        } else {
            format!("{text}T00:00:00Z")
        };
        let moment: jiff::Timestamp = whole.parse().map_err(|_| TimeError)?;
        Ok(Self(moment.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_a_moment_are_read_and_nothing_else_is() {
        let read = |text: &str| text.parse::<Timestamp>();
        let moment = Timestamp::from_millis(1_795_278_600_007);
        assert_eq!(read(&moment.to_string()), Ok(moment));
        assert_eq!(read("2026-11-21T17:30:00.007+01:00"), Ok(moment));
        assert_eq!(
            read("2026-11-21").unwrap().to_string(),
            "2026-11-21T00:00:00.000Z"
        );
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-21T", "2026-11-21T16:30"] {
            assert_eq!(read(wrong), Err(TimeError), "{wrong}");
        }
    }

    #[test]
    fn is_shown_as_rfc_3339_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_795_278_600_007).to_string(),
            "2026-11-21T16:30:00.007Z"
        );
        assert_eq!(
            Timestamp::from_millis(i64::MAX).to_string(),
            format!("{} ms", i64::MAX)
        );
    }

    #[test]
    fn survives_the_way_through_system_time() {
        let t = Timestamp::from_millis(1_795_278_600_007);
        assert_eq!(Timestamp::from_system_time(t.to_system_time()), t);
    }
}

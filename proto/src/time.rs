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

    /// When a period of whole years that runs from this moment has ended: with the last hour of the same day so many
    /// years later, or of the last day of that month if it has no such day (Regulation 1182/71, article 3), in UTC. A
    /// moment that no calendar reaches stays in the future for ever.
    #[must_use]
    pub fn after_years(self, years: u16) -> Self {
        let end = || {
            let from = jiff::Timestamp::from_millisecond(self.0).ok()?;
            let day = from.to_zoned(jiff::tz::TimeZone::UTC).date();
            let last = day.checked_add(jiff::Span::new().try_years(years).ok()?).ok()?;
            let next = last.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Self(next.timestamp().as_millisecond()))
        };
        end().unwrap_or(Self(i64::MAX))
    }

    /// The moment before which a period of so many years must have begun to have ended by now, as
    /// [`Self::after_years`] counts; on a leap day one day less, never more.
    #[must_use]
    pub fn years_before(self, years: u16) -> Self {
        let begin = || {
            let now = jiff::Timestamp::from_millisecond(self.0).ok()?;
            let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
            let first = day.checked_sub(jiff::Span::new().try_years(years).ok()?).ok()?;
            let first = first.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Self(first.timestamp().as_millisecond()))
        };
        begin().unwrap_or(Self(i64::MIN))
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

    const DAY_MILLIS: i64 = 86_400_000;

    #[test]
    fn n14_a_period_of_years_ends_with_its_last_day_also_where_the_year_or_the_clock_turns() {
        let cases = [
            ("2026-11-21T16:30:00Z", 15, "2041-11-22"),
            // A leap day has no anniversary in most years.
            ("2024-02-29T12:00:00Z", 1, "2025-03-01"),
            ("2024-02-29T12:00:00Z", 4, "2028-03-01"),
            ("2025-02-28T00:00:00Z", 3, "2028-02-29"),
            // The end of a year, the second before a leap second, and an hour that is there twice in Brussels.
            ("2026-12-31T23:59:59.999Z", 1, "2028-01-01"),
            ("2016-12-31T23:59:59Z", 10, "2027-01-01"),
            ("2026-10-25T02:30:00+02:00", 10, "2036-10-26"),
            ("2026-11-21T00:00:00Z", 0, "2026-11-22"),
        ];
        for (from, years, until) in cases {
            let (from, until): (Timestamp, Timestamp) = (from.parse().unwrap(), until.parse().unwrap());
            assert_eq!(from.after_years(years), until, "{from} and {years} years");
            // Never early; and late by one day at most, on a leap day.
            assert!(
                from >= until.plus_millis(-1).years_before(years),
                "{from} and {years} years"
            );
            assert!(
                from < until.plus_millis(DAY_MILLIS).years_before(years),
                "{from} and {years} years"
            );
        }
        let never = Timestamp::from_millis(i64::MAX);
        assert_eq!(Timestamp::from_millis(i64::MAX - 1).after_years(1), never);
        assert_eq!(Timestamp::from_millis(0).after_years(u16::MAX), never);
    }

    #[test]
    fn survives_the_way_through_system_time() {
        let t = Timestamp::from_millis(1_795_278_600_007);
        assert_eq!(Timestamp::from_system_time(t.to_system_time()), t);
    }
}

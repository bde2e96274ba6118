//! How far the broker's clock is from this machine's, as seen whenever the broker tells its time. A large difference is
//! a person's business: signatures, deadlines and receipts of the two would not fit together.

use std::sync::{Mutex, PoisonError};

use schakel_proto::time::Timestamp;

use crate::problem::{Kind, Problem};

/// Difference between two clocks from which on it is an alarm, in milliseconds.
const ALARM_MILLIS: i64 = 60_000;
/// Where the broker tells its time, in milliseconds since 1970, beside its answers.
const TIME_KEY: &str = "schakel-time-ms";

/// The difference as last seen, in milliseconds; more than zero: the broker is ahead. None: never told.
#[derive(Default)]
pub struct Skew(Mutex<Option<i64>>);

/// How far `told` lies outside of what passed here between question and answer.
fn apart(told: Timestamp, (asked, answered): (Timestamp, Timestamp)) -> i64 {
    if told < asked {
        told.millis_since(asked)
    } else {
        told.millis_since(answered).max(0)
    }
}

fn is_alarm(apart: i64) -> bool {
    apart.saturating_abs() > ALARM_MILLIS
}

impl Skew {
    /// Notes the time that an answer tells; `asked` and `answered` are this machine's.
    pub fn note<T>(&self, answer: &tonic::Response<T>, asked: Timestamp, answered: Timestamp) {
        let told = answer
            .metadata()
            .get(TIME_KEY)
            .and_then(|told| told.to_str().ok());
        let Some(told) = told.and_then(|told| told.parse().ok()) else {
            return;
        };
        self.set(apart(Timestamp::from_millis(told), (asked, answered)));
    }

    fn set(&self, apart: i64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.is_some_and(is_alarm);
        *last = Some(apart);
        match (before, is_alarm(apart)) {
            (false, true) => tracing::error!(
                apart_ms = apart,
                "alarm: the broker's clock and this machine's differ by more than a minute"
            ),
            (true, false) => tracing::info!(apart_ms = apart, "the clocks agree again"),
            _ => {}
        }
    }

    /// What a person should know of it; none: the clocks agree, as far as is known.
    pub fn problem(&self) -> Option<Problem> {
        let apart =
            (*self.0.lock().unwrap_or_else(PoisonError::into_inner)).filter(|apart| is_alarm(*apart))?;
        let (seconds, where_to) = (
            apart.saturating_abs() / 1_000,
            if apart > 0 { "ahead of" } else { "behind" },
        );
        let sentence = format!("the broker's clock is {seconds} s {where_to} this machine's");
        let remedy =
            "Check that this machine's clock is set by NTP; if it is right, tell the broker's operator.";
        Some(Problem::new(Kind::Local, "CLOCK_SKEW", sentence, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_difference_and_more_than_a_minute_is_an_alarm() {
        let at = Timestamp::from_millis;
        let slow = (at(1_000_000), at(1_200_000));
        assert_eq!(apart(at(1_000_000), slow), 0);
        assert_eq!(apart(at(1_200_000), slow), 0);
        assert_eq!(apart(at(1_260_001), slow), 60_001);
        assert_eq!(apart(at(939_999), slow), -60_001);
        let skew = Skew::default();
        assert!(skew.problem().is_none(), "nothing is known");
        for (apart, says) in [
            (60_000, None),
            (61_000, Some("61 s ahead of")),
            (-61_000, Some("61 s behind")),
        ] {
            skew.set(apart);
            let sentence = skew.problem().map(|problem| problem.sentence);
            assert_eq!(sentence.is_some(), says.is_some());
            assert!(sentence.unwrap_or_default().contains(says.unwrap_or_default()));
        }
        skew.set(0);
        assert!(skew.problem().is_none(), "it is over");
    }
}

//! What an auditor reads of others' entries stands in the log itself: one entry for each auditor and hour, before the
//! first answer; the next says how many more were read since.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schakel_proto::evidence::Event;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;

use crate::log::entry::EntryDraft;
use crate::state::State;

/// Reason of the entry.
const AUDIT: &str = "audit";
const HOUR_MILLIS: i64 = 3_600_000;

#[derive(Clone, Copy, Debug, Default)]
struct Read {
    /// When the last entry was made.
    told: Option<Timestamp>,
    /// Read since, without an entry of its own.
    since: u64,
}

/// What each auditor read since its last entry: as many as a directory can name.
#[derive(Debug, Default)]
pub struct Audits(Mutex<BTreeMap<AgencyId, Read>>);

impl Audits {
    fn change<T>(&self, auditor: &AgencyId, change: impl FnOnce(&mut Read) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(auditor.clone()).or_default())
    }

    /// Whether this reading is to be told, and with how many before it. Else it is counted.
    fn enter(&self, auditor: &AgencyId, now: Timestamp) -> Option<u64> {
        self.change(auditor, |read| {
            let told = |at: Timestamp| (0..HOUR_MILLIS).contains(&now.millis_since(at));
            if read.told.is_some_and(told) {
                read.since = read.since.saturating_add(1);
                return None;
            }
            read.told = Some(now);
            Some(std::mem::take(&mut read.since))
        })
    }

    /// It could not be told: the next reading is, and counts what this one would have said.
    fn untold(&self, auditor: &AgencyId, count: u64) {
        self.change(auditor, |read| {
            read.told = None;
            read.since = read.since.saturating_add(count);
        });
    }
}

/// Puts into the log that `auditor` reads entries of others.
///
/// # Errors
/// It could not be recorded: then nothing is shown.
pub async fn record(state: &State, auditor: &AgencyId) -> Result<(), Refusal> {
    let now = state.clock.now();
    let Some(before) = state.audits.enter(auditor, now) else {
        return Ok(());
    };
    let draft = EntryDraft {
        reason: AUDIT.to_owned(),
        actor: format!("agency:{auditor}"),
        left_out: before,
        ..EntryDraft::new(Event::AdminAct, now)
    };
    let recorded = match state.entry(draft).await {
        Ok(entry) => state.store.record(entry).await.map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    recorded
        .map(drop)
        .inspect_err(|_| state.audits.untold(auditor, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_reading_is_told_once_and_the_next_says_how_much_it_was() {
        let audits = Audits::default();
        let one = AgencyId::new("coc").unwrap();
        let at = Timestamp::from_millis;
        assert_eq!(audits.enter(&one, at(0)), Some(0));
        for n in 1..=5 {
            assert_eq!(audits.enter(&one, at(n)), None);
        }
        let other = AgencyId::new("gba").unwrap();
        assert_eq!(audits.enter(&other, at(6)), Some(0), "each for itself");
        assert_eq!(audits.enter(&one, at(HOUR_MILLIS)), Some(5));
        assert_eq!(
            audits.enter(&one, at(HOUR_MILLIS - 1)),
            Some(0),
            "a clock set back hides nothing"
        );
        audits.untold(&one, 7);
        assert_eq!(audits.enter(&one, at(HOUR_MILLIS)), Some(7));
    }
}

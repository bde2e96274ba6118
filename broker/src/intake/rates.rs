//! How often and how many at once: one bucket per agency, refilled by the minute, and a number of
//! places for calls in flight. One agency's flood leaves the others' share untouched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bucket of tokens per agency.
pub struct Rates {
    /// Tokens a full bucket holds, which it regains in `period_millis`.
    burst_count: u32,
    period_millis: i64,
    buckets: Mutex<HashMap<AgencyId, Bucket>>,
}

struct Bucket {
    /// Tokens times the period in milliseconds: so a millisecond refills a whole number of units.
    units: i64,
    at: Timestamp,
}

impl Rates {
    /// Full buckets of `burst_count` tokens each.
    pub fn new(burst_count: u32, period_millis: i64) -> Self {
        Self {
            burst_count,
            period_millis: period_millis.max(1),
            buckets: Mutex::default(),
        }
    }

    /// Takes one token of `agency`; else says after how many milliseconds one is there.
    pub fn take(&self, agency: &AgencyId, now: Timestamp) -> Result<(), u64> {
        self.take_many(agency, 1, now)
    }

    /// Takes `count` tokens of `agency`, or none and says after how many milliseconds they are there. No more than a full
    /// bucket are ever asked for.
    pub fn take_many(&self, agency: &AgencyId, count: u32, now: Timestamp) -> Result<(), u64> {
        let burst = i64::from(self.burst_count);
        let price = self
            .period_millis
            .saturating_mul(i64::from(count))
            .min(burst.saturating_mul(self.period_millis));
        let (token, full) = (price, burst.saturating_mul(self.period_millis));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= limits::AGENCIES_MAX_COUNT && !buckets.contains_key(agency) {
            // Agencies that left the directory; a full bucket forgets nothing.
            let period = self.period_millis;
            buckets.retain(|_, bucket| now.millis_since(bucket.at) < period);
        }
        let bucket = buckets
            .entry(agency.clone())
            .or_insert(Bucket { units: full, at: now });
        let passed = now.millis_since(bucket.at).clamp(0, self.period_millis);
        // A clock that jumps back refills nothing and does not lock anyone out.
        bucket.units = (bucket.units + passed.saturating_mul(burst)).min(full);
        bucket.at = now;
        if bucket.units >= token {
            bucket.units -= token;
            return Ok(());
        }
        let missing = token - bucket.units;
        let wait = missing / burst.max(1) + i64::from(missing % burst.max(1) != 0);
        Err(wait.unsigned_abs())
    }
}

/// Places for calls in flight, per agency.
#[derive(Clone)]
pub struct Places {
    max_count: usize,
    taken: Arc<Mutex<HashMap<AgencyId, usize>>>,
}

/// One place; given back on drop.
pub struct Place {
    taken: Arc<Mutex<HashMap<AgencyId, usize>>>,
    agency: AgencyId,
    /// Among those of all agencies together, where these are counted too. Held for its drop.
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `max_count` places for each agency.
    pub fn new(max_count: usize) -> Self {
        Self {
            max_count,
            taken: Arc::default(),
        }
    }

    /// Takes a place of `agency`, if one is free.
    pub fn take(&self, agency: &AgencyId) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(agency.clone()).or_default();
        (*count < self.max_count).then(|| {
            *count += 1;
            Place {
                taken: Arc::clone(&self.taken),
                agency: agency.clone(),
                _of_all: None,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.agency) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.agency);
            }
        }
    }
}

/// Calls of one kind in flight, of all agencies together.
const AT_ONCE_MAX_COUNT: usize = 1_024;

/// Both bounds together, for one kind of call.
pub struct Intake {
    rates: Rates,
    places: Places,
    of_all: Arc<Semaphore>,
}

impl Intake {
    /// `per_minute` calls a minute and `at_once` at once, per agency.
    pub fn new(per_minute: u32, at_once: usize) -> Self {
        Self {
            rates: Rates::new(per_minute, 60_000),
            places: Places::new(at_once),
            of_all: Arc::new(Semaphore::new(AT_ONCE_MAX_COUNT)),
        }
    }

    /// Takes what a call that was let in costs beyond one token.
    ///
    /// # Errors
    /// There are not as many; nothing is taken.
    pub fn charge(&self, agency: &AgencyId, count: u32, now: Timestamp) -> Result<(), Refusal> {
        if count == 0 {
            return Ok(());
        }
        self.rates.take_many(agency, count, now).map_err(|wait| {
            let sentence = "This agency reads more than one agency may";
            let remedy = "Wait as long as retry_after_ms says, then try again.";
            Refusal::new(Fault::Exhausted, "TOO_FAST", sentence, remedy).retry_after(wait)
        })
    }

    /// Lets one call of `agency` in; the place is held for as long as the call runs.
    pub fn enter(&self, agency: &AgencyId, now: Timestamp) -> Result<Place, Refusal> {
        let remedy = "Wait as long as retry_after_ms says, then try again.";
        let mut place = self.places.take(agency).ok_or_else(|| {
            let sentence = "This agency has as many submissions in flight as one agency may have";
            Refusal::new(Fault::Exhausted, "TOO_MANY_AT_ONCE", sentence, remedy).retry_after(1_000)
        })?;
        self.rates.take(agency, now).map_err(|wait| {
            let sentence = "This agency submits faster than one agency may";
            Refusal::new(Fault::Exhausted, "TOO_FAST", sentence, remedy).retry_after(wait)
        })?;
        place._of_all = Some(Arc::clone(&self.of_all).try_acquire_owned().map_err(|_| {
            let sentence = "The broker has as many submissions in flight as it may have";
            Refusal::new(Fault::Exhausted, "BUSY", sentence, remedy).retry_after(1_000)
        })?);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agency(id: &str) -> AgencyId {
        AgencyId::new(id).unwrap()
    }

    #[test]
    fn a_bucket_empties_refills_and_is_the_agencys_own() {
        let rates = Rates::new(2, 60_000);
        let at = Timestamp::from_millis;
        let (pz, caw) = (agency("pz-rupel"), agency("caw-rupel"));
        assert_eq!(rates.take(&pz, at(0)), Ok(()));
        assert_eq!(rates.take(&pz, at(0)), Ok(()));
        let wait = rates.take(&pz, at(0)).unwrap_err();
        assert_eq!(wait, 30_000);
        assert_eq!(rates.take(&caw, at(0)), Ok(()));
        assert!(rates.take(&pz, at(29_000)).is_err());
        assert_eq!(rates.take(&pz, at(30_000)), Ok(()));
    }

    #[test]
    fn who_takes_many_waits_for_as_many_and_never_for_more_than_a_bucket() {
        let intake = Intake::new(16, 100);
        let at = Timestamp::from_millis;
        let pz = agency("pz-rupel");
        assert!(intake.charge(&pz, 15, at(0)).is_ok());
        assert!(intake.charge(&pz, 0, at(0)).is_ok(), "what costs nothing more");
        let refused = intake.charge(&pz, 15, at(0)).unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after_millis),
            ("TOO_FAST", 14 * 60_000 / 16)
        );
        assert!(intake.enter(&pz, at(0)).is_ok(), "a refusal takes nothing");
        assert!(
            intake.charge(&pz, 1_000, at(60_000)).is_ok(),
            "a full bucket at most"
        );
    }

    #[test]
    fn a_clock_that_jumps_back_neither_refills_nor_locks_out() {
        let rates = Rates::new(1, 1_000);
        let pz = agency("pz-rupel");
        assert_eq!(rates.take(&pz, Timestamp::from_millis(10_000)), Ok(()));
        assert!(rates.take(&pz, Timestamp::from_millis(0)).is_err());
        assert_eq!(rates.take(&pz, Timestamp::from_millis(1_000)), Ok(()));
    }

    #[test]
    fn places_are_counted_per_agency_and_given_back() {
        let intake = Intake::new(100, 1);
        let now = Timestamp::from_millis(0);
        let (pz, caw) = (agency("pz-rupel"), agency("caw-rupel"));
        let held = intake.enter(&pz, now).ok();
        assert!(held.is_some());
        assert_eq!(
            intake.enter(&pz, now).err().map(|refusal| refusal.code),
            Some("TOO_MANY_AT_ONCE")
        );
        assert!(intake.enter(&caw, now).is_ok());
        drop(held);
        assert!(intake.enter(&pz, now).is_ok());
    }
}

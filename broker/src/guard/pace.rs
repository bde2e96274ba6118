//! How fast handshakes begin: so many in a second for all together, of which one address takes a quarter at most. Who
//! comes faster waits in its own line; newcomers from elsewhere do not stand behind it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;

/// One address' part of the whole, as its divisor.
const SHARE: u64 = 4;
/// Rest of whoever waits.
const REST: Duration = Duration::from_millis(5);
/// Addresses remembered before those that have not come for a while are forgotten.
const ADDRESSES_MAX_COUNT: usize = 4_096;
/// After this long a bucket is full again, and as good as new.
const FULL_AGAIN: Duration = Duration::from_secs(1);

/// The pace of all, and of each address.
pub struct Pace {
    per_second: u64,
    buckets: Mutex<(Bucket, HashMap<IpAddr, Bucket>)>,
}

impl Pace {
    /// `per_second` for all together.
    pub fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second,
            buckets: Mutex::new((Bucket::new(per_second, per_second, now), HashMap::new())),
        }
    }

    /// Whether one more of `address` may begin now.
    fn take(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *buckets;
        if each.len() >= ADDRESSES_MAX_COUNT && !each.contains_key(&address) {
            each.retain(|_, bucket| now.saturating_duration_since(bucket.used()) < FULL_AGAIN);
        }
        let share = (self.per_second / SHARE).max(1);
        let own = each
            .entry(address)
            .or_insert_with(|| Bucket::new(share, share, now));
        if !own.take(1, now) {
            return false;
        }
        let taken = all.take(1, now);
        if !taken {
            own.give(1);
        }
        taken
    }

    /// Waits until one more of `address` may begin. Bound the wait with a timeout of your own.
    pub async fn wait(&self, address: IpAddr) {
        while !self.take(address, Instant::now()) {
            tokio::time::sleep(REST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_a_quarter_and_all_together_the_whole() {
        let now = Instant::now();
        let pace = Pace::new(8, now);
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let begun = |n: u8, now| (0..20).filter(|_| pace.take(address(n), now)).count();
        assert_eq!(begun(1, now), 2, "a quarter");
        assert_eq!(
            begun(1, now + Duration::from_millis(500)),
            1,
            "and no more than that by the second"
        );
        let all: usize = (2..9).map(|n| begun(n, now + Duration::from_millis(500))).sum();
        assert_eq!(all, 7, "what is left of the whole");
        assert_eq!(begun(9, now + Duration::from_millis(500)), 0);
        let later = now + Duration::from_secs(2);
        assert_eq!(
            begun(9, later),
            2,
            "what was not begun is not lost to the address"
        );
    }

    #[test]
    fn addresses_that_stay_away_are_forgotten() {
        let now = Instant::now();
        let pace = Pace::new(u64::MAX / 4_000, now);
        for n in 0..ADDRESSES_MAX_COUNT as u32 {
            pace.take(IpAddr::from(n.to_be_bytes()), now);
        }
        pace.take(IpAddr::from([192, 0, 2, 1]), now + FULL_AGAIN * 2);
        assert_eq!(pace.buckets.lock().unwrap().1.len(), 1);
    }
}

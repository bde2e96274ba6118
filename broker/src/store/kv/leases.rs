//! Who works on which delivery just now. In memory only: after a restart nobody does, and everything
//! unacknowledged is leased out again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

/// One packet for one recipient.
pub(crate) type Work = (PacketId, AgencyId);

struct Lease {
    work: Work,
    since: Timestamp,
    until: Timestamp,
}

impl Lease {
    /// Not over at `now`. One that begins far in the future was given before the clock was put back.
    fn stands(&self, now: Timestamp) -> bool {
        self.until > now && self.since.millis_since(now) <= limits::LEASE_MILLIS
    }
}

#[derive(Default)]
struct Table {
    by_token: HashMap<DeliveryId, Lease>,
    by_work: HashMap<Work, (DeliveryId, u32)>,
    /// Damaged work, until it is looked at again.
    aside: HashMap<Work, Timestamp>,
}

/// The table of leases.
#[derive(Default)]
pub(crate) struct Leases(Mutex<Table>);

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases work if nobody holds it at `now`; gives the number of the attempt.
    pub(crate) fn take(
        &self,
        work: &Work,
        token: DeliveryId,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<u32> {
        let mut table = self.table();
        let attempts = match table.by_work.get(work).copied() {
            Some((holder, attempts)) => {
                if table.by_token.get(&holder).is_some_and(|lease| lease.stands(now)) {
                    return None;
                }
                table.by_token.remove(&holder);
                attempts
            }
            None => 0,
        };
        let attempt = attempts.saturating_add(1);
        table.by_work.insert(work.clone(), (token, attempt));
        let lease = Lease {
            work: work.clone(),
            since: now,
            until,
        };
        table.by_token.insert(token, lease);
        Some(attempt)
    }

    /// Whether the token holds this work at `now`.
    pub(crate) fn holds(
        &self,
        token: DeliveryId,
        packet: PacketId,
        agency: &AgencyId,
        now: Timestamp,
    ) -> bool {
        let table = self.table();
        let held = table.by_token.get(&token);
        held.is_some_and(|lease| lease.work.0 == packet && lease.work.1 == *agency && lease.stands(now))
    }

    /// Prolongs a lease that has not ended.
    pub(crate) fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> bool {
        match self.table().by_token.get_mut(&token) {
            Some(lease) if lease.stands(now) => {
                (lease.since, lease.until) = (now, until);
                true
            }
            _ => false,
        }
    }

    /// Ends a lease; the count of attempts stays.
    pub(crate) fn release(&self, token: DeliveryId) {
        self.table().by_token.remove(&token);
    }

    /// Work that cannot be read is not tried again before `until`; the token is free for other work.
    pub(crate) fn set_aside(&self, work: Work, token: DeliveryId, until: Timestamp) {
        let mut table = self.table();
        table.by_token.remove(&token);
        table.aside.insert(work, until);
    }

    /// Whether work was set aside, and is to stay so at `now`.
    pub(crate) fn is_aside(&self, work: &Work, now: Timestamp) -> bool {
        self.table().aside.get(work).is_some_and(|until| *until > now)
    }

    /// The work is done: forgets it.
    pub(crate) fn end(&self, work: &Work) {
        let mut table = self.table();
        table.aside.remove(work);
        if let Some((token, _)) = table.by_work.remove(work) {
            table.by_token.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_put_back_does_not_prolong_a_lease() {
        let at = |seconds: i64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000);
        let (day, work) = (
            86_400,
            (PacketId::from_bytes([1; 16]), AgencyId::new("ocmw-boom").unwrap()),
        );
        let token = |n| DeliveryId::from_bytes([n; 16]);
        let leases = Leases::default();
        assert_eq!(leases.take(&work, token(1), at(day), at(day + 60)), Some(1));
        assert_eq!(leases.take(&work, token(2), at(day + 59), at(day + 119)), None);
        // A little back, as clocks are corrected: it is still held.
        assert!(leases.holds(token(1), work.0, &work.1, at(day - 30)));
        // A day back: it was given in the future, and holds nothing any more.
        assert!(!leases.holds(token(1), work.0, &work.1, at(0)));
        assert!(!leases.renew(token(1), at(0), at(60)));
        assert_eq!(leases.take(&work, token(2), at(0), at(60)), Some(2));
    }
}

//! Who works on which delivery just now. Never durable: when a broker stops, its leases end, and everything unacknowledged
//! is leased out again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

use super::super::error::StoreError;
use super::keys;
use super::txn::Read;

/// Rows of a queue that are looked at together.
const CLAIM_PAGE: usize = 64;

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

/// What is to be leased: free work of a queue, in its order.
pub(crate) struct Claim<'a> {
    /// The queue's keys begin with this.
    pub(crate) prefix: &'a [u8],
    /// And come after this.
    pub(crate) after: Option<&'a [u8]>,
    /// Whose queue it is.
    pub(crate) recipient: &'a AgencyId,
    /// One for each piece of work, at most.
    pub(crate) tokens: &'a [DeliveryId],
    /// Now.
    pub(crate) now: Timestamp,
    /// When the leases end.
    pub(crate) until: Timestamp,
}

/// One piece of work that was leased.
pub(crate) struct Claimed {
    /// Its place in the queue.
    pub(crate) key: Vec<u8>,
    /// The packet.
    pub(crate) packet: PacketId,
    /// Who holds it.
    pub(crate) token: DeliveryId,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
}

/// Who works on which delivery just now, in this process or in several.
#[async_trait]
pub(crate) trait LeaseTable: Send + Sync {
    /// Leases free work of a queue. Asked before anything else of `read` is: a snapshot would be older than the leases.
    fn claim(&self, read: &dyn Read, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError>;

    /// Whether the token holds this work at `now`.
    fn holds(
        &self,
        token: DeliveryId,
        packet: PacketId,
        agency: &AgencyId,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Prolongs a lease that has not ended.
    async fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// Ends a lease; the count of attempts stays.
    async fn release(&self, token: DeliveryId) -> Result<(), StoreError>;

    /// Ends leases at once, off the threads that serve.
    fn give_back(&self, tokens: &[DeliveryId]) -> Result<(), StoreError>;

    /// Work that cannot be read is not tried again before `until`; the token is free for other work.
    fn set_aside(&self, work: Work, token: DeliveryId, until: Timestamp) -> Result<(), StoreError>;

    /// The work is done: forgets it. (A shared table has done so with the commit.)
    fn end(&self, work: &Work);
}

/// The table of leases of this process alone, in memory.
#[derive(Default)]
pub(crate) struct Leases(Mutex<Table>);

impl Leases {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases work if nobody holds it at `now`; gives the number of the attempt.
    fn take(&self, work: &Work, token: DeliveryId, now: Timestamp, until: Timestamp) -> Option<u32> {
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

    /// Whether work was set aside, and is to stay so at `now`.
    fn is_aside(&self, work: &Work, now: Timestamp) -> bool {
        self.table().aside.get(work).is_some_and(|until| *until > now)
    }
}

#[async_trait]
impl LeaseTable for Leases {
    fn claim(&self, read: &dyn Read, claim: &Claim<'_>) -> Result<Vec<Claimed>, StoreError> {
        let mut claimed = Vec::new();
        let mut after = claim.after.map(<[u8]>::to_vec);
        while claimed.len() < claim.tokens.len() {
            let page = read.records(claim.prefix, after.as_deref(), CLAIM_PAGE)?;
            for (key, _) in &page {
                let Some(token) = claim.tokens.get(claimed.len()) else {
                    break;
                };
                let Some(packet) = keys::last_packet(key) else {
                    tracing::error!("alarm: a row of a queue is damaged");
                    continue;
                };
                let work = (packet, claim.recipient.clone());
                if self.is_aside(&work, claim.now) {
                    continue;
                }
                if let Some(attempt) = self.take(&work, *token, claim.now, claim.until) {
                    claimed.push(Claimed {
                        key: key.clone(),
                        packet,
                        token: *token,
                        attempt,
                    });
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == CLAIM_PAGE => after = Some(key.clone()),
                _ => break,
            }
        }
        Ok(claimed)
    }

    fn holds(
        &self,
        token: DeliveryId,
        packet: PacketId,
        agency: &AgencyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let table = self.table();
        let held = table.by_token.get(&token);
        Ok(held.is_some_and(|lease| lease.work.0 == packet && lease.work.1 == *agency && lease.stands(now)))
    }

    async fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        Ok(match self.table().by_token.get_mut(&token) {
            Some(lease) if lease.stands(now) => {
                (lease.since, lease.until) = (now, until);
                true
            }
            _ => false,
        })
    }

    async fn release(&self, token: DeliveryId) -> Result<(), StoreError> {
        self.give_back(&[token])
    }

    fn give_back(&self, tokens: &[DeliveryId]) -> Result<(), StoreError> {
        let mut table = self.table();
        for token in tokens {
            table.by_token.remove(token);
        }
        Ok(())
    }

    fn set_aside(&self, work: Work, token: DeliveryId, until: Timestamp) -> Result<(), StoreError> {
        let mut table = self.table();
        table.by_token.remove(&token);
        table.aside.insert(work, until);
        Ok(())
    }

    fn end(&self, work: &Work) {
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

    #[tokio::test]
    async fn a_clock_put_back_does_not_prolong_a_lease() {
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
        assert!(leases.holds(token(1), work.0, &work.1, at(day - 30)).unwrap());
        // A day back: it was given in the future, and holds nothing any more.
        assert!(!leases.holds(token(1), work.0, &work.1, at(0)).unwrap());
        assert!(!leases.renew(token(1), at(0), at(60)).await.unwrap());
        assert_eq!(leases.take(&work, token(2), at(0), at(60)), Some(2));
    }
}

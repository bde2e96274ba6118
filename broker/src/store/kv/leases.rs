//! Who works on which delivery just now. In memory only: after a restart nobody does, and everything
//! unacknowledged is leased out again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;

/// One packet for one recipient.
pub(crate) type Work = (PacketId, AgencyId);

#[derive(Default)]
struct Table {
    by_token: HashMap<DeliveryId, (Work, Timestamp)>,
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
                if table.by_token.get(&holder).is_some_and(|(_, end)| *end > now) {
                    return None;
                }
                table.by_token.remove(&holder);
                attempts
            }
            None => 0,
        };
        let attempt = attempts.saturating_add(1);
        table.by_work.insert(work.clone(), (token, attempt));
        table.by_token.insert(token, (work.clone(), until));
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
        held.is_some_and(|((p, a), until)| *p == packet && a == agency && *until > now)
    }

    /// Prolongs a lease that has not ended.
    pub(crate) fn renew(&self, token: DeliveryId, now: Timestamp, until: Timestamp) -> bool {
        match self.table().by_token.get_mut(&token) {
            Some((_, end)) if *end > now => {
                *end = until;
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

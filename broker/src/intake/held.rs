//! Memory for what agencies are sending or being sent: so much for each, and so much for all together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};

/// One agency's share of the whole, as its divisor.
const SHARE: usize = 6;
/// What is this short is not counted: those who ask for little are served also when others hold all there is.
const FREE_MAX_BYTES: usize = 32 * 1024;

/// Bytes held by each agency.
#[derive(Clone)]
pub struct Held(Arc<Shares>);

struct Shares {
    max_bytes: usize,
    held: Mutex<(usize, HashMap<AgencyId, usize>)>,
}

/// Bytes that count as held until this is dropped.
pub struct Hold {
    shares: Arc<Shares>,
    agency: AgencyId,
    bytes: usize,
}

impl Held {
    /// `max_bytes` for all together.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Shares {
            max_bytes,
            held: Mutex::default(),
        }))
    }

    /// Holds `bytes` for `agency`; none: they are too few to count.
    ///
    /// # Errors
    /// The agency's share, or all there is, is in use.
    pub fn take(&self, agency: &AgencyId, bytes: usize) -> Result<Option<Hold>, Refusal> {
        if bytes <= FREE_MAX_BYTES {
            return Ok(None);
        }
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.1.get(agency).copied().unwrap_or_default();
        let share = self.0.max_bytes / SHARE;
        if own.saturating_add(bytes) > share || held.0.saturating_add(bytes) > self.0.max_bytes {
            let sentence = "The broker has no more memory for what is on its way, for this agency or for all";
            let remedy =
                "Wait as long as retry_after_ms says, take the answers that are due, then try again.";
            return Err(Refusal::new(Fault::Exhausted, "BUSY", sentence, remedy).retry_after(1_000));
        }
        held.0 += bytes;
        held.1.insert(agency.clone(), own + bytes);
        Ok(Some(Hold {
            shares: Arc::clone(&self.0),
            agency: agency.clone(),
            bytes,
        }))
    }
}

impl Hold {
    /// How many they are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 = held.0.saturating_sub(self.bytes);
        if let Some(own) = held.1.get_mut(&self.agency) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.1.remove(&self.agency);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_all_have_the_whole_and_little_is_free() {
        let agency = |n: usize| AgencyId::new(&format!("pz-{n}")).unwrap();
        let held = Held::new(600_000);
        let first = held.take(&agency(0), 60_000).unwrap();
        assert_eq!(held.take(&agency(0), 40_001).err().map(|r| r.code), Some("BUSY"));
        let others: Vec<_> = (1..7).map(|n| held.take(&agency(n), 90_000)).collect();
        assert!(others.iter().all(Result::is_ok));
        assert!(held.take(&agency(7), 40_000).is_err(), "all is in use");
        assert!(
            held.take(&agency(7), FREE_MAX_BYTES)
                .is_ok_and(|hold| hold.is_none())
        );
        drop(first);
        assert!(held.take(&agency(7), 40_000).is_ok());
        drop(others);
        assert_eq!(held.0.held.lock().unwrap().0, 0);
    }
}

//! Places, counted by whom they are for: connections of a key, handshakes of an address, requests of a key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many each has at this moment.
pub struct Counts<K>(Mutex<HashMap<K, usize>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Counts<K> {
    /// One more for `whom`, unless it has `max`.
    pub fn enter(self: &Arc<Self>, whom: K, max: usize) -> Option<Place<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&whom).copied().unwrap_or_default();
        if count >= max {
            return None;
        }
        counts.insert(whom, count + 1);
        Some(Place {
            counts: Arc::clone(self),
            whom,
        })
    }
}

/// One place; given back on drop.
pub struct Place<K: Copy + Eq + Hash> {
    counts: Arc<Counts<K>>,
    whom: K,
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.whom) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.whom);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_by_whom_it_is_for_and_given_back() {
        let counts = Arc::new(Counts::default());
        let first = counts.enter(1, 1);
        assert!(first.is_some() && counts.enter(1, 1).is_none() && counts.enter(2, 1).is_some());
        drop(first);
        assert!(counts.enter(1, 1).is_some());
        assert!(
            counts.0.lock().unwrap().is_empty(),
            "nothing is kept of those that left"
        );
    }
}

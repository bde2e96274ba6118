//! What is committed while a backup is being made is noted for it, in the order of the commits. Notes are taken where a
//! commit ends, while no reader looks: whatever a page of the backup shows was noted before that page was read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Batch;

/// Bytes noted and not yet fetched after which a backup is too slow for the store.
pub(crate) const NOTED_MAX_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Default)]
struct State {
    /// A backup is being made: no part file goes.
    holding: bool,
    noting: bool,
    /// There was more than could be kept: the backup is void.
    lost: bool,
    batches: Vec<Batch>,
    bytes: u64,
}

/// The notes for one backup at a time.
#[derive(Default)]
pub(crate) struct Tee(Mutex<State>);

impl Tee {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a batch that was made durable.
    pub(crate) fn note(&self, batch: &Batch) {
        let mut state = self.state();
        if !state.noting || state.lost {
            return;
        }
        let bytes = batch
            .iter()
            .map(|(key, record)| key.len() + record.as_ref().map_or(0, Vec::len));
        let bytes = u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX);
        state.bytes = state.bytes.saturating_add(bytes);
        if state.bytes > NOTED_MAX_BYTES {
            state.lost = true;
            state.batches = Vec::new();
        } else {
            state.batches.push(batch.clone());
        }
    }

    /// Whether part files must stay, though no row names them.
    pub(crate) fn is_holding(&self) -> bool {
        self.state().holding
    }

    /// Begins to note; false: for another backup that is being made already.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state();
        if state.holding {
            return false;
        }
        *state = State {
            holding: true,
            noting: true,
            ..State::default()
        };
        true
    }

    /// What was noted since the last call; `go_on`: whether to note further. `None`: some was lost.
    pub(crate) fn take(&self, go_on: bool) -> Option<Vec<Batch>> {
        let mut state = self.state();
        state.noting &= go_on;
        state.bytes = 0;
        if state.lost {
            return None;
        }
        Some(std::mem::take(&mut state.batches))
    }

    /// The backup is made, or given up.
    pub(crate) fn end(&self) {
        *self.state() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_noted_in_order_until_it_is_too_much() {
        let tee = Tee::default();
        let batch = |key: u8, bytes: usize| Batch::from([(vec![key], Some(vec![0; bytes]))]);
        tee.note(&batch(1, 1));
        assert!(tee.begin() && !tee.begin(), "one backup at a time");
        for key in [2, 3] {
            tee.note(&batch(key, 10));
        }
        assert_eq!(tee.take(true).unwrap(), [batch(2, 10), batch(3, 10)]);
        tee.note(&batch(4, 10));
        assert_eq!(tee.take(false).unwrap(), [batch(4, 10)]);
        tee.note(&batch(5, 10));
        assert!(tee.take(false).unwrap().is_empty() && tee.is_holding());
        tee.end();
        assert!(!tee.is_holding() && tee.begin());
        let large = usize::try_from(NOTED_MAX_BYTES).unwrap() / 4;
        (0..5).for_each(|key| tee.note(&batch(key, large)));
        assert!(tee.take(true).is_none(), "nothing is left out in silence");
        assert!(tee.take(true).is_none());
        tee.end();
        assert!(tee.begin() && tee.take(true).unwrap().is_empty());
    }
}

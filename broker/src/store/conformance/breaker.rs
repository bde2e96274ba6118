//! Breaks commits on purpose, or holds them back.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::super::kv::Faults;

/// How the next commit is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// It fails.
    Failed,
    /// It fails, but was saved after all.
    FailedButSaved,
}

/// Breaks the next commit, or holds commits back until they are let go.
#[derive(Default)]
pub(crate) struct Breaker {
    next: AtomicU8,
    held: Mutex<bool>,
    go: Condvar,
    waiting: AtomicU64,
}

impl Breaker {
    pub(crate) fn arm(&self, how: Break) {
        self.next
            .store(if how == Break::Failed { 1 } else { 2 }, Ordering::SeqCst);
    }
    pub(crate) fn armed(&self) -> bool {
        self.next.load(Ordering::SeqCst) != 0
    }
    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }
    pub(crate) fn let_go(&self) {
        *self.held.lock().unwrap() = false;
        self.go.notify_all();
    }
    /// Whether a commit is being held back just now.
    pub(crate) fn holding(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
    fn fire(&self, which: u8) -> Result<(), String> {
        let hit = self
            .next
            .compare_exchange(which, 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if hit {
            Err("broken on purpose".to_owned())
        } else {
            Ok(())
        }
    }
}

impl Faults for Breaker {
    fn before_commit(&self) -> Result<(), String> {
        let mut held = self.held.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *held {
            held = self.go.wait(held).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(held);
        self.fire(1)
    }
    fn after_commit(&self) -> Result<(), String> {
        self.fire(2)
    }
}

//! Broken on purpose: what the fuzzer must find, so that finding nothing elsewhere means something.

use std::hint::black_box;
use std::time::Duration;

/// Panics.
pub fn panic(input: &[u8]) {
    assert!(!input.starts_with(b"FLAW"), "planted");
}

/// Takes more memory than an input may.
pub fn memory(input: &[u8]) {
    if input.starts_with(b"BOMB") {
        black_box(vec![1_u8; 300 << 20]);
    }
}

/// Keeps a processor busy for longer than an input may.
pub fn sloth(input: &[u8]) {
    if input.starts_with(b"SLOW") {
        let until = crate::busy() + Duration::from_millis(1100);
        while crate::busy() < until {}
    }
}

/// Nothing near.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![b"nothing".to_vec()]
}

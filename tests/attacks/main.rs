//! One file per kind of hostile act, over the wire against a real broker: refused, logged, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod door;

mod flood;

mod forgery;

mod replay;

mod forwarding;

mod tampered;

mod vectors;

mod texts;

mod obligations;

mod storage;

mod statements;

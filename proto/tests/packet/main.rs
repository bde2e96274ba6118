//! The packet from outside: there and back, what a flipped bit does, what other OpenPGP tools say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a surprise must stop the test"
)]

mod document;
mod drafts;
mod flips;
mod interop;
mod key_times;
mod roundtrip;
mod unrepeated;
mod world;

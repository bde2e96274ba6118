//! One file per story of the people who use it: real broker, real agents, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod sending;

mod withheld;

mod witnessed;

mod changes;

mod facts;

mod labels;

mod large;

mod measuring;

mod deciding;

mod oversight;

mod stopping;

mod recalled;

mod evidence;

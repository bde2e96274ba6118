//! Faults broken for real: processes killed, power cut, disks full, memory searched. One at a time: they load the
//! machine, and each leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod turn;

mod store;

mod kill;

mod power;

mod full;

mod canary;

mod retention;

mod clocks;

mod keys;

mod race;

mod roads;

mod weather;

mod herd;

mod released;

mod steps;

mod sweep;

mod errors;

mod found;

mod cuts;

mod short;

mod care;
mod database;

//! A development network of real processes, disks that lose power, searches for what must not be there.
//! A harness: what it cannot do it says by panicking, with the log of the process at fault.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure of the harness is a failure of the test that uses it"
)]

pub mod told;

pub mod wait;

pub mod process;

pub mod disk;

pub mod cgroup;

pub mod backend;

pub mod database;

pub mod several;

pub mod strace;

pub mod faketime;

pub mod scan;

pub mod storm;

pub mod network;

pub mod office;

pub mod peer;

pub mod proxy;

pub mod own_network;

pub mod h2;

pub mod player;

pub mod forge;

pub mod leaves;

pub mod outside;

pub mod pack;

//! The agent against brokers that lie, disks that stop, and a broker that behaves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(clippy::disallowed_methods, reason = "tests run at the present moment")]

mod support;

mod brokers;

mod facts;

mod flow;

mod hostile;

mod inbox_stops;

mod lying;

mod named;

mod network;

mod outbox_stops;

mod own_decision;

mod powers;

mod receipts;

mod vectors;

mod shards;
mod witnessing;

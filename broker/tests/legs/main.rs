//! Both legs over real TLS on loopback: statements, submissions, deliveries, acknowledgements, receipts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a surprise must stop the test"
)]

mod bundles;
mod cosigning;
mod delivery;
mod door;
mod emergency;
mod erasing;
mod facts;
mod inbox;
mod monitors;
mod oversight;
mod packet;
mod peer;
mod question;
mod reading;
mod refusal;
mod retention;
mod several;
mod submission;

mod holding;

//! One file per story of the people who use it: real broker, real agents, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod sending;

mod shards;

mod withheld;

mod witnessed;

mod changes;

mod erased;

mod facts;

mod kept;

mod labels;

mod large;

mod logs;

mod measuring;

mod deciding;

mod oversight;

mod outside;

mod verdicts;

mod stopping;

mod recalled;

mod evidence;

//! The policy crate from outside: cases, an independent oracle, properties over the whole vocabulary, bad
//! bundles, signatures, statements. One binary, so that it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

mod generator;
mod oracle;

mod bad_bundles;
mod cases;
mod cells;
mod command_line;
mod explanations;
mod four_eyes;
mod limits;
mod mutations;
mod properties;
mod simulate;
mod slicing;
mod statements;

use std::sync::OnceLock;

use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;

/// The default bundle's engine, made once for all tests.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::untested(&Bundle::built_in().unwrap()))
}

//! The refusal of a packet is ignored.
//! error: unused `Result` that must be used

#![deny(unused_must_use)]

use schakel_policy::engine::Engine;
use schakel_policy::question::ReceiveQuestion;

pub fn ignored(engine: &Engine, parts: &[ReceiveQuestion]) {
    engine.admit(parts);
}

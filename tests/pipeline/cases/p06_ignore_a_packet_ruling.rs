//! The result of a packet's decision is ignored.
//! error: unused `PacketRuling` that must be used

#![deny(unused_must_use)]

use schakel_policy::engine::Engine;
use schakel_policy::question::ReceiveQuestion;

pub fn ignored(engine: &Engine, parts: &[ReceiveQuestion]) {
    engine.packet(parts);
}

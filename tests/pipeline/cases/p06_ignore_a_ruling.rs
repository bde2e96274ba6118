//! The result of a decision is ignored.
//! error: unused `Ruling` that must be used

#![deny(unused_must_use)]

use schakel_policy::engine::Engine;
use schakel_policy::question::ReceiveQuestion;

pub fn ignored(engine: &Engine, question: &ReceiveQuestion) {
    engine.receive(question);
}

//! The demonstration: a whole network of real processes on one machine, real documents on their way, and
//! every promise checked from outside. `./demo` runs it; `journey.rs` reads top-down.

pub mod problem;

pub mod say;

pub mod story;

pub mod step;

pub mod names;

pub mod time;

pub mod processes;

pub mod stage;

pub mod local;

pub mod search;

pub mod evidence;

pub mod outside;

pub mod table;

pub mod tale;

pub mod play;

pub mod journey;

//! The demonstration: a whole network of real processes on one machine, real documents on their way, and
//! every promise checked from outside. `./demo` runs it; `journey.rs` reads top-down.

pub mod problem;

pub mod say;

pub mod script;

pub mod processes;

pub mod stage;

pub mod cli;

pub mod search;

pub mod evidence;

pub mod outside;

pub mod why;

pub mod table;

pub mod journey;

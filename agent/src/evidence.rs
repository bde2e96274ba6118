//! Evidence that leaves the agency: one file per packet with everything that proves what became of it, made here and
//! checked by anybody, without agent, broker or network. docs/format/evidence-pack.md says what is in it.

pub mod container;

pub mod names;

mod writing;

mod history;

pub mod export;

pub mod report;

mod words;

pub mod verify;

//! The whole system from outside: what journeys, attacks, faults and the demonstration share.

pub mod system;

pub mod demo;

pub mod bench;

pub mod sabotage;

//! The broker: takes sealed packets, decides part by part who may have them, hands them over, and
//! keeps the evidence. It holds no key that opens content.
//! `pipeline` first: two straight functions. The other modules stand in the order of the flow.

pub mod tls;

pub mod config;

pub mod clock;

pub mod redact;

pub mod health;

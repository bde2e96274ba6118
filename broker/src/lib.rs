//! The broker: takes sealed packets, decides part by part who may have them, hands them over, and
//! keeps the evidence. It holds no key that opens content.
//! `pipeline` first: two straight functions. The other modules stand in the order of the flow.

pub mod pipeline;

// The way in.

pub mod tls;

pub mod guard;

pub mod places;

pub mod meters;

pub mod requests;

pub mod roles;

pub mod service;

// Leg 1.

pub mod intake;

pub mod verify;

pub mod admit;

pub mod accept;

// Leg 2.

pub mod session;

pub mod decide;

pub mod deliver;

pub mod signed;

pub mod acknowledge;

pub mod recall;

pub mod standing;

pub mod expire;

pub mod retention;

// What is durable, and its evidence.

pub mod store;

pub mod log;

pub mod erasure;

pub mod receipt;

pub mod reading;

pub mod auditors;

// Support.

pub mod state;

pub mod directory;

pub mod bundle;

pub mod activate;

pub mod facts;

pub mod inspect;

pub mod clock;

pub mod redact;

pub mod config;

// For the operator.

pub mod overdue;

pub mod refusals;

pub mod replay;

pub mod disclosures;

pub mod csv;

pub mod admin;

pub mod seen;

pub mod beats;

pub mod descriptors;

pub mod brief;

pub mod health;

pub mod serve;

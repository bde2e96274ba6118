//! Parties for development: one call makes a whole network, with authority, TLS and OpenPGP keys, signed
//! directory and policy bundle, and configuration ready to run. Everything made here is marked as
//! development, and refused by broker and agents unless they were started for it. Never production.

pub mod spec;

pub mod problem;

mod files;

mod tls;

mod settings;

pub mod network;

mod mint;

mod witness;

#[cfg(feature = "vectors")]
mod vectors;

mod reissue;

pub use mint::{Mint, mint, mint_dated};
pub use network::Network;
pub use problem::Problem;
pub use spec::{AgencySpec, NetworkSpec, OpenPgp};
#[cfg(feature = "vectors")]
pub use vectors::{NOBODY, mint_vectors};

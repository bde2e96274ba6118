//! The wire types, generated from `schakel/v1/*.proto`. They die at the edge: every other module
//! works with its own parsed types.
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_methods)]

include!("gen/schakel.v1.rs");

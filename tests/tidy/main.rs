//! Style is a test: layering, sizes, module documentation, words that must not be there, links that must resolve.
//! Each check is a pure function over files, and each has a test that shows it finds a violation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod tree;

mod code;

mod layers;

mod sizes;

mod words;

mod links;

mod catalogue;

mod sabotage;

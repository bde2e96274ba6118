//! The delivery log's Merkle tree (RFC 6962, RFC 9162 section 2.1) and its checkpoints (C2SP
//! tlog-checkpoint in a C2SP signed note): making and checking, no writing.

pub mod hash;

pub mod tree;

pub mod proof;

mod note;

pub mod checkpoint;

pub mod shards;

pub mod text;

pub mod cosignature;

pub mod witnessed;

pub mod contradiction;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod watched;

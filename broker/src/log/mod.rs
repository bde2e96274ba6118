//! The delivery log: entries are made (`entry`), committed with the change they prove (store), put into
//! the tree by one writer (`sequencer`), and given out with proofs (`publish`) and as tiles (`tiles`).

pub mod key;

pub mod entry;

pub mod sequencer;

pub mod publish;

pub mod tiles;

pub mod cosigned;

pub mod shards;

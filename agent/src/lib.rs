//! An agency's side: it keeps the private keys, decides, seals, sends, receives, verifies and opens.
//! Library first; the daemon (`daemon`) and the CLI (`cli`) are thin. Modules stand in the order of use.

pub mod problem;

pub mod clock;

pub mod config;

pub mod disk;

pub mod keyring;

pub mod transport;

pub mod former;

pub mod skew;

pub mod directory;

pub mod audit;

pub mod facts;

pub mod request;

pub mod statements;

mod stated;

pub mod shown;

pub mod outbox;

pub mod inbox;

pub mod obligations;

pub mod ground;

pub mod agent;

pub mod link;

pub mod submitter;

pub mod decide;

pub mod receive;

pub mod later;

pub mod receipts;

pub mod keeper;

pub mod retention;

pub mod witness;

pub mod witnessed;

pub mod evidence;

pub mod local_door;

pub mod local_api;

pub mod beats;

pub mod daemon;

pub mod cli;

//! The targets, by what they are about.

pub mod packet;

pub mod openpgp;

pub mod facts;

pub mod log;

pub mod settings;

pub mod policy;

pub mod api;

pub mod pack;

pub mod planted;

//! What two parties of a Schakel network must agree on, byte for byte.
//! Pure: no I/O, no async, no clock, no policy.

pub mod limits;

pub mod ids;

pub mod party;

pub mod time;

pub mod refusal;

pub mod wire;

pub mod tlog;

pub mod evidence;

pub mod defect;

pub mod words;

pub mod openpgp;

pub mod packet;

pub mod directory;

pub mod statement;

#[cfg(feature = "vectors")]
pub mod vectors;

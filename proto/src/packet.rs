//! The sealed packet, both directions side by side: a signed manifest and sealed parts.
//! `docs/format/packet.md` describes it byte for byte.

pub mod manifest;

pub mod descriptor;

mod field;

mod plaintext;

mod sink;

pub mod seal;

mod streamed;

pub mod parse;

pub mod verify;

pub mod open;

pub mod shown;

#[cfg(feature = "vectors")]
pub mod probe;

pub use crate::defect::{Defect, OpenError, PacketError, SealError};
pub use crate::openpgp::Profile;

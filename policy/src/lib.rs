//! May this part go to this agency? The domain's rules are Cedar policies and a matrix that officers
//! edit; this crate loads them, supplies the facts and reads the outcome. Pure but for loading a bundle.

pub mod question;

pub mod facts;

pub mod asking;

mod folding;

pub mod consent;

pub mod ruling;

pub mod case;

pub mod matrix;

pub mod texts;

mod places;

pub mod bundle;

pub mod engine;

pub mod explain;

pub mod compare;

#[cfg(feature = "tools")]
pub mod prove;

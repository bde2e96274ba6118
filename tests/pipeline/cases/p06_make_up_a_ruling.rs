//! A refusal is turned into a delivery.
//! error[E0451]: field

use schakel_policy::ruling::{Outcome, Ruling};

pub fn made_up(refused: Ruling) -> Ruling {
    Ruling { outcome: Outcome::Deliver, ..refused }
}

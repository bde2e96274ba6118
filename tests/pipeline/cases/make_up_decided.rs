//! A `Decided` is made up outside its stage.
//! error[E0451]: field

use schakel_broker::decide::Decided;

pub fn made_up(other: Decided) -> Decided {
    Decided { ..other }
}

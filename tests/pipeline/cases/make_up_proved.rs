//! A `Proved` is made up outside its stage.
//! error[E0451]: field

use schakel_broker::deliver::Proved;

pub fn made_up(other: Proved) -> Proved {
    Proved { ..other }
}

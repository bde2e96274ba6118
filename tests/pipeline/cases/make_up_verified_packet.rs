//! A `VerifiedPacket` is made up outside its stage.
//! error[E0451]: field

use schakel_broker::verify::VerifiedPacket;

pub fn made_up(other: VerifiedPacket) -> VerifiedPacket {
    VerifiedPacket { ..other }
}

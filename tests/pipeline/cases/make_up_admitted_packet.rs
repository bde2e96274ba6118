//! A `AdmittedPacket` is made up outside its stage.
//! error[E0451]: field

use schakel_broker::admit::AdmittedPacket;

pub fn made_up(other: AdmittedPacket) -> AdmittedPacket {
    AdmittedPacket { ..other }
}

//! An acknowledgement is called authentic by hand.
//! error[E0451]: fields | of struct `Authentic` are private

use schakel_broker::signed::Authentic;
use schakel_proto::wire;

pub fn leg(message: wire::Acknowledgement, signed: wire::Signed) -> Authentic<wire::Acknowledgement> {
    Authentic { message, signed }
}

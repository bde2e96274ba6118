//! A `VerifiedSubmission` is made up outside its stage.
//! error[E0451]: field

use schakel_proto::packet::verify::VerifiedSubmission;

pub fn made_up(other: VerifiedSubmission) -> VerifiedSubmission {
    VerifiedSubmission { ..other }
}

//! A `CheckedEvidence` is made up outside its stage.
//! error[E0451]: field

use schakel_proto::evidence::CheckedEvidence;

pub fn made_up(other: CheckedEvidence) -> CheckedEvidence {
    CheckedEvidence { ..other }
}

//! A `VerifiedStatement` is made up from a parsed one.
//! error[E0423]: cannot initialize a tuple struct which contains private fields

use schakel_proto::statement::{ParsedStatement, VerifiedStatement};

pub fn made_up(parsed: ParsedStatement) -> VerifiedStatement {
    VerifiedStatement(parsed)
}

//! What witnesses say of the newest checkpoint.

use schakel_proto::tlog::checkpoint::SignedCheckpoint;

use super::directories::Directories;
use crate::evidence::report::{Check, Report, why};

/// Whether enough witnesses cosigned a checkpoint for it to be *witnessed*; else it is *provisional*.
pub(super) fn check(
    checkpoint: &SignedCheckpoint,
    about: &str,
    directories: &Directories,
    report: &mut Report,
) {
    let named = directories
        .all()
        .next()
        .map_or(0, |directory| directory.log().witnesses().len());
    let detail = format!(
        "checkpoint {}, witnesses in the directory: {named}",
        checkpoint.size()
    );
    report.skip(Check::Cosignatures, about, why("PROVISIONAL").of(detail));
}

//! What witnesses say of a checkpoint.

use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::witnessed::Standing;

use super::directories::Directories;
use crate::evidence::report::{Check, Report, why};

/// Whether enough of the witnesses of a directory cosigned a checkpoint for it to be *witnessed*; else it is
/// *provisional*. Gives the first.
pub(super) fn check(
    checkpoint: &SignedCheckpoint,
    about: &str,
    directories: &Directories,
    report: &mut Report,
) -> bool {
    let mut provisional = why("PROVISIONAL");
    for directory in directories.all() {
        let watch = directory.log().watch();
        match watch.standing(checkpoint) {
            Err(error) => {
                report.note(
                    Check::Cosignatures,
                    about,
                    Err(why("COSIGNATURE_WRONG").of(error)),
                );
                return false;
            }
            Ok(Standing::Witnessed { by }) => {
                let names: Vec<_> = by.iter().map(|one| one.agency.to_string()).collect();
                report.note(
                    Check::Cosignatures,
                    format!("{about}: {}", names.join(" ")),
                    Ok(()),
                );
                return true;
            }
            Ok(Standing::Provisional { by, needed }) => {
                provisional = provisional.of(format!("{} of {}, {needed} needed", by.len(), watch.count()));
            }
        }
    }
    report.skip(Check::Cosignatures, about, provisional);
    false
}

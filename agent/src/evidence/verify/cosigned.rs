//! What witnesses say of a checkpoint.

use schakel_proto::directory::Directory;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::shards::Opens;
use schakel_proto::tlog::witnessed::CosignedBy;

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
    // Only the witnesses of a directory that names the key that signed, each at a time when it was in force.
    let signed = |d: &&Directory| d.log().shards().open(checkpoint.note()).is_ok();
    for directory in directories.all().filter(signed) {
        let watch = directory.log().watch();
        let then = |one: &CosignedBy| {
            let seconds = i64::try_from(one.seconds).unwrap_or(i64::MAX);
            let at = Timestamp::from_millis(seconds.saturating_mul(1_000));
            let held = directories.at(at);
            held.iter().any(|held| held.version() == directory.version())
        };
        match watch.standing(checkpoint) {
            Err(error) => {
                report.note(
                    Check::Cosignatures,
                    about,
                    Err(why("COSIGNATURE_WRONG").of(error)),
                );
                return false;
            }
            Ok(standing) if standing.by().iter().filter(|one| then(one)).count() >= watch.needed() => {
                let by = standing.by().iter().filter(|one| then(one));
                let names: Vec<_> = by.map(|one| one.agency.to_string()).collect();
                report.note(
                    Check::Cosignatures,
                    format!("{about}: {}", names.join(" ")),
                    Ok(()),
                );
                return true;
            }
            Ok(standing) => {
                let (by, count) = (standing.by().iter().filter(|one| then(one)), watch.count());
                provisional = provisional.of(format!("{} of {count}, {} needed", by.count(), watch.needed()));
            }
        }
    }
    report.skip(Check::Cosignatures, about, provisional);
    false
}

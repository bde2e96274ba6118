//! What witnesses cosigned, as far as the store keeps it: each checkpoint signed by the log, each line by its witness.

use schakel_proto::directory::Directory;
use schakel_proto::refusal::Refusal;
use schakel_proto::tlog::cosignature::CosignatureError;
use schakel_proto::tlog::shards::Opens;

use super::super::Desk;
use crate::store::{HeldUp, StoreError};

/// What does not hold, and how many signatures do. A line by a key that the directory does not list (any more) is passed
/// over, as it is by everybody who is shown it.
pub(super) async fn check(desk: &Desk, directory: &Directory) -> Result<(Vec<String>, u64), Refusal> {
    let kept = match desk.store.held_up().await {
        Ok(kept) => kept,
        // Said by the audit of its row.
        Err(StoreError::Corrupt(_)) => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error.into()),
    };
    let (mut wrong, mut good) = (Vec::new(), 0);
    for one in &kept {
        match signatures(directory, one) {
            Ok(signatures) => good += signatures,
            Err(what) => wrong.push(format!("of {} leaves: {what}", one.size)),
        }
    }
    Ok((wrong, good))
}

fn signatures(directory: &Directory, kept: &HeldUp) -> Result<u64, String> {
    let log = directory.log();
    let signed = log.shards().open(&kept.note).map_err(|error| error.to_string())?;
    if signed.size() != kept.size {
        return Err("is of another size than it is kept for".to_owned());
    }
    let mut good = 1;
    for (agency, line) in &kept.lines {
        let Some(key) = log.watch().key_for(agency, signed.origin()) else {
            continue;
        };
        match key.check(line, &signed) {
            Ok(_) => good += 1,
            Err(CosignatureError::OtherKey) => {}
            Err(error) => return Err(format!("{agency}: {error}")),
        }
    }
    Ok(good)
}

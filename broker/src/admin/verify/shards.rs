//! The shards of the log: each ended where the directory says, with a checkpoint that its own key signed.

use schakel_proto::directory::Directory;
use schakel_proto::refusal::Refusal;
use schakel_proto::tlog::shards::Opens;

use super::super::Desk;
use crate::store::{Shard, StoreError};

/// What does not hold, and how many signatures do.
pub(super) async fn check(desk: &Desk, directory: &Directory) -> Result<(Vec<String>, u64), Refusal> {
    let shards = match desk.store.shards().await {
        Ok(shards) => shards,
        // Said by the audit of its row.
        Err(StoreError::Corrupt(_)) => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error.into()),
    };
    let (mut wrong, mut good) = (Vec::new(), 0);
    for shard in &shards {
        match one(directory, shard) {
            Ok(signatures) => good += signatures,
            Err(what) => wrong.push(format!("{}: {what}", shard.origin)),
        }
    }
    let ended = shards.iter().filter(|shard| shard.end.is_some());
    for frozen in directory.log().shards().frozen() {
        let origin = frozen.key().origin();
        if !ended.clone().any(|shard| shard.origin == origin) {
            wrong.push(format!(
                "{origin}: the directory freezes it, and the store does not"
            ));
        }
    }
    Ok((wrong, good))
}

fn one(directory: &Directory, shard: &Shard) -> Result<u64, String> {
    let shards = directory.log().shards();
    if !shards.knows(&shard.origin) {
        return Err("is no shard that the directory names".to_owned());
    }
    let Some(end) = &shard.end else { return Ok(0) };
    let signed = shards.open(&end.note).map_err(|error| error.to_string())?;
    let same = (signed.origin(), signed.size(), signed.root()) == (shard.origin.as_str(), end.size, end.root);
    if same {
        Ok(1)
    } else {
        Err("ended with another checkpoint than is kept".to_owned())
    }
}

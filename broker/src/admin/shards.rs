//! The shards of the log, for the operator: which there are, the end of the one in force, and taking that back.

use schakel_proto::directory::Directory;
use schakel_proto::evidence::{Event, ShardLink};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::checkpoint::check_origin;
use serde_json::{Value, json};

use super::Desk;
use crate::clock::seeded_rng;
use crate::log::entry::EntryDraft;
use crate::log::shards::is_witnessed;
use crate::store::ShardChanged;

fn refused(code: &'static str, sentence: impl Into<String>, remedy: &'static str) -> Refusal {
    Refusal::new(Fault::Precondition, code, sentence.into(), remedy)
}

/// All shards, oldest first. Of a frozen one its last checkpoint, with the cosignatures that are known here.
pub(super) async fn list(desk: &Desk, directory: &Directory) -> Result<Value, Refusal> {
    let log = directory.log();
    let mut shards = Vec::new();
    for shard in desk.store.shards().await? {
        let state = match (&shard.end, shard.closing) {
            (Some(_), _) => "frozen",
            (None, Some(_)) => "closing",
            (None, None) => "in-force",
        };
        let note = shard.end.as_ref().map(|end| (desk.dress)(end));
        let witnessed = note.as_ref().is_some_and(|note| is_witnessed(note, directory));
        let note = note.map(|note| String::from_utf8_lossy(&note).into_owned());
        shards.push(json!({
            "number": shard.number, "origin": shard.origin, "first": shard.first, "state": state,
            "size": shard.end.as_ref().map(|end| end.size),
            "root": shard.end.as_ref().map(|end| end.root.to_string()),
            "witnessed": witnessed, "note": note,
        }));
    }
    Ok(json!({ "origin": log.origin(), "witnesses": log.watch().count(), "shards": shards }))
}

/// Commits that the shard in force ends, and names the one that follows.
pub(super) async fn freeze(desk: &Desk, directory: &Directory, successor: &str) -> Result<Value, Refusal> {
    let shards = directory.log().shards();
    if check_origin(successor).is_err() || shards.knows(successor) {
        let sentence = "The next shard's name is none, or one that a shard has already";
        let remedy = "Name it after the log and the half-year: rupel.example/log/2027h1.";
        return Err(Refusal::new(Fault::Invalid, "LOG_SHARD_NAME", sentence, remedy));
    }
    let link = ShardLink {
        origin: successor.to_owned(),
        end: None,
    };
    let draft = EntryDraft {
        shard: Some(link),
        ..EntryDraft::new(Event::ShardFrozen, desk.clock.now())
    };
    let entry = desk.entries.make(draft, &mut seeded_rng()).await?;
    match desk.store.close_shard(shards.origin(), entry).await? {
        ShardChanged::Done | ShardChanged::Same => list(desk, directory).await,
        ShardChanged::Other => Err(other()),
    }
}

/// Lets the frozen shard go on: the directory has not frozen it, or the store would be in the next one.
pub(super) async fn thaw(desk: &Desk, directory: &Directory) -> Result<Value, Refusal> {
    match desk.store.reopen_shard(directory.log().origin()).await? {
        ShardChanged::Done => list(desk, directory).await,
        ShardChanged::Same => {
            let sentence = "The shard of the log that is in force is not frozen";
            let remedy = "schakel-broker log shards shows them.";
            Err(refused("LOG_NOT_FROZEN", sentence, remedy))
        }
        ShardChanged::Other => Err(other()),
    }
}

fn other() -> Refusal {
    let sentence = "The store is in another shard of the log than the directory names";
    refused("LOG_KEY", sentence, "Put the newest directory in its place.")
}

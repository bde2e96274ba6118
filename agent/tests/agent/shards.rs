//! The log goes on in another shard, under another key; and somebody has the former key.

use prost::Message;
use schakel_agent::clock::randomness;
use schakel_proto::evidence::Event;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::shards::Opens;
use schakel_proto::wire;
use serde_json::Value;

use crate::flow::Daemon;
use crate::support::broker::{self, Running};
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::RECIPIENT;
use crate::support::town::{Town, agency, now};
use crate::support::until;

const NEXT: &str = "rupel.example/log/2099h1";

fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    tokio::task::block_in_place(|| until(what, ask))
}

/// Folders in which an agent keeps what contradicts the log, once complete.
fn kept(town: &Town) -> Vec<std::path::PathBuf> {
    let audit = town.network.agent_data(&agency(RECIPIENT)).join("audit");
    let entries = std::fs::read_dir(audit).unwrap().map(|e| e.unwrap().path());
    let bad = |p: &std::path::PathBuf| {
        let name = p.file_name().unwrap().to_string_lossy().into_owned();
        (name.starts_with("contradiction-") || name.starts_with("disputed-"))
            && p.join("found.json").is_file()
    };
    entries.filter(bad).collect()
}

fn grow(ledger: &mut Ledger, count: usize) {
    for _ in 0..count {
        ledger.add(body(Event::BundleActivated), None, None, None);
    }
}

/// The broker shows this log, and holds its newest checkpoint up.
fn show(running: &Running, ledger: &Ledger) {
    let mut script = running.script.lock().unwrap();
    script.held_up.candidate = ledger.checkpoint().into();
    script.ledger = ledger.clone();
}

fn cosigned(running: &Running, size: u64) -> wire::CosignRequest {
    wait("a cosignature", || {
        let script = running.script.lock().unwrap();
        let mut all = script.cosignatures.iter();
        all.find(|request| request.size == size).cloned()
    })
}

/// Freezes the log at its newest checkpoint; the broker serves the directory that says so.
fn frozen(town: &Town, running: &Running, ledger: &Ledger) -> LogSecret {
    let next = LogSecret::generate(NEXT, &mut randomness()).unwrap();
    let last = ledger.checkpoint();
    town.network
        .freeze_log(&last, next.public(), true, now())
        .unwrap();
    let directory = std::fs::read(town.network.directory_file()).unwrap();
    running.script.lock().unwrap().directory = wire::MultiSigned::decode(&*directory).unwrap();
    next
}

async fn trust(daemon: &Daemon) -> Option<Value> {
    let status = daemon.ask("/v1/status").await;
    status.pointer("/trust/code").cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l10_a_new_shard_is_no_contradiction_and_what_the_stolen_key_signs_beyond_the_end_is_kept_as_proof() {
    let (town, running) = broker::start(None).await;
    let mut ledger = Ledger::new(&town);
    let stolen = ledger.secret();
    grow(&mut ledger, 5);
    show(&running, &ledger);
    let daemon = Daemon::start(&town, RECIPIENT);
    cosigned(&running, 5);
    // The log goes on under another key; the agent has the former directory still.
    let next = frozen(&town, &running, &ledger);
    let mut ledger = ledger.in_shard_of(&next);
    grow(&mut ledger, 3);
    show(&running, &ledger);
    let request = cosigned(&running, 8);
    let directory = town.directory();
    let log = directory.log();
    let newest = log.shards().open(&ledger.checkpoint()).unwrap();
    assert_eq!((newest.origin(), log.origin()), (NEXT, NEXT));
    let text = std::str::from_utf8(&request.cosignature).unwrap();
    log.watch()
        .key(&agency(RECIPIENT))
        .unwrap()
        .check(text, &newest)
        .unwrap();
    assert_eq!((kept(&town), trust(&daemon).await), (Vec::new(), None));
    // Whoever has the former key signs on: the very next entries of the log, under the former name.
    let honest = running.script.lock().unwrap().cosignatures.len();
    let forged = ledger.in_shard_of(&stolen);
    show(&running, &forged);
    let found = wait("the proof", || kept(&town).pop());
    let note = |name: &str| std::fs::read(found.join(name)).unwrap();
    assert_eq!(note("second.note"), forged.checkpoint());
    assert!(log.shards().forged(&note("second.note")).is_some());
    assert!(
        log.shards()
            .open(&note("first.note"))
            .is_ok_and(|last| last.size() == 5)
    );
    town.assert_proves(&found);
    assert_eq!(trust(&daemon).await.unwrap(), "LOG_CONTRADICTION");
    daemon.stop().await;
    let script = running.script.lock().unwrap();
    assert_eq!(
        script.cosignatures.len(),
        honest,
        "what was forged is not cosigned"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l10_what_was_shown_of_a_stolen_key_before_the_freeze_is_found_by_the_freeze() {
    let (town, running) = broker::start(None).await;
    let mut ledger = Ledger::new(&town);
    grow(&mut ledger, 5);
    let last = ledger.clone();
    // The agent is shown two entries more than the log has, and believes it: it knows of no theft.
    let mut shown = ledger.clone();
    grow(&mut shown, 2);
    show(&running, &shown);
    let daemon = Daemon::start(&town, RECIPIENT);
    cosigned(&running, 7);
    let next = frozen(&town, &running, &last);
    let mut ledger = last.in_shard_of(&next);
    grow(&mut ledger, 4);
    show(&running, &ledger);
    let found = wait("the proof", || kept(&town).pop());
    assert_eq!(
        std::fs::read(found.join("second.note"))
            .unwrap()
            .split(|b| *b == b'\n')
            .nth(1)
            .unwrap(),
        b"7"
    );
    assert_eq!(trust(&daemon).await.unwrap(), "LOG_CONTRADICTION");
    daemon.stop().await;
    // Only now: what was seen and what was cosigned are both forged, and are kept in the same folder one after the other.
    town.assert_proves(&found);
    // The authority looked, and says that the one folder may go: the agent goes on from the end of the frozen shard.
    std::fs::rename(&found, found.with_file_name("looked-at")).unwrap();
    let daemon = Daemon::start(&town, RECIPIENT);
    cosigned(&running, 9);
    assert_eq!((kept(&town), trust(&daemon).await), (Vec::new(), None));
    // A checkpoint of the frozen shard with another root at its end is another history of it.
    let other = last.secret().sign(5, Digest::of(b"another end"));
    running.script.lock().unwrap().held_up.candidate = other.note().to_vec().into();
    let found = wait("the proof", || kept(&town).pop());
    town.assert_proves(&found);
    daemon.stop().await;
}

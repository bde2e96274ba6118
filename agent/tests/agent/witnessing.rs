//! The agent as a witness, and receipts that become witnessed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;
use rand::Rng;
use schakel_agent::clock::randomness;
use schakel_agent::disk::Disk;
use schakel_agent::witness::{Refused, Witness};
use schakel_proto::evidence;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogSecret, SignedCheckpoint};
use schakel_proto::tlog::contradiction::{Verdict, judge};
use schakel_proto::tlog::cosignature::{WitnessSecret, with_lines};
use schakel_proto::tlog::witnessed::check;
use schakel_proto::wire;
use serde_json::Value;

use crate::flow::{Daemon, police, send};
use crate::support::broker::{self, Running};
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::{RECIPIENT, SENDER};
use crate::support::town::{Town, agency};
use crate::support::until;

pub fn secret(town: &Town, id: &str) -> WitnessSecret {
    let text = std::fs::read_to_string(town.network.witness_key_file(&agency(id))).unwrap();
    WitnessSecret::from_text(&text).unwrap()
}

/// The ledger's newest checkpoint, cosigned by the first `count` witnesses of the directory.
pub fn cosigned(town: &Town, ledger: &Ledger, count: usize) -> Vec<u8> {
    let directory = town.directory();
    let checkpoint = SignedCheckpoint::open(&ledger.checkpoint(), directory.log().key()).unwrap();
    let by = directory.log().witnesses().iter().take(count);
    let lines: Vec<_> = by
        .map(|id| {
            secret(town, id.as_str())
                .cosign(&checkpoint, 1_700_000_000)
                .unwrap()
                .line
        })
        .collect();
    with_lines(checkpoint.note(), lines.iter().map(String::as_str))
}

fn kept(town: &Town, id: &str, beginning: &str) -> Option<std::path::PathBuf> {
    let audit = town.network.agent_data(&agency(id)).join("audit");
    let entries = std::fs::read_dir(audit).ok()?.map(|e| e.unwrap().path());
    let mut found = entries.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(beginning));
    found.find(|p| p.join("found.json").is_file())
}

/// Packets of an agency, as its agent tells them.
async fn packet(daemon: &Daemon) -> Value {
    let told = daemon.command(&["status"]).await.unwrap();
    told.pointer("/packets/0").unwrap().clone()
}

#[test]
fn l07_many_at_once_never_make_a_witness_cosign_a_smaller_tree_than_before() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogSecret::generate("rupel.example/log", &mut randomness()).unwrap();
    let shards = schakel_proto::tlog::shards::Shards::from(log.public().clone());
    let key = folder.path().join("witness.key");
    let algorithm = schakel_proto::tlog::cosignature::Algorithm::Ed25519;
    let made = WitnessSecret::generate(algorithm, "w", &mut randomness()).unwrap();
    std::fs::write(&key, made.to_text().as_bytes()).unwrap();
    let dir = folder.path().join("audit");
    let witness = Witness::open(Disk::default(), dir.clone(), Some(&key)).unwrap();
    let sign = |size: u64| log.sign(size, Digest::of(&size.to_be_bytes()));
    let (largest, count) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let before = largest.load(Ordering::SeqCst);
                    let size = (before + randomness().random_range(0..6))
                        .saturating_sub(2)
                        .max(1);
                    let cosigned = witness.cosign(&sign(size), &shards, 7).unwrap();
                    if let Some(cosigned) = cosigned {
                        assert!(size >= before, "{size} after {before}");
                        made.public().check(&cosigned.line, &sign(size)).unwrap();
                        largest.fetch_max(size, Ordering::SeqCst);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let largest = largest.into_inner();
    assert!(count.into_inner() > 8);
    assert_eq!(witness.last(&shards).unwrap().unwrap().size(), largest);
    // The same size again is the same statement at a later time; another root of it is a fork.
    assert!(witness.cosign(&sign(largest), &shards, 8).unwrap().is_some());
    let fork = log.sign(largest, Digest::of(b"another"));
    assert!(matches!(
        witness.cosign(&fork, &shards, 8),
        Err(Refused::OtherRoot(_))
    ));
    // Wherever it stops, what left is on disk: after a restart nothing smaller is cosigned.
    let mut size = largest;
    for steps in 0..12 {
        let disk = Disk::stopping_after(steps);
        let Ok(witness) = Witness::open(disk, dir.clone(), Some(&key)) else {
            continue;
        };
        size += 1;
        let left = matches!(witness.cosign(&sign(size), &shards, 9), Ok(Some(_)));
        let again = Witness::open(Disk::default(), dir.clone(), Some(&key)).unwrap();
        let last = again.last(&shards).unwrap().unwrap().size();
        assert!(!left || last == size, "step {steps}: it left and was not kept");
        assert!(again.cosign(&sign(last - 1), &shards, 9).unwrap().is_none());
    }
    assert!(size > largest + 2);
}

/// What the witness was held up, and cosigned since.
fn cosignatures(running: &Running) -> Vec<u64> {
    let script = running.script.lock().unwrap();
    script.cosignatures.iter().map(|request| request.size).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l07_an_agent_cosigns_what_it_proved_and_keeps_both_sides_of_a_fork_that_is_held_up() {
    let (town, running) = broker::start(None).await;
    let grow = |count: usize| {
        let mut script = running.script.lock().unwrap();
        for _ in 0..count {
            let index = script
                .ledger
                .add(body(evidence::Event::BundleActivated), None, None, None);
            assert_eq!(index + 1, script.ledger.size());
        }
        script.held_up.candidate = script.ledger.checkpoint().into();
    };
    grow(3);
    let daemon = Daemon::start(&town, RECIPIENT);
    let cosigned = |count: usize| {
        let enough = || Some(cosignatures(&running)).filter(|all| all.len() >= count);
        tokio::task::block_in_place(|| until("a cosignature", enough))
    };
    assert_eq!(cosigned(1)[0], 3);
    grow(2);
    let all = cosigned(2);
    assert_eq!(*all.last().unwrap(), 5);
    {
        let script = running.script.lock().unwrap();
        let request = script.cosignatures.last().unwrap();
        let directory = town.directory();
        let checkpoint = SignedCheckpoint::open(&script.ledger.checkpoint(), directory.log().key()).unwrap();
        let key = directory.log().watch().key(&agency(RECIPIENT)).unwrap();
        key.check(std::str::from_utf8(&request.cosignature).unwrap(), &checkpoint)
            .unwrap();
    }
    let status = daemon.ask("/v1/status").await;
    assert_eq!(status.pointer("/witness/cosigns"), Some(&Value::Bool(true)));
    assert_eq!(status.pointer("/witness/cosigned_size").unwrap(), 5);
    // A fork of the size that it cosigned, signed by the log's own key.
    {
        let mut script = running.script.lock().unwrap();
        let mut other = Ledger::new(&town);
        for _ in 0..5 {
            other.add(body(evidence::Event::BundleActivated), None, None, None);
        }
        script.held_up.candidate = other.checkpoint().into();
    }
    let found = || kept(&town, RECIPIENT, "contradiction-");
    let found = tokio::task::block_in_place(|| until("both sides", found));
    let note = |name: &str| std::fs::read(found.join(name)).unwrap();
    let directory = town.directory();
    let verdict = judge(
        &note("first.note"),
        &note("second.note"),
        &[],
        directory.log().key(),
    );
    assert_eq!(verdict, Ok(Verdict::Forked));
    assert!(cosignatures(&running).iter().all(|size| *size <= 5));
    let count = cosignatures(&running).len();
    grow(4);
    let status = daemon.ask("/v1/status").await;
    assert_eq!(status.pointer("/trust/code").unwrap(), "LOG_CONTRADICTION");
    daemon.stop().await;
    assert_eq!(
        cosignatures(&running).len(),
        count,
        "nothing is cosigned of a log that is not trusted"
    );
}

/// Anybody can check offline that the packet's first entry is witnessed, with the directory; and not with another's proof.
fn holds_offline(town: &Town, folder: &std::path::Path) {
    let read = |name: &str| std::fs::read(folder.join("evidence").join(name)).unwrap();
    let proof = wire::WitnessProof::decode(&*read("0.witness")).unwrap();
    let proof = wire::WitnessProof {
        checkpoint: read(&format!("{}.note", proof.size)).into(),
        ..proof
    };
    let kept = wire::Evidence::decode(&*read("0.bin")).unwrap();
    let directory = town.directory();
    let log = directory.log();
    let checked = evidence::check(&kept, directory.network(), log.key()).unwrap();
    let judged = |proof: &wire::WitnessProof| check(&checked, proof, log.key(), log.watch());
    assert!(judged(&proof).unwrap().is_witnessed());
    let text = std::fs::read_to_string(town.network.broker_folder().join("log-key.txt")).unwrap();
    let secret = LogSecret::from_text(&text).unwrap();
    let other = secret.sign(proof.size, Digest::of(b"another root"));
    let other = wire::WitnessProof {
        checkpoint: other.note().to_vec().into(),
        ..proof
    };
    assert!(judged(&other).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l08_receipts_stay_provisional_until_enough_witnesses_cosigned_and_then_witnessed_for_good() {
    let (town, running, daemon) = police(Vec::new()).await;
    let sent = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    let id: schakel_proto::ids::PacketId = sent.get("packet").unwrap().as_str().unwrap().parse().unwrap();
    let checked = || {
        let folder = town
            .network
            .agent_data(&agency(SENDER))
            .join("outbox")
            .join(id.to_string());
        let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()?;
        (!state.pointer("/accepted/log_index")?.is_null()).then_some(folder)
    };
    let folder = tokio::task::block_in_place(|| until("the receipt", checked));
    assert_eq!(
        packet(&daemon).await.pointer("/receipt/standing").unwrap(),
        "provisional"
    );
    let needed = town.directory().log().watch().needed();
    let hold_up = |note: Vec<u8>| running.script.lock().unwrap().held_up.witnessed = note.into();
    // Shown as witnessed by too few, by lines that do not hold, or of another history: nothing follows from it.
    let round = || tokio::time::sleep(std::time::Duration::from_millis(4_000));
    let (few, enough) = {
        let script = running.script.lock().unwrap();
        (
            cosigned(&town, &script.ledger, needed - 1),
            cosigned(&town, &script.ledger, needed),
        )
    };
    hold_up(few);
    round().await;
    assert_eq!(
        packet(&daemon).await.pointer("/receipt/standing").unwrap(),
        "provisional"
    );
    let mut spoilt = String::from_utf8(enough.clone()).unwrap();
    let at = spoilt.len() - 40;
    let other = if spoilt.as_bytes()[at] == b'A' { "B" } else { "A" };
    spoilt.replace_range(at..=at, other);
    hold_up(spoilt.into_bytes());
    round().await;
    assert_eq!(
        packet(&daemon).await.pointer("/receipt/standing").unwrap(),
        "provisional"
    );
    // Submissions go on all the while.
    send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    hold_up(enough);
    let there = || {
        let state: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()?;
        state.pointer("/witnessed/0").map(|_| ())
    };
    tokio::task::block_in_place(|| until("a witnessed receipt", there));
    let told = daemon.command(&["status", &id.to_string()]).await.unwrap();
    let told = told.pointer("/packets/0").unwrap_or(&told).clone();
    let receipt = told.get("receipt").unwrap();
    assert_eq!(receipt.pointer("/standing").unwrap(), "witnessed");
    assert_eq!(receipt.pointer("/words/nl").unwrap(), "bevestigd door getuigen");
    assert_eq!(receipt.pointer("/by").unwrap().as_array().unwrap().len(), needed);
    holds_offline(&town, &folder);
    // The witnesses are gone, the broker shows nothing, the agent starts again: it stays witnessed.
    hold_up(Vec::new());
    daemon.stop().await;
    let daemon = Daemon::start(&town, SENDER);
    let told = daemon.command(&["status", &id.to_string()]).await.unwrap();
    let told = told.pointer("/packets/0").unwrap_or(&told).clone();
    assert_eq!(told.pointer("/receipt/standing").unwrap(), "witnessed");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_key_that_the_directory_does_not_list_keeps_a_known_witness_from_starting() {
    let (town, _running, daemon) = police(Vec::new()).await;
    daemon.stop().await;
    let stranger = secret(&town, RECIPIENT).to_text();
    std::fs::write(
        town.network.witness_key_file(&agency(SENDER)),
        stranger.as_bytes(),
    )
    .unwrap();
    let clock = Arc::new(schakel_agent::clock::SystemClock);
    let opened = schakel_agent::agent::Agent::open(town.config(SENDER), clock, Disk::default(), true);
    assert_eq!(
        opened.err().map(|problem| problem.code),
        Some("WITNESS_KEY".to_owned())
    );
}

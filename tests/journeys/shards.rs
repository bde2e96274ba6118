//! The log goes on in another shard, under another key, while agencies send: nothing is lost, nobody takes it for a fork,
//! what was given before holds; and who has the former key continues nothing.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schakel_agent::evidence::report::Outcome;
use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::tlog::checkpoint::{LogKey, LogSecret, SignedCheckpoint};
use schakel_proto::tlog::shards::Opens;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::office::{Document, Office};
use schakel_tests::system::outside::{Reader, program};
use schakel_tests::system::pack::{exported, path, read, sum, tar};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::process::binary;
use schakel_tests::system::told::{seeded, skip};
use schakel_tests::system::wait;
use serde_json::Value;

use crate::outside::fetched;

const AGENTS: &[&str] = &[
    "pz-rupel",
    "parket-antwerpen",
    "ocmw-boom",
    "pz-rupel-opvolgcel",
    "casusregisseur-rupel",
];
const SENDER: &str = "pz-rupel";
const RECIPIENT: &str = "parket-antwerpen";
/// A half-year that is over, and one that is not.
const OVER: &str = "rupel.example/log/2020h2";
const LATER: &str = "rupel.example/log/2099h1";

/// `schakel-broker log …`: exit status, and what it printed.
fn run(town: &Town, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary("schakel-broker"));
    command.arg("log").args(arguments).arg("--config");
    let output = command.arg(town.network().broker_config()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

fn told(town: &Town, arguments: &[&str]) -> String {
    let (status, said) = run(town, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    said
}

fn json(town: &Town, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(town, arguments)).unwrap()
}

fn killed(town: &mut Town) {
    town.take_broker().kill();
    town.start_broker();
}

/// The runbook of docs/operating/log.md, with a kill -9 after each of its steps. Gives the last checkpoint.
fn rotate(town: &mut Town, successor: &str) -> SignedCheckpoint {
    let key_file = town.network().broker_folder().join("log-key.txt");
    let next_file = key_file.with_file_name("log-key.txt.next");
    let key = LogKey::from_text(&told(town, &["new-key", "--origin", successor])).unwrap();
    let (status, said) = run(town, &["new-key", "--origin", successor]);
    assert!(status != Some(0) && said.contains("There is a key"), "{said}");
    let out = town.scratch("files").join("last.note");
    told(town, &["freeze", "--successor", successor, "--out", path(&out)]);
    killed(town);
    let shards = json(town, &["shards", "--json"]);
    let last = shards["shards"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["state"], "frozen", "{shards:#}");
    wait::until("a word on it", || {
        town.figure("schakel_log_frozen").filter(|frozen| *frozen == 1)
    });
    let note = std::fs::read(&out).unwrap();
    let directory = town.network().directory(now()).unwrap();
    let frozen = SignedCheckpoint::open(&note, directory.log().key()).unwrap();
    assert_eq!(last["size"], frozen.size());
    town.network().freeze_log(&note, &key, false, now()).unwrap();
    killed(town);
    wait::until("the next shard", || {
        let shards = json(town, &["shards", "--json"]);
        let last = shards["shards"].as_array().unwrap().last().unwrap().clone();
        (last["origin"] == successor && last["state"] == "in-force").then_some(())
    });
    // The last step: the new key takes the place of the former, which is destroyed.
    std::fs::rename(next_file, key_file).unwrap();
    killed(town);
    frozen
}

/// No agent has found anything wrong with the log.
fn trusted(town: &Town) {
    for id in AGENTS {
        let audit = town.network().agent_data(&agency(id)).join("audit");
        for entry in std::fs::read_dir(audit).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let bad = name.starts_with("contradiction-") || name.starts_with("disputed-");
            assert!(!bad, "{id}: {name}");
        }
    }
}

/// Everything that was sent is in the log once, and every receipt of it becomes witnessed.
fn all_there(town: &Town, police: &Office, packets: &[String]) {
    for packet in packets {
        police.packet(packet, "settled");
        let of_packet = json(town, &["ls", "--packet", packet, "--json", "--limit", "100"]);
        let entries = of_packet["entries"].as_array().unwrap();
        let count = |event: &str| entries.iter().filter(|one| one["event"] == event).count();
        assert_eq!(
            (count("SubmissionAcceptance"), count("ContentHandover")),
            (1, 1),
            "{packet}"
        );
    }
    for packet in packets {
        wait::until("a witnessed receipt", || {
            let told = police.ask("GET", &format!("/v1/packets/{packet}"), None);
            (told["receipt"]["standing"] == "witnessed").then_some(())
        });
    }
    let all = json(town, &["ls", "--json", "--limit", "10000"]);
    let entries = all["entries"].as_array().unwrap();
    for (place, entry) in (0_u64..).zip(entries) {
        assert_eq!(entry["index"], place, "no gap and nothing twice");
    }
    trusted(town);
    let (status, said) = run(town, &["verify"]);
    assert_eq!(status, Some(0), "{said}");
}

/// Each shard is a log of its own to whoever reads tiles: its last checkpoint, and no tile behind it.
fn read_by_tiles(town: &Town, ends: &[SignedCheckpoint]) {
    let directory = town.network().directory(now()).unwrap();
    let shards = directory.log().shards();
    runtime().block_on(async {
        let mut reader = Reader::of(town, "ocmw-boom");
        for (number, end) in ends.iter().enumerate() {
            let (status, note) = reader.get(&format!("shard/{number}/checkpoint")).await;
            let opened = shards.open(&note).unwrap();
            assert_eq!(
                (status, opened.size(), opened.root()),
                (200, end.size(), end.root())
            );
            let width = end.size() % 256;
            let (status, _) = reader.get(&format!("shard/{number}/tile/0/000.p/{width}")).await;
            assert_eq!(status, 200);
            let (status, _) = reader
                .get(&format!("shard/{number}/tile/0/000.p/{}", width + 1))
                .await;
            assert_eq!(status, 404, "behind the end of shard {number}");
        }
        let (status, note) = reader.get(&format!("shard/{}/checkpoint", ends.len())).await;
        assert_eq!(
            (status, shards.open(&note).unwrap().origin()),
            (200, shards.origin())
        );
        assert_eq!(
            reader
                .get(&format!("shard/{}/checkpoint", ends.len() + 1))
                .await
                .0,
            404
        );
    });
}

/// Go's own packages read each shard as the log of its own that it is.
fn read_by_go(town: &Town, ends: &[SignedCheckpoint]) {
    if let Err(why) = program() {
        return skip(&why);
    }
    let directory = town.network().directory(now()).unwrap();
    for (number, key) in directory.log().shards().keys().enumerate() {
        let folder = town.scratch(&format!("go-{number}"));
        std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
        if let Some(end) = ends.get(number) {
            std::fs::write(folder.join("checkpoints/0"), end.note()).unwrap();
        }
        let said = fetched(town, &format!("log/shard/{number}"), key, &folder).unwrap();
        let entries = said
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|n| n.parse::<u64>().ok());
        assert!(
            ends.get(number).is_none_or(|end| entries == Some(end.size())),
            "{said}"
        );
    }
}

/// A pack in which the newest checkpoint is one that the stolen key signed beyond the end of its shard.
fn forged(town: &Town, pack: &std::path::Path, (stolen, end): (&LogSecret, &SignedCheckpoint)) {
    let directory = std::fs::read(town.network().directory_file()).unwrap();
    let directory: schakel_proto::wire::MultiSigned = prost::Message::decode(&*directory).unwrap();
    let anchor = |directory| Anchor {
        authority: Some(town.network().authority().unwrap()),
        network: None,
        directory,
    };
    let report = verify(pack, &anchor(None)).unwrap();
    assert!(report.is_good(), "{}", report.to_text("en"));
    let mut members = read(pack);
    let note = stolen.sign(end.size() + 2, Digest::of(b"what the thief likes"));
    members.insert("checkpoint.note".to_owned(), note.note().to_vec());
    members.remove("witnessed.note");
    sum(&mut members);
    let file = town.scratch("packs").join("forged.tar");
    std::fs::write(&file, tar(&members)).unwrap();
    for directory in [None, Some(directory)] {
        let report = verify(&file, &anchor(directory)).unwrap();
        let mut failed = report.failed();
        let refused =
            failed.any(|one| matches!(&one.outcome, Outcome::Failed(why) if why.code == "LOG_FROZEN"));
        assert!(refused, "{}", report.to_text("en"));
        for (language, words) in [("nl", "afgesloten"), ("fr", "a close"), ("en", "has frozen")] {
            let said = report.to_text(language);
            assert!(said.contains(words), "{said}");
        }
    }
}

#[test]
fn l10_shard_after_shard_nothing_is_lost_and_the_stolen_key_continues_nothing() {
    let mut town = Town::running(AGENTS);
    let key_file = town.network().broker_folder().join("log-key.txt");
    let stolen = LogSecret::from_text(&std::fs::read_to_string(&key_file).unwrap()).unwrap();
    let police = Office::of(&town, SENDER);
    let case = CaseRef::random(&mut seeded());
    let file = town.scratch("files").join("feiten.txt");
    std::fs::write(&file, "Fictief verslag.").unwrap();
    wait::until("the rules", || {
        let status = police.ask("GET", "/v1/status", None);
        (status["connected"] == true && !status["bundle_version"].is_null()).then_some(())
    });
    police.open_case(case, AGENTS);
    let parts = [Document::new("facts_summary", &file)];
    let order = Office::order(case, &[RECIPIENT], ("prosecution", "legal_duty"), &parts);
    let done = AtomicBool::new(false);
    let (ends, packets) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut packets = Vec::new();
            while !done.load(Ordering::SeqCst) {
                packets.push(police.send(&order));
                std::thread::sleep(Duration::from_millis(400));
            }
            packets
        });
        std::thread::sleep(Duration::from_secs(2));
        let ends = [OVER, LATER].map(|successor| {
            let end = rotate(&mut town, successor);
            let over = wait::until("a word on the half-year", || {
                town.figure("schakel_log_frozen").filter(|frozen| *frozen == 0)?;
                town.figure("schakel_log_half_year_over")
            });
            assert!(over == 0 || successor == OVER);
            end
        });
        std::thread::sleep(Duration::from_secs(2));
        done.store(true, Ordering::SeqCst);
        (ends, sending.join().unwrap())
    });
    assert!(packets.len() > 8 && ends[0].size() < ends[1].size());
    all_there(&town, &police, &packets);
    read_by_tiles(&town, &ends);
    read_by_go(&town, &ends);
    let pack = exported(&town, SENDER, &packets[0], &[]);
    forged(&town, &pack, (&stolen, &ends[0]));
    let last = exported(&town, RECIPIENT, packets.last().unwrap(), &[]);
    forged(&town, &last, (&stolen, &ends[0]));
    // There is no way back, and no shard twice: no party would take such a directory, and none is written.
    let (status, said) = run(&town, &["thaw"]);
    assert!(status != Some(0) && said.contains("not frozen"), "{said}");
    let version = town.network().directory(now()).unwrap().version();
    let text = std::fs::read_to_string(&key_file).unwrap();
    let in_force = LogSecret::from_text(&text).unwrap();
    let note = in_force.sign(ends[1].size() + 1, Digest::of(b"elsewhere"));
    let refused = town
        .network()
        .freeze_log(note.note(), stolen.public(), true, now());
    assert!(refused.unwrap_err().to_string().contains("one origin or one key"));
    assert_eq!(town.network().directory(now()).unwrap().version(), version);
}

#[test]
fn shard_a_freeze_can_be_taken_back_and_a_directory_that_freezes_elsewhere_is_not_taken() {
    let mut town = Town::rupel();
    town.start_broker();
    let out = town.scratch("files").join("last.note");
    let (status, said) = run(&town, &["freeze", "--successor", "no name+", "--out", path(&out)]);
    assert!(status != Some(0) && said.contains("LOG_SHARD_NAME"), "{said}");
    // No agent runs: nobody cosigns.
    let freeze = ["freeze", "--successor", LATER, "--out", path(&out), "--wait", "2"];
    let (status, said) = run(&town, &freeze);
    assert!(
        status == Some(1) && said.contains("not enough witnesses"),
        "{said}"
    );
    let key = LogKey::from_text(&told(&town, &["new-key", "--origin", LATER])).unwrap();
    let note = std::fs::read(&out).unwrap();
    let refused = town.network().freeze_log(&note, &key, false, now());
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("0 witnesses cosigned it")
    );
    assert!(told(&town, &["thaw"]).contains("goes on"));
    wait::until("an entry more", || {
        let stats = json(&town, &["stats", "--json"]);
        (stats["pending"] == 0).then_some(())
    });
    // The directory comes too late: the broker stays with the one that it has, and says so.
    town.network().freeze_log(&note, &key, true, now()).unwrap();
    wait::until("the refusal", || {
        let log = std::fs::read_to_string(town.broker_log()).unwrap();
        log.contains("LOG_FROZEN").then_some(())
    });
    let shards = json(&town, &["shards", "--json"]);
    assert_eq!(shards["shards"].as_array().unwrap().len(), 1);
    assert_eq!(shards["shards"][0]["state"], "in-force");
    let (status, said) = run(&town, &["verify"]);
    assert_eq!(status, Some(0), "{said}");
}

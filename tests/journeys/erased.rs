//! A case is erased: what the log says of it means nothing any more, to nobody, also not to whoever has the broker's disk;
//! and the log is whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use schakel_broker::config::Config;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::process::binary;
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::{Value, json};

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

/// A command of the operator: exit status, and what it printed.
fn operator(town: &Town, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary("schakel-broker"));
    command.args(arguments).arg("--config");
    let output = command.arg(town.network().broker_config()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// Everything that is wrong with the log: nothing; and how many entries mean nothing any more.
fn gone(town: &Town) -> u64 {
    let (status, said) = operator(town, &["log", "verify", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    let (from, to) = (said.find('{').unwrap(), said.rfind('}').unwrap());
    let found: Value = serde_json::from_str(&said[from..=to]).unwrap();
    assert_eq!(found["wrong"], 0, "{found:#}");
    found["gone"]["the erasure key of its case is destroyed"]
        .as_u64()
        .unwrap_or_default()
}

/// The entries that say that a key was destroyed.
fn destroyed(town: &Town) -> Vec<Value> {
    let (status, said) = operator(town, &["log", "ls", "--json", "--event", "KeyDestroyed"]);
    assert_eq!(status, Some(0), "{said}");
    let page: Value = serde_json::from_str(&said).unwrap();
    page["entries"].as_array().unwrap().clone()
}

/// Whether a file under a folder has these bytes.
fn is_in(folder: &Path, bytes: &[u8]) -> bool {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let mut files = files.filter(|entry| entry.file_type().is_file());
    files.any(|file| {
        let found = std::fs::read(file.path()).unwrap();
        found.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// A large document that was delivered and taken note of.
fn deliver(town: &Town, case: CaseRef) -> String {
    let [police, prosecutor] = [POLICE, PARKET].map(|id| Office::of(town, id));
    let file = town.scratch("files").join("verslag.txt");
    std::fs::write(&file, "wat er gebeurde ".repeat(8_000)).unwrap();
    let document = Document::new("facts_summary", &file);
    let order = Office::order(case, &[PARKET], ("prosecution", "legal_duty"), &[document]);
    let packet = police.send(&order);
    prosecutor.received(&packet);
    police.packet(&packet, "settled");
    packet
}

/// The agents keep what is theirs, and go on with this log. That something of an erased case is opened now reaches the
/// broker before what is opened of a third case.
fn opened_late(town: &Town, packets: &[String], third: CaseRef) {
    let prosecutor = Office::of(town, PARKET);
    let scratch = town.scratch("opened");
    let last = deliver(town, third);
    for packet in packets.iter().chain([&last]) {
        let part = text(&prosecutor.received(packet)["parts"][0], "part");
        let content = prosecutor.open(packet, &part, &scratch);
        assert!(content.starts_with(b"wat er gebeurde"));
    }
    wait::until("the last word in the log", || {
        // Each question is one of the 240 of this hour.
        std::thread::sleep(Duration::from_millis(200));
        let arguments = ["log", "ls", "--packet", &last, "--reason", "taken"];
        let said = operator(town, &arguments).1;
        said.contains("ContentHandover").then_some(())
    });
}

/// Files of content that the broker has.
fn contents(config: &Config) -> BTreeSet<OsString> {
    let files = std::fs::read_dir(config.data_dir.join("parts")).unwrap();
    files.map(|file| file.unwrap().file_name()).collect()
}

#[test]
fn l12_an_erased_case_means_nothing_to_whoever_has_the_disk_and_the_log_is_whole() {
    let mut town = Town::running(&[POLICE, PARKET]);
    let mut rng = seeded();
    let police = Office::of(&town, POLICE);
    let config = Config::load(&town.network().broker_config()).unwrap();
    let before = contents(&config);
    let [first, second, third] = [0, 1, 2].map(|_| CaseRef::random(&mut rng));
    for case in [first, second, third] {
        police.open_case(case, &[POLICE, PARKET]);
    }
    let packets = [first, second].map(|case| deliver(&town, case));
    let erase = |town: &Town, case: CaseRef| operator(town, &["erase", "--case", &case.to_string()]);
    let key = |case: CaseRef, end: &str| {
        let name = format!("{}.{end}", hex::encode(case.as_bytes()));
        config.erasure_dir.join(name)
    };
    let (status, said) = erase(&town, first);
    assert!(status == Some(69) && said.contains("CASE_OPEN"), "{said}");
    let secrets = [first, second].map(|case| std::fs::read(key(case, "key")).unwrap());
    for case in [first, second] {
        police.state(&json!({ "kind": "close-case", "case": case }));
    }
    assert_eq!(gone(&town), 0);
    // The running broker, which holds the key in memory.
    let (status, said) = erase(&town, first);
    assert!(status == Some(0) && said.contains("Destroy every copy"), "{said}");
    let entry = wait::until("the entry in the log", || {
        std::thread::sleep(Duration::from_millis(200));
        destroyed(&town).pop()
    });
    assert_eq!((&entry["case"], &entry["packet"]), (&Value::Null, &Value::Null));
    assert_eq!(entry["shown_to"], json!([PARKET, POLICE]));
    let lost = gone(&town);
    assert!(lost >= 5, "{lost}");
    // A broker that is killed has forgotten nothing of that; and one that is stopped can be asked the same.
    town.take_broker().kill();
    assert_eq!(gone(&town), lost);
    let (status, said) = erase(&town, second);
    assert_eq!(status, Some(0), "{said}");
    let both = gone(&town);
    assert!(both >= lost + 5, "{lost}, {both}");
    town.start_broker();
    for (case, secret) in [first, second].into_iter().zip(secrets) {
        assert!(!key(case, "key").exists() && key(case, "erased").exists());
        for folder in [&config.data_dir, &config.erasure_dir] {
            assert!(!is_in(folder, &secret), "the key lies in {}", folder.display());
        }
    }
    assert_eq!(contents(&config), before, "no sealed byte is left");
    opened_late(&town, &packets, third);
    for case in [first, second] {
        assert!(!key(case, "key").exists());
    }
    assert_eq!(destroyed(&town).len(), 2);
    assert_eq!(gone(&town), both);
}

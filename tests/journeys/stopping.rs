//! Stopping and starting again: what is in flight is finished, what was answered is still there.

use std::process::Command;

use rand::RngCore;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::process::{Process, binary};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;

const DUTY: (&str, &str) = ("prosecution", "legal_duty");

#[test]
fn sigterm_drains_and_a_restart_goes_on_where_it_was() {
    let mut town = Town::running(&["pz-rupel"]);
    let mut rng = seeded();
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("groot.bin");
    let mut content = vec![0; 6_000_000];
    rng.fill_bytes(&mut content);
    std::fs::write(&file, &content).unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", "parket-antwerpen"]);
    let order = Office::order(
        case,
        &["parket-antwerpen"],
        DUTY,
        &[Document::new("facts_summary", &file)],
    );
    // One accepted, one perhaps on its way, when the broker is told to stop.
    let first = police.send(&order);
    police.packet(&first, "accepted");
    let second = police.send(&order);
    town.take_broker().stop();
    let third = police.send(&order);
    town.take_agent("pz-rupel").stop();
    town.start_broker();
    town.start_agent("pz-rupel");
    town.start_agent("parket-antwerpen");
    for packet in [&first, &second, &third] {
        let settled = police.packet(packet, "settled");
        assert_eq!(outcomes(&settled)[0].2, "received", "{settled:#}");
        let delivery = prosecutor.received(packet);
        let part = text(&delivery["parts"][0], "part");
        assert!(prosecutor.open(packet, &part, &town.scratch("out")) == content);
    }
    assert_eq!(prosecutor.inbox().len(), 3, "each once");
    assert_eq!(town.health("/health/live"), Some(200));
}

#[test]
fn d15_a_second_broker_on_the_same_store_refuses_to_start() {
    let town = Town::running(&[]);
    // Another port, the same folders.
    let config = town.network().broker_folder().join("second.toml");
    let first = std::fs::read_to_string(town.network().broker_config()).unwrap();
    let other = first.lines().map(|line| match line.split_once(" = ") {
        Some((key @ ("listen" | "health_listen"), _)) => format!("{key} = \"127.0.0.1:0\"\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(&config, other.collect::<String>()).unwrap();
    let mut command = Command::new(binary("schakel-broker"));
    command.args(["run", "--development", "--config"]).arg(&config);
    let mut second = Process::start(
        "second broker",
        &mut command,
        &town.scratch("logs").join("second.log"),
    );
    let status = wait::until("the second broker's end", || second.ended());
    assert!(!status.success(), "{}", second.printed());
    assert_eq!(town.health("/health/ready"), Some(200), "the first one goes on");
}

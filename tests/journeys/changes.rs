//! Things change under way: a packet is recalled, the roster changes, an old directory is put back.

use prost::Message;
use schakel_proto::ids::CaseRef;
use schakel_proto::wire::{self, GetDirectoryRequest};
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::peer::{self, runtime};
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;
use serde_json::json;

const DUTY: (&str, &str) = ("prosecution", "legal_duty");

#[test]
fn a_packet_recalled_before_hand_over_is_never_handed_over() {
    let mut town = Town::running(&["pz-rupel"]);
    let mut rng = seeded();
    let [police, prosecutor] = ["pz-rupel", "parket-antwerpen"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("vergissing.txt");
    std::fs::write(&file, "Naar de verkeerde gestuurd.").unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &["pz-rupel", "parket-antwerpen"]);
    let order = Office::order(
        case,
        &["parket-antwerpen"],
        DUTY,
        &[Document::new("facts_summary", &file)],
    );
    let [wrong, right] = [0, 1].map(|_| police.send(&order));
    for packet in [&wrong, &right] {
        police.packet(packet, "accepted");
    }
    police.recall(&wrong);
    let recalled = police.packet(&wrong, "settled");
    assert_eq!(outcomes(&recalled)[0].2, "recalled", "{recalled:#}");
    town.start_agent("parket-antwerpen");
    prosecutor.received(&right);
    let packets: Vec<String> = prosecutor.inbox().iter().map(|d| text(d, "packet")).collect();
    assert_eq!(packets, [right.as_str()]);
    let late = police.packet(&right, "settled");
    assert_eq!(outcomes(&late)[0].2, "received");
    let request = json!({ "packet": right, "reason": "sent_in_error" });
    let (_, late) = police.try_ask("POST", "/v1/recalls", Some(&request)).unwrap();
    assert_eq!(late["code"], "RECALL_TOO_LATE");
}

#[test]
fn at_hand_over_the_roster_of_that_moment_decides() {
    let mut town = Town::running(&["pz-rupel", "parket-antwerpen", "casusregisseur-rupel"]);
    let mut rng = seeded();
    let [police, director] = ["pz-rupel", "casusregisseur-rupel"].map(|id| Office::of(&town, id));
    let file = town.scratch("files").join("plan.txt");
    std::fs::write(&file, "Afspraken voor deze week.").unwrap();
    let case = CaseRef::random(&mut rng);
    let roster = [
        "casusregisseur-rupel",
        "pz-rupel",
        "parket-antwerpen",
        "caw-rupel",
    ];
    director.open_case(case, &roster);
    let order = Office::order(
        case,
        &["caw-rupel"],
        ("care_coordination", "shared_secrecy"),
        &[Document::new("care_plan", &file)],
    );
    let (status, sent) = director.try_ask("POST", "/v1/packets", Some(&order)).unwrap();
    assert_eq!(status, 200, "{sent:#}");
    let packet = text(&sent, "packet");
    director.packet(&packet, "accepted");
    // Nobody adds itself or changes the roster from below.
    let (status, refused) = police.change_roster(case, &["pz-rupel", "casusregisseur-rupel", "ocmw-boom"]);
    assert_ne!(status, 200, "{refused:#}");
    let (status, changed) = director.change_roster(case, &roster[..3]);
    assert_eq!(
        (status, changed["roster_version"].as_u64()),
        (200, Some(2)),
        "{changed:#}"
    );
    town.start_agent("caw-rupel");
    let decided = director.packet(&packet, "decided");
    let (_, _, state, reason) = outcomes(&decided).remove(0);
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("denied", "DENY_RECIPIENT_NOT_IN_CASE"),
        "{decided:#}"
    );
    assert!(Office::of(&town, "caw-rupel").inbox().is_empty());
}

#[test]
fn an_older_directory_is_never_taken_back() {
    let mut town = Town::rupel();
    let file = town.network().directory_file();
    let first = std::fs::read(&file).unwrap();
    let old = town.network().directory(now()).unwrap().version();
    let new = town.network().refresh(now()).unwrap();
    assert!(new > old);
    town.start_broker();
    town.start_agent("pz-rupel");
    let version = |town: &Town| {
        runtime().block_on(async {
            let mut client = peer::as_agency(town, &agency("parket-antwerpen"));
            let answer = client
                .get_directory(GetDirectoryRequest { known_version: 0 })
                .await
                .unwrap();
            wire::Directory::decode(answer.into_inner().directory.unwrap().bytes)
                .unwrap()
                .version
        })
    };
    assert_eq!(version(&town), new);
    let agent = Office::of(&town, "pz-rupel");
    let seen = |office: &Office| office.ask("GET", "/v1/status", None)["directory_version"].as_u64();
    wait::until("the agent's directory", || {
        (seen(&agent) == Some(new)).then_some(())
    });
    // Put back under a running broker: it keeps the newer one.
    std::fs::write(&file, &first).unwrap();
    wait::until("the broker to look and refuse", || {
        std::fs::read_to_string(town.broker_log())
            .unwrap()
            .to_lowercase()
            .contains("older")
            .then_some(())
    });
    assert_eq!(version(&town), new);
    // Put back before a start: it refuses to start.
    town.take_broker().stop();
    let output = town.broker_command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "the broker started on an older directory: {said}"
    );
    // A newer one again: it starts, and the agent goes on.
    assert!(
        town.network().refresh(now()).unwrap() <= new,
        "the minted file is the old one again"
    );
    let newer = loop {
        let version = town.network().refresh(now()).unwrap();
        if version > new {
            break version;
        }
    };
    town.start_broker();
    wait::until("the agent's newer directory", || {
        (seen(&agent) == Some(newer)).then_some(())
    });
}

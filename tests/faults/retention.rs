//! Killed in the middle of retention, again and again: cases go whole or are gone on with, no entry is said to have gone
//! that is there, and none is gone of which nothing was said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_broker::admin::{Ask, Desk, Filter, Told, socket};
use schakel_broker::clock::SetClock;
use schakel_broker::config::Config;
use schakel_broker::store::sled::{SledStore, raw};
use schakel_proto::ids::PacketId;
use schakel_proto::statement::StatementBody;
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;
use serde_json::Value;

use crate::turn;

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";
const SETTINGS: &str = "submissions_per_minute_max_count = 1000000\n\n[retention]\ncase_years = 1\npacket_years = 1\nact_years = 1";

fn ask(town: &Town, ask: &Ask) -> Value {
    let found = socket::ask(&town.network().broker_data(), ask);
    found.expect("the broker runs").unwrap()
}

fn start(town: &mut Town, time: &Path) {
    let mut command = town.broker_command();
    command.arg("--simulated-time").arg(time);
    town.start_broker_as(command);
}

/// Closed cases, each with a packet that was taken back and statements enough for more than one page.
async fn fill(town: &Town, rng: StdRng, cases: u64) {
    let mut police = Player::of(town, POLICE, rng);
    for number in 0..cases {
        let case = police.open_case(&[POLICE, PARKET]).await;
        let piece = Piece {
            category: "facts_summary",
            to: &[PARKET],
            content: b"wat er gebeurde",
        };
        let sealed = police.send(case, "prosecution", "legal_duty", &[piece]).await;
        let recall = recalled(town, &police, sealed.id());
        police.client.recall(recall).await.unwrap();
        for turn in 0..if number % 3 == 0 { 40 } else { 2 } {
            let body = if turn % 2 == 0 {
                StatementBody::CaseClosed
            } else {
                StatementBody::CaseReopened
            };
            police.state(case, body).await.unwrap();
        }
        police.state(case, StatementBody::CaseClosed).await.unwrap();
    }
}

/// A packet taken back by its sender.
fn recalled(town: &Town, police: &Player, packet: PacketId) -> wire::RecallRequest {
    let keys = town.network().agency_keys(&agency(POLICE)).unwrap();
    let recall = wire::Recall {
        r#type: "schakel.v1.Recall".into(),
        network: town.network().spec().network.to_string(),
        packet_id: packet.to_vec().into(),
        sender: POLICE.into(),
        sender_key: keys.fingerprint().as_bytes().to_vec().into(),
        made_ms: now().millis(),
        reason: "sent_in_error".into(),
    };
    let recall = Some(police.sign(recall.encode_to_vec()));
    wire::RecallRequest { recall }
}

/// Cases of which the key is still there.
fn keys(town: &Town) -> usize {
    let folder = town.network().broker_folder().join("erasure");
    let names = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".key"))
        .count()
        - 1
}

/// Entries that went by what the log says, and by what is there.
fn went(town: &Town) -> (u64, u64) {
    let found = ask(town, &Ask::Verify);
    assert_eq!(found["wrong"], 0, "{found:#}");
    let gone = found["gone"]["an entry whose retention had ended"]
        .as_u64()
        .unwrap_or_default();
    let filter = Filter {
        event: Some("RecordsErased".to_owned()),
        ..Filter::default()
    };
    let (mut said, mut after) = (0, None);
    loop {
        let page = ask(
            town,
            &Ask::Entries {
                filter: filter.clone(),
                after,
                last: None,
                limit: 1_000,
                export: false,
            },
        );
        let entries = page["entries"].as_array().unwrap().iter();
        said += entries
            .filter(|one| one["reason"] != "packets")
            .map(|one| one["left_out"].as_u64().unwrap())
            .sum::<u64>();
        if page["done"] == true {
            return (said, gone);
        }
        after = page["next"].as_u64();
    }
}

#[test]
fn l12_d01_killed_in_the_middle_of_retention_all_goes_once_and_is_said_once() {
    let _turn = turn::take();
    let (mut rng, kills) = (seeded(), rounds(8, 200));
    let mut town = Town::rupel();
    town.limit(SETTINGS);
    let time = town.scratch("time").join("ahead");
    std::fs::write(&time, "0").unwrap();
    start(&mut town, &time);
    runtime().block_on(fill(&town, StdRng::from_rng(&mut rng), 12 + kills / 4));
    let cases = keys(&town);
    assert_eq!(cases as u64, 12 + kills / 4);
    town.take_broker().stop();
    // A year and some days later, with a directory of that time.
    let later: Timestamp = now().after_years(1).plus_millis(3 * 86_400_000);
    town.network().refresh(later).unwrap();
    std::fs::write(&time, later.millis_since(now()).to_string()).unwrap();
    let mut midway = 0;
    for round in 1..=kills {
        start(&mut town, &time);
        town.broker().signal("HUP");
        std::thread::sleep(Duration::from_millis(rng.random_range(1..40)));
        town.take_broker().kill();
        let left = keys(&town);
        midway += u64::from(left > 0 && left < cases);
        println!("round {round}: {left} keys left");
    }
    start(&mut town, &time);
    wait::until("retention", || {
        town.broker().signal("HUP");
        std::thread::sleep(Duration::from_millis(200));
        (keys(&town) == 0).then_some(())
    });
    let all = wait::try_until(Duration::from_secs(60), || {
        town.broker().signal("HUP");
        let filter = Filter::default();
        let stats = ask(&town, &Ask::Stats { filter });
        (stats["cases"] == 0 && stats["pending"] == 0).then_some(stats)
    });
    assert!(all.is_some(), "records of erased cases are still there");
    let (said, gone) = went(&town);
    assert_eq!(said, gone, "said to have gone, and gone");
    assert!(gone > cases as u64 * 6);
    // And the start that recomputes everything finds nothing either.
    town.take_broker().stop();
    start(&mut town, &time);
    assert_eq!(went(&town).1, gone);
    town.take_broker().stop();
    taken_away(&town, later);
    count(
        kills,
        &format!("kills, {midway} of them midway; {cases} cases and {gone} entries went, each said once"),
    );
}

/// An entry of the log as its row begins.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    leaf: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
}

/// One entry more is taken away, or a case is said to be on its way out, as retention would do it, and nothing is said:
/// it is found.
fn taken_away(town: &Town, at: Timestamp) {
    let config = Config::load(&town.network().broker_config()).unwrap();
    runtime().block_on(async {
        let store = Arc::new(SledStore::open(&config.data_dir).await.unwrap());
        let desk = Desk::on(&config, Arc::new(SetClock::at(at)), store.clone()).unwrap();
        let found = async || desk.answer(Ask::Verify, &Told::default()).await.unwrap();
        assert_eq!(found().await["wrong"], 0);
        let rows = store.raw_rows().unwrap();
        let act = rows.iter().find_map(|(key, record)| {
            let row = Entry::decode(record.get(raw::CHECK_BYTES + 1..)?).ok()?;
            let is_act = row.body.windows(16).any(|part| part == b"schakel:AdminAct");
            (key[0] == b'E' && is_act).then_some((key, record, row))
        });
        let (key, record, row) = act.unwrap();
        let left = Entry {
            body: Vec::new(),
            ..row
        };
        let empty = [&[0][..], &left.encode_to_vec()].concat();
        store.raw_put(key, Some(&raw::seal(key, &empty))).unwrap();
        let wrong = found().await;
        assert_eq!(wrong["findings"][0]["place"], "what went", "{wrong:#}");
        store.raw_put(key, Some(record)).unwrap();
        let mark = [&b"e"[..], &[7; 16]].concat();
        store.raw_put(&mark, Some(&raw::seal(&mark, &[0]))).unwrap();
        assert_ne!(found().await["wrong"], 0);
        store.raw_put(&mark, None).unwrap();
        assert_eq!(found().await["wrong"], 0);
        desk.close().await;
    });
}

//! `kill -9` of the broker and of agents at random moments under load: every packet that an agent took on arrives
//! exactly once in each inbox that may have it, and the log holds together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::evidence;
use schakel_proto::ids::CaseRef;
use schakel_proto::wire;
use schakel_tests::system::backend::Backend;
use schakel_tests::system::network::{Places, Town, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::process::Process;
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;

use crate::turn;

/// Who gets each packet.
pub const RECIPIENTS: [&str; 2] = ["parket-antwerpen", "pz-rupel-opvolgcel"];
/// Purpose and basis.
pub const TRIAGE: (&str, &str) = ("triage", "legal_duty");

/// Tells the load to stop when it is dropped, also by a failure.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends until told to stop; what the agent took on, with its content.
pub fn load(places: &Places, case: CaseRef, mut rng: StdRng, stop: &AtomicBool) -> BTreeMap<String, Vec<u8>> {
    let (police, folder) = (Office::in_network(&places.network, "pz-rupel"), &places.scratch);
    let mut taken = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let large = rng.random_ratio(1, 8);
        let mut content = vec![
            0;
            if large {
                rng.random_range(60_000..400_000)
            } else {
                rng.random_range(1..3_000)
            }
        ];
        rng.fill_bytes(&mut content);
        let file = folder.join(format!("{number}.bin"));
        std::fs::write(&file, &content).unwrap();
        let order = Office::order(
            case,
            &RECIPIENTS,
            TRIAGE,
            &[Document::new("facts_summary", &file)],
        );
        match police.try_ask("POST", "/v1/packets", Some(&order)) {
            Ok((200, record)) => drop(taken.insert(text(&record, "packet"), content)),
            // The agent was killed, or is not ready again: what it did not answer for does not count.
            Ok((503, _)) | Err(_) => std::thread::sleep(Duration::from_millis(50)),
            Ok(other) => panic!("the agent refused: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..150)));
    }
    taken
}

/// Runs `faults` while the sender's agent is given packets; what it took on, with content.
pub fn under_load(
    town: &mut Town,
    case: CaseRef,
    rng: &mut StdRng,
    faults: impl FnOnce(&mut Town, &mut StdRng),
) -> BTreeMap<String, Vec<u8>> {
    let stop = AtomicBool::new(false);
    let (places, sender) = (town.places("load"), StdRng::from_rng(rng));
    std::thread::scope(|scope| {
        let stop = &stop;
        let load = scope.spawn(move || load(&places, case, sender, stop));
        let ends = Ends(stop);
        faults(town, rng);
        drop(ends);
        load.join().unwrap()
    })
}

/// Kills one or two processes at once and starts them again.
fn kill_some(town: &mut Town, rng: &mut StdRng) -> Vec<&'static str> {
    let all = ["broker", "broker", "pz-rupel", RECIPIENTS[0], RECIPIENTS[1]];
    let mut victims: Vec<&str> = all.choose_multiple(rng, 2).copied().collect();
    victims.truncate(rng.random_range(1..=2));
    victims.dedup();
    let mut take = |name: &str| {
        if name == "broker" {
            town.take_broker()
        } else {
            town.take_agent(name)
        }
    };
    let processes: Vec<Process> = victims.iter().map(|name| take(name)).collect();
    processes.into_iter().for_each(Process::kill);
    for name in &victims {
        if *name == "broker" {
            town.start_broker()
        } else {
            town.start_agent(name)
        }
    }
    victims
}

/// A town under whose broker lies this store, with a case and three agents.
fn running(backend: Backend, rng: &mut StdRng) -> (Town, CaseRef) {
    let mut town = backend.town();
    town.lift_rates();
    town.start_broker();
    for agent in ["pz-rupel", RECIPIENTS[0], RECIPIENTS[1]] {
        town.start_agent(agent);
    }
    let case = CaseRef::random(rng);
    Office::of(&town, "pz-rupel").open_case(case, &["pz-rupel", RECIPIENTS[0], RECIPIENTS[1]]);
    (town, case)
}

#[test]
fn d01_d03_d04_killed_at_random_under_load_every_packet_arrives_exactly_once() {
    killed_at_random(Backend::Sled);
}

#[test]
fn d01_d03_d04_killed_at_random_on_a_database_every_packet_arrives_exactly_once() {
    killed_at_random(Backend::Postgres);
}

fn killed_at_random(backend: Backend) {
    let _turn = turn::take();
    let (mut rng, kills) = (seeded(), rounds(60, 2_000));
    let (mut town, case) = running(backend, &mut rng);
    let stop = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let sender = StdRng::from_rng(&mut rng);
        let places = town.places("load");
        let stop = &stop;
        let load = scope.spawn(move || load(&places, case, sender, stop));
        for round in 1..=kills {
            std::thread::sleep(Duration::from_millis(rng.random_range(20..500)));
            println!("round {round}: killed {:?}", kill_some(&mut town, &mut rng));
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(
        taken.len() as u64 > kills,
        "only {} packets under {kills} kills is no load",
        taken.len()
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        kills,
        &format!(
            "kills over {backend:?}, {} packets, each once in both inboxes, {entries} log entries",
            taken.len()
        ),
    );
}

/// From one start to the next kill.
const STORM: Duration = Duration::from_secs(3);

/// Between so many kills something must arrive, however slow the machine is.
const GOT_ON: u64 = 3;

/// Hand-overs in the inbox of one of the recipients.
fn arrived(town: &Town) -> usize {
    Office::of(town, RECIPIENTS[0]).inbox().len()
}

#[test]
fn n17_a_broker_that_is_killed_every_three_seconds_gets_on() {
    let _turn = turn::take();
    let (mut rng, kills) = (seeded(), rounds(10, 200));
    let (mut town, case) = running(Backend::Sled, &mut rng);
    let (stop, mut known, mut got_on, mut done) = (AtomicBool::new(false), 0, 0, 0);
    let taken = std::thread::scope(|scope| {
        let sender = StdRng::from_rng(&mut rng);
        let (places, stop) = (town.places("load"), &stop);
        let load = scope.spawn(move || load(&places, case, sender, stop));
        // Everybody knows the network before it begins.
        wait::until("the first packet to arrive", || {
            (arrived(&town) > 0).then_some(())
        });
        let began = Instant::now();
        while done < kills || (got_on < GOT_ON && began.elapsed() < wait::LIMIT) {
            town.take_broker().kill();
            town.start_broker();
            std::thread::sleep(STORM);
            let now = arrived(&town);
            (done, got_on) = (done + 1, got_on + u64::from(now > known));
            known = now;
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(
        got_on >= GOT_ON,
        "something arrived between only {got_on} of {done} kills"
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        done,
        &format!(
            "kills three seconds apart, {} packets, {known} of them arrived in between, each once; {entries} log entries",
            taken.len()
        ),
    );
}

/// Each packet is settled, and stands exactly once in each inbox, with its content.
pub fn check_arrivals(town: &Town, taken: &BTreeMap<String, Vec<u8>>) {
    let police = Office::of(town, "pz-rupel");
    for packet in taken.keys() {
        let settled = police.packet(packet, "settled");
        for (recipient, _, state, _) in outcomes(&settled) {
            assert_eq!(state, "received", "{packet} at {recipient}");
        }
    }
    for recipient in RECIPIENTS {
        let office = Office::of(town, recipient);
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for delivery in office.inbox() {
            let parts = delivery["parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|p| text(p, "part"));
            found.entry(text(&delivery, "packet")).or_default().extend(parts);
        }
        for (packet, parts) in &found {
            assert_eq!(parts.len(), 1, "{recipient} has {packet} more than once");
        }
        for (packet, content) in taken {
            let parts = found
                .get(packet)
                .unwrap_or_else(|| panic!("{recipient} never got {packet}"));
            let opened = office.open(packet, &parts[0], &town.scratch("out"));
            assert!(opened == *content, "{packet} at {recipient} differs");
        }
        assert!(
            quarantine_is_empty(&office),
            "{recipient} has something in quarantine"
        );
    }
}

fn quarantine_is_empty(office: &Office) -> bool {
    office
        .ask("GET", "/v1/quarantine", None)
        .as_array()
        .unwrap()
        .is_empty()
}

/// Every log entry that concerns the sender proves itself; each packet was accepted exactly once in it.
pub async fn check_log(town: &Town, taken: &BTreeMap<String, Vec<u8>>) -> usize {
    let mut police = Player::of(town, "pz-rupel", StdRng::seed_from_u64(1));
    let directory = town.network().directory(now()).unwrap();
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = police.client.follow_evidence(request).await.unwrap().into_inner();
    let (mut accepted, mut entries, mut last) = (BTreeMap::<String, u32>::new(), 0, None);
    while let Ok(Ok(Some(frame))) = tokio::time::timeout(Duration::from_secs(3), frames.message()).await {
        let shown = frame.evidence.unwrap();
        let checked = evidence::check(&shown, directory.network(), directory.log().key()).unwrap();
        assert!(
            last < Some(checked.index()),
            "entries come in the order of the log"
        );
        (entries, last) = (entries + 1, Some(checked.index()));
        let body = wire::EvidenceBody::decode(shown.body).unwrap();
        if body.event == "SubmissionAcceptance" {
            *accepted
                .entry(checked.body().packet.unwrap().to_string())
                .or_default() += 1;
        }
    }
    for packet in taken.keys() {
        assert_eq!(
            accepted.get(packet),
            Some(&1),
            "acceptances of {packet} in the log"
        );
    }
    // An agent that was killed between taking a packet on and saying so sends it all the same.
    let outbox = Office::of(town, "pz-rupel").ask("GET", "/v1/packets", None);
    let known: BTreeSet<String> = outbox
        .as_array()
        .unwrap()
        .iter()
        .map(|p| text(p, "packet"))
        .collect();
    let stray: Vec<_> = accepted
        .keys()
        .filter(|packet| !known.contains(*packet))
        .collect();
    assert!(stray.is_empty(), "accepted, and no agent took them on: {stray:?}");
    assert!(accepted.values().all(|count| *count == 1), "{accepted:?}");
    entries
}

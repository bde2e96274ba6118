//! Bad roads to the broker, each agent's its own: slow, clogged, cut, half open; and more than one broker to go to.
//! Whatever happens on them, every packet arrives once, and whoever has a good road is served.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::proxy::Proxy;
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;
use serde_json::Value;

use crate::kill::{RECIPIENTS, TRIAGE, check_arrivals, check_log, under_load};
use crate::turn;

const SENDER: &str = "pz-rupel";
const AGENTS: [&str; 3] = [SENDER, RECIPIENTS[0], RECIPIENTS[1]];
/// Most memory that the broker may take, however slowly somebody reads.
const MEMORY_MAX_MEBIBYTES: u64 = 256;

/// The town with each agent on its own road, and an open case.
fn town(rng: &mut StdRng) -> (Town, Vec<Proxy>, CaseRef) {
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let road = |_| Proxy::to(town.address(), StdRng::from_rng(rng));
    let roads: Vec<Proxy> = AGENTS.iter().map(road).collect();
    for (agent, road) in AGENTS.iter().zip(&roads) {
        town.set_brokers(agent, &[road.address()]);
        town.start_agent(agent);
    }
    let case = CaseRef::random(rng);
    Office::of(&town, SENDER).open_case(case, &AGENTS);
    (town, roads, case)
}

/// Good weather until the sender's agent has taken on some packets more, so that there is something to lose.
fn more_packets(town: &Town) {
    let count = || {
        Office::of(town, SENDER)
            .ask("GET", "/v1/packets", None)
            .as_array()
            .unwrap()
            .len()
    };
    let before = count();
    wait::until("packets to be taken on", || (count() >= before + 2).then_some(()));
}

/// Hands in a packet of so many bytes for both recipients.
fn send(town: &Town, case: CaseRef, bytes: usize, rng: &mut StdRng) -> (String, Vec<u8>) {
    let mut content = vec![0; bytes];
    rng.fill_bytes(&mut content);
    let file = town.scratch("sent").join(format!("{:016x}.bin", rng.next_u64()));
    std::fs::write(&file, &content).unwrap();
    let parts = [Document::new("facts_summary", &file)];
    let packet = Office::of(town, SENDER).send(&Office::order(case, &RECIPIENTS, TRIAGE, &parts));
    (packet, content)
}

fn pause(rng: &mut StdRng, millis: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(rng.random_range(millis)));
}

fn settled(town: &Town, packet: &str) {
    let office = Office::of(town, SENDER);
    wait::until("a packet to be settled", || {
        let record = office.ask("GET", &format!("/v1/packets/{packet}"), None);
        (record["state"] == "settled").then_some(())
    });
}

#[test]
fn n04_two_seconds_of_delay_jitter_and_connections_that_are_half_open_change_nothing_but_time() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (town, roads, case) = town(&mut rng);
    let turns = rounds(1, 12);
    let mut taken = BTreeMap::new();
    for turn in 1..=turns {
        for road in &roads {
            // Two seconds there and back, and up to one more.
            road.change(|weather| {
                (weather.delay, weather.jitter) = (Duration::from_secs(1), Duration::from_millis(500));
            });
        }
        let some: Vec<_> = (0..2)
            .map(|_| send(&town, case, rng.random_range(1..100_000), &mut rng))
            .collect();
        // In the long run most are on their way then: what was leased to a stream that nobody reads comes a minute later.
        if turn == 1 {
            some.iter().for_each(|(packet, _)| settled(&town, packet));
        } else {
            pause(&mut rng, 500..3_000);
        }
        taken.extend(some);
        // One agent after the other loses its connection without the broker hearing of it: it comes again beside itself.
        for (agent, road) in AGENTS.iter().zip(&roads) {
            let before = road.accepted().len();
            road.forget();
            wait::until("the agent to connect beside its old connection", || {
                (road.accepted().len() > before).then_some(())
            });
            println!("turn {turn}: {agent} has come again");
        }
        let after = send(&town, case, rng.random_range(1..100_000), &mut rng);
        if turn == 1 {
            settled(&town, &after.0);
        }
        taken.extend([after]);
        roads.iter().for_each(Proxy::clear);
        pause(&mut rng, 0..500);
    }
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        turns * AGENTS.len() as u64,
        &format!(
            "connections half open, roads with 2 s of delay, {} packets, each once in both inboxes, {entries} log entries",
            taken.len()
        ),
    );
}

#[test]
fn n05_links_clogged_one_by_one_and_restored_in_another_order_lose_and_double_nothing() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (mut town, roads, case) = town(&mut rng);
    let swizzles = rounds(2, 120);
    let taken = under_load(&mut town, case, &mut rng, |town, rng| {
        for round in 1..=swizzles {
            more_packets(town);
            let mut links: Vec<usize> = (0..roads.len()).collect();
            links.shuffle(rng);
            for link in &links {
                match rng.random_range(0..4) {
                    0 => roads[*link].change(|weather| weather.up_clogged = true),
                    1 => roads[*link].change(|weather| weather.down_clogged = true),
                    _ => roads[*link].clog(),
                }
                pause(rng, 20..400);
            }
            let stopped = links.clone();
            links.shuffle(rng);
            println!("swizzle {round}: stopped {stopped:?}, restored {links:?}");
            for link in &links {
                // Some connections do not live through it.
                if rng.random_ratio(1, 3) {
                    roads[*link].cut();
                }
                roads[*link].clear();
                pause(rng, 20..400);
            }
        }
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    let packets = taken.len();
    assert!(packets > 3, "only {packets} packets");
    count(
        swizzles,
        &format!(
            "swizzles of three links, {packets} packets, each once in both inboxes, {entries} log entries"
        ),
    );
}

#[test]
fn n07_a_recipient_that_reads_a_kibibyte_a_second_keeps_nobody_else_from_anything() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (town, roads, case) = town(&mut rng);
    let (slow, quick) = (RECIPIENTS[0], RECIPIENTS[1]);
    assert_eq!(AGENTS[1], slow);
    // The slow one is connected first: so slow a handshake would not be waited for.
    let (first, content) = send(&town, case, 1_000, &mut rng);
    let mut taken = BTreeMap::from([(first.clone(), content)]);
    Office::of(&town, SENDER).packet(&first, "settled");
    roads[1].change(|weather| weather.down_bytes_per_second = Some(1_024));
    let packets = rounds(8, 200);
    let queue: Vec<(String, Vec<u8>)> = (0..packets)
        .map(|_| send(&town, case, 150_000, &mut rng))
        .collect();
    let police = Office::of(&town, SENDER);
    for (packet, _) in &queue {
        wait::until("the quick recipient to have it", || {
            let record = police.ask("GET", &format!("/v1/packets/{packet}"), None);
            let all = outcomes(&record);
            all.iter()
                .any(|o| o.0 == quick && o.2 == "received")
                .then_some(())
        });
    }
    let waiting: Vec<Value> = queue
        .iter()
        .map(|(packet, _)| police.ask("GET", &format!("/v1/packets/{packet}"), None))
        .collect();
    let late = waiting.iter().filter(|record| is_waiting(record, slow)).count() as u64;
    assert!(
        late + 3 >= packets,
        "the slow recipient took {} of {packets}",
        packets - late
    );
    let peak = town.broker().peak_mebibytes();
    assert!(peak < MEMORY_MAX_MEBIBYTES, "the broker took {peak} MiB");
    roads[1].clear();
    taken.extend(queue);
    check_arrivals(&town, &taken);
    count(
        packets,
        &format!(
            "packets of 150 kB to one that reads 1 KiB/s ({late} waited) and one that reads all, broker at most {peak} MiB"
        ),
    );
}

/// Whether the sender is told that this recipient has not got it, and since when the packet waits.
fn is_waiting(record: &Value, recipient: &str) -> bool {
    let outcome = record["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["recipient"] == recipient)
        .unwrap();
    let open = ["pending", "handed_over"].contains(&outcome["state"].as_str().unwrap());
    assert!(
        record["accepted"]["at_ms"].as_i64().is_some_and(|at| at > 0),
        "{record:#}"
    );
    open && record["state"] == "accepted"
}

/// Which broker of its list an agent is at.
fn in_use(town: &Town, agent: &str) -> Option<String> {
    let status = Office::of(town, agent).ask("GET", "/v1/status", None);
    let mut brokers = status["brokers"].as_array().unwrap().iter();
    let used = brokers.find(|broker| broker["in_use"] == true).unwrap();
    (status["connected"] == true).then(|| used["address"].as_str().unwrap().to_owned())
}

#[test]
fn n01_d01_agents_with_a_list_of_brokers_go_on_at_the_next_when_one_is_gone() {
    let _turn = turn::take();
    let mut rng = seeded();
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    // Two doors to one broker stand for two brokers on one database; behind the third address nobody ever was.
    let doors = [(); 2].map(|()| Proxy::to(town.address(), StdRng::from_rng(&mut rng)));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for agent in AGENTS {
        town.set_brokers(agent, &[nobody, doors[0].address(), doors[1].address()]);
        town.start_agent(agent);
    }
    let case = CaseRef::random(&mut rng);
    Office::of(&town, SENDER).open_case(case, &AGENTS);
    let changes = rounds(2, 60);
    let taken = under_load(&mut town, case, &mut rng, |town, _| {
        for change in 0..changes {
            let (gone, left) = if change % 2 == 0 { (0, 1) } else { (1, 0) };
            if change % 2 == 1 {
                // The broker behind dies with its door, and another one takes its place elsewhere.
                town.take_broker().kill();
                town.move_broker();
                town.start_broker();
            }
            doors[left].change(|weather| (weather.to, weather.refuses) = (town.address(), false));
            doors[gone].change(|weather| weather.refuses = true);
            doors[gone].cut();
            println!("change {change}: {} is gone", doors[gone].address());
            let there = doors[left].address().to_string();
            for agent in AGENTS {
                wait::until("the agent at the broker that is left", || {
                    in_use(town, agent).filter(|at| *at == there)
                });
            }
            more_packets(town);
        }
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        changes,
        &format!(
            "times a broker of the list was gone, {} packets, each once in both inboxes, {entries} log entries",
            taken.len()
        ),
    );
}

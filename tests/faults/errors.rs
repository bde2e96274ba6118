//! Calls that fail under a running network: of the broker, of the agent that sends, of one that receives. Whoever asked is
//! told, what an agent took on arrives once, and the log goes on as one history.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::strace::{Tracer, has_strace};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;
use serde_json::Value;

use crate::kill::{RECIPIENTS, TRIAGE, check_arrivals, check_log};
use crate::turn;

const BROKER: &str = "broker";
const POLICE: &str = "pz-rupel";
/// Of whom, which calls, up to which one of a thread: what a packet's way takes there.
const CALLS: [(&str, &str, u64); 12] = [
    (BROKER, "pwrite64", 4),
    (BROKER, "fdatasync", 6),
    (BROKER, "fsync", 2),
    (BROKER, "rename,renameat,renameat2", 1),
    (BROKER, "openat", 3),
    (POLICE, "fsync", 8),
    (POLICE, "rename,renameat,renameat2", 5),
    (POLICE, "openat", 8),
    (POLICE, "write", 8),
    (RECIPIENTS[0], "fsync", 8),
    (RECIPIENTS[0], "rename,renameat,renameat2", 5),
    (RECIPIENTS[0], "openat", 8),
];
const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];
/// Longest wait for a call that may not come so often.
const REACHED: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
struct Point {
    whose: &'static str,
    calls: &'static str,
    when: u64,
    fault: &'static str,
}

fn points(rng: &mut StdRng) -> Vec<Point> {
    let mut points = Vec::new();
    for (whose, calls, last) in CALLS {
        for when in 1..=last {
            points.extend(FAULTS.map(|fault| Point {
                whose,
                calls,
                when,
                fault,
            }));
        }
    }
    points.shuffle(rng);
    let all = points.len() as u64;
    points.truncate(usize::try_from(rounds(9, all)).unwrap());
    points
}

/// Breaks one call while a packet is sent; gives whether it came so far, and the packet if the agent took it on.
fn broken(town: &mut Town, point: Point, order: &Value, trace: &Path) -> (bool, Option<String>) {
    std::fs::write(trace, "").unwrap();
    let id = if point.whose == BROKER {
        town.broker().id()
    } else {
        town.agent(point.whose)
    };
    let tracer = Tracer::new(id, point.calls, point.fault, point.when, trace);
    let answer = Office::of(town, POLICE).try_ask("POST", "/v1/packets", Some(order));
    let taken = match answer {
        Ok((200, record)) => Some(text(&record, "packet")),
        // Told, with what is to be done about it.
        Ok((_, refused)) => {
            assert!(
                !text(&refused, "code").is_empty() && !text(&refused, "remedy").is_empty(),
                "{refused:#}"
            );
            None
        }
        Err(_) => None,
    };
    let came = wait::try_until(REACHED, || {
        let said = std::fs::read_to_string(trace).unwrap_or_default();
        (said.contains("(INJECTED)") || said.contains("killed by SIGKILL")).then_some(())
    });
    drop(tracer);
    (came.is_some(), taken)
}

/// Whoever ended is started again, as a service manager does; so is a broker that says that its store has stopped.
fn mend(town: &mut Town, point: Point) {
    if point.whose == BROKER {
        let mut broker = town.take_broker();
        let stopped = || (broker.ended().is_some()).then_some(());
        let ended = wait::try_until(Duration::from_millis(500), stopped).is_some();
        if !ended && town.health("/health/ready") == Some(200) {
            town.put_broker_back(broker);
            return;
        }
        broker.kill();
        town.start_broker();
        return;
    }
    let mut agent = town.take_agent(point.whose);
    if wait::try_until(Duration::from_millis(300), || agent.ended()).is_some() {
        drop(agent);
        town.start_agent(point.whose);
    } else {
        town.put_agent_back(point.whose, agent);
    }
}

#[test]
fn d03_d04_d07_a_call_that_fails_under_broker_or_agent_is_told_and_nothing_taken_on_is_lost() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let points = points(&mut rng);
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let roster = [POLICE, RECIPIENTS[0], RECIPIENTS[1]];
    roster.iter().for_each(|agent| town.start_agent(agent));
    let case = CaseRef::random(&mut rng);
    Office::of(&town, POLICE).open_case(case, &roster);
    let scratch = town.scratch("errors");
    let (mut taken, mut reached) = (BTreeMap::new(), 0);
    for (number, point) in points.iter().enumerate() {
        let mut content = vec![0; if rng.random() { 900 } else { 90_000 }];
        rng.fill_bytes(&mut content);
        let file = scratch.join(format!("{number}.bin"));
        std::fs::write(&file, &content).unwrap();
        let parts = [Document::new("facts_summary", &file)];
        let order = Office::order(case, &RECIPIENTS, TRIAGE, &parts);
        let (came, packet) = broken(&mut town, *point, &order, &scratch.join("trace"));
        println!(
            "{point:?}: {}, taken on: {}",
            if came { "reached" } else { "not so often" },
            packet.is_some()
        );
        reached += u64::from(came);
        taken.extend(packet.map(|packet| (packet, content)));
        mend(&mut town, *point);
    }
    assert!(
        reached * 3 >= points.len() as u64,
        "{reached} of {} were reached",
        points.len()
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        reached,
        &format!(
            "calls that failed or were the last, {} packets, each once; {entries} log entries",
            taken.len()
        ),
    );
}

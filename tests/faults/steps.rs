//! The broker killed at each step of taking, integrating, signing, publishing and answering: `strace` ends it at the
//! n-th call of one kind after a packet was sent. What an agent took on arrives once; the log goes on as one history,
//! which three agents check at each contact.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::seq::SliceRandom;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::strace::{Tracer, has_strace};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;

use crate::kill::{RECIPIENTS, TRIAGE, check_arrivals, check_log};
use crate::turn;

/// What the broker does where it can die: rows and part files written, synced, put in their place; checkpoints are
/// rows like others; answers to agents. With the number of calls, of any one thread, before which it is tried.
const STEPS: [(&str, u64); 6] = [
    ("pwrite64", 5),
    ("fdatasync", 8),
    ("fsync", 2),
    ("rename,renameat,renameat2", 1),
    ("openat", 3),
    ("write,writev,sendto,sendmsg", 24),
];
/// Longest wait for a call that may not come so often.
const REACHED: Duration = Duration::from_secs(6);

#[test]
fn d02_killed_at_each_step_the_log_is_one_history_and_nothing_taken_on_is_missing() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let mut steps: Vec<(&str, u64)> = STEPS
        .iter()
        .flat_map(|(calls, last)| (1..=*last).map(move |when| (*calls, when)))
        .collect();
    steps.shuffle(&mut rng);
    steps.truncate(usize::try_from(rounds(12, 43)).unwrap());
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    for agent in ["pz-rupel", RECIPIENTS[0], RECIPIENTS[1]] {
        town.start_agent(agent);
    }
    let (case, police) = (CaseRef::random(&mut rng), Office::of(&town, "pz-rupel"));
    police.open_case(case, &["pz-rupel", RECIPIENTS[0], RECIPIENTS[1]]);
    let scratch = town.scratch("steps");
    let (mut taken, mut reached, nowhere) = (BTreeMap::new(), 0, Path::new("/dev/null"));
    for (number, (calls, when)) in steps.iter().enumerate() {
        let content = vec![number as u8; if number % 2 == 0 { 900 } else { 90_000 }];
        let file = scratch.join(format!("{number}.bin"));
        std::fs::write(&file, &content).unwrap();
        let order = Office::order(
            case,
            &RECIPIENTS,
            TRIAGE,
            &[Document::new("facts_summary", &file)],
        );
        let tracer = Tracer::new(town.broker().id(), calls, "signal=KILL", *when, nowhere);
        let packet = police.send(&order);
        let mut broker = town.take_broker();
        let died = wait::try_until(REACHED, || broker.ended()).is_some();
        println!(
            "{calls} {when}: {}",
            if died { "reached" } else { "not so often" }
        );
        reached += u64::from(died);
        drop(tracer);
        broker.kill();
        town.start_broker();
        police.packet(&packet, "settled");
        taken.insert(packet, content);
    }
    assert!(
        reached * 3 >= steps.len() as u64,
        "{reached} of {} steps were reached",
        steps.len()
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        reached,
        &format!("steps at which the broker was killed, {entries} log entries of one history"),
    );
}

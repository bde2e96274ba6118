//! What runs short: memory, until the kernel kills; file descriptors, until nobody can come in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::cgroup::Cgroup;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::process::command;
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;
use tokio::net::{TcpSocket, TcpStream};

use crate::kill::{RECIPIENTS, TRIAGE, check_arrivals, check_log, load};
use crate::turn;

const POLICE: &str = "pz-rupel";
/// Longest until a broker without room is killed; one that gets by with what it has is let go.
const KILLED: Duration = Duration::from_secs(20);
/// Descriptors that the broker may have.
const DESCRIPTORS: u64 = 256;

fn town(rng: &mut StdRng) -> (Town, CaseRef) {
    let town = Town::rupel();
    town.lift_rates();
    (town, CaseRef::random(rng))
}

#[test]
fn d18_killed_for_want_of_memory_under_load_the_broker_loses_nothing() {
    let _turn = turn::take();
    let mut group = match Cgroup::new() {
        Ok(group) => group,
        Err(why) => return skip(&why),
    };
    let (mut rng, kills) = (seeded(), rounds(5, 100));
    let (mut town, case) = town(&mut rng);
    let within = group.over(&town.broker_command());
    town.start_broker_as(within);
    let roster = [POLICE, RECIPIENTS[0], RECIPIENTS[1]];
    roster.iter().for_each(|agent| town.start_agent(agent));
    Office::of(&town, POLICE).open_case(case, &roster);
    let (stop, mut killed) = (AtomicBool::new(false), 0);
    let taken = std::thread::scope(|scope| {
        let sender = StdRng::from_rng(&mut rng);
        let (places, stop) = (town.places("load"), &stop);
        let load = scope.spawn(move || load(&places, case, sender, stop));
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(rng.random_range(100..1_500)));
            let mut broker = town.take_broker();
            let ended = wait::try_until(KILLED, || {
                group.leave(rng.random_range(0..64) * 4096);
                broker.ended()
            });
            killed += u64::from(ended.is_some());
            broker.kill();
            group = Cgroup::new().unwrap();
            let within = group.over(&town.broker_command());
            town.start_broker_as(within);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(
        killed * 2 > kills,
        "only {killed} of {kills} were killed for want of memory"
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        killed,
        &format!(
            "kills for want of memory, {} packets, each once, {entries} log entries",
            taken.len()
        ),
    );
}

/// Connects from an address of its own; says nothing.
async fn newcomer(to: SocketAddr, number: u32) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 200 + 1).unwrap());
    socket.bind((from, 0).into()).ok()?;
    let connecting = tokio::time::timeout(Duration::from_secs(1), socket.connect(to));
    connecting.await.ok()?.ok()
}

#[test]
fn n18_without_file_descriptors_newcomers_wait_and_who_is_in_is_served() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (mut town, case) = town(&mut rng);
    let broker = town.broker_command();
    let mut limited = command("prlimit");
    limited.arg(format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}"));
    limited.arg(broker.get_program()).args(broker.get_args());
    town.start_broker_as(limited);
    let roster = [POLICE, RECIPIENTS[0], RECIPIENTS[1]];
    roster[..2].iter().for_each(|agent| town.start_agent(agent));
    let police = Office::of(&town, POLICE);
    police.open_case(case, &roster);
    let file = town.scratch("files").join("feiten.txt");
    std::fs::write(&file, "Vaststellingen.").unwrap();
    let parts = [Document::new("facts_summary", &file)];
    let order = Office::order(case, &RECIPIENTS[..1], TRIAGE, &parts);
    let first = police.send(&order);
    police.packet(&first, "settled");
    let stop = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let (address, stop) = (town.address(), &stop);
        scope.spawn(move || {
            runtime().block_on(async {
                let (mut crowd, mut number) = (Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    crowd.extend(newcomer(address, number).await);
                    if crowd.len() > 2 * DESCRIPTORS as usize {
                        crowd.remove(0);
                    }
                }
            });
        });
        let full = || (town.health("/health/ready") == Some(503)).then(|| town.health_words("/health/ready"));
        let words = wait::until("the broker to say that it has no descriptors", full);
        assert_eq!(words.as_deref(), Some("no file descriptors\n"));
        assert_eq!(town.figure("schakel_newcomers_wait"), Some(1));
        assert_eq!(town.health("/health/live"), Some(200));
        // Who is in is served all the while.
        let mut served = 0;
        while served < 5 {
            let packet = police.send(&order);
            let record = police.packet(&packet, "settled");
            assert_eq!(outcomes(&record)[0].2, "received", "{record:#}");
            served += 1;
        }
        stop.store(true, Ordering::Relaxed);
        served
    });
    wait::until("readiness again", || {
        (town.health("/health/ready") == Some(200)).then_some(())
    });
    town.start_agent(RECIPIENTS[1]);
    let to_both = Office::order(case, &RECIPIENTS, TRIAGE, &parts);
    let packet = police.send(&to_both);
    for (recipient, _, state, _) in outcomes(&police.packet(&packet, "settled")) {
        assert_eq!(state, "received", "at {recipient}");
    }
    assert!(town.take_broker().ended().is_none(), "the broker never ended");
    count(
        served,
        "packets served while no descriptor was left for newcomers",
    );
}

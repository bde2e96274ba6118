//! The database under the brokers fails: killed and replaced by its standby, away, slow, full of others, cut off. What
//! was acknowledged stays, each packet arrives once, and everything goes on without a hand.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_broker::store::postgres::Host;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::database::{Alone, Pair, put_under};
use schakel_tests::system::network::{Places, Town};
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::proxy::Proxy;
use schakel_tests::system::several::Second;
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;

use crate::kill::{RECIPIENTS, TRIAGE, check_arrivals, check_log, under_load};
use crate::turn;

const SENDER: &str = "pz-rupel";
const AGENTS: [&str; 3] = [SENDER, RECIPIENTS[0], RECIPIENTS[1]];

/// Agents and an open case, with the broker running.
fn begin(town: &mut Town, rng: &mut StdRng) -> CaseRef {
    for agent in AGENTS {
        town.start_agent(agent);
    }
    let case = CaseRef::random(rng);
    Office::of(town, SENDER).open_case(case, &AGENTS);
    case
}

/// Sends one packet and waits until a broker has accepted it; how long that took.
fn one_way(places: &Places, case: CaseRef, name: &str) -> Duration {
    let began = Instant::now();
    let police = Office::in_network(&places.network, SENDER);
    let file = places.scratch.join(name);
    std::fs::write(&file, name).unwrap();
    let documents = [Document::new("facts_summary", &file)];
    let packet = police.send(&Office::order(case, &RECIPIENTS[..1], TRIAGE, &documents));
    police.packet(&packet, "accepted");
    began.elapsed()
}

#[test]
fn d19_two_brokers_go_on_when_the_primary_dies_and_when_either_of_them_does() {
    let _turn = turn::take();
    let (mut rng, kills) = (seeded(), rounds(6, 50));
    let mut pair = Pair::start();
    let mut town = Town::rupel();
    town.lift_rates();
    put_under(&town, &pair.hosts(), true);
    town.start_broker();
    let mut second = Second::beside(&town);
    second.start();
    let both = [town.address(), second.address()];
    // Each knows both; some begin with the one, some with the other.
    AGENTS.iter().for_each(|agent| town.set_brokers(agent, &both));
    let case = begin(&mut town, &mut rng);
    let (mut longest, mut gaps) = (Duration::ZERO, Vec::new());
    let probe = town.places("probe");
    let taken = under_load(&mut town, case, &mut rng, |town, rng| {
        for round in 1..=kills {
            std::thread::sleep(Duration::from_millis(rng.random_range(200..1_500)));
            pair.fail_over();
            let gap = one_way(&probe, case, &format!("after-primary-{round}"));
            if rng.random_bool(0.5) {
                town.take_broker().kill();
                let other = one_way(&probe, case, &format!("through-the-second-{round}"));
                town.start_broker();
                longest = longest.max(other);
            } else {
                second.take().kill();
                let other = one_way(&probe, case, &format!("through-the-first-{round}"));
                second.start();
                longest = longest.max(other);
            }
            println!("round {round}: {gap:?} from the standby's readiness to the next packet accepted");
            gaps.push(gap);
        }
    });
    assert!(
        taken.len() as u64 > kills,
        "only {} packets is no load",
        taken.len()
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    let worst = gaps.iter().max().unwrap();
    count(
        kills,
        &format!(
            "primaries killed and as many brokers, {} packets, each once in both inboxes, {entries} log entries; longest \
             gap to the next accepted packet {} ms after a primary, {} ms after a broker",
            taken.len(),
            worst.as_millis(),
            longest.as_millis()
        ),
    );
}

#[test]
fn d24_a_database_that_is_away_full_of_others_or_held_up_loses_nothing() {
    let _turn = turn::take();
    let mut rng = seeded();
    let away = Duration::from_secs(rounds(6, 60));
    let mut database = Alone::start();
    let mut town = Town::rupel();
    town.lift_rates();
    put_under(&town, &[database.cluster.host()], false);
    town.start_broker();
    let case = begin(&mut town, &mut rng);
    let probe = town.places("probe");
    let taken = under_load(&mut town, case, &mut rng, |town, _| {
        // Away.
        database.cluster.kill();
        wait::until("the broker says that its store is away", || {
            (town.health("/health/ready")? != 200).then_some(())
        });
        assert_eq!(town.health("/health/live"), Some(200), "it lives, and waits");
        std::thread::sleep(away);
        database.cluster.run().unwrap();
        one_way(&probe, case, "after-away");
        wait::until("the broker is ready again", || {
            (town.health("/health/ready")? == 200).then_some(())
        });
        // Others have all the connections: those that there are go on, and no more come.
        database
            .cluster
            .sql("ALTER ROLE schakel CONNECTION LIMIT 1")
            .unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'schakel'";
        database.cluster.sql(end).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        database
            .cluster
            .sql("ALTER ROLE schakel CONNECTION LIMIT -1")
            .unwrap();
        one_way(&probe, case, "after-crowded");
        // Frozen: connections stand, nothing answers.
        database.cluster.freeze();
        std::thread::sleep(away);
        database.cluster.thaw();
        one_way(&probe, case, "after-frozen");
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        3,
        &format!(
            "troubles of the database ({} s away and frozen), {} packets, each once, {entries} log entries",
            away.as_secs(),
            taken.len()
        ),
    );
}

#[test]
fn d24_n05_the_way_to_the_database_is_cut_clogged_and_slow() {
    let _turn = turn::take();
    let (mut rng, times) = (seeded(), rounds(4, 40));
    let database = Alone::start();
    let there = database.cluster.host();
    let road = Proxy::to(([127, 0, 0, 1], there.port).into(), StdRng::from_rng(&mut rng));
    let mut town = Town::rupel();
    town.lift_rates();
    let host = Host {
        port: road.address().port(),
        ..there
    };
    put_under(&town, &[host], false);
    town.start_broker();
    let case = begin(&mut town, &mut rng);
    let probe = town.places("probe");
    let taken = under_load(&mut town, case, &mut rng, |_, rng| {
        for time in 1..=times {
            match time % 4 {
                1 => road.cut(),
                2 => road.clog(),
                3 => road.change(|weather| {
                    weather.delay = Duration::from_millis(50);
                    weather.down_bytes_per_second = Some(64 * 1024);
                }),
                // Answers are lost: also that to a commit that was made.
                _ => road.change(|weather| weather.down_clogged = true),
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(1_000..3_000)));
            road.clear();
            if time % 2 == 0 {
                // What was under way is not waited for: it never comes.
                road.cut();
            }
            one_way(&probe, case, &format!("after-{time}"));
        }
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        times,
        &format!(
            "times of bad weather before the database, {} packets, each once, {entries} log entries",
            taken.len()
        ),
    );
}

#[test]
fn d24_a_sender_is_told_when_to_come_back_while_the_database_is_away() {
    let _turn = turn::take();
    let mut rng = seeded();
    let mut database = Alone::start();
    let mut town = Town::rupel();
    put_under(&town, &[database.cluster.host()], false);
    town.start_broker();
    let case = begin(&mut town, &mut rng);
    database.cluster.kill();
    let police = Office::of(&town, SENDER);
    let file = town.scratch("one").join("one.txt");
    std::fs::write(&file, "one").unwrap();
    let order = Office::order(
        case,
        &RECIPIENTS[..1],
        TRIAGE,
        &[Document::new("facts_summary", &file)],
    );
    let (status, said) = police.try_ask("POST", "/v1/packets", Some(&order)).unwrap();
    // The agent cannot learn the case's facts, or has taken the packet on and waits: never an invention.
    assert!([200, 503].contains(&status), "{status}: {said}");
    database.cluster.run().unwrap();
    let packet = if status == 200 {
        text(&said, "packet")
    } else {
        police.send(&order)
    };
    police.packet(&packet, "settled");
}

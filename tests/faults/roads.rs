//! The network between agents and broker loses packets: all of them for a while, those of one direction, some of a
//! hundred. Real packets, lost by the kernel, in a network of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::CaseRef;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, now};
use schakel_tests::system::office::{Document, Office};
use schakel_tests::system::own_network::{Loss, Place, Road, enter};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;
use serde_json::Value;

use crate::kill::{Ends, RECIPIENTS, TRIAGE, check_arrivals, check_log, load};
use crate::turn;

const SENDER: &str = "pz-rupel";
const AGENTS: [&str; 3] = [SENDER, RECIPIENTS[0], RECIPIENTS[1]];

/// The town with the broker on every address and each agent on its own road to it, and an open case; none where that
/// cannot be had, or was done already.
fn town(rng: &mut StdRng) -> Option<(Town, [Road; 3], CaseRef)> {
    match enter() {
        Place::Inside => {}
        Place::Done => return None,
        Place::Impossible(why) => {
            skip(&why);
            return None;
        }
    }
    let mut town = Town::rupel();
    town.lift_rates();
    town.listen_everywhere();
    town.start_broker();
    let port = town.address().port();
    let roads = [1, 2, 3].map(|number| Road::number(number, port));
    for (agent, road) in AGENTS.iter().zip(&roads) {
        town.set_brokers(agent, &[road.address()]);
        town.start_agent(agent);
    }
    let case = CaseRef::random(rng);
    Office::of(&town, SENDER).open_case(case, &AGENTS);
    Some((town, roads, case))
}

/// Runs `weather` while the sender's agent is given packets; what it took on, with content.
fn under_load(
    town: &Town,
    case: CaseRef,
    rng: &mut StdRng,
    weather: impl FnOnce(&mut StdRng),
) -> BTreeMap<String, Vec<u8>> {
    let stop = AtomicBool::new(false);
    let (places, sender) = (town.places("load"), StdRng::from_rng(rng));
    std::thread::scope(|scope| {
        let stop = &stop;
        let load = scope.spawn(move || load(&places, case, sender, stop));
        let ends = Ends(stop);
        weather(rng);
        drop(ends);
        load.join().unwrap()
    })
}

/// Packets that the sender's agent took on.
fn sent(town: &Town) -> usize {
    let all = Office::of(town, SENDER).ask("GET", "/v1/packets", None);
    all.as_array().unwrap().len()
}

#[test]
fn n01_agents_cut_off_from_the_broker_go_on_when_the_network_is_back() {
    let _turn = turn::take();
    let mut rng = seeded();
    let Some((town, roads, case)) = town(&mut rng) else {
        return;
    };
    let partitions = rounds(2, 40);
    let mut cut_off = Duration::ZERO;
    let taken = under_load(&town, case, &mut rng, |rng| {
        for round in 1..=partitions {
            let before = sent(&town);
            wait::until("packets to be taken on", || {
                (sent(&town) >= before + 2).then_some(())
            });
            let mut lost: Vec<usize> = (0..roads.len()).filter(|_| rng.random()).collect();
            if lost.is_empty() {
                lost.push(0);
            }
            // In the long run every fifth is longer than the keep-alive: the agent gives the connection up.
            let long = partitions > 2 && round % 5 == 0;
            let time = Duration::from_millis(if long {
                rng.random_range(32_000..40_000)
            } else {
                rng.random_range(300..1_800)
            });
            println!(
                "partition {round}: {:?} for {time:?}",
                lost.iter().map(|n| AGENTS[*n]).collect::<Vec<_>>()
            );
            lost.iter().for_each(|road| roads[*road].lose(Loss::All));
            std::thread::sleep(time);
            lost.iter().for_each(|road| roads[*road].heal());
            cut_off += time;
        }
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    let packets = taken.len();
    assert!(packets > 3, "only {packets} packets");
    count(
        partitions,
        &format!(
            "partitions ({} s together), {packets} packets, each once in both inboxes, {entries} log entries",
            cut_off.as_secs()
        ),
    );
}

/// What the log has of the sender's submissions, as the sender's people see it past its agent.
type Accepted = Arc<Mutex<BTreeSet<String>>>;

async fn follow(town: &Town, accepted: Accepted) {
    let mut police = Player::of(town, SENDER, StdRng::seed_from_u64(2));
    let directory = town.network().directory(now()).unwrap();
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = police.client.follow_evidence(request).await.unwrap().into_inner();
    tokio::spawn(async move {
        // The broker's own road: nothing is lost here.
        let _open = police;
        while let Ok(Some(frame)) = frames.message().await {
            let entry = evidence::check(
                &frame.evidence.unwrap(),
                directory.network(),
                directory.log().key(),
            );
            let body = entry.unwrap().body().clone();
            if body.event == Event::SubmissionAcceptance {
                accepted.lock().unwrap().insert(body.packet.unwrap().to_string());
            }
        }
    });
}

/// Packets that the broker has accepted and the sender's agent does not know it of.
fn unanswered(office: &Office, accepted: &Accepted) -> Vec<String> {
    let known = office.ask("GET", "/v1/packets", None);
    let accepted = accepted.lock().unwrap();
    let waits = |packet: &&Value| packet["accepted"].is_null();
    let ids = known
        .as_array()
        .unwrap()
        .iter()
        .filter(waits)
        .map(|packet| packet["packet"].as_str().unwrap());
    ids.filter(|id| accepted.contains(*id))
        .map(str::to_owned)
        .collect()
}

#[test]
fn n02_submissions_whose_answers_are_lost_are_made_again_and_taken_once() {
    let _turn = turn::take();
    let mut rng = seeded();
    let Some((town, roads, case)) = town(&mut rng) else {
        return;
    };
    let accepted = Accepted::default();
    let watching = runtime();
    watching.block_on(follow(&town, Arc::clone(&accepted)));
    let police = Office::of(&town, SENDER);
    let wanted = rounds(2, 60);
    let (mut repeated, mut tries) = (BTreeSet::new(), 0);
    let taken = under_load(&town, case, &mut rng, |_| {
        while (repeated.len() as u64) < wanted {
            tries += 1;
            assert!(tries < 40 * wanted, "no answer was ever lost");
            // A packet that was taken on just now is on its way.
            let before = sent(&town);
            wait::until("a packet to be taken on", || (sent(&town) > before).then_some(()));
            roads[0].lose(Loss::Answers);
            let lost = wait::try_until(Duration::from_millis(1_500), || {
                Some(unanswered(&police, &accepted)).filter(|lost| !lost.is_empty())
            });
            // The connection is lost as well: what was not answered must be said again.
            roads[0].lose(Loss::AnswersAndReset);
            std::thread::sleep(Duration::from_millis(300));
            let lost = lost.map(|_| unanswered(&police, &accepted));
            roads[0].heal();
            repeated.extend(lost.unwrap_or_default());
        }
    });
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        repeated.len() as u64,
        &format!(
            "submissions whose answer was lost ({tries} one-way partitions), {} packets, each accepted and received once, {entries} log entries",
            taken.len()
        ),
    );
}

#[test]
fn n03_of_a_hundred_packets_one_five_or_thirty_are_lost_and_every_delivery_is_whole() {
    let _turn = turn::take();
    let mut rng = seeded();
    let Some((town, roads, case)) = town(&mut rng) else {
        return;
    };
    let police = Office::of(&town, SENDER);
    let (mut taken, mut figures) = (BTreeMap::new(), Vec::new());
    for (percent, usual) in [(1, 6), (5, 4), (30, 2)] {
        let packets = rounds(usual, 10 * usual);
        roads.iter().for_each(|road| road.lose(Loss::Percent(percent)));
        let began = std::time::Instant::now();
        let sent: Vec<String> = (0..packets)
            .map(|number| {
                let mut content = vec![0; rng.random_range(1..60_000)];
                rng.fill_bytes(&mut content);
                let file = town.scratch("sent").join(format!("{percent}-{number}.bin"));
                std::fs::write(&file, &content).unwrap();
                let parts = [Document::new("facts_summary", &file)];
                let order = Office::order(case, &RECIPIENTS, TRIAGE, &parts);
                let packet = wait::until("the packet to be taken on", || {
                    let (status, answer) = police.try_ask("POST", "/v1/packets", Some(&order)).unwrap();
                    (status == 200).then(|| answer["packet"].as_str().unwrap().to_owned())
                });
                taken.insert(packet.clone(), content);
                packet
            })
            .collect();
        for packet in &sent {
            wait::until("the packet to be settled", || {
                let record = police.ask("GET", &format!("/v1/packets/{packet}"), None);
                (record["state"] == "settled").then_some(())
            });
        }
        let time = began.elapsed();
        figures.push(format!("{packets} at {percent} % in {:.1} s", time.as_secs_f64()));
        roads.iter().for_each(Road::heal);
    }
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        taken.len() as u64,
        &format!(
            "packets settled ({}), each once in both inboxes, {entries} log entries",
            figures.join(", ")
        ),
    );
}

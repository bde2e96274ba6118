//! A broker with many agents is restarted: they come back in their own time, each after waits of its own, and get what
//! waited for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::clock::SystemClock;
use schakel_agent::config::Config;
use schakel_agent::daemon;
use schakel_certs_dev::NetworkSpec;
use schakel_proto::ids::CaseRef;
use schakel_proto::party::AgencyId;
use schakel_tests::system::network::Town;
use schakel_tests::system::office::{Document, Office, outcomes};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::proxy::Proxy;
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::kill::TRIAGE;
use crate::turn;

const SENDER: &str = "pz-rupel";
/// Agency that all of the herd are like.
const MODEL: &str = "pz-rupel-opvolgcel";
/// Recipients of one packet.
const TOGETHER: usize = 50;
/// How long the broker is away.
const AWAY: Duration = Duration::from_secs(4);

/// Rupel, and so many agencies more.
fn spec(agents: u64) -> (NetworkSpec, Vec<String>) {
    let mut spec = NetworkSpec::builtin("rupel").unwrap();
    let model = spec
        .agencies
        .iter()
        .find(|agency| agency.id.as_str() == MODEL)
        .unwrap()
        .clone();
    let herd: Vec<String> = (0..agents).map(|number| format!("herd-{number:03}")).collect();
    let like = |id: &String| {
        let mut one = model.clone();
        (one.id, one.name) = (AgencyId::new(id).unwrap(), format!("Opvolgcel {id}"));
        one
    };
    // As few others as may be: each agent verifies the certificates of all of them.
    spec.agencies
        .retain(|agency| agency.id.as_str() == SENDER || !agency.officers.is_empty());
    spec.agencies.extend(herd.iter().map(like));
    (spec, herd)
}

/// Starts the agents of the herd within this process: each is the whole daemon, with its own folder.
fn start(town: &Town, herd: &[String], road: &Proxy) -> JoinSet<()> {
    let mut daemons = JoinSet::new();
    for id in herd {
        town.set_brokers(id, &[road.address()]);
        let config = Config::load(&town.network().agent_config(&AgencyId::new(id).unwrap())).unwrap();
        daemons.spawn(async move {
            let ended = daemon::run(config, Arc::new(SystemClock), true, std::future::pending()).await;
            panic!("a daemon ended: {ended:?}");
        });
    }
    daemons
}

fn status(town: &Town, id: &str) -> Option<Value> {
    let (code, status) = Office::of(town, id).try_ask("GET", "/v1/status", None).ok()?;
    (code == 200 && status["connected"] == true && !status["bundle_version"].is_null()).then_some(status)
}

/// The agencies in cases of some each, opened.
fn in_cases<'a>(herd: &'a [String], office: &Office, rng: &mut StdRng) -> Vec<(CaseRef, Vec<&'a str>)> {
    let groups: Vec<(CaseRef, Vec<&str>)> = herd
        .chunks(TOGETHER)
        .map(|group| (CaseRef::random(rng), group.iter().map(String::as_str).collect()))
        .collect();
    for (case, group) in &groups {
        let roster: Vec<&str> = [SENDER].into_iter().chain(group.iter().copied()).collect();
        office.open_case(*case, &roster);
    }
    groups
}

/// One packet in each case, for everybody in it.
fn send_to_all(town: &Town, office: &Office, groups: &[(CaseRef, Vec<&str>)]) -> Vec<String> {
    let file = town.scratch("sent").join("verslag.txt");
    std::fs::write(&file, "Wat intussen gebeurde.").unwrap();
    let parts = [Document::new("facts_summary", &file)];
    groups
        .iter()
        .map(|(case, group)| office.send(&Office::order(*case, group, TRIAGE, &parts)))
        .collect()
}

/// Waits until each packet is settled, received by everybody.
fn all_have_it(office: &Office, packets: &[String]) {
    for packet in packets {
        let record = wait::until("everybody to have it", || {
            let record = office.ask("GET", &format!("/v1/packets/{packet}"), None);
            (record["state"] == "settled").then_some(record)
        });
        assert!(
            outcomes(&record).iter().all(|outcome| outcome.2 == "received"),
            "{record:#}"
        );
    }
}

#[test]
fn n11_after_a_restart_all_agents_come_back_in_their_own_time_and_get_what_waits() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (spec, herd) = spec(rounds(12, 120));
    let mut town = Town::of(&spec);
    // All of them come from one address here.
    town.limit("handshakes_per_address_max_count = 4096\nsubmissions_per_minute_max_count = 100000");
    town.start_broker();
    let road = Proxy::to(town.address(), StdRng::from_rng(&mut rng));
    town.start_agent(SENDER);
    let office = Office::of(&town, SENDER);
    let groups = in_cases(&herd, &office, &mut rng);
    let many = runtime();
    let _inside = many.enter();
    let began = Instant::now();
    let _daemons = start(&town, &herd, &road);
    herd.iter()
        .for_each(|id| drop(wait::until("all agents to be there", || status(&town, id))));
    println!(
        "{} agents were there after {:.1} s",
        herd.len(),
        began.elapsed().as_secs_f64()
    );
    let connections = road.accepted().len();
    // The broker goes, and what is sent meanwhile waits for it.
    let gone = Instant::now();
    town.take_broker().kill();
    let packets = send_to_all(&town, &office, &groups);
    std::thread::sleep(AWAY.saturating_sub(gone.elapsed()));
    let in_vain = road.accepted().len() - connections;
    let away = gone.elapsed();
    town.start_broker();
    let back = Instant::now();
    all_have_it(&office, &packets);
    let took = back.elapsed();
    let statuses = herd
        .iter()
        .map(|id| wait::until("an agent to be connected", || status(&town, id)));
    let all: Vec<Value> = statuses.collect();
    assert!(
        all.iter()
            .all(|status| status["unanswered"] == 0 && status["trust"].is_null())
    );
    let accepted = road.accepted();
    let after: Vec<Instant> = accepted.iter().copied().filter(|at| *at > back).collect();
    assert!(after.len() >= herd.len(), "each came back");
    let span = *after.iter().max().unwrap() - *after.iter().min().unwrap();
    assert!(
        span > Duration::from_millis(250),
        "all came at once: within {span:?}"
    );
    // Waits of up to 2 s between attempts, shorter ones at first: none hammers at the door.
    let each = in_vain as f64 / herd.len() as f64;
    assert!(
        each <= 8.0 + 2.0 * away.as_secs_f64(),
        "{each:.1} attempts of each in {away:?}"
    );
    count(
        herd.len() as u64,
        &format!(
            "agents after a restart: {each:.1} attempts of each in {:.1} s without a broker, back within {:.1} s of each other, all had what waited after {:.1} s",
            away.as_secs_f64(),
            span.as_secs_f64(),
            took.as_secs_f64()
        ),
    );
}

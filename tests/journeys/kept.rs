//! An agency's own retention: what it sent and received goes when it was kept for its time, with all that it kept beside
//! it, and not a moment before.

use std::path::Path;
use std::sync::Arc;

use schakel_agent::agent::Agent;
use schakel_agent::clock::SystemClock;
use schakel_agent::config::Config;
use schakel_agent::disk::Disk;
use schakel_agent::retention::Gone;
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::office::{Document, Office};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::told::seeded;

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

/// Files and folders directly in a folder.
fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn gone((sent, received, cases): (usize, usize, usize)) -> Gone {
    Gone {
        sent,
        received,
        cases,
    }
}

/// The agent of a stopped daemon.
fn open(town: &Town, id: &str) -> Agent {
    let config = Config::load(&town.network().agent_config(&agency(id))).unwrap();
    Agent::open(config, Arc::new(SystemClock), Disk::default(), true).unwrap()
}

#[test]
fn what_an_agency_sent_and_received_goes_when_it_was_kept_for_its_time() {
    let mut town = Town::rupel();
    let settings = town.network().agent_config(&agency(PARKET));
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\n[retention]\nreceived_years = 2\n")).unwrap();
    town.start_broker();
    [POLICE, PARKET].iter().for_each(|id| town.start_agent(id));
    let [police, prosecutor] = [POLICE, PARKET].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut seeded());
    police.open_case(case, &[POLICE, PARKET]);
    let file = town.scratch("files").join("verslag.txt");
    std::fs::write(&file, "wat er gebeurde").unwrap();
    let began = now();
    let packets = [0, 1].map(|_| {
        let document = Document::new("facts_summary", &file);
        police.send(&Office::order(
            case,
            &[PARKET],
            ("prosecution", "legal_duty"),
            &[document],
        ))
    });
    for packet in &packets {
        police.packet(packet, "settled");
        prosecutor.received(packet);
    }
    [POLICE, PARKET].iter().for_each(|id| town.take_agent(id).stop());
    // The agent's connection wants to know where it would run.
    let runtime = runtime();
    let _entered = runtime.enter();
    for (office, id, years, whole, folder) in [
        (&police, POLICE, 10, (2, 0, 1), "outbox"),
        (&prosecutor, PARKET, 2, (0, 2, 1), "inbox"),
    ] {
        let agent = open(&town, id);
        assert_eq!(agent.sweep().unwrap(), Gone::default(), "nothing is old today");
        let over = began.after_years(years);
        assert_eq!(agent.let_go(over.plus_millis(-1)).unwrap(), Gone::default());
        assert_eq!(count(&office.data().join(folder)), 2);
        // The facts are kept as long as what was kept longest.
        let longest = began.after_years(10);
        let went = agent.let_go(over).unwrap();
        assert_eq!((went.sent, went.received), (whole.0, whole.1), "{id}");
        agent.let_go(longest).unwrap();
        for left in [folder, "facts"] {
            assert_eq!(count(&office.data().join(left)), 0, "{id} {left}");
        }
        assert_eq!(agent.let_go(longest).unwrap(), gone((0, 0, 0)));
        // Broken off between a folder's going and its end, the next start ends it.
        let within = if folder == "inbox" {
            packets[0].as_str()
        } else {
            ""
        };
        let half = office.data().join(folder).join(within).join(".new-half");
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join("state.json"), "half").unwrap();
        drop(agent);
        let agent = open(&town, id);
        assert!(agent.outbox().all().is_empty() && agent.inbox().all().is_empty());
        assert!(!half.exists());
    }
}

//! Power cuts of the disks of agents under load: what the sending one took on arrives, what the receiving one answered for
//! is in its folder, whole and once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::disk::Disk;
use schakel_tests::system::network::{Town, agency};
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::told::{count, rounds, seeded, skip};

use crate::kill::{RECIPIENTS, check_arrivals, check_log, load};
use crate::turn;

const POLICE: &str = "pz-rupel";

/// Cuts the power of some agents' disks at once, and starts those agents again.
fn cut(town: &mut Town, victims: &[&(&'static str, Disk)]) {
    let agents: Vec<_> = victims.iter().map(|(agent, _)| town.take_agent(agent)).collect();
    agents.iter().for_each(|agent| agent.freeze());
    victims.iter().for_each(|(_, disk)| disk.cut());
    agents.into_iter().for_each(|agent| agent.kill());
    for (agent, disk) in victims {
        disk.restore();
        town.start_agent(agent);
    }
}

#[test]
fn d06_d14_power_cuts_of_the_agents_disks_lose_nothing_that_they_answered_for() {
    let _turn = turn::take();
    let (mut rng, cuts) = (seeded(), rounds(60, 1_000));
    let mut town = Town::rupel();
    let disk =
        |id: &'static str| Disk::at(512, &town.network().agent_data(&agency(id))).map(|disk| (id, disk));
    let disks = match disk(POLICE).and_then(|one| Ok([one, disk(RECIPIENTS[0])?])) {
        Ok(disks) => disks,
        Err(why) => return skip(&why),
    };
    town.lift_rates();
    town.start_broker();
    let roster = [POLICE, RECIPIENTS[0], RECIPIENTS[1]];
    roster.iter().for_each(|agent| town.start_agent(agent));
    let case = CaseRef::random(&mut rng);
    Office::of(&town, POLICE).open_case(case, &roster);
    let stop = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let sender = StdRng::from_rng(&mut rng);
        let (places, stop) = (town.places("load"), &stop);
        let load = scope.spawn(move || load(&places, case, sender, stop));
        for _ in 1..=cuts {
            std::thread::sleep(Duration::from_millis(rng.random_range(20..400)));
            let victims: Vec<_> = match rng.random_range(0..3) {
                0 => disks.iter().collect(),
                one => vec![&disks[one - 1]],
            };
            cut(&mut town, &victims);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(
        taken.len() as u64 > cuts / 2,
        "only {} packets under {cuts} cuts is no load",
        taken.len()
    );
    check_arrivals(&town, &taken);
    let entries = runtime().block_on(check_log(&town, &taken));
    count(
        cuts,
        &format!(
            "power cuts, {} packets, each once in both inboxes, {entries} log entries",
            taken.len()
        ),
    );
    // The agents end before their disks go.
    roster.iter().for_each(|agent| town.take_agent(agent).kill());
}

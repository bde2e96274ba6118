//! A disk under an agent that stands still, as it does while a snapshot of it is made, or when the storage behind it hangs:
//! nothing fails, nothing goes on. That is told, and ends when the disk goes on.

use std::path::Path;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::disk::Disk;
use schakel_tests::system::network::{Town, agency, copy};
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{seeded, skip};
use schakel_tests::system::wait;
use serde_json::{Value, json};

use crate::turn;

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";

/// Puts the data of an agent that does not run yet on a disk of the test's own.
fn put_on(disk: &Path, data: &Path) {
    let there = disk.join("data");
    if data.is_dir() {
        copy(data, &there);
        std::fs::remove_dir_all(data).unwrap();
    } else {
        std::fs::create_dir(&there).unwrap();
    }
    // What an agency exchanges is nobody else's.
    std::fs::set_permissions(&there, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(there, data).unwrap();
}

/// The agent's account of itself, if it gives one.
fn status(office: &Office) -> Option<Value> {
    let (code, status) = office.try_ask("GET", "/v1/status", None).ok()?;
    (code == 200).then_some(status)
}

fn await_sound(office: &Office) {
    wait::until("an agent in which nothing is silent", || {
        let status = status(office)?;
        (status["connected"] == true && status["silent"] == json!([])).then_some(())
    });
}

#[test]
fn l14_an_agent_whose_disk_stands_still_is_called_silent_until_it_goes_on() {
    let _turn = turn::take();
    let disk = match Disk::new(256) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let mut town = Town::rupel();
    put_on(&disk.path(), &town.network().agent_data(&agency(POLICE)));
    town.start_broker();
    town.start_agent(POLICE);
    let agent = town.take_agent(POLICE);
    let office = Office::of(&town, POLICE);
    await_sound(&office);
    let case = CaseRef::random(&mut rng);
    office.open_case(case, &[POLICE, PROSECUTOR]);
    await_sound(&office);
    assert!(!agent.printed().contains("fallen silent"), "nothing hung yet");

    let frozen = match disk.freeze() {
        Ok(frozen) => frozen,
        Err(why) => return skip(&why),
    };
    // The log goes on without this agent, so its next look at it has something to write down.
    runtime().block_on(async {
        let mut prosecutor = Player::of(&town, PROSECUTOR, StdRng::from_rng(&mut rng));
        prosecutor.open_case(&[PROSECUTOR, POLICE]).await;
    });
    wait::until("the alarm", || {
        agent
            .printed()
            .contains("alarm: a monitor has fallen silent")
            .then_some(())
    });
    let told = wait::until("the agent's word that a monitor is silent", || {
        let silent = status(&office)?["silent"].as_array()?.clone();
        (!silent.is_empty()).then_some(silent)
    });
    assert!(told.iter().any(|one| one["monitor"] == "audit"), "{told:?}");
    assert!(
        told.iter().all(|one| one["seconds"].as_u64() >= Some(30)),
        "{told:?}"
    );

    drop(frozen);
    await_sound(&office);
    wait::until("the end of the alarm", || {
        agent
            .printed()
            .contains("the monitor is heard of again")
            .then_some(())
    });
    // It works as before.
    let case = CaseRef::random(&mut rng);
    office.open_case(case, &[POLICE, PROSECUTOR]);
    agent.stop();
}

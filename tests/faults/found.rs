//! Killed, started again, and then the power goes: what a start found in memory and on no disk must not have been
//! answered from.

use std::process::Command;

use rand::Rng;
use schakel_proto::ids::PacketId;
use schakel_tests::system::disk::Disk;
use schakel_tests::system::process::{Process, binary};
use schakel_tests::system::storm::{Printed, look};
use schakel_tests::system::strace::has_strace;
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::{peer, wait};

use crate::store::{Storm, syncs};
use crate::turn;

/// What a look into a store saw.
fn seen(lines: &str) -> (Vec<PacketId>, u64) {
    let packets = lines.lines().filter_map(|line| line.strip_prefix("seen "));
    let size = lines
        .lines()
        .find_map(|line| line.strip_prefix("seen-checkpoint "));
    (
        packets.map(|packet| packet.parse().unwrap()).collect(),
        size.unwrap().parse().unwrap(),
    )
}

#[test]
fn d02_d05_what_a_start_finds_after_a_kill_is_there_after_a_power_cut() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let disk = match Disk::new(1024) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (mut rng, cuts, mut in_doubt) = (seeded(), rounds(12, 300), 0);
    for cut in 1..=cuts {
        let folder = disk.path().join(format!("store-{cut}"));
        std::fs::create_dir(&folder).unwrap();
        // Killed before the sync of a group: its rows are written, and on no disk yet.
        let injection = format!("fdatasync:signal=KILL:when={}", rng.random_range(3..40));
        let mut storm = Storm::start(syncs(&[&injection]), &folder, &mut rng);
        wait::until("the end before a sync", || storm.process.ended());
        let mut printed = Printed::default();
        storm.read(&mut printed);
        drop(storm);
        let lines = tempfile::NamedTempFile::new().unwrap();
        let mut program = Command::new(binary("schakel-storm"));
        program.arg(&folder).args(["0", "look"]);
        program.args(printed.tried.iter().map(PacketId::to_string));
        let mut looking = Process::start("look", &mut program, lines.path());
        let said = || std::fs::read_to_string(lines.path()).unwrap();
        looking.wait_until("a look into the store", || {
            said().contains("looked\n").then_some(())
        });
        looking.freeze();
        disk.cut();
        looking.kill();
        disk.restore();
        let (packets, size) = seen(&said());
        let unanswered = packets
            .iter()
            .filter(|packet| !printed.acked.contains_key(&packet.to_string()));
        in_doubt += unanswered.count();
        let after = peer::runtime().block_on(look::missing(&folder, &packets));
        let (gone, newest) = after.unwrap_or_else(|e| panic!("cut {cut}: the store does not open: {e}"));
        assert!(
            gone.is_empty(),
            "cut {cut}: {} packets were shown, and are gone",
            gone.len()
        );
        assert!(
            newest >= size,
            "cut {cut}: checkpoint {size} was shown, and is gone"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
    count(
        cuts,
        &format!(
            "power cuts after a kill before a sync; {in_doubt} packets were found that nobody had been answered for"
        ),
    );
}

//! The broker's store under a storm of writes: power cuts, failing syncs, a full disk. `strace` turns syncs into
//! lies for the control that shows these tests would notice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::{Rng, rngs::StdRng};
use schakel_tests::system::disk::{Disk, SmallDisk};
use schakel_tests::system::process::{Process, binary, signal};
use schakel_tests::system::storm::{Printed, WRITERS, check};
use schakel_tests::system::strace::{end_traced, has_strace, tampered, traced};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::{peer, wait};

use crate::turn;

/// A storm on `folder`, its lines in a file elsewhere.
pub struct Storm {
    pub process: Process,
    lines: tempfile::NamedTempFile,
}

impl Storm {
    pub fn start(mut program: Command, folder: &Path, rng: &mut StdRng) -> Self {
        let lines = tempfile::NamedTempFile::new().unwrap();
        program.arg(folder).arg(rng.random::<u64>().to_string());
        Self {
            process: Process::start("storm", &mut program, lines.path()),
            lines,
        }
    }

    /// Waits until something was acknowledged, and then a random moment longer.
    fn blow(&mut self, rng: &mut StdRng) {
        let lines = self.lines.path().to_owned();
        let acked = || {
            std::fs::read_to_string(&lines)
                .unwrap()
                .contains("acked ")
                .then_some(())
        };
        self.process.wait_until("the first acknowledged packet", acked);
        std::thread::sleep(Duration::from_millis(rng.random_range(0..300)));
    }

    /// `kill -9`, of what is traced too.
    fn end(self) {}

    pub fn read(&self, printed: &mut Printed) {
        printed.read(&std::fs::read_to_string(self.lines.path()).unwrap());
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        end_traced(self.process.id());
    }
}

pub fn plain() -> Command {
    Command::new(binary("schakel-storm"))
}

/// The same program, with some of its syncs tampered with.
pub fn syncs(injections: &[&str]) -> Command {
    let injections: Vec<String> = injections.iter().map(|&one| one.to_owned()).collect();
    let nowhere = Path::new("/dev/null");
    tampered(&binary("schakel-storm"), "fdatasync,fsync", nowhere, &injections)
}

fn verdict(folder: &Path, printed: &Printed) -> Result<(), String> {
    match peer::runtime().block_on(check(folder, printed)) {
        Ok(findings) if findings.is_empty() => Ok(()),
        Ok(findings) => Err(format!("{} findings, e.g. {}", findings.len(), findings[0])),
        Err(error) => Err(format!("the store does not open: {error}")),
    }
}

#[test]
fn d05_power_cuts_lose_nothing_that_the_store_acknowledged() {
    let _turn = turn::take();
    let disk = match Disk::new(1024) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (mut rng, mut printed, cuts) = (seeded(), Printed::default(), rounds(60, 3_000));
    let folder: PathBuf = disk.path().join("store");
    std::fs::create_dir(&folder).unwrap();
    for cut in 1..=cuts {
        let mut storm = Storm::start(plain(), &folder, &mut rng);
        storm.blow(&mut rng);
        storm.process.freeze();
        disk.cut();
        storm.read(&mut printed);
        storm.end();
        disk.restore();
        if let Err(lost) = verdict(&folder, &printed) {
            panic!("cut {cut}: {lost}");
        }
    }
    count(
        cuts,
        &format!(
            "power cuts, {} packets acknowledged, none lost",
            printed.acked.len()
        ),
    );
}

#[test]
fn d05_a_store_that_does_not_sync_is_found_out() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let disk = match Disk::new(256) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    for cut in 1..=10 {
        let folder = disk.path().join(format!("store-{cut}"));
        std::fs::create_dir(&folder).unwrap();
        let mut printed = Printed::default();
        // Every sync says "done" and does nothing: what a disk cache without power, or a store without sync, does.
        let mut storm = Storm::start(
            syncs(&["fdatasync:retval=0", "fsync:retval=0"]),
            &folder,
            &mut rng,
        );
        storm.blow(&mut rng);
        let writer = traced(storm.process.id());
        signal(writer, "STOP");
        disk.cut();
        storm.read(&mut printed);
        signal(writer, "KILL");
        storm.end();
        disk.restore();
        if let Err(lost) = verdict(&folder, &printed) {
            println!("noticed at cut {cut}: {lost}");
            return count(cut, "power cuts until the missing sync was noticed");
        }
    }
    panic!("ten power cuts under a store that does not sync, and nothing was noticed");
}

#[test]
fn d02_killed_inside_any_sync_the_store_opens_and_has_all() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let (mut rng, mut printed, kills) = (seeded(), Printed::default(), rounds(12, 400));
    let folder = tempfile::tempdir().unwrap();
    for kill in 1..=kills {
        // The count is that of each thread: of fdatasync the committer's, of fsync a part file's.
        let (call, when) = if kill.is_multiple_of(3) {
            ("fsync", kill % 8 + 1)
        } else {
            ("fdatasync", 3 * kill)
        };
        let injection = format!("{call}:signal=KILL:when={when}");
        let mut storm = Storm::start(syncs(&[&injection]), folder.path(), &mut rng);
        wait::until("the end inside a sync", || storm.process.ended());
        storm.read(&mut printed);
        if let Err(lost) = verdict(folder.path(), &printed) {
            panic!("kill {kill}: {lost}");
        }
    }
    count(
        kills,
        &format!(
            "kills inside a sync, {} packets acknowledged, none lost",
            printed.acked.len()
        ),
    );
}

#[test]
fn d07_after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let (mut rng, runs) = (seeded(), rounds(6, 200));
    for when in 0..runs {
        let folder = tempfile::tempdir().unwrap();
        let mut printed = Printed::default();
        let injection = format!("fdatasync:error=EIO:when={}", 3 + 4 * when);
        let mut storm = Storm::start(syncs(&[&injection]), folder.path(), &mut rng);
        let lines = storm.lines.path().to_owned();
        let refused = || {
            std::fs::read_to_string(&lines)
                .unwrap()
                .matches("refused ")
                .nth(40)
                .map(drop)
        };
        storm.process.wait_until("forty refusals", refused);
        let writer = traced(storm.process.id());
        signal(writer, "KILL");
        // The tracer ends when all threads of the writer have, and its lock on the store with them.
        wait::until("the tracer's end", || storm.process.ended().map(drop));
        storm.read(&mut printed);
        storm.end();
        // Writers whose packet was durable before may print it after another was refused: once each.
        let late = printed.acked_after_refusal;
        assert!(late <= WRITERS, "{late} acknowledged after a failed sync");
        if let Err(lost) = verdict(folder.path(), &printed) {
            panic!("failed sync {when}: {lost}");
        }
    }
    count(runs, "failed syncs");
}

#[test]
fn d08_a_full_disk_is_refused_and_forgotten_when_there_is_room_again() {
    let _turn = turn::take();
    let disk = match SmallDisk::new(12) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let (mut rng, mut printed) = (seeded(), Printed::default());
    let mut storm = Storm::start(plain(), disk.path(), &mut rng);
    let lines = storm.lines.path().to_owned();
    let said = move || std::fs::read_to_string(&lines).unwrap();
    let full = || {
        said()
            .contains("refused the store has no room left")
            .then_some(())
    };
    storm.process.wait_until("a refusal for want of room", full);
    disk.grow(200);
    let before = said().matches("acked ").count();
    let again = || (said().matches("acked ").count() > before + 20).then_some(());
    storm
        .process
        .wait_until("acknowledgements after room came back", again);
    storm.read(&mut printed);
    storm.end();
    verdict(disk.path(), &printed).unwrap();
    count(
        printed.acked.len() as u64,
        "packets around a full disk, none lost",
    );
}

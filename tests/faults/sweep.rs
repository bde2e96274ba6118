//! Every system call that the store makes on its files, in turn: each fails once with EIO, with ENOSPC, and is the last of
//! its process. What was answered is there afterwards, once; the store opens and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rand::seq::SliceRandom;
use schakel_tests::system::network::copy;
use schakel_tests::system::peer;
use schakel_tests::system::process::{Process, binary};
use schakel_tests::system::storm::steps::{Said, check};
use schakel_tests::system::strace::{end_traced, has_strace, tampered};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;

use crate::turn;

/// What the store does to its files.
const CALLS: [&str; 7] = [
    "fdatasync",
    "fsync",
    "write",
    "pwrite64",
    "rename",
    "openat",
    "ftruncate",
];
const FAULTS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];
/// Longest that a walk may take whose disk fails.
const END: Duration = Duration::from_secs(60);
/// One point in so many is tried in a usual run.
const SAMPLED: u64 = 6;

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Start {
    /// In an empty folder.
    New,
    /// In a store that was killed in the middle of its work.
    Again,
}

/// One call, and what becomes of it.
#[derive(Clone, Debug)]
struct Point {
    start: Start,
    call: &'static str,
    when: u64,
    fault: &'static str,
}

impl Point {
    fn injection(&self) -> String {
        format!("{}:{}:when={}", self.call, self.fault, self.when)
    }

    /// After a failed sync of the rows nothing more is answered: a second sync would prove nothing.
    fn stops(&self) -> bool {
        self.call == "fdatasync" && self.fault != "signal=KILL"
    }
}

fn strace(folder: &Path, injections: &[String]) -> Command {
    let trace = folder.join("trace");
    let mut command = tampered(&binary("schakel-storm"), &CALLS.join(","), &trace, injections);
    command.arg(folder.join("store")).args(["1", "walk"]);
    command
}

/// Runs a walk to its end; what it printed, or that it had no end.
fn walked(command: &mut Command, folder: &Path) -> Result<String, String> {
    let lines = folder.join("lines");
    std::fs::remove_file(&lines).ok();
    let mut process = Process::start("walk", command, &lines);
    let ended = wait::try_until(END, || process.ended());
    if ended.is_none() {
        end_traced(process.id());
    }
    drop(process);
    let said = std::fs::read_to_string(&lines).unwrap();
    ended
        .map(|_| said.clone())
        .ok_or(format!("no end; it said:\n{said}"))
}

/// The calls on files of the store in a whole walk: of each kind, which ones of a thread.
fn calls(trace: &str, store: &str) -> BTreeSet<(&'static str, u64)> {
    let mut counted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, said)) = line.split_once(' ') else {
            continue;
        };
        let said = said.trim_start();
        let Some(call) = CALLS
            .into_iter()
            .find(|call| said.strip_prefix(call).is_some_and(|rest| rest.starts_with('(')))
        else {
            continue;
        };
        let number = counted.entry((thread, call)).or_default();
        *number += 1;
        if said.contains(store) {
            found.insert((call, *number));
        }
    }
    found
}

/// The folder of one trial.
fn begun(start: Start, template: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    match start {
        Start::New => std::fs::create_dir(folder.path().join("store")).unwrap(),
        Start::Again => copy(template, &folder.path().join("store")),
    }
    folder
}

fn points(template: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    for start in [Start::New, Start::Again] {
        let folder = begun(start, template);
        walked(&mut strace(folder.path(), &[]), folder.path()).unwrap();
        let trace = std::fs::read_to_string(folder.path().join("trace")).unwrap();
        let store = folder.path().join("store");
        for (call, when) in calls(&trace, store.to_str().unwrap()) {
            points.extend(FAULTS.map(|fault| Point {
                start,
                call,
                when,
                fault,
            }));
        }
    }
    points
}

/// One point: the walk is broken there, the store is looked at, and a walk without faults goes on from it.
fn tried(point: &Point, template: &Path, before: &Said) -> Result<(bool, usize), String> {
    let folder = begun(point.start, template);
    let store = folder.path().join("store");
    let mut said = if point.start == Start::Again {
        before.clone()
    } else {
        Said::default()
    };
    let printed = walked(&mut strace(folder.path(), &[point.injection()]), folder.path())?;
    said.read(&printed);
    let trace = std::fs::read_to_string(folder.path().join("trace")).unwrap();
    let reached = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
    if point.stops() && said.after_refusal > 0 {
        return Err(format!(
            "{} answers after a failed sync:\n{printed}",
            said.after_refusal
        ));
    }
    let looked = |said: &Said| match peer::runtime().block_on(check(&store, said)) {
        Ok(findings) if findings.is_empty() => Ok(()),
        Ok(findings) => Err(format!("{findings:?}\n{printed}")),
        Err(error) => Err(format!("the store does not open: {error}\n{printed}")),
    };
    looked(&said)?;
    let mut plain = Command::new(binary("schakel-storm"));
    let more = walked(plain.arg(&store).args(["2", "walk"]), folder.path())?;
    said.read(&more);
    if !said.ended || more.contains("refused ") {
        return Err(format!("it does not go on:\n{more}"));
    }
    looked(&said)?;
    Ok((reached, said.answers()))
}

#[test]
fn d02_d07_each_call_on_the_stores_files_fails_or_is_the_last_and_nothing_answered_is_lost() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let template = tempfile::tempdir().unwrap();
    let (folder, mut before) = (template.path().join("store"), Said::default());
    std::fs::create_dir(&folder).unwrap();
    let killed = ["fdatasync:signal=KILL:when=9".to_owned()];
    before.read(&walked(&mut strace(template.path(), &killed), template.path()).unwrap());
    assert!(before.answers() > 2 && !before.ended, "{before:?}");
    let mut points = points(&folder);
    let all = points.len() as u64;
    points.shuffle(&mut rng);
    points.truncate(usize::try_from(rounds(all.div_ceil(SAMPLED), all)).unwrap());
    let (next, done) = (Mutex::new(points.iter()), Mutex::new((0, 0, Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(point) = { next.lock().unwrap().next() } {
                    let came = tried(point, &folder, &before);
                    let mut done = done.lock().unwrap();
                    match came {
                        Ok((reached, answers)) => {
                            done.0 += u64::from(reached);
                            done.1 += answers;
                        }
                        Err(why) => done
                            .2
                            .push(format!("{:?} {}: {why}", point.start, point.injection())),
                    }
                }
            });
        }
    });
    let (reached, answers, failures) = done.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        points.len(),
        failures.join("\n")
    );
    assert!(
        reached * 10 >= points.len() as u64 * 9,
        "only {reached} of {} were reached",
        points.len()
    );
    count(
        reached,
        &format!("of {all} calls x faults on the store's files, {answers} answers, none lost"),
    );
}

#[test]
fn calls_are_counted_by_thread_and_only_those_on_the_store_are_points() {
    let trace = "7 openat(AT_FDCWD</x>, \"/lib/c.so\", O_RDONLY) = 3</lib/c.so>\n\
                 7  openat(AT_FDCWD</x>, \"/s/store/LOCK\", O_RDWR) = 3</s/store/LOCK>\n\
                 8 fdatasync(4</s/store/rows/db> <unfinished ...>\n\
                 7 openat(AT_FDCWD</x>, \"/s/store/STORE\", O_RDONLY) = -1 ENOENT (No such file)\n\
                 8 <... fdatasync resumed>) = 0\n8 fdatasync(4</s/store/rows/db>) = 0\n";
    let found: Vec<_> = calls(trace, "/s/store").into_iter().collect();
    assert_eq!(
        found,
        [("fdatasync", 1), ("fdatasync", 2), ("openat", 2), ("openat", 3)]
    );
}

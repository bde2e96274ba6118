//! Runs every target under libFuzzer, guided by coverage: seconds each in the usual run, ten million executions
//! each with `SCHAKEL_LONG=1`. Builds the program first: our crates once more, with counters; dependencies are shared.
//!
//! What is found is kept in `target/schakel-tests/fuzz/findings`, and the failure says how to repeat it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use rand::RngCore;
use schakel_fuzz::{ALL, PLANTED, Target};
use schakel_tests::system::process::built;
use schakel_tests::system::told;

/// Seconds for each target of the usual run; with all of them on two cores a minute.
const USUAL_SECONDS: u64 = 5;
/// Seconds in which a planted flaw must be found; it takes one or two.
const PLANTED_SECONDS: u64 = 60;
/// Executions in one process of the long run: what a library keeps between inputs is not one input's.
const ROUND: u64 = 500_000;
/// Longest input of the long run: longer ones cost most of the time there; the usual run has them.
const LONG_MAX_BYTES: u64 = 16 * 1024;
/// Fewest counters that a program with our crates in it has.
const COUNTERS_MIN: u64 = 20_000;

/// The program, built with counters; one test builds it, the others wait.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(build);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn build() -> PathBuf {
    let debug = built();
    let target = debug.parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace is named, so that dependencies have the features that they are built with already.
    cargo.args(["build", "--locked", "--workspace", "--example", "schakel-fuzz"]);
    // Ten million executions of each are worth an optimised build.
    let (profile, folder) = if told::rounds(0, 1) > 0 {
        ("release", "release")
    } else {
        ("dev", "debug")
    };
    cargo.args(["--profile", profile]);
    cargo
        .args(["--features", "schakel-fuzz/guided", "--target-dir"])
        .arg(target);
    cargo.env(
        "RUSTC_WORKSPACE_WRAPPER",
        repository().join("tests/fuzz/with-coverage"),
    );
    let done = cargo
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "the fuzzing program does not build:\n{said}"
    );
    target.join(folder).join("examples/schakel-fuzz")
}

/// Where seeds, what they grew into, and findings lie.
fn folder(kind: &str, target: &Target) -> PathBuf {
    let path = built()
        .parent()
        .unwrap()
        .join("schakel-tests/fuzz")
        .join(kind)
        .join(target.name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// What libFuzzer says at the end.
#[derive(Default)]
struct Round {
    executions: u64,
    counters: u64,
    coverage: String,
    memory_mib: u64,
    /// The input that broke a promise, and what was said.
    finding: Option<String>,
}

fn number_after(text: &str, label: &str) -> u64 {
    let after = text.rsplit_once(label).map_or("", |(_, after)| after);
    let digits = after.trim_start().chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap_or(0)
}

/// One process: begins with the seeds and what earlier rounds found worth keeping.
fn round(target: &Target, bounds: &[String], seed: u64) -> Round {
    let findings = folder("findings", target);
    let mut program = Command::new(&*PROGRAM);
    // A library's error is no reason to unwind the stack: that would be most of the time.
    program.env("RUST_LIB_BACKTRACE", "0");
    program
        .env("SCHAKEL_FUZZ_TARGET", target.name)
        .args(bounds)
        .arg(format!("-seed={}", seed as u32));
    program.args(["-print_final_stats=1", "-timeout=60", "-rss_limit_mb=2048"]);
    program.arg(format!("-artifact_prefix={}/", findings.display()));
    let seeds = folder("seeds", target);
    program
        .arg(folder("corpus", target))
        .arg(&seeds)
        .env("SCHAKEL_FUZZ_SEEDS", seeds);
    let done = program
        .stdin(Stdio::null())
        .output()
        .expect("the fuzzing program starts");
    let said = String::from_utf8_lossy(&done.stderr);
    let covered = said
        .lines()
        .rfind(|line| line.contains(" cov: "))
        .unwrap_or_default();
    let coverage = covered
        .split("cov:")
        .nth(1)
        .and_then(|rest| rest.split(" corp:").next());
    let finding = (!done.status.success()).then(|| {
        let input = said
            .rsplit_once("Test unit written to ")
            .map_or("", |(_, rest)| rest);
        let input = input.lines().next().unwrap_or_default().to_owned();
        let end: Vec<_> = said.lines().filter(|l| !l.starts_with('#')).collect();
        let end = end[end.len().saturating_sub(30)..].join("\n");
        let program = PROGRAM.display();
        let name = target.name;
        format!(
            "{name}: {}: {input}\nrepeat: SCHAKEL_FUZZ_TARGET={name} {program} {input}\n{end}",
            done.status
        )
    });
    Round {
        executions: number_after(&said, "stat::number_of_executed_units:"),
        counters: number_after(&said, "Loaded 1 modules   ("),
        coverage: coverage.unwrap_or("none").trim().to_owned(),
        // Its peak would be that of this test, which it begins as a copy of.
        memory_mib: number_after(covered, " rss: "),
        finding,
    }
}

/// The usual seconds, or the long run in rounds.
fn run(target: &Target, seed: u64) -> Round {
    let wanted = told::rounds(0, target.long_runs);
    let mut all = Round::default();
    let mut number = 0;
    while all.finding.is_none() && (number == 0 || all.executions < wanted) {
        let bound = match wanted {
            0 => format!("-max_total_time={USUAL_SECONDS}"),
            _ => format!("-runs={}", ROUND.min(wanted - all.executions)),
        };
        let longest = if wanted == 0 { 0 } else { LONG_MAX_BYTES };
        let one = round(
            target,
            &[bound, format!("-max_len={longest}")],
            seed.wrapping_add(number),
        );
        let ran = one.finding.is_some() || one.executions > 0;
        assert!(ran, "{}: libFuzzer says nothing of executions", target.name);
        all = Round {
            executions: all.executions + one.executions,
            memory_mib: all.memory_mib.max(one.memory_mib),
            ..one
        };
        number += 1;
    }
    all
}

/// Whether libFuzzer can be built here; says so if not.
fn can_build() -> bool {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let found = Command::new(compiler).arg("--version").output().is_ok();
    if !found {
        told::skip("there is no C++ compiler (g++)");
    }
    found
}

#[test]
fn c01_guided_garbage_breaks_no_parser() {
    if !can_build() {
        return;
    }
    let seed = told::seeded().next_u64();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    LazyLock::force(&PROGRAM);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(target) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                let round = run(target, seed);
                done.lock().unwrap().push((target.name, round));
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    let done = done.into_inner().unwrap();
    let mut findings = Vec::new();
    for (name, round) in &done {
        println!(
            "{name}: {} executions, coverage {}, {} MiB",
            round.executions, round.coverage, round.memory_mib
        );
        assert!(round.executions > 0, "{name} was not executed");
        assert!(
            round.counters >= COUNTERS_MIN,
            "{name} has {} counters: nothing guides it",
            round.counters
        );
        findings.extend(round.finding.as_deref());
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n\n"));
    assert_eq!(done.len(), ALL.len());
    let executions = done.iter().map(|(_, round)| round.executions).sum();
    told::count(executions, &format!("executions of {} targets", ALL.len()));
}

#[test]
fn what_is_planted_is_found() {
    if !can_build() {
        return;
    }
    for target in PLANTED {
        fs::remove_dir_all(folder("corpus", target)).unwrap();
        let round = round(target, &[format!("-max_total_time={PLANTED_SECONDS}")], 1);
        let finding = round
            .finding
            .unwrap_or_else(|| panic!("{} was not found", target.name));
        let input = finding
            .lines()
            .next()
            .and_then(|line| line.rsplit(": ").next())
            .unwrap();
        let kept = fs::read(input).unwrap_or_else(|e| panic!("{input}: {e}\n{finding}"));
        // Without the program's limit the bomb does no harm but to this process' peak, which its children begin with.
        let harmless = target.name == "planted_memory";
        assert!(harmless || std::panic::catch_unwind(|| target.run(&kept)).is_err());
        fs::remove_dir_all(folder("findings", target)).unwrap();
    }
}

#[test]
fn every_seed_keeps_the_promises() {
    for target in ALL {
        let seeds = target.seeds();
        assert!(!seeds.is_empty(), "{} begins with nothing", target.name);
        seeds.iter().for_each(|seed| target.run(seed));
    }
}

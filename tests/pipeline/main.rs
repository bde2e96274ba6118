//! Stages of the pipeline cannot be left out, swapped or made up: such programs do not compile.
//! Each case is a small library compiled against the broker as it was built for this test; its first lines say
//! which error it must give. The control shows that the harness compiles what is right.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use schakel_tests::system::process::built;

/// The newest build of a library of ours among those of this build.
fn library(name: &str) -> PathBuf {
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let file = entry.file_name().into_string().ok()?;
        let hash = file.strip_prefix(&format!("lib{name}-"))?.strip_suffix(".rlib")?;
        hash.bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
    };
    let found = std::fs::read_dir(built().join("deps"))
        .unwrap()
        .filter_map(of)
        .max();
    found
        .unwrap_or_else(|| panic!("lib{name} is not among the built libraries"))
        .1
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline/cases")
}

/// Compiles a case to metadata only; its error, or none.
fn compile(case: &Path) -> Result<(), String> {
    let out = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--edition",
        "2024",
        "--crate-type",
        "lib",
        "--crate-name",
        "case",
        "--emit",
        "metadata",
    ]);
    rustc
        .arg("--out-dir")
        .arg(out.path())
        .arg("-L")
        .arg(format!("dependency={}", built().join("deps").display()));
    for name in ["schakel_broker", "schakel_policy", "schakel_proto"] {
        rustc
            .arg("--extern")
            .arg(format!("{name}={}", library(name).display()));
    }
    let output = rustc.arg(case).output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What a case must give, from its first lines: `//! error[E0308]: mismatched types | VerifiedPacket`.
fn expected(case: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(case).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("//! ").filter(|l| l.starts_with("error")))
        .expect("a case names its error");
    line.split(" | ").map(str::to_owned).collect()
}

fn must_fail(name: &str) {
    let case = cases().join(format!("{name}.rs"));
    let error = compile(&case).expect_err("it compiled: a stage can be left out, swapped or made up");
    for part in expected(&case) {
        assert!(error.contains(&part), "{name}: expected {part:?} in\n{error}");
    }
    let count = |start| error.lines().filter(|l| l.starts_with(start)).count();
    let errors = count("error[") + count("error: unused");
    assert_eq!(errors, 1, "{name}: one error, the one it is about:\n{error}");
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test] fn $name() { must_fail(stringify!($name)); })*

        #[test]
        fn every_case_is_run() {
            let mut listed = vec![$(stringify!($name).to_owned()),*];
            listed.push("control".to_owned());
            listed.sort();
            let stem = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            let mut found: Vec<String> = std::fs::read_dir(cases()).unwrap().map(stem).collect();
            found.sort();
            assert_eq!(found, listed);
        }
    };
}

cases! {
    admit_without_verify
    fetch_without_admit
    accept_without_content
    verify_after_admit
    submit_twice
    stream_without_decide
    commit_without_stream
    hand_over_without_commit
    hand_over_without_proof
    settle_without_verify
    settle_what_was_not_checked
    make_up_verified_packet
    make_up_admitted_packet
    make_up_decided
    make_up_proved
    make_up_verified_submission
    make_up_checked_evidence
    make_up_verified_statement
    p06_ignore_a_ruling
    p06_ignore_a_packet_ruling
    p06_ignore_an_admission
    p06_make_up_a_ruling
}

#[test]
fn control_compiles() {
    if let Err(error) = compile(&cases().join("control.rs")) {
        panic!("the control does not compile, so the cases prove nothing:\n{error}");
    }
}

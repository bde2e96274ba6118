//! The networks' stories, each run as `./demo NAME` runs it: real processes, real files, simulated time; and
//! what happens when a story and the network do not agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::Path;
use std::process::{Command, Output};

use schakel_tests::system::process::binary;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Tells a story; how it ended, and its outcomes.
fn told(story: &str, json: &Path) -> (Output, Option<Value>) {
    let output = Command::new(binary("schakel-demo"))
        .args([story, "--json"])
        .arg(json)
        .current_dir(root())
        .output()
        .unwrap();
    let outcomes = std::fs::read(json)
        .ok()
        .map(|text| serde_json::from_slice(&text).unwrap());
    (output, outcomes)
}

/// A network's story ends well, and has at least so many outcomes and checks.
fn ends_well(name: &str, outcomes: usize, checks: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (output, said) = told(name, &folder.path().join("outcomes.json"));
    let tale = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{tale}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = said.unwrap();
    assert_eq!(said["differing"], 0, "{tale}");
    let (told, checked) = (
        said["outcomes"].as_array().unwrap(),
        said["checks"].as_array().unwrap(),
    );
    assert!(
        told.len() >= outcomes && checked.len() >= checks,
        "{} {}",
        told.len(),
        checked.len()
    );
    assert!(
        told.iter().all(|outcome| outcome["as_promised"] == true),
        "{tale}"
    );
    let strict = std::env::var("SCHAKEL_NO_SKIP").is_ok();
    for check in checked.iter().filter(|check| check["holds"] != true) {
        let why = check["not_checked"].as_str().expect("what differs is counted");
        assert!(!strict, "not checked: {check}");
        println!("SKIPPED a check of {name}: {why}");
    }
}

#[test]
fn rupel() {
    ends_well("rupel", 30, 40);
}

#[test]
fn noorderkempen() {
    ends_well("noorderkempen", 75, 60);
}

#[test]
fn west_vlaanderen() {
    ends_well("west-vlaanderen", 75, 55);
}

#[test]
fn secova() {
    ends_well("secova", 60, 40);
}

#[test]
fn oostende() {
    ends_well("oostende", 40, 40);
}

#[test]
fn simulated_time_is_refused_but_for_development() {
    for program in ["schakel-broker", "schakel-agent"] {
        let output = Command::new(binary(program))
            .args(["run", "--config", "any.toml", "--simulated-time", "any"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{program}: {error}");
        assert!(error.contains("--development"), "{program}: {error}");
    }
}

/// The short story with some lines changed.
fn changed(changes: &[(&str, &str)]) -> (Output, Option<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let stories = folder.path().join("stories");
    std::fs::create_dir(&stories).unwrap();
    std::os::unix::fs::symlink(root().join("tests/documents"), folder.path().join("documents")).unwrap();
    let mut text = include_str!("short.toml").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let story = stories.join("short.toml");
    std::fs::write(&story, text).unwrap();
    told(story.to_str().unwrap(), &folder.path().join("outcomes.json"))
}

#[test]
fn a_story_that_does_not_hold_ends_badly_and_says_where_and_what_came_instead() {
    let (output, outcomes) = changed(&[
        ("reason = \"OK_LEGAL_DUTY\"", "reason = \"OK_MANDATE\""),
        ("outcome = \"held\"", "outcome = \"withheld\""),
        ("refused = \"STATE_NOT_ENTITLED\"\n", ""),
        ("category = \"address_protected\"", "category = \"facts_summary\""),
    ]);
    let tale = String::from_utf8_lossy(&output.stdout);
    let words = tale.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "EXPECTED: received [OK_MANDATE]",
        "EXPECTED: withheld [HOLD_CONSENT_MISSING]",
        "EXPECTED otherwise: accepted",
        "EXPECTED otherwise: parket-antwerpen has it",
    ] {
        assert!(words.contains(said), "{said}: {tale}");
    }
    assert_eq!(output.status.code(), Some(1), "{tale}");
    assert_eq!(outcomes.unwrap()["differing"], 4, "{tale}");
}

#[test]
fn a_story_that_cannot_be_read_says_the_step_and_the_key() {
    for (from, to, said) in [
        (
            "purpose = \"prosecution\"",
            "purpos = \"x\"",
            "step 2: `purpose` is missing",
        ),
        (
            "basis = ",
            "colour = \"blue\"\nbasis = ",
            "step 2: `colour` is not known here",
        ),
        (
            "by = \"pz-rupel\"\nsend",
            "by = \"pz-rupel\"\nlook = \"x\"\nsend",
            "step 2: needs exactly one of",
        ),
        ("language = \"nl\"", "language = \"de\"", "neither nl nor fr"),
        (
            "agents = [\"pz-rupel\"",
            "agents = [\"pz-utopia\"",
            "pz-utopia is no agency of the network",
        ),
    ] {
        let (output, _) = changed(&[(from, to)]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{to}: {error}");
    }
}

#[test]
fn an_outage_has_its_end_and_nothing_is_called_sealed_anew_that_was_not() {
    let last = "category = \"address_protected\"\n";
    let stop = "[[step]]\nstop = [\"caw-rupel\", \"broker\"]\n";
    let start = "[[step]]\nstart = [\"broker\", \"caw-rupel\"]\n";
    let (output, _) = changed(&[(last, &format!("{last}{stop}"))]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("broker is stopped: start it"),
        "{error}"
    );
    let (output, _) = changed(&[(last, &format!("{last}{start}"))]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("broker was not stopped"),
        "{error}"
    );
    let look = "[[step]]\nlook = \"feiten\"\nsealed_anew = true\n";
    let expect =
        "expect = [{ to = \"parket-antwerpen\", outcome = \"received\", reason = \"OK_LEGAL_DUTY\" }]\n";
    let (output, outcomes) = changed(&[
        (
            "send = \"De feiten\"\n",
            "send = \"De feiten\"\nas = \"feiten\"\n",
        ),
        (last, &format!("{last}{stop}{start}{look}{expect}")),
    ]);
    let tale = String::from_utf8_lossy(&output.stdout);
    assert!(tale.contains("EXPECTED otherwise:   sealed anew"), "{tale}");
    assert_eq!(outcomes.unwrap()["differing"], 1, "{tale}");
}

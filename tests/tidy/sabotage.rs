//! What `tests/sabotage.toml` makes wrong still stands where it says, and the test that is to notice is there.

use schakel_tests::sabotage::{Sabotage, all};

use crate::code::{code_only, functions};
use crate::tree::{File, files, none, root};

/// Fewest sabotage builds that are kept.
const KEPT_MIN_COUNT: usize = 8;

fn rotten(files: &[File], all: &[Sabotage]) -> Vec<String> {
    let names: Vec<String> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| functions(&code_only(&file.text)))
        .map(|function| function.name)
        .collect();
    let mut findings = Vec::new();
    for one in all {
        match files.iter().find(|file| file.path == one.file) {
            Some(file) => findings.extend(one.applied(&file.text).err()),
            None => findings.push(format!("{}: there is no {}", one.name, one.file)),
        }
        let test = one.test.rsplit("::").next().unwrap_or_default();
        // The suite of the stores is stamped: its tests carry their names within.
        if !names.iter().any(|name| name == test) {
            findings.push(format!("{}: there is no test {test}", one.name));
        }
    }
    findings
}

#[test]
fn every_sabotage_still_fits_its_file_and_names_a_test() {
    let all = all(root()).unwrap();
    assert!(all.len() >= KEPT_MIN_COUNT, "{} sabotage builds", all.len());
    none(&rotten(&files(), &all));
}

#[test]
fn a_sabotage_that_no_longer_fits_is_found() {
    let one = Sabotage {
        name: "x".to_owned(),
        file: "a/src/x.rs".to_owned(),
        text: "sync()".to_owned(),
        instead: "()".to_owned(),
        why: String::new(),
        place: Vec::new(),
        test: "kill::d01_x".to_owned(),
        programs: false,
        rounds: None,
    };
    let found = |text: &str| {
        let files = [File::sample("a/src/x.rs", text)];
        rotten(&files, std::slice::from_ref(&one)).len()
    };
    assert_eq!(found("fn d01_x() { sync() }"), 0);
    assert_eq!(found("fn d01_x() { sync(); sync() }"), 1, "twice");
    assert_eq!(found("fn d01_x() {}"), 1, "not at all");
    assert_eq!(found("fn d02_x() { sync() }"), 1, "no such test");
    assert_eq!(rotten(&[], std::slice::from_ref(&one)).len(), 2, "no such file");
}

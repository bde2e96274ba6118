//! Tests that carry a row id of tests/catalogue.tsv in their name carry one that exists.

use std::collections::BTreeSet;

use crate::code::{code_only, functions};
use crate::tree::{File, files, none};

/// The row ids a function's name begins with: `d01_d04_killed` has two.
fn rows(name: &str) -> Vec<String> {
    let is_row = |part: &&str| {
        let mut chars = part.chars();
        let letter = chars.next().is_some_and(|c| "dncipxlo".contains(c));
        letter && part.len() == 3 && chars.all(|c| c.is_ascii_digit())
    };
    name.split('_')
        .take_while(is_row)
        .map(str::to_uppercase)
        .collect()
}

fn unknown_rows(files: &[File], known: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        for function in functions(&code_only(&file.text)) {
            let strange = rows(&function.name)
                .into_iter()
                .filter(|row| !known.contains(row));
            findings.extend(strange.map(|row| format!("{}:{}: no row {row}", file.path, function.first)));
        }
    }
    findings
}

fn known_rows(files: &[File]) -> BTreeSet<String> {
    let table = files
        .iter()
        .find(|f| f.path == "tests/catalogue.tsv")
        .expect("tests/catalogue.tsv");
    let rows = table.text.lines().filter(|l| !l.starts_with('#'));
    rows.map(|l| l.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn every_row_id_in_a_tests_name_is_in_the_catalogue() {
    let files = files();
    let known = known_rows(&files);
    assert_eq!(known.len(), 118, "rows of the catalogue");
    none(&unknown_rows(&files, &known));
}

#[test]
fn a_row_id_that_is_not_in_the_catalogue_is_found() {
    let known = BTreeSet::from(["D01".to_owned(), "D04".to_owned()]);
    let found = |text: &str| unknown_rows(&[File::sample("a/src/x.rs", text)], &known).len();
    assert_eq!(found("fn d01_d04_killed() {}"), 0);
    assert_eq!(found("fn d01_d99_killed() {}"), 1);
    assert_eq!(found("fn n77_x() {}"), 1);
    assert_eq!(found("fn d0x_y() {}"), 0);
}

//! Words that must not be there: switched-off tests, unfinished code, one machine's paths, package sources of one place.

use crate::code::code_only;
use crate::tree::{File, files, none};

/// In code (comments and literals do not count): the text, and why it is refused.
const IN_CODE: [(&str, &str); 5] = [
    ("#[ignore", "a test that never runs"),
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("dbg!(", "left over"),
    ("allow(unsafe_code", "no unsafe code of our own"),
];

/// In any text file. Split in two so that this file does not hold them.
const ANYWHERE: [(&str, &str, &str); 14] = [
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/ho", "me/", "a path of one machine"),
    ("/Us", "ers/", "a path of one machine"),
    ("/tm", "p/t/", "a path of one machine"),
    ("/tm", "p/s/", "a path of one machine"),
    ("CARGO_REGIS", "TRIES_", "a package source of one place"),
    ("--index", "-url", "a package source of one place"),
    ("--extra-index", "-url", "a package source of one place"),
    ("replace", "-with =", "a package source of one place"),
    ("arti", "factory", "a package source of one place"),
    ("index.crates", ".io", "a package source of one place"),
    ("registry.npm", "js.org", "a package source of one place"),
    ("Co-Autho", "red-By", "belongs nowhere"),
];

const LOCK_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn in_code(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let code = code_only(&file.text);
        for (number, line) in code.lines().enumerate() {
            for (word, why) in IN_CODE.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(format!("{}:{}: {word}: {why}", file.path, number + 1));
            }
        }
    }
    findings
}

fn anywhere(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            for (a, b, why) in ANYWHERE
                .iter()
                .filter(|(a, b, _)| line.contains(&format!("{a}{b}")))
            {
                findings.push(format!("{}:{}: {a}{b}: {why}", file.path, number + 1));
            }
        }
    }
    findings
}

fn package_sources(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        if file.path.ends_with(".cargo/config.toml") {
            findings.push(format!(
                "{}: where packages come from is each machine's own setting",
                file.path
            ));
        }
        if file.path.ends_with("Cargo.lock") {
            let sources = file.text.lines().filter_map(|l| l.strip_prefix("source = "));
            findings.extend(
                sources
                    .filter(|s| s.trim_matches('"') != LOCK_SOURCE)
                    .map(|s| format!("{}: {s}: not the public registry", file.path)),
            );
        }
    }
    findings
}

#[test]
fn no_test_is_switched_off_and_no_code_is_unfinished() {
    none(&in_code(&files()));
}

#[test]
fn no_path_or_package_source_of_one_machine() {
    let files = files();
    none(&anywhere(&files));
    none(&package_sources(&files));
}

#[test]
fn a_switched_off_test_and_unfinished_code_are_found() {
    let found = |text: &str| in_code(&[File::sample("a/src/x.rs", text)]).len();
    assert_eq!(found("#[test]\n#[ignore = \"slow\"]\nfn t() {}"), 1);
    assert_eq!(found("fn f() { todo!() }"), 1);
    assert_eq!(found("fn f() { unimplemented!(\"x\") }"), 1);
    assert_eq!(found("fn f() { let s = \"todo!()\"; } // todo!()"), 0);
}

#[test]
fn a_machines_path_or_package_source_is_found() {
    let found = |path: &str, text: String| {
        let file = [File::sample(path, &text)];
        anywhere(&file).len() + package_sources(&file).len()
    };
    for (a, b, _) in ANYWHERE {
        assert_eq!(found("README.md", format!("x {a}{b}y")), 1);
    }
    assert_eq!(found("Cargo.lock", format!("source = \"{LOCK_SOURCE}\"\n")), 0);
    assert_eq!(
        found(
            "Cargo.lock",
            "source = \"sparse+https://mirror.example/\"\n".to_owned()
        ),
        1
    );
    assert_eq!(found(".cargo/config.toml", String::new()), 1);
}

//! Directions: which crate may know which, and the one place that may name each big library.

use crate::code::code_only;
use crate::tree::{File, files, none};

/// Crate folder -> the crates of ours it may depend on, in tests too.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("policy", &["proto"]),
    ("broker", &["proto", "policy"]),
    ("agent", &["proto", "policy"]),
    ("certs-dev", &["proto", "policy"]),
    (
        "tests",
        &["proto", "policy", "broker", "agent", "certs-dev", "fuzz"],
    ),
    ("tests/fuzz", &["proto", "policy", "broker", "agent"]),
];

/// As [`MAY_KNOW`], for test code only: a development network to test against.
const TESTS_MAY_KNOW: [(&str, &[&str]); 2] = [("broker", &["certs-dev"]), ("agent", &["certs-dev"])];

/// Library -> the crate that may depend on it, how code names it, the beginning of the paths that may.
const ONE_PLACE: [(&str, &str, &str, &str); 4] = [
    ("sequoia-openpgp", "proto", "sequoia_openpgp", "proto/src/openpgp"),
    ("cedar-policy", "policy", "cedar_policy", "policy/src/engine"),
    (
        "cedar-policy-core",
        "policy",
        "cedar_policy_core",
        "policy/src/engine",
    ),
    ("sled", "broker", "sled", "broker/src/store/sled"),
];

/// A package of its own, outside the workspace: nothing of ours is in it.
const OUTSIDE: &str = "tests/peer";

fn dependencies(manifest: &toml::Table, section: &str) -> Vec<String> {
    let listed = |table: &toml::Table| -> Vec<String> {
        table
            .get(section)
            .and_then(|t| t.as_table())
            .map(|t| t.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut all = listed(manifest);
    if let Some(targets) = manifest.get("target").and_then(|t| t.as_table()) {
        all.extend(targets.values().filter_map(|t| t.as_table()).flat_map(listed));
    }
    all
}

fn crate_directions(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let folders = files
        .iter()
        .filter_map(|f| Some((f, f.path.strip_suffix("/Cargo.toml")?)));
    for (file, folder) in folders.filter(|(_, folder)| *folder != OUTSIDE) {
        let Some((_, known)) = MAY_KNOW.iter().find(|(name, _)| *name == folder) else {
            findings.push(format!(
                "{}: a crate that tests/tidy/layers.rs does not place",
                file.path
            ));
            continue;
        };
        let in_tests = TESTS_MAY_KNOW
            .iter()
            .find(|(name, _)| *name == folder)
            .map_or(&[][..], |(_, more)| more);
        let manifest: toml::Table = file.text.parse().unwrap();
        for (section, extra) in [
            ("dependencies", &[][..]),
            ("build-dependencies", &[]),
            ("dev-dependencies", in_tests),
        ] {
            for name in dependencies(&manifest, section) {
                let ours = name.strip_prefix("schakel-");
                let itself = ours.is_some_and(|o| folder.ends_with(o));
                if !itself && ours.is_some_and(|o| !known.contains(&o) && !extra.contains(&o)) {
                    findings.push(format!(
                        "{}: [{section}] {name}: this direction is not allowed",
                        file.path
                    ));
                }
                if ONE_PLACE
                    .iter()
                    .any(|(library, home, ..)| name == *library && folder != *home)
                {
                    findings.push(format!(
                        "{}: [{section}] {name}: belongs to one crate only",
                        file.path
                    ));
                }
            }
        }
    }
    findings
}

/// Whether the code names the outside crate: not as a field, nor as a module within another path.
fn names(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].strip_suffix("::").unwrap_or(&code[..at]);
        let stands_first = !before.ends_with(|c| part_of_word(c) || c == '.');
        stands_first && code[at + word.len()..].starts_with("::")
    })
}

fn one_place_only(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files
        .iter()
        .filter(|f| f.is_rust() && !f.path.starts_with("tests/peer/"))
    {
        let code = code_only(&file.text);
        for (library, _, word, home) in ONE_PLACE {
            // A module of ours may bear the library's name; only the outside crate is meant.
            let ours = code.contains(&format!("mod {word};"));
            // Hostile packets are forged with the library itself.
            let forged = word == "sequoia_openpgp" && file.path.starts_with("proto/tests/");
            if names(&code, word) && !ours && !forged && !file.path.starts_with(home) {
                findings.push(format!("{}: names {library}; only {home}* may", file.path));
            }
        }
    }
    findings
}

#[test]
fn crates_know_each_other_in_one_direction_only() {
    none(&crate_directions(&files()));
}

#[test]
fn big_libraries_are_named_in_one_place() {
    none(&one_place_only(&files()));
}

#[test]
fn a_wrong_direction_is_found() {
    let bad = |path: &str, text: &str| crate_directions(&[File::sample(path, text)]).len();
    assert_eq!(
        bad(
            "agent/Cargo.toml",
            "[dependencies]\nschakel-broker.workspace = true"
        ),
        1
    );
    assert_eq!(
        bad(
            "policy/Cargo.toml",
            "[dev-dependencies]\nschakel-certs-dev.workspace = true"
        ),
        1
    );
    assert_eq!(
        bad(
            "proto/Cargo.toml",
            "[target.'cfg(unix)'.dependencies]\nschakel-policy.workspace = true"
        ),
        1
    );
    assert_eq!(
        bad(
            "broker/Cargo.toml",
            "[dependencies]\nsequoia-openpgp.workspace = true"
        ),
        1
    );
    assert_eq!(bad("common/Cargo.toml", ""), 1);
    assert_eq!(bad("tests/more/Cargo.toml", ""), 1);
    assert_eq!(
        bad(
            "tests/fuzz/Cargo.toml",
            "[dependencies]\nschakel-tests.workspace = true"
        ),
        1
    );
    assert_eq!(
        bad(
            "broker/Cargo.toml",
            "[dev-dependencies]\nschakel-fuzz.workspace = true"
        ),
        1
    );
    assert_eq!(
        bad(
            "broker/Cargo.toml",
            "[dev-dependencies]\nschakel-certs-dev.workspace = true"
        ),
        0
    );
}

#[test]
fn a_library_out_of_its_place_is_found() {
    let bad = |path: &str, text: &str| one_place_only(&[File::sample(path, text)]).len();
    assert_eq!(bad("proto/src/packet/seal.rs", "use sequoia_openpgp::Cert;"), 1);
    assert_eq!(
        bad("policy/src/bundle.rs", "fn f() -> cedar_policy::Schema { g() }"),
        1
    );
    assert_eq!(bad("broker/src/main.rs", "let db = sled::open(x);"), 1);
    assert_eq!(bad("proto/src/openpgp/sign.rs", "use sequoia_openpgp::Cert;"), 0);
    assert_eq!(
        bad(
            "proto/src/packet/seal.rs",
            "// sequoia_openpgp::Cert is not named here"
        ),
        0
    );
    assert_eq!(
        bad("broker/src/config.rs", "use crate::store::sled::SledStore;"),
        0
    );
}

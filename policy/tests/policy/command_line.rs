//! The officer's command line as an officer calls it.

use std::fs;
use std::path::Path;
use std::process::Command;

use schakel_policy::bundle::{Bundle, SignedBundle};
use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::time::Timestamp;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/policy-cases.jsonl");

/// Exit status and standard output.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_schakel-policy"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&run(arguments).1).unwrap()
}

/// A copy of the default bundle in a directory.
fn copy(to: &Path) -> String {
    for (path, bytes) in Bundle::built_in_files() {
        let file = to.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    to.to_str().unwrap().to_owned()
}

#[test]
fn test_counts_and_names_what_fails() {
    let (status, text) = run(&["test", CASES]);
    assert_eq!((status, text.lines().last()), (0, Some("107 passed, 0 failed")));
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.jsonl");
    fs::write(
        &broken,
        fs::read_to_string(CASES)
            .unwrap()
            .replacen("\"mark-fact-vs-opinion\"", "\"minimise\"", 1),
    )
    .unwrap();
    let (status, text) = run(&["test", broken.to_str().unwrap()]);
    assert_eq!((status, text.lines().last()), (1, Some("106 passed, 1 failed")));
    assert!(
        text.contains(":1: PC-001: expected deliver OK_LEGAL_DUTY [log-access minimise purpose-bound]"),
        "{text}"
    );
    assert!(text.contains("by matrix:facts_summary:prosecutor"), "{text}");
    assert_eq!(run(&["test", "/nonexistent.jsonl"]).0, 2);
}

#[test]
fn one_cell_set_is_one_cell_in_diff_and_simulation() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (copy(&folder.path().join("old")), copy(&folder.path().join("new")));
    assert_eq!(
        run(&["matrix", &new, "--set", "facts_summary", "caw_victim", "deliver"]).0,
        0
    );
    assert_eq!(
        run(&["matrix", &new, "--set", "facts_summary", "caw_victim", "perhaps"]).0,
        2
    );
    assert_eq!(
        run(&["matrix", "--set", "facts_summary", "caw_victim", "D"]).0,
        2,
        "the built-in one is not edited"
    );
    let diff = json(&["diff", &old, &new, "--json"]);
    assert_eq!(
        diff["cells"],
        serde_json::json!(["facts_summary x caw_victim: only-with-consent -> deliver"])
    );
    assert_eq!(diff["rules"], serde_json::json!([]));
    let simulated = json(&["simulate", &old, &new, CASES, "--json"]);
    assert_eq!(simulated["questions"], 107);
    assert_eq!(simulated["outcomes"][0]["id"], "PC-040");
    assert_eq!(simulated["outcomes"].as_array().unwrap().len(), 1);
    assert_eq!(run(&["check", &new]).0, 1, "its own case PC-040 says otherwise");
    assert_eq!(run(&["check", &old]).0, 0);
    assert_eq!(
        run(&["matrix", &new, "--set", "facts_summary", "caw_victim", "K"]).0,
        0
    );
    let file = |bundle: &str| fs::read(Path::new(bundle).join("matrix.toml")).unwrap();
    assert_eq!(file(&old), file(&new));
}

#[test]
fn the_grid_speaks_text_values_html_and_json() {
    assert!(run(&["matrix"]).1.contains("identity           D R03"));
    assert_eq!(run(&["matrix", "--csv"]).1.lines().count(), 18);
    let page = run(&["matrix", "--html"]).1;
    assert_eq!(
        (page.matches("<tr>").count(), page.matches("<td ").count()),
        (18, 17 * 16)
    );
    assert!(!page.contains("<script") && !page.contains("http"));
    assert_eq!(
        json(&["matrix", "--json"])["alert"]["health"]["verdict"],
        "emergency-only"
    );
}

#[test]
fn signatures_add_up_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = copy(&folder.path().join("bundle"));
    let out = folder.path().join("bundle.bin");
    for officer in ["officer-an", "officer-bo"] {
        let keys =
            SecretKeys::generate(KeyKind::V6, officer, Timestamp::from_millis(1_700_000_000_000)).unwrap();
        let key = folder.path().join(officer);
        fs::write(&key, keys.to_bytes().unwrap()).unwrap();
        let arguments = [
            "sign",
            &bundle,
            "--network",
            "rupel",
            "--officer",
            officer,
            "--key",
        ];
        let rest = [key.to_str().unwrap(), "--out", out.to_str().unwrap()];
        assert_eq!(run(&[&arguments[..], &rest[..]].concat()).0, 0);
    }
    let signed = SignedBundle::from_bytes(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(signed.signatures.len(), 2);
    assert_eq!(run(&["check", out.to_str().unwrap()]).0, 0);
}

#[test]
fn the_grid_speaks_the_officers_language() {
    for (language, role, never, ground) in [
        ("nl", "parket", "nooit", "Geheim adres: alleen met toestemming"),
        (
            "fr",
            "parquet",
            "jamais",
            "Adresse secrète : uniquement avec le consentement",
        ),
        ("en", "public prosecutor", "never", "Protected address: only with"),
    ] {
        for form in [&["--html"][..], &[]] {
            let (status, text) = run(&[&["matrix", "--lang", language], form].concat());
            assert_eq!(status, 0);
            for words in [role, never, ground] {
                assert!(text.contains(words), "{language} {form:?}: {words}");
            }
        }
    }
    let page = run(&["matrix", "--html", "--lang", "nl"]).1;
    assert!(page.contains("<html lang=\"nl\">") && !page.contains("<script"));
    assert_eq!(
        page.matches("<td ").count(),
        17 * 16,
        "one cell for each category and role"
    );
    assert_eq!(
        run(&["matrix", "--html", "--lang", "de"]).0,
        2,
        "a language the bundle lacks"
    );
}

#[test]
fn every_command_has_a_manual_page_and_is_completed() {
    let help = run(&["--help"]).1;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&["man", folder.path().to_str().unwrap()]).0, 0);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, script) = run(&["completions", shell]);
        assert_eq!(status, 0);
        for command in &commands {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
    }
    for command in &commands {
        let page = fs::read_to_string(folder.path().join(format!("schakel-policy-{command}.1"))).unwrap();
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains(&format!("schakel\\-policy {command}")),
            "{page}"
        );
    }
    assert!(run(&["man"]).1.contains(".TH schakel-policy 1"));
    assert_eq!(run(&["man", "/nonexistent/folder"]).0, 2);
}

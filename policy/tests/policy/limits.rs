//! What an officer's file may not be: too large, too deep, written in letters that look like others; and what a
//! change of bundle may not do to a packet that is being decided.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;
use schakel_policy::matrix::Verdict;
use schakel_policy::question::ReceiveQuestion;

use crate::engine;

const SCHEMA: &str = "schakel.cedarschema";
const GATES: &str = "policies/gates.cedar";

fn rule(id: &str, principal: &str, body: &str) -> String {
    format!(
        "\n@id(\"{id}\")\n@step(\"9.9\")\n@outcome(\"withhold\")\n@reason(\"WITHHOLD_NOT_RELEVANT\")\n@legal(\"model\")\n\
         @nl(\"x\")\n@fr(\"x\")\n@en(\"x\")\nforbid ({principal}, action == Action::\"receive\", resource){body};\n"
    )
}

fn with(file: &str, change: impl FnOnce(&str) -> String) -> BTreeMap<String, Vec<u8>> {
    let mut files = Bundle::built_in_files();
    let text = String::from_utf8(files[file].clone()).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    files.insert(file.to_owned(), changed.into_bytes());
    files
}

/// Every finding has this code, and the first this place and these words.
fn found(name: &str, files: BTreeMap<String, Vec<u8>>, code: &str, place: &str, words: &str) {
    let found = Bundle::check(files).err().unwrap_or_default();
    let first = found.first().expect(name);
    assert!(found.iter().all(|one| one.code == code), "{name}: {found:?}");
    assert!(
        first.place.starts_with(place) && first.sentence.contains(words),
        "{name}: {first}"
    );
}

#[test]
fn p16_a_policy_file_is_no_larger_deeper_or_longer_than_can_be_read() {
    let add = |more: String| with(GATES, |text| format!("{text}{more}"));
    let megabyte = rule("huge", "principal", &format!(" // {}\n", "x".repeat(1 << 20)));
    found(
        "1 MB policy",
        add(megabyte),
        "BUNDLE_TOO_LARGE",
        "bundle.toml:1",
        "larger than",
    );
    let deep = rule(
        "deep",
        "principal",
        &format!(" when {{ {}true{} }}", "(".repeat(500), ")".repeat(500)),
    );
    found(
        "deep nesting",
        add(deep),
        "BUNDLE_SYNTAX",
        GATES,
        "nests too deep",
    );
    let list = "\"a\", ".repeat(10_000);
    let long = rule(
        "long",
        "principal",
        &format!(" when {{ [{list}\"b\"].contains(context.purpose) }}"),
    );
    found("one endless list", add(long), "BUNDLE_SYNTAX", GATES, "too long");
    let text = rule(
        "text",
        "principal",
        &format!(" when {{ context.purpose == \"{}\" }}", "y".repeat(20_000)),
    );
    found(
        "one endless string",
        add(text),
        "BUNDLE_SYNTAX",
        GATES,
        "too long",
    );
    let schema = with(SCHEMA, |text| {
        format!(
            "{text}type Deep = {}Long{};\n",
            "Set<{ a: ".repeat(400),
            "}>".repeat(400)
        )
    });
    found("deep schema", schema, "BUNDLE_SCHEMA", SCHEMA, "nests too deep");
}

/// 130 roles and categories more make 21,000 cells, in a file of half a megabyte.
#[test]
fn p16_too_many_rules_are_refused_before_they_are_made() {
    let more = 130;
    let names = |letter: &str| (0..more).fold(String::new(), |all, n| format!("{all}, \"{letter}{n}\""));
    let mut files = with(SCHEMA, |text| {
        let text = text.replacen("\"helpline\"\n", &format!("\"helpline\"{}\n", names("r")), 1);
        text.replacen(
            "\"aggregate_stats\"\n",
            &format!("\"aggregate_stats\"{}\n", names("c")),
            1,
        )
    });
    let mut matrix = String::new();
    let mut roles: Vec<String> = engine().bundle().vocabulary("Role").to_vec();
    let old = String::from_utf8(files["matrix.toml"].clone()).unwrap();
    for line in old.lines() {
        matrix += &format!("{line}\n");
        if line.starts_with("[cells.") {
            (0..more).for_each(|n| matrix += &format!("r{n}={{verdict=\"never\",reason=\"R24\"}}\n"));
        }
    }
    for n in 0..more {
        matrix += &format!("[roles.r{n}]\nside=\"neutral\"\ncircles=[]\n");
    }
    roles.extend((0..more).map(|n| format!("r{n}")));
    for c in 0..more {
        matrix += &format!("[cells.c{c}]\n");
        roles
            .iter()
            .for_each(|role| matrix += &format!("{role}={{verdict=\"never\",reason=\"R24\"}}\n"));
    }
    files.insert("matrix.toml".to_owned(), matrix.into_bytes());
    files.retain(|name, _| !name.starts_with("cases/")); // too many rules, not too many bytes
    found(
        "too many policies",
        files,
        "BUNDLE_TOO_LARGE",
        "policies/",
        "may be in a bundle",
    );
}

#[test]
fn p16_letters_that_look_like_others_are_findings() {
    let add = |more: String| with(GATES, |text| format!("{text}{more}"));
    // Cyrillic р, а and е among Latin letters, then Cyrillic alone.
    let mixed = rule("mixed", "principal == Agency::\"р\u{0430}rket\"", "");
    found("mixed scripts", add(mixed), "BUNDLE_SCRIPT", GATES, "mixed: ");
    let alone = rule(
        "alone",
        "principal == Agency::\"\u{0441}\u{0430}\u{0441}\u{0435}\"",
        "",
    );
    found("another script", add(alone), "BUNDLE_SCRIPT", GATES, "u{441}");
    let inside = rule(
        "inside",
        "principal",
        " when { context.sender == Agency::\"vk-g\u{0435}nt\" }",
    );
    found("in a condition", add(inside), "BUNDLE_SCRIPT", GATES, "u{435}");
    let words = rule(
        "words",
        "principal",
        " when { context.purpose == \"tri\u{0430}ge\" }",
    );
    found("in a string", add(words), "BUNDLE_TYPE", GATES, "mixed scripts");
    let schema = with(SCHEMA, |text| {
        text.replacen("\"prosecutor\"", "\"pr\u{043E}secutor\"", 1)
    });
    found("in the schema", schema, "BUNDLE_SCRIPT", SCHEMA, "u{43e}");
    let turned = with(GATES, |text| text.replacen("// Steps", "// \u{202E}Steps", 1));
    found("turned round", turned, "BUNDLE_SCRIPT", GATES, "U+202E");
    let hidden = with("matrix.toml", |text| {
        text.replacen("en = \"Core case", "en = \"Core\u{200B} case", 1)
    });
    found("invisible", hidden, "BUNDLE_SCRIPT", "matrix.toml", "U+200B");
    // What people read may well be written with accents.
    Bundle::check(with(GATES, |text| {
        text.replacen("@nl(\"De zaak", "@nl(\"Déze zäak", 1)
    }))
    .unwrap();
}

#[test]
fn a_schema_that_does_not_fit_the_facts_is_refused_when_it_is_loaded() {
    let changed: [(&str, &str, &str); 5] = [
        (
            "another type",
            "  recipient_flagged: Bool,",
            "  recipient_flagged: Long,",
        ),
        (
            "a fact more",
            "  relevant: Bool,",
            "  relevant: Bool,\n  weather: String,",
        ),
        ("a fact less", "  sender_active: Bool, // on", "  // on"),
        (
            "one made to be there always",
            "  region?: String, // of the case",
            "  region: String,",
        ),
        (
            "a type inside",
            "justification_chars: Long",
            "justification_chars: String",
        ),
    ];
    for (name, from, to) in changed {
        let mut files = with(SCHEMA, |text| text.replacen(from, to, 1));
        // Without rules, so that it is not a rule that no longer fits the schema.
        for (file, text) in &mut files {
            if file.starts_with("policies/")
                && file != "policies/matrix.cedar"
                && file != "policies/definitions.cedar"
            {
                text.clear();
            }
        }
        let found = Bundle::check(files).err().unwrap_or_default();
        let fits = found
            .iter()
            .any(|one| one.code == "BUNDLE_SCHEMA" && one.sentence.contains("does not fit"));
        assert!(fits, "{name}: {found:?}");
    }
}

/// A packet of parts on which the two bundles disagree is decided by one of them, whole, however often the bundle
/// is exchanged meanwhile: who decides holds the engine of the packet's beginning, and its digest with it.
#[test]
fn p17_a_switch_in_the_middle_never_mixes_two_bundles_in_one_packet() {
    let bundle = engine().bundle();
    let files = bundle
        .with_cell("facts_summary", "caw_victim", Verdict::Never)
        .unwrap();
    let engines =
        [bundle.clone(), Bundle::from_files(files).unwrap()].map(|b| Arc::new(Engine::untested(&b)));
    let own = bundle.cases().values().flatten();
    let part: ReceiveQuestion = own
        .map(|(_, case)| case.given.clone())
        .find(|q| {
            q.part.category == "facts_summary"
                && q.recipient.role == "caw_victim"
                && engines[0].receive(q).delivers()
        })
        .unwrap();
    assert!(!engines[1].receive(&part).delivers());
    let parts = vec![part; 24];
    let expected = engines
        .each_ref()
        .map(|engine| (engine.bundle().digest(), engine.packet(&parts)));
    // Whoever takes the current bundle puts the other in its place, and only then decides.
    let current = Mutex::new(0);
    let seen = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..60 {
                    let engine = {
                        let mut current = current.lock().unwrap();
                        let taken = Arc::clone(&engines[*current]);
                        *current = 1 - *current;
                        taken
                    };
                    let ruling = engine.packet(&parts);
                    let digest = engine.bundle().digest();
                    let whole = expected.iter().find(|(named, _)| *named == digest).unwrap();
                    assert_eq!(ruling, whole.1, "a packet decided by two bundles");
                    *seen.lock().unwrap().entry(digest).or_insert(0_usize) += 1;
                }
            });
        }
    });
    assert_eq!(seen.into_inner().unwrap().len(), 2, "both bundles decided");
}

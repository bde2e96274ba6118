//! Bad bundles by name: each gives one clear error with code and place, and none is loaded.

use std::collections::BTreeMap;

use schakel_policy::bundle::{Bundle, SignedBundle};

type Files = BTreeMap<String, Vec<u8>>;

const GATES: &str = "policies/gates.cedar";
const KEYS: &str = "policies/keys.cedar";
const TEMPLATES: &str = "policies/matrix.cedar";
const SCHEMA: &str = "schakel.cedarschema";
const MATRIX: &str = "matrix.toml";
const ABOUT: &str = "bundle.toml";

/// One text of a file replaced by another: name, code and place of the error; file, from, to.
type Edit = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const POLICY_EDITS: &[Edit] = &[
    ("syntax", "BUNDLE_SYNTAX", GATES, GATES, "unless\n{", "unless\n("),
    ("no-ascii", "BUNDLE_SYNTAX", GATES, GATES, "Role::\"prosecutor\"", "Rôle::\"prosecutor\""),
    ("unknown-attribute", "BUNDLE_TYPE", GATES, GATES, "context.urgency", "context.haste"),
    ("unknown-entity", "BUNDLE_TYPE", GATES, GATES, "Role::\"prosecutor\"", "Role::\"procurator\""),
    ("unknown-type", "BUNDLE_TYPE", GATES, GATES, "Role::\"prosecutor\"", "Rolle::\"prosecutor\""),
    ("unknown-action", "BUNDLE_TYPE", GATES, GATES, "Action::\"receive\"", "Action::\"recieve\""),
    ("unknown-function", "BUNDLE_SYNTAX", GATES, GATES, "duration(\"72h\")", "hours(\"72h\")"),
    ("type-error", "BUNDLE_TYPE", GATES, GATES, ">= 20", ">= \"20\""),
    ("optional-unguarded", "BUNDLE_TYPE", GATES, GATES, "context has break_glass &&", ""),
    ("no-id", "BUNDLE_ANNOTATION", GATES, GATES, "@id(\"G3-case-open\")\n", ""),
    ("id-twice", "BUNDLE_ANNOTATION", GATES, GATES, "G3-case-open", "G2-roster-version"),
    ("id-with-spaces", "BUNDLE_ANNOTATION", GATES, GATES, "G3-case-open", "G3 case open"),
    ("no-step", "BUNDLE_ANNOTATION", GATES, GATES, "@step(\"3\")\n", ""),
    ("step-in-words", "BUNDLE_ANNOTATION", GATES, GATES, "@step(\"3\")", "@step(\"three\")"),
    ("no-reason", "BUNDLE_ANNOTATION", GATES, GATES, "@reason(\"DENY_CASE_CLOSED\")\n", ""),
    ("no-outcome", "BUNDLE_ANNOTATION", GATES, GATES, "@outcome(\"deny-packet\")\n", ""),
    ("forbid-that-delivers", "BUNDLE_ANNOTATION", GATES, GATES, "\"deny-packet\"", "\"deliver\""),
    ("permit-that-withholds", "BUNDLE_ANNOTATION", KEYS, KEYS, "\"deliver\"", "\"withhold\""),
    ("misspelt-annotation", "BUNDLE_ANNOTATION", GATES, GATES, "@obligation(", "@obligaton("),
    ("reason-for-no-basis", "BUNDLE_ANNOTATION", TEMPLATES, TEMPLATES, "@reason_mandate(", "@reason_mandaat("),
    ("unknown-ground", "BUNDLE_ANNOTATION", GATES, GATES, "@legal(\"need_to_know\")", "@legal(\"because\")"),
    ("missing-sentence", "BUNDLE_TRANSLATION", GATES, GATES, "@fr(\"Le dossier est clôturé.\")\n", ""),
];

#[rustfmt::skip]
const FILE_EDITS: &[Edit] = &[
    ("schema-syntax", "BUNDLE_SCHEMA", SCHEMA, SCHEMA, "entity Case;", "entity Case"),
    ("schema-unknown-type", "BUNDLE_SCHEMA", SCHEMA, SCHEMA, "now: datetime", "now: moment"),
    ("schema-role-dropped", "BUNDLE_MATRIX", MATRIX, SCHEMA, ", \"helpline\"\n];", "\n];"),
    ("cell-missing", "BUNDLE_MATRIX", MATRIX, MATRIX, "\nhelpline       = { verdict = \"never\", reason = \"R21\" }", ""),
    ("cell-unknown-verdict", "BUNDLE_MATRIX", MATRIX, MATRIX, "verdict = \"deliver\"", "verdict = \"maybe\""),
    ("cell-unknown-ground", "BUNDLE_MATRIX", MATRIX, MATRIX, "reason = \"R03\"", "reason = \"R99\""),
    ("matrix-syntax", "BUNDLE_MATRIX", MATRIX, MATRIX, "version = 1", "version = "),
    ("text-without-sentence", "BUNDLE_TRANSLATION", "texts/en.toml", "texts/en.toml", "OK_MANDATE = ", "OK_MANDAT = "),
    ("text-syntax", "BUNDLE_TEXT", "texts/nl.toml", "texts/nl.toml", "[reason]", "[reason"),
    ("reference-no-day", "BUNDLE_TEXT", "references.toml", "references.toml", "2026-04-08", "2026-04-31"),
    ("ends-before-it-begins", "BUNDLE_DESCRIPTION", ABOUT, ABOUT, "2028-04-08", "2020-04-08"),
    ("version-zero", "BUNDLE_DESCRIPTION", ABOUT, ABOUT, "version = 1", "version = 0"),
    ("previous-no-digest", "BUNDLE_DESCRIPTION", ABOUT, ABOUT, "previous = \"\"", "previous = \"abc\""),
];

/// Text added at the end of a file: name, code and place of the error; file, text.
fn additions() -> Vec<(&'static str, &'static str, &'static str, &'static str, String)> {
    let deep = format!(" when {{ {}true{} }}", "(".repeat(500), ")".repeat(500));
    let long = format!(
        " when {{ {}true }}",
        "context.now == context.now && ".repeat(2000)
    );
    let every = rule("all", "").replace("action == Action::\"receive\"", "action");
    let unfinished = "\npermit (principal, action, resource)".to_owned();
    let school = "school = { verdict = \"deliver\", reason = \"R24\" }\n".to_owned();
    vec![
        ("no-semicolon", "BUNDLE_SYNTAX", GATES, GATES, unfinished),
        ("recursion", "BUNDLE_SYNTAX", GATES, GATES, rule("deep", &deep)),
        (
            "endless-policy",
            "BUNDLE_SYNTAX",
            GATES,
            GATES,
            rule("long", &long),
        ),
        ("every-action", "BUNDLE_ANNOTATION", GATES, GATES, every),
        (
            "tie",
            "BUNDLE_TIE",
            "policies/",
            GATES,
            rule("tie", "").replace("9.9", "9.3"),
        ),
        (
            "impossible-rule",
            "BUNDLE_TYPE",
            GATES,
            GATES,
            rule("dead", " when { false }"),
        ),
        ("cell-unknown-role", "BUNDLE_MATRIX", MATRIX, MATRIX, school),
    ]
}

/// A file that must be there.
const NEEDED: [(&str, &str); 6] = [
    (SCHEMA, "BUNDLE_INCOMPLETE"),
    (MATRIX, "BUNDLE_INCOMPLETE"),
    (ABOUT, "BUNDLE_INCOMPLETE"),
    ("texts/fr.toml", "BUNDLE_INCOMPLETE"),
    ("references.toml", "BUNDLE_INCOMPLETE"),
    (TEMPLATES, "BUNDLE_MATRIX"),
];

/// A file that must not be there.
const STRANGE: [(&str, &[u8], &str); 4] = [
    ("policies/x.cedar", b"\xff\xfe", "BUNDLE_ENCODING"),
    ("cases/x.jsonl", b"{", "BUNDLE_CASES"),
    ("../x", b"", "BUNDLE_LAYOUT"),
    ("policies/.cedar", b"", "BUNDLE_LAYOUT"),
];

fn rule(id: &str, body: &str) -> String {
    format!(
        "\n@id(\"{id}\")\n@step(\"9.9\")\n@outcome(\"withhold\")\n@reason(\"WITHHOLD_NOT_RELEVANT\")\n@legal(\"model\")\n\
         @nl(\"x\")\n@fr(\"x\")\n@en(\"x\")\nforbid (principal, action == Action::\"receive\", resource){body};\n"
    )
}

fn refused(name: &str, files: Files, code: &str, place: &str) {
    let error = Bundle::from_files(files).expect_err(name);
    assert_eq!(error.code, code, "{name}: {error}");
    assert!(error.place.starts_with(place), "{name}: {error}");
    let line = error
        .place
        .rsplit(':')
        .next()
        .and_then(|n| n.parse::<usize>().ok());
    assert!(line.is_some_and(|n| n >= 1), "{name}: {error}");
}

fn edited(file: &str, change: impl FnOnce(String) -> String) -> Files {
    let mut files = Bundle::built_in_files();
    let text = String::from_utf8(files[file].clone()).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the edit of {file} did nothing");
    files.insert(file.to_owned(), changed.into_bytes());
    files
}

#[test]
fn an_edited_file_gives_its_error_with_file_and_line() {
    for (name, code, place, file, from, to) in POLICY_EDITS.iter().chain(FILE_EDITS) {
        refused(name, edited(file, |text| text.replacen(from, to, 1)), code, place);
    }
    for (name, code, place, file, more) in additions() {
        refused(name, edited(file, |text| text + &more), code, place);
    }
}

#[test]
fn a_missing_or_strange_file_gives_its_error() {
    for (file, code) in NEEDED {
        let mut files = Bundle::built_in_files();
        assert!(files.remove(file).is_some());
        refused(file, files, code, if file == TEMPLATES { MATRIX } else { file });
    }
    for (file, bytes, code) in STRANGE {
        let mut files = Bundle::built_in_files();
        files.insert(file.to_owned(), bytes.to_vec());
        refused(file, files, code, file);
    }
}

#[test]
fn p16_a_huge_or_truncated_file_is_refused() {
    let mut files = Bundle::built_in_files();
    files.insert("policies/huge.cedar".to_owned(), vec![b' '; 1 << 20]);
    assert_eq!(Bundle::from_files(files).unwrap_err().code, "BUNDLE_TOO_LARGE");
    let archive = Bundle::built_in().unwrap().archive().to_vec();
    for cut in [0, 1, 17, 100, archive.len() / 2, archive.len() - 1] {
        assert_eq!(
            Bundle::from_archive(&archive[..cut]).unwrap_err().place,
            if cut == 17 { "bundle.toml:1" } else { "archive:1" }
        );
    }
    assert_eq!(
        Bundle::from_archive(&archive).unwrap().digest(),
        Bundle::built_in().unwrap().digest()
    );
    assert!(SignedBundle::from_bytes(b"\xff\xff\xff").is_err());
}

#[test]
fn p08_a_rule_that_can_never_hold_is_a_finding() {
    let files = edited(GATES, |text| text + &rule("dead", " when { false }"));
    let found = Bundle::check(files).unwrap_err();
    assert!(found.iter().any(|f| f.sentence.contains("dead")), "{found:?}");
}

/// Cedar skips a forbid that errors at run time: an error must deny, whatever the other policies say.
#[test]
fn p05_a_policy_that_errors_denies_with_its_own_code_and_an_alarm() {
    let overflow = " when { context.consent.count + 9223372036854775807 > 0 && context.purpose == \"none\" }";
    let files = edited(GATES, |text| text + &rule("overflow", overflow));
    let bundle = Bundle::from_files(files).unwrap();
    let engine = schakel_policy::engine::Engine::untested(&bundle);
    let (mut sound, mut defects) = (0, 0);
    for (_, case) in bundle.cases().values().flatten() {
        let ruling = engine.receive(&case.given);
        if case.given.consents.is_empty() {
            sound += usize::from(case.difference(&ruling).is_none());
        } else {
            assert_eq!(ruling.reason(), "DENY_POLICY_ERROR", "{}", case.id);
            assert!(
                !ruling.delivers() && ruling.alarms()[0].contains("overflow"),
                "{}",
                case.id
            );
            defects += 1;
        }
    }
    assert!(sound > 50 && defects > 20, "{sound} sound, {defects} defects");
    assert_eq!(
        schakel_policy::engine::Engine::new(&bundle).unwrap_err().code,
        "BUNDLE_CASES"
    );
}

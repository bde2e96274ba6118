//! Bundles that a running broker is handed: a bad one gives one clear error, and the one in force decides on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use schakel_broker::activate;
use schakel_broker::clock::SystemClock;
use schakel_broker::config::Config;
use schakel_broker::serve::{self, Running};
use schakel_policy::bundle::{Bundle, BundleSignature, SignedBundle};
use schakel_policy::matrix::Verdict;
use schakel_proto::limits;
use schakel_proto::openpgp::{KeyKind, SecretKeys};
use schakel_proto::party::{NetworkName, OfficerId};
use schakel_proto::wire;

use crate::inbox::Inbox;
use crate::packet::{new_case, state, submit};
use crate::peer::{Ground, now};

pub type Files = BTreeMap<String, Vec<u8>>;
/// Name, code of the one error, bytes of the file.
type Bad = (String, &'static str, Vec<u8>);

const GATES: &str = "policies/gates.cedar";
const SCHEMA: &str = "schakel.cedarschema";
const MATRIX: &str = "matrix.toml";
const ABOUT: &str = "bundle.toml";
const CASES: &str = "cases/policy-cases.jsonl";

/// One text of a file replaced by another: name and code; file, from, to.
#[rustfmt::skip]
const EDITS: &[(&str, &str, &str, &str, &str)] = &[
    ("syntax", "BUNDLE_SYNTAX", GATES, "unless\n{", "unless\n("),
    ("no-ascii", "BUNDLE_SYNTAX", GATES, "Role::\"prosecutor\"", "Rôle::\"prosecutor\""),
    ("unknown-attribute", "BUNDLE_TYPE", GATES, "context.urgency", "context.haste"),
    ("unknown-entity", "BUNDLE_TYPE", GATES, "Role::\"prosecutor\"", "Role::\"procurator\""),
    ("unknown-type", "BUNDLE_TYPE", GATES, "Role::\"prosecutor\"", "Rolle::\"prosecutor\""),
    ("unknown-action", "BUNDLE_TYPE", GATES, "Action::\"receive\"", "Action::\"recieve\""),
    ("unknown-function", "BUNDLE_SYNTAX", GATES, "duration(\"72h\")", "hours(\"72h\")"),
    ("type-error", "BUNDLE_TYPE", GATES, ">= 20", ">= \"20\""),
    ("optional-unguarded", "BUNDLE_TYPE", GATES, "context has break_glass &&", ""),
    ("no-id", "BUNDLE_ANNOTATION", GATES, "@id(\"G3-case-open\")\n", ""),
    ("id-twice", "BUNDLE_ANNOTATION", GATES, "G3-case-open", "G2-roster-version"),
    ("no-step", "BUNDLE_ANNOTATION", GATES, "@step(\"3\")\n", ""),
    ("no-reason", "BUNDLE_ANNOTATION", GATES, "@reason(\"DENY_CASE_CLOSED\")\n", ""),
    ("no-outcome", "BUNDLE_ANNOTATION", GATES, "@outcome(\"deny-packet\")\n", ""),
    ("forbid-that-delivers", "BUNDLE_ANNOTATION", GATES, "\"deny-packet\"", "\"deliver\""),
    ("misspelt-annotation", "BUNDLE_ANNOTATION", GATES, "@obligation(", "@obligaton("),
    ("unknown-ground", "BUNDLE_ANNOTATION", GATES, "@legal(\"need_to_know\")", "@legal(\"because\")"),
    ("missing-translation", "BUNDLE_TRANSLATION", GATES, "@fr(\"Le dossier est clôturé.\")\n", ""),
    ("schema-syntax", "BUNDLE_SCHEMA", SCHEMA, "entity Case;", "entity Case"),
    ("schema-unknown-type", "BUNDLE_SCHEMA", SCHEMA, "now: datetime", "now: moment"),
    ("schema-role-dropped", "BUNDLE_MATRIX", SCHEMA, ", \"helpline\"\n];", "\n];"),
    ("cell-unknown-verdict", "BUNDLE_MATRIX", MATRIX, "verdict = \"deliver\"", "verdict = \"maybe\""),
    ("cell-unknown-ground", "BUNDLE_MATRIX", MATRIX, "reason = \"R03\"", "reason = \"R99\""),
    ("matrix-syntax", "BUNDLE_MATRIX", MATRIX, "version = 1", "version = "),
    ("text-without-sentence", "BUNDLE_TRANSLATION", "texts/en.toml", "OK_MANDATE = ", "OK_MANDAT = "),
    ("text-syntax", "BUNDLE_TEXT", "texts/nl.toml", "[reason]", "[reason"),
    ("reference-no-day", "BUNDLE_TEXT", "references.toml", "2026-04-08", "2026-04-31"),
    ("ends-before-it-begins", "BUNDLE_DESCRIPTION", ABOUT, "2028-04-08", "2020-04-08"),
    ("version-zero", "BUNDLE_DESCRIPTION", ABOUT, "version = 1", "version = 0"),
    ("previous-no-digest", "BUNDLE_DESCRIPTION", ABOUT, "previous = \"\"", "previous = \"abc\""),
    ("own-case-fails", "BUNDLE_CASES", CASES, "\"DENY_CASE_CLOSED\"", "\"DENY_STALE_ROSTER\""),
    ("own-case-does-not-parse", "BUNDLE_CASES", CASES, "{\"id\": \"PC-001\"", "{\"id\": PC-001"),
    ("another-of-the-same-version", "BUNDLE_OLDER", "texts/en.toml", "OK_MANDATE = \"", "OK_MANDATE = \"So "),
];

/// A bundle's archive form, whatever is in it.
fn archive(files: &Files) -> Vec<u8> {
    let mut out = b"SCHAKEL-BUNDLE 1\n".to_vec();
    for (path, bytes) in files {
        out.extend(format!("{} {path}\n", bytes.len()).as_bytes());
        out.extend(bytes);
        out.push(b'\n');
    }
    out
}

fn edited(file: &str, change: impl FnOnce(String) -> String) -> Files {
    let mut files = Bundle::built_in_files();
    let text = String::from_utf8(files[file].clone()).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the edit of {file} did nothing");
    files.insert(file.to_owned(), changed.into_bytes());
    files
}

fn rule(id: &str, step: &str, body: &str) -> String {
    format!(
        "\n@id(\"{id}\")\n@step(\"{step}\")\n@outcome(\"withhold\")\n@reason(\"WITHHOLD_NOT_RELEVANT\")\n@legal(\"model\")\n\
         @nl(\"x\")\n@fr(\"x\")\n@en(\"x\")\nforbid (principal, action == Action::\"receive\", resource){body};\n"
    )
}

/// Every agency's first officer; the first two sign bundles.
pub fn officers(ground: &Ground) -> Vec<OfficerId> {
    let agencies = ground.network.spec().agencies.iter();
    agencies
        .filter_map(|agency| agency.officers.first().cloned())
        .collect()
}

/// The archive with signatures by these officers for this network, valid if the bundle is.
fn signed_for(ground: &Ground, files: &Files, officers: &[OfficerId], network: &NetworkName) -> SignedBundle {
    let archive = archive(files);
    // What no officer's tool signs gets the signatures of the bundle in force.
    let text = Bundle::from_archive(&archive).or_else(|_| Bundle::built_in());
    let text = text.unwrap().signing_text(network);
    let sign = |officer: &OfficerId| {
        let keys = ground.network.officer_keys(officer).unwrap();
        BundleSignature {
            officer: officer.clone(),
            signature: keys.sign(&text, now()).unwrap(),
        }
    };
    let signatures = officers.iter().map(sign).collect();
    SignedBundle { archive, signatures }
}

pub fn signed(ground: &Ground, files: &Files, officers: &[OfficerId]) -> SignedBundle {
    signed_for(ground, files, officers, &ground.network.spec().network)
}

/// The built-in rules as this version of the bundle.
pub fn of_version(version: u64) -> Files {
    edited(ABOUT, |text| {
        text.replacen("version = 1", &format!("version = {version}"), 1)
    })
}

/// Bundles whose content is bad.
fn bad_contents(ground: &Ground) -> Vec<Bad> {
    let two = &officers(ground)[..2];
    let mut all = Vec::new();
    let mut add = |name: &str, code: &'static str, files: &Files| {
        all.push((name.to_owned(), code, signed(ground, files, two).to_bytes()));
    };
    for &(name, code, file, from, to) in EDITS {
        add(name, code, &edited(file, |text| text.replacen(from, to, 1)));
    }
    let deep = format!(" when {{ {}true{} }}", "(".repeat(500), ")".repeat(500));
    let unfinished = "\npermit (principal, action, resource)".to_owned();
    for (name, code, more) in [
        ("no-semicolon", "BUNDLE_SYNTAX", unfinished),
        ("deep-nesting", "BUNDLE_SYNTAX", rule("deep", "9.9", &deep)),
        ("tie", "BUNDLE_TIE", rule("tie", "9.3", "")),
        (
            "impossible-rule",
            "BUNDLE_TYPE",
            rule("dead", "9.9", " when { false }"),
        ),
    ] {
        add(name, code, &edited(GATES, |text| text + &more));
    }
    for file in [SCHEMA, MATRIX, ABOUT, "texts/fr.toml", "references.toml"] {
        let mut files = Bundle::built_in_files();
        files.remove(file);
        add(&format!("without {file}"), "BUNDLE_INCOMPLETE", &files);
    }
    for (file, bytes, code) in [
        ("policies/x.cedar", &b"\xff\xfe"[..], "BUNDLE_ENCODING"),
        ("cases/x.jsonl", b"{", "BUNDLE_CASES"),
        ("../x", b"", "BUNDLE_LAYOUT"),
    ] {
        let mut files = Bundle::built_in_files();
        files.insert(file.to_owned(), bytes.to_vec());
        add(&format!("with {file}"), code, &files);
    }
    all
}

/// Bundles whose signatures or bytes are bad, while their rules are good and newer.
fn bad_signatures(ground: &Ground) -> Vec<Bad> {
    let (newer, all) = (of_version(2), officers(ground));
    let by = |officers: &[OfficerId]| signed(ground, &newer, officers);
    let good = by(&all[..2]);
    let mut twice = by(&all[..1]);
    twice.signatures.push(twice.signatures[0].clone());
    let mut stranger = by(&all[..1]);
    let keys = SecretKeys::generate(KeyKind::V6, "nobody", now()).unwrap();
    stranger.signatures.push(BundleSignature {
        officer: OfficerId::new("officer-nobody").unwrap(),
        signature: keys.sign(b"text", now()).unwrap(),
    });
    let mut swapped = good.clone();
    swapped.archive = archive(&of_version(3));
    let mut forged = good.clone();
    forged.signatures[1].signature = forged.signatures[0].signature.clone();
    let elsewhere = signed_for(ground, &newer, &all[..2], &NetworkName::new("secova").unwrap());
    let mut cut = good.clone();
    cut.archive.truncate(cut.archive.len() - 7);
    let mut huge = newer.clone();
    huge.insert("policies/huge.cedar".to_owned(), vec![b' '; 1 << 20]);
    let bytes = |bundle: &SignedBundle| bundle.to_bytes();
    let whole = good.to_bytes();
    let list = [
        ("unsigned", "BUNDLE_FOUR_EYES", bytes(&by(&[]))),
        ("signed-by-one", "BUNDLE_FOUR_EYES", bytes(&by(&all[..1]))),
        ("signed-twice-by-one", "BUNDLE_FOUR_EYES", bytes(&twice)),
        ("signed-by-a-stranger", "BUNDLE_SIGNER", bytes(&stranger)),
        ("signed-for-another-version", "BUNDLE_SIGNATURE", bytes(&swapped)),
        (
            "signed-for-another-network",
            "BUNDLE_SIGNATURE",
            bytes(&elsewhere),
        ),
        ("forged", "BUNDLE_SIGNATURE", bytes(&forged)),
        ("cut", "BUNDLE_ARCHIVE", bytes(&cut)),
        (
            "huge",
            "BUNDLE_TOO_LARGE",
            bytes(&signed(ground, &huge, &all[..2])),
        ),
        (
            "truncated-file",
            "BUNDLE_ARCHIVE",
            whole[..whole.len() / 2].to_vec(),
        ),
        ("empty-file", "BUNDLE_ARCHIVE", Vec::new()),
        ("no-bundle", "BUNDLE_ARCHIVE", b"\xff\xff\xff".to_vec()),
        (
            "endless-file",
            "FILE_TOO_LONG",
            vec![0; 2 * limits::BUNDLE_MAX_BYTES + 1],
        ),
    ];
    list.map(|(name, code, bytes)| (name.to_owned(), code, bytes))
        .into()
}

/// Puts a file in the place of the bundle, as an operator does, and has the broker look.
async fn put(ground: &Ground, broker: &Running, bytes: &[u8]) {
    let next = ground.network.bundle_file().with_extension("new");
    std::fs::write(&next, bytes).unwrap();
    std::fs::rename(&next, ground.network.bundle_file()).unwrap();
    activate::refresh(broker.state()).await;
}

#[tokio::test]
async fn p03_p16_a_bad_bundle_by_name_gives_one_clear_error_and_the_one_in_force_decides_on() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let in_force = broker.state().rules.current().digest();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let known_digest: bytes::Bytes = in_force.to_vec().into();
    let mut bad = bad_contents(&ground);
    bad.extend(bad_signatures(&ground));
    assert!(bad.len() >= 40, "{} bad bundles", bad.len());
    let mut seen = BTreeSet::new();
    for (name, code, bytes) in &bad {
        let alarms = &broker.state().alarms;
        let before = (alarms.total(), alarms.count(code));
        put(&ground, &broker, bytes).await;
        activate::refresh(broker.state()).await;
        let told = (alarms.total() - before.0, alarms.count(code) - before.1);
        assert_eq!(told, (1, 1), "{name}: one error, {code}, told once");
        assert_eq!(broker.state().rules.current().digest(), in_force, "{name}");
        let request = wire::GetBundleRequest {
            known_digest: known_digest.clone(),
        };
        let served = police.get_bundle(request).await.unwrap().into_inner();
        assert!(served.archive.is_empty(), "{name}: agents are shown no other");
        // What the error says, once for each kind.
        if *code != "BUNDLE_OLDER" && seen.insert(*code) {
            let source = broker.state().rules.source();
            let directory = broker.state().directories.current();
            let loaded = source.bytes().and_then(|b| source.load(&b, &directory, now()));
            let Err(refusal) = loaded else {
                panic!("{name} is loaded")
            };
            assert_eq!(refusal.code, *code, "{name}: {refusal}");
            let clear = [&refusal.sentence, &refusal.place]
                .iter()
                .all(|text| !text.is_empty());
            assert!(clear && !refusal.remedy.is_empty(), "{name}: {refusal}");
        }
    }
    // It decides on; and a good one still comes into force.
    let case = new_case();
    let roster = ["pz-rupel", "parket-antwerpen"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let handed = Inbox::open(&mut parket, 1).await.handed().await;
    assert_eq!(handed.decision(&ground).bundle_digest(), in_force);
    let newer = signed(&ground, &of_version(2), &officers(&ground)[..2]);
    put(&ground, &broker, &newer.to_bytes()).await;
    assert_eq!(broker.state().rules.current().version(), 2);
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn p03_officers_of_one_agency_or_with_a_key_that_is_not_valid_now_change_nothing() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let in_force = broker.state().rules.current().digest();
    let both = officers(&ground)[..2].to_vec();
    let newer = signed(&ground, &of_version(2), &both).to_bytes();
    let tomorrow = now().plus_millis(86_400_000);
    let early = SecretKeys::generate(KeyKind::V6, "early", tomorrow).unwrap();
    type Change<'a> = &'a dyn Fn(&mut wire::Directory);
    let of = |directory: &mut wire::Directory, officer: &OfficerId| {
        let agencies = &mut directory.agencies;
        let at = agencies
            .iter()
            .position(|a| a.officers.iter().any(|o| o.id == officer.as_str()));
        at.unwrap()
    };
    let moved: Change<'_> = &|directory| {
        let (here, there) = (of(directory, &both[0]), of(directory, &both[1]));
        let second = directory.agencies[there].officers.remove(0);
        directory.agencies[here].officers.push(second);
    };
    let not_yet: Change<'_> = &|directory| {
        let at = of(directory, &both[1]);
        let officers = &mut directory.agencies[at].officers;
        let officer = officers.iter_mut().find(|o| o.id == both[1].as_str());
        officer.unwrap().certificate = early.certificate().to_bytes().unwrap().into();
    };
    for (code, change) in [("BUNDLE_FOUR_EYES", moved), ("BUNDLE_SIGNER", not_yet)] {
        let directory = ground.network.issue_changed(now(), change);
        std::fs::write(
            ground.network.directory_file(),
            directory.unwrap().encode_to_vec(),
        )
        .unwrap();
        put(&ground, &broker, &newer).await;
        assert_eq!(broker.state().alarms.count(code), 1, "{code}");
        assert_eq!(broker.state().rules.current().digest(), in_force, "{code}");
    }
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
}

/// Why the broker does not start.
async fn refused_start(ground: &Ground) -> String {
    let config = Config::load(&ground.network.broker_config()).unwrap();
    match serve::start(config, true, Arc::new(SystemClock)).await {
        Ok(_) => panic!("started with an older bundle"),
        Err(refused) => refused.to_string(),
    }
}

#[tokio::test]
async fn p01_an_older_bundle_is_refused_while_running_and_after_a_restart() {
    let ground = Ground::new();
    let file = ground.network.bundle_file();
    let first = std::fs::read(&file).unwrap();
    let broker = ground.broker().await;
    let newer = signed(&ground, &of_version(2), &officers(&ground)[..2]);
    put(&ground, &broker, &newer.to_bytes()).await;
    let in_force = broker.state().rules.current().digest();
    assert_eq!(in_force, Bundle::from_archive(&newer.archive).unwrap().digest());
    put(&ground, &broker, &first).await;
    assert_eq!(broker.state().alarms.count("BUNDLE_OLDER"), 1);
    assert_eq!(broker.state().rules.current().digest(), in_force);
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
    let refused = refused_start(&ground).await;
    assert!(refused.contains("BUNDLE_OLDER"), "{refused}");
    // Nor another bundle of the same version.
    let other = edited(ABOUT, |text| {
        text.replacen("version = 1", "version = 2", 1) + "# other\n"
    });
    std::fs::write(&file, signed(&ground, &other, &officers(&ground)[..2]).to_bytes()).unwrap();
    refused_start(&ground).await;
    std::fs::write(&file, newer.to_bytes()).unwrap();
    let broker = ground.broker().await;
    assert_eq!(broker.state().rules.current().digest(), in_force);
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
}

/// Version 2 of the rules: measures never go to the victim's side.
fn measures_never() -> Files {
    let mut files = Bundle::built_in()
        .unwrap()
        .with_cell("measures", "caw_victim", Verdict::Never)
        .unwrap();
    files.retain(|path, _| !path.starts_with("cases/"));
    let about = String::from_utf8(files[ABOUT].clone()).unwrap();
    let about = about.replacen("version = 1", "version = 2", 1);
    files.insert(ABOUT.to_owned(), about.into_bytes());
    files
}

#[tokio::test]
async fn a_decision_replays_by_the_rules_and_the_directory_of_its_day() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let case = new_case();
    let roster = ["pz-rupel", "caw-rupel"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let to = ["caw-rupel"];
    let send = || {
        // Held, and delivered.
        let parts = [
            ("facts_summary", &b"feiten"[..], &to[..]),
            ("measures", &b"huisverbod"[..], &to[..]),
        ];
        ground.seal("pz-rupel", case, &to, &parts)
    };
    submit(&mut police, send().frames()).await.unwrap();
    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    Inbox::open(&mut caw, 1).await.handed().await;
    let replayed = async || {
        let found = crate::oversight::ask(&ground, schakel_broker::admin::Ask::Replay).await;
        assert_eq!(
            (&found["differ"], &found["not_replayable"]),
            (&0.into(), &serde_json::json!({})),
            "{found:#}"
        );
        found["replayed"].as_u64().unwrap()
    };
    assert!(replayed().await >= 1);
    // Under the next rules the measures stay behind; and in the next directory the CAW is another service.
    let next = signed(&ground, &measures_never(), &officers(&ground)[..2]);
    put(&ground, &broker, &next.to_bytes()).await;
    assert_eq!(broker.state().rules.current().version(), 2);
    submit(&mut police, send().frames()).await.unwrap();
    let directory = ground.network.issue_changed(now(), |directory| {
        let mut agencies = directory.agencies.iter_mut();
        agencies.find(|one| one.id == "caw-rupel").unwrap().role = "health".into();
    });
    let file = ground.network.directory_file();
    std::fs::write(file, directory.unwrap().encode_to_vec()).unwrap();
    activate::refresh(broker.state()).await;
    submit(&mut police, send().frames()).await.unwrap();
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let decided = async {
        while replayed().await < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = decided => {}
        _ = async { while inbox.next().await.is_some() {} } => panic!("the stream ended"),
    }
    broker.stop().await.unwrap();
    // What was in force is in the store; without the first rules their decisions could not be made again.
    let config = Config::load(&ground.network.broker_config()).unwrap();
    let desk = schakel_broker::admin::Desk::stopped(&config, Arc::new(SystemClock))
        .await
        .unwrap();
    let found = desk
        .answer(
            schakel_broker::admin::Ask::Replay,
            &schakel_broker::admin::Told::default(),
        )
        .await
        .unwrap();
    assert_eq!(found["differ"], 0, "{found:#}");
    desk.close().await;
}

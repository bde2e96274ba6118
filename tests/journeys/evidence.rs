//! What became of a packet, in one file that convinces a stranger: made by sender and recipient, checked without
//! agent, broker or network; and damaged in every way.

mod contradiction;
mod damage;
mod damaged;
mod dispute;
mod hand;

use std::path::{Path, PathBuf};

use rand::{SeedableRng, rngs::StdRng};
use schakel_agent::evidence::report::{Outcome, Report};
use schakel_agent::evidence::verify::{Anchor, verify};
use schakel_proto::ids::CaseRef;
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::pack::{Pack, command, exported, path, read};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::seeded;
use schakel_tests::system::wait;

/// Purpose and basis on which both recipients may have contact data.
const GROUND: (&str, &str) = ("safety_protection", "public_interest_task");
const SENDER: &str = "pz-rupel";
/// Signs with ML-DSA-65+Ed25519.
const PROSECUTOR: &str = "parket-antwerpen";
/// Works with GnuPG: v4 keys.
const DIRECTOR: &str = "casusregisseur-rupel";

/// What the reader trusts: the authority of this network.
fn anchor(town: &Town) -> Anchor {
    Anchor {
        authority: Some(town.network().authority().unwrap()),
        network: Some(town.network().spec().network.clone()),
        directory: None,
    }
}

/// An agency's office, once its agent knows the network: what is sent before is refused for want of facts.
fn ready(town: &Town, id: &str) -> Office {
    let office = Office::of(town, id);
    wait::until("the agent to be connected", || {
        let status = office.ask("GET", "/v1/status", None);
        (status["connected"] == true && !status["bundle_version"].is_null()).then_some(())
    });
    office
}

/// The checks that failed, each `check about`, in order.
fn failed(report: &Report) -> Vec<String> {
    let mut failed: Vec<_> = report
        .failed()
        .map(|finding| {
            format!("{} {}", finding.check.as_str(), finding.about)
                .trim()
                .to_owned()
        })
        .collect();
    failed.sort();
    failed
}

/// A pack that holds; the checks that were made.
fn good(town: &Town, file: &Path) -> Report {
    let report = verify(file, &anchor(town)).unwrap();
    assert_eq!(failed(&report), [""; 0], "{}", report.to_text("en"));
    report
}

/// How often a check was found good.
fn count(report: &Report, check: &str) -> usize {
    let good = |f: &&_| {
        let f: &schakel_agent::evidence::report::Finding = f;
        f.check.as_str() == check && f.outcome == Outcome::Ok
    };
    report.findings.iter().filter(good).count()
}

/// A packet of two parts that one recipient got, opened and holds; and what the log says of it at both.
struct Scene {
    town: Town,
    packet: String,
    sent: PathBuf,
    received: PathBuf,
    /// Of another packet of the same sender, made after the first pack.
    other: Pack,
}

/// What the log has of a packet, by the names of events, as the sender may open it.
fn events(report: &Report) -> Vec<&str> {
    report.told.iter().map(|told| told.event).collect()
}

impl Scene {
    fn new(recipient: &str) -> Self {
        let town = Town::running(&[SENDER, recipient]);
        let mut rng = seeded();
        let [police, office] = [SENDER, recipient].map(|id| ready(&town, id));
        let scratch = town.scratch("files");
        let files = ["een.txt", "twee.txt"].map(|name| scratch.join(name));
        std::fs::write(&files[0], "Wat er gebeurde, in het kort.").unwrap();
        std::fs::write(&files[1], vec![b'x'; 5_000]).unwrap();
        let case = CaseRef::random(&mut rng);
        police.open_case(case, &[SENDER, recipient]);
        let send = || {
            let parts = [0, 1].map(|n: usize| Document::new("identity", &files[n]));
            police.send(&Office::order(case, &[recipient], GROUND, &parts))
        };
        let packet = send();
        let settled = police.packet(&packet, "settled");
        assert!(
            outcomes(&settled).iter().all(|o| o.2 == "received"),
            "{settled:#}"
        );
        let delivery = office.received(&packet);
        office.open(&packet, &text(&delivery["parts"][0], "part"), &scratch);
        wait::until("the log to say that it was taken", || {
            let shown = police.packet(&packet, "settled");
            shown["outcomes"]
                .as_array()?
                .iter()
                .any(|o| o["disclosure"] == "taken")
                .then_some(())
        });
        // The recipient hears of its own word by the same log.
        let received = wait::until("the recipient's own entries", || {
            let file = town.scratch("packs").join(format!("{recipient}-{packet}.tar"));
            let _gone = std::fs::remove_file(&file);
            let file = exported(&town, recipient, &packet, &[]);
            let entries = read(&file)
                .keys()
                .filter(|name| name.ends_with("leaf.bin"))
                .count();
            (entries >= 4).then_some(file)
        });
        let sent = exported(&town, SENDER, &packet, &[]);
        let later = send();
        police.packet(&later, "settled");
        let other = read(&exported(&town, SENDER, &later, &[]));
        Self {
            town,
            packet,
            sent,
            received,
            other,
        }
    }
}

#[test]
fn sender_and_recipient_show_a_stranger_what_became_of_a_packet() {
    let scene = Scene::new(PROSECUTOR);
    let report = good(&scene.town, &scene.sent);
    let said = [
        "SubmissionAcceptance",
        "ContentConsignment",
        "ContentHandover",
        "ContentHandover",
    ];
    assert_eq!(events(&report)[..4], said);
    assert_eq!(count(&report, "acknowledgement"), events(&report).len() - 2);
    assert_eq!(
        count(&report, "decision"),
        2,
        "what was shown and what was hidden"
    );
    assert_eq!(count(&report, "opening"), 3);
    assert!(
        report.told.iter().all(|told| !told.witnessed),
        "two witnesses are too few"
    );
    let report = good(&scene.town, &scene.received);
    assert_eq!(events(&report)[..4], said);
    assert_eq!((count(&report, "part"), count(&report, "decision")), (2, 1));
    assert!(count(&report, "consistency") > 0, "{}", report.to_text("en"));
    let content = read(&scene.received);
    let taken: Vec<_> = content
        .keys()
        .filter(|name| name.ends_with("content.bin"))
        .collect();
    assert_eq!(taken.len(), 2);
    commands(&scene);
    folders(&scene);
}

/// What the command line says, in three languages and as JSON, with its exit status.
fn commands(scene: &Scene) {
    let authority = scene.town.network().authority_file();
    let (authority, file) = (path(&authority), path(&scene.received));
    for (language, words) in [
        ("nl", "Alles klopt"),
        ("fr", "Tout est exact"),
        ("en", "Everything holds"),
    ] {
        let verify = [
            "evidence",
            "verify",
            file,
            "--authority",
            authority,
            "--lang",
            language,
        ];
        let (status, said) = command(&verify);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains(words) && said.contains(&scene.packet), "{said}");
    }
    let (status, said) = command(&["--json", "evidence", "verify", file]);
    assert_eq!(status, Some(1), "{said}");
    let said: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let failed: Vec<_> = said["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["result"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(
        (&failed[0]["check"], &failed[0]["code"]),
        (&"authority".into(), &"AUTHORITY_NOT_GIVEN".into())
    );
    let config = scene.town.network().agent_config(&agency(SENDER));
    let (status, said) = command(&["--config", path(&config), "evidence", "verify", file]);
    assert_eq!(status, Some(0), "the authority that is configured: {said}");
    let absent = scene.town.scratch("packs").join("none.tar");
    for unreadable in [
        absent.as_path(),
        config.as_path(),
        scene.town.scratch("empty").as_path(),
    ] {
        let (status, said) = command(&["evidence", "verify", path(unreadable), "--authority", authority]);
        assert_eq!(status, Some(2), "{said}");
    }
}

/// Unpacked by `tar` it is checked as well, and packed by `tar` again; without content the commitments are left.
fn folders(scene: &Scene) {
    let folder = scene.town.scratch("unpacked");
    let run = |arguments: &[&str]| schakel_tests::system::process::run("tar", arguments).unwrap();
    run(&["-xf", path(&scene.received), "-C", path(&folder)]);
    let by_folder = good(&scene.town, &folder);
    let again = scene.town.scratch("packs").join("again.tar");
    run(&["-cf", path(&again), "-C", path(&folder), "."]);
    let by_tar = good(&scene.town, &again);
    assert_eq!(by_folder.findings, by_tar.findings);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&scene.received).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let bare = exported(&scene.town, PROSECUTOR, &scene.packet, &["--without-content"]);
    let report = good(&scene.town, &bare);
    assert_eq!((count(&report, "part"), count(&report, "opening")), (0, 3));
    assert!(!read(&bare).keys().any(|name| name.starts_with("parts/")));
    // Nothing is overwritten, and nobody else's packet is there.
    let config = scene.town.network().agent_config(&agency(PROSECUTOR));
    let export = [
        "--config",
        path(&config),
        "evidence",
        "export",
        &scene.packet,
        "--out",
        path(&bare),
    ];
    let (status, said) = command(&export);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("FILE_EXISTS"), "{said}");
}

#[test]
fn what_was_received_in_the_open_proves_its_content_too_until_it_is_destroyed() {
    let mut town = Town::rupel();
    let config = town.network().agent_config(&agency(DIRECTOR));
    let settings = std::fs::read_to_string(&config).unwrap();
    let settings = settings.replace("at_rest = \"sealed\"", "");
    let settings = match settings.split_once("[inbox]") {
        Some((before, after)) => format!("{before}[inbox]\nat_rest = \"plain\"{after}"),
        None => format!("{settings}\n[inbox]\nat_rest = \"plain\"\n"),
    };
    std::fs::write(&config, settings).unwrap();
    town.start_broker();
    town.start_agent(SENDER);
    town.start_agent(DIRECTOR);
    let [police, director] = [SENDER, DIRECTOR].map(|id| ready(&town, id));
    let file = town.scratch("files").join("een.txt");
    std::fs::write(&file, "Wat er gebeurde.").unwrap();
    let case = CaseRef::random(&mut seeded());
    police.open_case(case, &[SENDER, DIRECTOR]);
    let parts = [Document::new("identity", &file)];
    let packet = police.send(&Office::order(case, &[DIRECTOR], GROUND, &parts));
    police.packet(&packet, "settled");
    director.received(&packet);
    let report = good(&town, &exported(&town, DIRECTOR, &packet, &[]));
    assert_eq!(count(&report, "part"), 1);
}

#[test]
fn l05_a_recipient_that_never_answers_cannot_deny_that_it_was_given_the_packet() {
    let town = Town::running(&[SENDER]);
    let mut rng = seeded();
    let police = ready(&town, SENDER);
    let file = town.scratch("files").join("een.txt");
    std::fs::write(&file, "Wat er gebeurde.").unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[SENDER, PROSECUTOR]);
    let parts = [Document::new("facts_summary", &file)];
    let packet = police.send(&Office::order(
        case,
        &[PROSECUTOR],
        ("prosecution", "legal_duty"),
        &parts,
    ));
    runtime().block_on(async {
        let mut silent = Player::of(&town, PROSECUTOR, StdRng::from_rng(&mut rng));
        let mut session = silent.receive(4).await;
        session.delivery().await;
    });
    wait::until("the consignment at the sender", || {
        let shown = police.packet(&packet, "accepted");
        (outcomes(&shown)[0].2 == "handed_over").then_some(())
    });
    let file = exported(&town, SENDER, &packet, &[]);
    let report = good(&town, &file);
    assert_eq!(events(&report), ["SubmissionAcceptance", "ContentConsignment"]);
    assert_eq!(report.told[1].recipient.as_ref().unwrap().as_str(), PROSECUTOR);
    // What was given to it is what the sender still has, sealed.
    assert_eq!((count(&report, "decision"), count(&report, "sealed")), (2, 1));
    let mut pack = read(&file);
    let sealed = pack
        .keys()
        .find(|name| name.starts_with("sealed/"))
        .unwrap()
        .clone();
    damage::flip(&mut pack, &sealed);
    damage::assert_failed(&town, &mut pack, &[&format!("sealed {sealed}")]);
}

#[test]
fn a_recalled_packet_proves_that_its_sender_took_it_back() {
    let town = Town::running(&[SENDER]);
    let mut rng = seeded();
    let police = ready(&town, SENDER);
    let file = town.scratch("files").join("een.txt");
    std::fs::write(&file, "Wat er gebeurde.").unwrap();
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[SENDER, PROSECUTOR]);
    let parts = [Document::new("facts_summary", &file)];
    let packet = police.send(&Office::order(
        case,
        &[PROSECUTOR],
        ("prosecution", "legal_duty"),
        &parts,
    ));
    police.packet(&packet, "accepted");
    police.recall(&packet);
    police.packet(&packet, "settled");
    let offline = exported(&town, SENDER, &packet, &["--offline"]);
    let asked = exported(&town, SENDER, &packet, &[]);
    let report = good(&town, &asked);
    assert_eq!(events(&report), ["SubmissionAcceptance", "schakel:Recalled"]);
    assert_eq!(count(&report, "recall"), 1);
    // Without the broker there is no proof of one history, and that is said.
    let report = verify(&offline, &anchor(&town)).unwrap();
    let lost = failed(&report);
    assert!(lost.iter().all(|one| one.starts_with("consistency ")), "{lost:?}");
    // Somebody else's recall.
    let mut pack = read(&asked);
    let recall = report.told[1].index;
    let forger = town.network().agency_keys(&agency(PROSECUTOR)).unwrap();
    let forged = forger
        .sign(&pack[&format!("log/{recall}/attachment.bin")], now())
        .unwrap();
    pack.insert(format!("log/{recall}/attachment.sig"), forged);
    damage::assert_failed(
        &town,
        &mut pack,
        &[&format!("attachment log/{recall}/attachment.bin")],
    );
}

//! A broker that lies, each time in another way: a real agent refuses by a code of its own, and what it keeps on disk
//! proves the lie to anybody who has the directory, offline.

use std::path::{Path, PathBuf};

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::{self, CheckedEvidence, Event, EvidenceError};
use schakel_proto::ids::{CaseRef, Digest};
use schakel_proto::openpgp::Fingerprint;
use schakel_proto::statement::FactChain;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::contradiction::{NoContradiction, Seen, Verdict, judge, judge_seen};
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;
use serde_json::Value;

use crate::flow::{Daemon, police, send};
use crate::hostile::{HONEST, Lie, await_quarantine, await_received, case, received, tell, walk};
use crate::support::broker::{self, Running};
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::{Parcel, RECIPIENT, SENDER, and_then, parcel};
use crate::support::town::{Town, agency, now};
use crate::support::until;

pub fn wait<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    tokio::task::block_in_place(|| until(what, ask))
}

pub fn data(town: &Town, id: &str) -> PathBuf {
    town.network.agent_data(&agency(id))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A folder whose name begins so, once it is complete.
pub fn kept(dir: &Path, beginning: &str, last: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.map(|e| e.unwrap().path());
    let mut found = entries.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(beginning));
    found.find(|p| p.join(last).is_file())
}

/// The proof that was given, as the agent wrote it down.
fn proof(folder: &Path) -> Vec<Digest> {
    let found = json(&folder.join("found.json"));
    serde_json::from_value(found.get("proof").unwrap().clone()).unwrap()
}

pub fn log_of(town: &Town, count: usize) -> Ledger {
    let mut ledger = Ledger::new(town);
    for _ in 0..count {
        ledger.add(body(Event::BundleActivated), None, None, None);
    }
    ledger
}

type Entries = Vec<(Digest, wire::Evidence)>;

/// What is done, what that is judged to be, how, and how many entries come after it.
type History = (&'static str, Verdict, fn(&mut Entries), usize);

/// What a broker does to a log of nine entries that an agent has seen.
const HISTORIES: &[History] = &[
    ("drops an entry", Verdict::NotShown, |all| drop(all.remove(4)), 3),
    ("reorders entries", Verdict::NotShown, |all| all.swap(2, 6), 1),
    (
        "rewrites an entry",
        Verdict::NotShown,
        |all| all[3] = all[8].clone(),
        2,
    ),
    (
        "puts an entry into the past",
        Verdict::NotShown,
        |all| all.insert(1, all[7].clone()),
        0,
    ),
    (
        "rolls back, as after a restart",
        Verdict::NotShown,
        |all| all.truncate(5),
        0,
    ),
    (
        "forks: another last entry",
        Verdict::Forked,
        |all| all[8] = all[0].clone(),
        0,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l02_l03_a_history_that_is_not_what_it_was_is_found_and_both_sides_prove_it() {
    let (town, running) = broker::start(None).await;
    let audit = data(&town, RECIPIENT).join("audit");
    for (name, verdict, lie, more) in HISTORIES {
        let hold_up = |ledger: Ledger| {
            let mut script = running.script.lock().unwrap();
            script.held_up.candidate = ledger.checkpoint().into();
            script.ledger = ledger;
        };
        let honest = log_of(&town, 9);
        hold_up(honest.clone());
        let daemon = Daemon::start(&town, RECIPIENT);
        wait("the honest log", || {
            audit.join("cosigned.note").is_file().then_some(())
        });
        let mut lying = honest.clone();
        lying.rewrite(lie);
        for _ in 0..*more {
            lying.add(body(Event::BundleActivated), None, None, None);
        }
        hold_up(lying.clone());
        let found = wait(name, || kept(&audit, "contradiction-", "found.json"));
        let status = daemon.ask("/v1/status").await;
        assert_eq!(
            status.pointer("/trust/code").unwrap(),
            "LOG_CONTRADICTION",
            "{name}"
        );
        let note = |file: &str| std::fs::read(found.join(file)).unwrap();
        let (first, second, directory) = (note("first.note"), note("second.note"), town.directory());
        let judged = |first: &[u8], second: &[u8], proof: &[Digest]| {
            judge(first, second, proof, directory.log().key())
        };
        assert_eq!(judged(&first, &second, &proof(&found)), Ok(*verdict), "{name}");
        assert_eq!(first, honest.checkpoint(), "{name}");
        assert_eq!(second, lying.checkpoint(), "{name}");
        // An older state of the same log is no second history, whatever the agent says of the order.
        if name.starts_with("rolls back") {
            town.assert_proves_not(&found, "contradiction");
        } else {
            town.assert_proves(&found);
        }
        // The same two sides of an honest log prove nothing.
        let mut longer = honest.clone();
        longer.add(body(Event::BundleActivated), None, None, None);
        let path: Vec<_> = longer
            .consistency(9)
            .iter()
            .map(|h| Digest::try_from(&**h).unwrap())
            .collect();
        let honest = judged(&first, &longer.checkpoint(), &path);
        assert_eq!(honest, Err(NoContradiction::Consistent), "{name}");
        daemon.stop().await;
        std::fs::remove_dir_all(&audit).unwrap();
    }
}

/// The parcel, of which the sender signs that it saw this tree.
fn having_seen(mut parcel: Parcel, town: &Town, ledger: &Ledger) -> Parcel {
    let directory = town.directory();
    let seen = SignedCheckpoint::open(&ledger.checkpoint(), directory.log().key()).unwrap();
    let mut manifest = wire::Manifest::decode(&*parcel.sealed.manifest.bytes).unwrap();
    manifest.checkpoint_seen = Some(wire::CheckpointSeen {
        origin: seen.origin().to_owned(),
        size: seen.size(),
        root: seen.root().to_vec().into(),
    });
    let bytes = manifest.encode_to_vec();
    let signature = town.keys(SENDER).sign(&bytes, now()).unwrap();
    parcel.sealed.manifest = wire::Signed {
        bytes: bytes.into(),
        signature: signature.into(),
    };
    parcel
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l09_a_log_forked_for_each_agency_is_found_when_one_hears_from_the_other() {
    let (town, running) = broker::start(None).await;
    let own = log_of(&town, 6);
    running.script.lock().unwrap().ledger = own.clone();
    let daemon = Daemon::start(&town, RECIPIENT);
    let case = case(&running, &town, &[SENDER, RECIPIENT]);
    // What the sender was shown: another history, of a size that the recipient's has too; and one beyond it.
    for (name, other) in [
        ("fork", log_of(&town, 5)),
        ("more than there is", log_of(&town, 400)),
    ] {
        let parcel = having_seen(parcel(&town, case, 1), &town, &other);
        tell(&running, &town, &parcel, &HONEST);
        assert_eq!(await_quarantine(&town, &parcel, name), "CHECKPOINT_OTHER_HISTORY");
        assert!(received(&town, &parcel).is_empty());
        let audit = data(&town, RECIPIENT).join("audit");
        let beginning = format!("disputed-{}-", other.size());
        let found = wait(name, || kept(&audit, &beginning, "found.json"));
        // Offline: the sender signed it, and it is not of the history that the log's key signed for us.
        let signed = wire::Signed::decode(&*std::fs::read(found.join("signed.bin")).unwrap()).unwrap();
        let (said, directory) = (wire::Manifest::decode(&*signed.bytes).unwrap(), town.directory());
        let key = Fingerprint::try_from(&*said.sender_key).unwrap();
        let keys = directory
            .agency(&agency(SENDER))
            .unwrap()
            .signing_keys(&key)
            .unwrap();
        keys.verify(&signed.bytes, &signed.signature, now()).unwrap();
        let seen = said.checkpoint_seen.unwrap();
        let seen = Seen {
            size: seen.size,
            root: Digest::try_from(&*seen.root).unwrap(),
        };
        let own = std::fs::read(found.join("own.note")).unwrap();
        let verdict = judge_seen(seen, &own, &proof(&found), directory.log().key());
        assert_eq!(verdict, Ok(Verdict::Disputed), "{name}");
        // What is larger than our side may have come after it.
        if name == "fork" {
            town.assert_proves(&found);
        } else {
            town.assert_proves_not(&found, "dispute");
        }
    }
    let status = daemon.ask("/v1/status").await;
    assert_eq!(
        status
            .pointer("/witness/disputed")
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        status.get("trust"),
        Some(&Value::Null),
        "one member's word does not stop an agency"
    );
    // Who saw what we saw is believed.
    let honest = having_seen(parcel(&town, case, 1), &town, &own);
    tell(&running, &town, &honest, &HONEST);
    await_received(&town, &honest);
    daemon.stop().await;
}

/// The hand-over and the manifest of a quarantined parcel.
fn set_aside(town: &Town, parcel: &Parcel) -> (wire::HandOver, wire::Manifest) {
    let files = walk(&data(town, RECIPIENT).join("quarantine"));
    let id = parcel.sealed.packet_id.to_string();
    let read = |name: &str| {
        let mut named = files
            .iter()
            .filter(|p| p.to_string_lossy().contains(&id) && p.ends_with(name));
        std::fs::read(named.next().unwrap()).unwrap()
    };
    let signed = wire::Signed::decode(&*read("manifest.bin")).unwrap();
    let manifest = wire::Manifest::decode(&*signed.bytes).unwrap();
    (wire::HandOver::decode(&*read("hand-over.bin")).unwrap(), manifest)
}

fn hand_over(frames: &mut [Frame]) -> &mut wire::HandOver {
    let found = frames.iter_mut().find_map(|f| match f {
        Frame::HandOver(h) => Some(h),
        _ => None,
    });
    found.unwrap()
}

/// A recipient in a case with the sender, of a broker that lies to it in its hand-overs.
struct Deceived {
    town: Town,
    running: Running,
    daemon: Daemon,
    case: CaseRef,
}

impl Deceived {
    async fn start() -> Self {
        let (town, running) = broker::start(None).await;
        running.script.lock().unwrap().ledger = log_of(&town, 5);
        let daemon = Daemon::start(&town, RECIPIENT);
        let case = case(&running, &town, &[SENDER, RECIPIENT]);
        Self {
            town,
            running,
            daemon,
            case,
        }
    }

    /// Tells a lie, which must be refused by its code; what is kept of it.
    fn told(&self, lie: &Lie) -> (wire::HandOver, wire::Manifest) {
        let (town, name) = (&self.town, lie.name);
        let parcel = parcel(town, self.case, 1);
        tell(&self.running, town, &parcel, lie);
        assert_eq!(await_quarantine(town, &parcel, name), lie.code, "{name}");
        assert!(received(town, &parcel).is_empty(), "{name}");
        set_aside(town, &parcel)
    }

    /// What anybody finds who checks kept evidence offline.
    fn check(&self, evidence: Option<&wire::Evidence>) -> Result<CheckedEvidence, EvidenceError> {
        let directory = self.town.directory();
        evidence::check(evidence.unwrap(), directory.network(), directory.log().key())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_proofs_and_receipts_of_others_are_refused_and_kept() {
    let deceived = Deceived::start().await;
    let (kept, _) = deceived.told(&Lie {
        name: "answers with another entry's proof",
        code: "EVIDENCE_WRONG",
        bend: |frames, ledger| {
            let other = ledger.evidence(2);
            hand_over(frames).submission.as_mut().unwrap().inclusion = other.inclusion;
        },
        ..HONEST
    });
    let checked = deceived.check(kept.submission.as_ref());
    assert!(matches!(checked, Err(EvidenceError::Proof(_))));
    assert!(deceived.check(kept.consignment.as_ref()).is_ok());
    let (kept, manifest) = deceived.told(&Lie {
        name: "shows another packet's receipt",
        code: "EVIDENCE_OTHER_PACKET",
        bend: |frames, ledger| hand_over(frames).submission = Some(ledger.evidence(1)),
        ..HONEST
    });
    let shown = deceived.check(kept.submission.as_ref()).unwrap().body().packet;
    assert_ne!(
        shown.map(|packet| packet.to_vec()),
        Some(manifest.packet_id.to_vec())
    );
    deceived.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_l06_an_old_key_and_a_false_date_are_refused_and_kept() {
    let deceived = Deceived::start().await;
    let (kept, _) = deceived.told(&Lie {
        name: "signs with an old key",
        code: "EVIDENCE_WRONG",
        bend: |frames, ledger| {
            let note: bytes::Bytes = ledger.forged_checkpoint().into();
            let hand_over = hand_over(frames);
            hand_over.submission.as_mut().unwrap().checkpoint = note.clone();
            hand_over.consignment.as_mut().unwrap().checkpoint = note;
        },
        ..HONEST
    });
    let checked = deceived.check(kept.consignment.as_ref());
    assert!(matches!(checked, Err(EvidenceError::Checkpoint(_))));
    let (kept, manifest) = deceived.told(&Lie {
        name: "back-dates a decision",
        code: "DECISION_TIME",
        decide: |decision| decision.at_ms -= 7_200_000,
        log: |body| body.at_ms -= 7_200_000,
        ..HONEST
    });
    let checked = deceived.check(kept.consignment.as_ref()).unwrap();
    let decided = checked.shown().unwrap().at().millis();
    assert!(
        decided < manifest.created_ms,
        "decided before the sender had made it"
    );
    deceived.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l02_a_fact_that_is_hidden_at_a_decision_is_found_and_the_signed_fact_proves_it() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let case: CaseRef = case(&running, &town, &[SENDER, RECIPIENT]);
    let parcel = parcel(&town, case, 1);
    {
        let mut script = running.script.lock().unwrap();
        let first = script.facts[&case].clone();
        let head = first.entries[0].head.clone();
        // Accepted five minutes ago: the recipient is not on the roster any more. Decided as if it were.
        let both = and_then(&town, first, &[SENDER], 300_000);
        script.facts.insert(case, both.clone());
        let submission = parcel.submit(&mut script.ledger);
        let mut decision = parcel.decision(&town, &both);
        (decision.facts_count, decision.facts_head) = (1, head);
        let consignment = parcel.consign(&mut script.ledger, decision, |_| {});
        let frames = parcel.hand_over(&script.ledger, submission, consignment);
        script.frames.extend(frames);
    }
    assert_eq!(
        await_quarantine(&town, &parcel, "a hidden withdrawal"),
        "DECISION_FACTS"
    );
    assert!(received(&town, &parcel).is_empty());
    let (kept, _) = set_aside(&town, &parcel);
    let directory = town.directory();
    let consignment = kept.consignment.unwrap();
    let checked = evidence::check(&consignment, directory.network(), directory.log().key()).unwrap();
    let decision = checked.shown().unwrap();
    let facts = std::fs::read(data(&town, RECIPIENT).join("facts").join(case.to_string())).unwrap();
    let chain = FactChain::check(&wire::CaseFacts::decode(&*facts).unwrap()).unwrap();
    let left_out = &chain.facts()[1];
    assert_eq!((decision.facts_count(), chain.count()), (1, 2));
    assert_eq!(decision.facts_head(), chain.first(1).head());
    assert!(decision.at().millis_since(left_out.accepted()) > 60_000 && left_out.signed().is_some());
    daemon.stop().await;
}

/// The code and the bytes of the refused directory that was kept.
fn refused(town: &Town, code: &str) -> Option<Vec<u8>> {
    let all = data(town, RECIPIENT).join("network/refused");
    let entries = std::fs::read_dir(all).ok()?.map(|e| e.unwrap().path());
    let of_code = |p: &PathBuf| {
        let reason = p.join("reason.json");
        reason.is_file() && json(&reason).get("code").unwrap() == code
    };
    let found = entries.into_iter().find(of_code)?;
    Some(std::fs::read(found.join("directory.bin")).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_a_swapped_certificate_and_a_stale_directory_are_refused_and_kept() {
    let (town, running) = broker::start(None).await;
    let config = town.network.agent_config(&agency(RECIPIENT));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("refresh_seconds = 1\n{text}")).unwrap();
    let first = running.script.lock().unwrap().directory.clone();
    town.network.refresh(now()).unwrap();
    let second = std::fs::read(town.network.directory_file()).unwrap();
    let second = wire::MultiSigned::decode(&*second).unwrap();
    running.script.lock().unwrap().directory = second.clone();
    let daemon = Daemon::start(&town, RECIPIENT);
    let newest = data(&town, RECIPIENT).join("network/directory-2.bin");
    wait("the directory", || newest.is_file().then_some(()));
    let serve = |directory: wire::MultiSigned| {
        let mut script = running.script.lock().unwrap();
        (script.directory, script.pushes_directory) = (directory, true);
    };
    let (authority, network) = (
        town.network.authority().unwrap(),
        town.directory().network().clone(),
    );
    let verify = |bytes: &[u8]| Directory::verify_encoded(bytes, &authority, &network, now());
    // The sender's certificate swapped for a member's that works with the broker; it signs in the authority's place.
    let swapped = town.network.issue_changed(now(), |directory| {
        let strange = directory.agencies[2].certificates.clone();
        directory.agencies.remove(2);
        directory.agencies[0].certificates = strange;
    });
    let mut swapped = swapped.unwrap();
    let signature = town.keys("caw-rupel").sign(&swapped.bytes, now()).unwrap();
    swapped.signatures = vec![signature.into()];
    serve(swapped);
    let kept = wait("the refused directory", || refused(&town, "DIRECTORY_SIGNATURE"));
    assert!(verify(&kept).is_err());
    // One that the authority did sign, before the newest.
    serve(first);
    let kept = wait("the stale directory", || refused(&town, "DIRECTORY_OLDER"));
    let newest = verify(&std::fs::read(&newest).unwrap()).unwrap();
    assert!(verify(&kept).unwrap().version() < newest.version());
    assert_eq!(
        daemon.ask("/v1/status").await.get("directory_version").unwrap(),
        2
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l04_a_withheld_receipt_is_overdue_and_a_recipients_proof_shows_that_it_was_there() {
    let (town, running, daemon) = police(Vec::new()).await;
    {
        let mut script = running.script.lock().unwrap();
        (script.withholds, script.accepted_ago) = (true, 120_000);
    }
    let sent = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    let id = sent.get("packet").unwrap().as_str().unwrap().to_owned();
    let path = data(&town, SENDER)
        .join("outbox")
        .join(&id)
        .join("receipt-overdue.json");
    wait("the alarm", || path.is_file().then_some(()));
    let status = daemon.ask("/v1/status").await;
    assert_eq!(
        status.get("receipts_overdue").unwrap().as_array().unwrap(),
        &[Value::from(id)]
    );
    assert_eq!(status.get("unsettled").unwrap(), 1, "the sealed copy is kept");
    // What it promised stands in the log as others are shown it: they can prove that it was there.
    let promised: Digest =
        serde_json::from_value(json(&path).pointer("/accepted/leaf").unwrap().clone()).unwrap();
    let shown = running.script.lock().unwrap().ledger.evidence(0);
    let directory = town.directory();
    let checked = evidence::check(&shown, directory.network(), directory.log().key()).unwrap();
    assert_eq!(checked.leaf_hash(), promised);
    // It comes after all: then nothing is overdue.
    running.script.lock().unwrap().shown.push(0);
    let mut told = status;
    while !told
        .get("receipts_overdue")
        .unwrap()
        .as_array()
        .unwrap()
        .is_empty()
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        told = daemon.ask("/v1/status").await;
    }
    daemon.stop().await;
}

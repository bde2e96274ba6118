//! Brokers that lie: the agent accepts nothing and says why. Each lie is followed by nothing on disk but
//! its quarantine; at the end the same broker tells the truth once, and that is accepted.

use std::path::{Path, PathBuf};

use prost::Message;
use schakel_agent::clock::randomness;
use schakel_proto::ids::{CaseRef, Digest, PartId};
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;

use crate::flow::Daemon;
use crate::support::broker::{self, Running};
use crate::support::ledger::Ledger;
use crate::support::parcel::{CONTENT, Parcel, RECIPIENT, facts, parcel, parcel_to};
use crate::support::town::{Town, agency};
use crate::support::until;

/// The hand-over in a list of frames.
fn hand_over(frames: &mut [Frame]) -> &mut wire::HandOver {
    let found = frames.iter_mut().find_map(|f| match f {
        Frame::HandOver(h) => Some(h),
        _ => None,
    });
    found.unwrap()
}

fn evidence(slot: &mut Option<wire::Evidence>) -> &mut wire::Evidence {
    slot.as_mut().unwrap()
}

/// What the prosecutor keeps in quarantine for a packet: the reason code.
pub fn quarantined(town: &Town, parcel: &Parcel) -> Option<String> {
    let dir = town.network.agent_data(&agency(RECIPIENT)).join("quarantine");
    let entries = std::fs::read_dir(dir).ok()?.map(|e| e.unwrap().path());
    let mine = entries.filter(|p| p.to_string_lossy().contains(&parcel.sealed.packet_id.to_string()));
    let reason = mine.map(|p| p.join("reason.json")).find(|p| p.is_file())?;
    let reason: serde_json::Value = serde_json::from_slice(&std::fs::read(reason).unwrap()).unwrap();
    Some(
        reason
            .pointer("/problem/code")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned(),
    )
}

/// The parts that the prosecutor's inbox holds of a packet.
pub fn received(town: &Town, parcel: &Parcel) -> Vec<PathBuf> {
    let dir = town.network.agent_data(&agency(RECIPIENT)).join("inbox");
    let folders = walk(&dir.join(parcel.sealed.packet_id.to_string()));
    folders
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "pgp" || e == "bin"))
        .filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("part-"))
        .filter(|p| !p.to_string_lossy().contains("/.new-"))
        .collect()
}

/// Every file under a folder.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|e| e.unwrap().path());
    paths
        .flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] })
        .collect()
}

/// Outcomes that the broker was told for a packet.
fn answers(running: &Running, parcel: &Parcel) -> Vec<String> {
    let script = running.script.lock().unwrap();
    let said = script
        .acknowledgements
        .iter()
        .map(|s| wire::Acknowledgement::decode(&*s.bytes).unwrap());
    said.filter(|a| *a.packet_id == *parcel.sealed.packet_id.as_bytes())
        .map(|a| a.outcome)
        .collect()
}

/// What the broker does to an honest hand-over.
pub type Bend = fn(&mut Vec<Frame>, &Ledger);
/// What the broker decides instead of the truth.
pub type Decide = fn(&mut wire::Decision);
/// What the broker logs instead of the truth.
pub type Log = fn(&mut wire::EvidenceBody);

/// One lie, and the code that it must end with.
pub struct Lie {
    pub name: &'static str,
    pub code: &'static str,
    pub decide: Decide,
    pub log: Log,
    pub bend: Bend,
}

/// No lie.
pub const HONEST: Lie = Lie {
    name: "honest",
    code: "",
    decide: |_| {},
    log: |_| {},
    bend: |_, _| {},
};

fn lies() -> Vec<Lie> {
    let mut all = lies_of_the_log();
    all.extend(lies_of_the_decision());
    all.extend(lies_on_the_way());
    all
}

fn lies_of_the_log() -> Vec<Lie> {
    let bend = |name, code, bend| Lie {
        name,
        code,
        bend,
        ..HONEST
    };
    vec![
        bend("checkpoint by another key", "EVIDENCE_WRONG", |frames, ledger| {
            let consignment = evidence(&mut hand_over(frames).consignment);
            consignment.checkpoint = ledger.forged_checkpoint().into();
        }),
        bend("wrong inclusion proof", "EVIDENCE_WRONG", |frames, _| {
            let consignment = evidence(&mut hand_over(frames).consignment);
            consignment.inclusion[0] = Digest::of(b"elsewhere").to_vec().into();
        }),
        bend("another body under the leaf", "EVIDENCE_WRONG", |frames, _| {
            let consignment = evidence(&mut hand_over(frames).consignment);
            let mut body = wire::EvidenceBody::decode(&*consignment.body).unwrap();
            body.reason = "OTHER".into();
            consignment.body = body.encode_to_vec().into();
        }),
        bend("no proof of submission", "EVIDENCE_MISSING", |frames, _| {
            hand_over(frames).submission = None
        }),
        bend(
            "submission of another packet",
            "EVIDENCE_OTHER_PACKET",
            |frames, ledger| {
                hand_over(frames).submission = Some(ledger.evidence(0));
            },
        ),
        bend("withheld decision", "DECISION_MISSING", |frames, _| {
            evidence(&mut hand_over(frames).consignment).shown = None;
        }),
        Lie {
            name: "consigned to somebody else",
            code: "EVIDENCE_OTHER_RECIPIENT",
            decide: |decision| decision.recipient = "caw-rupel".into(),
            log: |body| body.recipient = "caw-rupel".into(),
            ..HONEST
        },
    ]
}

fn lies_of_the_decision() -> Vec<Lie> {
    let decide = |name, code, decide| Lie {
        name,
        code,
        decide,
        ..HONEST
    };
    vec![
        decide("decision about somebody else", "EVIDENCE_WRONG", |d| {
            d.recipient = "caw-rupel".into()
        }),
        decide("decided to withhold", "DECISION_NOT_DELIVER", |d| {
            d.parts[0].outcome = "withhold".into()
        }),
        decide(
            "an obligation added, to have it destroyed",
            "OBLIGATIONS_DIFFER",
            |d| {
                d.parts[0]
                    .obligations
                    .push("expire-at:1970-01-01T00:00:00Z".into())
            },
        ),
        decide("an obligation left out", "OBLIGATIONS_DIFFER", |d| {
            d.parts[0].obligations.pop();
        }),
        decide("more decided than handed over", "DECISION_OTHER_PARTS", |d| {
            let more = wire::PartDecision {
                part_id: random_part(),
                ..d.parts[0].clone()
            };
            d.parts.push(more);
        }),
        decide("another part decided", "DECISION_OTHER_PARTS", |d| {
            d.parts[0].part_id = random_part()
        }),
        decide("rules that nobody signed", "DECISION_BUNDLE", |d| {
            d.bundle_digest = Digest::of(b"rules").to_vec().into();
        }),
        decide("decided at another time", "DECISION_TIME", |d| {
            d.at_ms -= 3_600_000
        }),
        Lie {
            name: "decided and logged as of long ago",
            code: "DECISION_TIME",
            decide: |d| d.at_ms -= 7_200_000,
            log: |body| body.at_ms -= 7_200_000,
            ..HONEST
        },
        decide("a directory nobody has seen", "DECISION_DIRECTORY", |d| {
            d.directory_version = 99
        }),
        decide("other facts than shown", "DECISION_FACTS", |d| {
            d.facts_head = Digest::of(b"facts").to_vec().into();
        }),
    ]
}

fn lies_on_the_way() -> Vec<Lie> {
    let bend = |name, code, bend| Lie {
        name,
        code,
        bend,
        ..HONEST
    };
    vec![
        bend("the last chunk missing", "DELIVERY_TRUNCATED", |frames, _| {
            let last = frames.iter().rposition(|f| matches!(f, Frame::Chunk(_))).unwrap();
            frames.remove(last);
        }),
        bend("a chunk out of order", "DELIVERY_MALFORMED", |frames, _| {
            let Frame::Chunk(chunk) = &mut frames[2] else {
                panic!("no chunk")
            };
            chunk.offset += 1;
        }),
        bend("a flipped bit", "CIPHERTEXT_CHANGED", |frames, _| {
            let Frame::Chunk(chunk) = &mut frames[2] else {
                panic!("no chunk")
            };
            let mut data = chunk.data.to_vec();
            data[7] ^= 1;
            chunk.data = data.into();
        }),
        bend("another session key", "KEY_PACKET_NOT_COMMITTED", |frames, _| {
            let part = &mut hand_over(frames).parts[0];
            let mut packet = part.key_packet.to_vec();
            *packet.last_mut().unwrap() ^= 1;
            part.key_packet = packet.into();
        }),
        bend("a swapped descriptor", "OPENING_NOT_IN_MANIFEST", |frames, _| {
            let part = hand_over(frames).parts[0].part.as_mut().unwrap();
            let mut descriptor = wire::PartDescriptor::decode(&*part.descriptor).unwrap();
            descriptor.category = "contact_log".into();
            part.descriptor = descriptor.encode_to_vec().into();
        }),
    ]
}

fn random_part() -> bytes::Bytes {
    PartId::random(&mut randomness()).to_vec().into()
}

/// Logs and hands over a parcel with a lie.
pub fn tell(running: &Running, town: &Town, parcel: &Parcel, lie: &Lie) {
    let mut script = running.script.lock().unwrap();
    let facts = script.facts.get(&parcel.case).cloned().unwrap_or_default();
    let submission = parcel.submit(&mut script.ledger);
    let mut decision = parcel.decision(town, &facts);
    (lie.decide)(&mut decision);
    let consignment = parcel.consign(&mut script.ledger, decision, lie.log);
    let mut frames = parcel.hand_over(&script.ledger, submission, consignment);
    (lie.bend)(&mut frames, &script.ledger);
    script.frames.extend(frames);
}

/// A case that police and prosecutor are on.
pub fn case(running: &Running, town: &Town, roster: &[&str]) -> CaseRef {
    let case = CaseRef::random(&mut randomness());
    running
        .script
        .lock()
        .unwrap()
        .facts
        .insert(case, facts(town, case, roster));
    case
}

pub fn await_quarantine(town: &Town, parcel: &Parcel, name: &str) -> String {
    tokio::task::block_in_place(|| until(name, || quarantined(town, parcel)))
}

pub fn await_received(town: &Town, parcel: &Parcel) -> Vec<PathBuf> {
    let some = || Some(received(town, parcel)).filter(|parts| !parts.is_empty());
    tokio::task::block_in_place(|| until("the honest delivery", some))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_c05_c08_l06_p04_a_broker_that_lies_is_not_believed() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let case = case(&running, &town, &["pz-rupel", RECIPIENT]);
    for lie in lies() {
        let parcel = parcel(&town, case, 1);
        tell(&running, &town, &parcel, &lie);
        let code = await_quarantine(&town, &parcel, lie.name);
        assert_eq!(code, lie.code, "{}", lie.name);
        assert!(received(&town, &parcel).is_empty(), "{}", lie.name);
        assert!(
            !answers(&running, &parcel).contains(&"received".to_owned()),
            "{}",
            lie.name
        );
    }
    let honest = parcel(&town, case, 2);
    tell(&running, &town, &honest, &HONEST);
    assert_eq!(await_received(&town, &honest).len(), 2);
    let data = town.network.agent_data(&agency(RECIPIENT));
    for file in walk(&data) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let open = bytes.windows(CONTENT.len()).any(|w| w == CONTENT);
        assert!(!open, "sealed at rest, but {} holds the content", file.display());
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c09_p04_what_is_not_sound_or_not_for_us_by_the_rules_is_refused_with_a_reason() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let members = case(&running, &town, &["pz-rupel", RECIPIENT]);
    let wrong = parcel(&town, members, 1).with_wrong_commitment(&town);
    assert!(wrong.parses());
    for (parcel, code) in [
        (wrong, "COMMITMENT_DIFFERS"),
        (
            parcel_to(&town, members, 1, (RECIPIENT, "victim_support")),
            "OWN_DECISION_DIFFERS",
        ),
    ] {
        tell(&running, &town, &parcel, &HONEST);
        let found = await_quarantine(&town, &parcel, code);
        assert!(found.starts_with(code), "{found} instead of {code}");
        assert!(received(&town, &parcel).is_empty(), "{code}");
        let answered = || Some(answers(&running, &parcel)).filter(|a| !a.is_empty());
        let answered = tokio::task::block_in_place(|| until("a signed refusal", answered));
        assert!(answered.iter().all(|a| a == "refused"), "{code}: {answered:?}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c07_what_the_broker_may_have_made_so_is_never_answered_as_the_senders_fault() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let members = case(&running, &town, &["pz-rupel", RECIPIENT]);
    let bent = |bend: &dyn Fn(&mut Parcel)| {
        let mut parcel = parcel(&town, members, 1);
        bend(&mut parcel);
        parcel
    };
    let flip = |bytes: &mut bytes::Bytes| {
        let mut changed = bytes.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        *bytes = changed.into();
    };
    let parcels = [
        // Damaged in the broker: the signature, an opening, all of an opening.
        ("SIGNATURE", bent(&|p| flip(&mut p.sealed.manifest.signature))),
        (
            "SIGNATURE",
            bent(&|p| p.sealed.manifest.signature = bytes::Bytes::new()),
        ),
        (
            "OPENING_NOT_IN_MANIFEST",
            bent(&|p| flip(&mut p.sealed.parts[0].nonce)),
        ),
        (
            "OPENING_NONCE_WRONG",
            bent(&|p| p.sealed.parts[0].nonce = bytes::Bytes::new()),
        ),
        (
            "OPENING_NOT_IN_MANIFEST",
            bent(&|p| p.sealed.parts[0].descriptor = b"\xff".to_vec().into()),
        ),
        (
            "OPENING_NOT_IN_MANIFEST",
            bent(&|p| flip(&mut p.sealed.recipients[0].nonce)),
        ),
        (
            "KEY_PACKET",
            bent(&|p| p.sealed.key_packets[0].packet = b"\xc1\x01\x07".to_vec().into()),
        ),
        // Somebody else's: sealed, signed and committed to, but not for us.
        (
            "RECIPIENT_NOT_READER",
            parcel_to(&town, members, 1, ("caw-rupel", "prosecution")),
        ),
    ];
    for (code, parcel) in parcels {
        tell(&running, &town, &parcel, &HONEST);
        let found = await_quarantine(&town, &parcel, code);
        assert!(found.starts_with(code), "{found} instead of {code}");
    }
    // What comes after them is answered, and they never were.
    let honest = parcel(&town, members, 1);
    tell(&running, &town, &honest, &HONEST);
    await_received(&town, &honest);
    let answered = || Some(answers(&running, &honest)).filter(|a| !a.is_empty());
    tokio::task::block_in_place(|| until("the answer", answered));
    assert_eq!(running.script.lock().unwrap().acknowledgements.len(), 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l02_a_log_that_contradicts_itself_ends_all_trust_and_both_sides_are_kept() {
    let (town, running) = broker::start(None).await;
    let daemon = Daemon::start(&town, RECIPIENT);
    let case = case(&running, &town, &["pz-rupel", RECIPIENT]);
    // Two, so that the last checkpoint seen is no power of two: between such a one and a larger no proof shows another root.
    for _ in 0..2 {
        let one = parcel(&town, case, 1);
        tell(&running, &town, &one, &HONEST);
        await_received(&town, &one);
    }
    let second = parcel(&town, case, 1);
    let audit = town.network.agent_data(&agency(RECIPIENT)).join("audit");
    // The settlement of the last one is the end of the log: the agent has seen all of it then.
    let at_the_end = || {
        let note = std::fs::read_to_string(audit.join("last.note")).ok()?;
        let seen: u64 = note.lines().nth(1)?.parse().ok()?;
        (seen == running.script.lock().unwrap().ledger.size()).then_some(seen)
    };
    let seen = tokio::task::block_in_place(|| until("the end of the log seen", at_the_end));
    assert!(seen > 4, "{seen}");
    {
        // Another history of the same length and more, signed by the log's own key.
        let mut script = running.script.lock().unwrap();
        let mut other = Ledger::new(&town);
        while other.size() < script.ledger.size() + 8 {
            second.submit(&mut other);
        }
        let proof = other.consistency(seen);
        script.consistency = Some(wire::GetConsistencyAnswer {
            checkpoint: other.checkpoint().into(),
            proof,
            from_root: other.root_within(seen, 0),
        });
    }
    tell(&running, &town, &second, &HONEST);
    let kept = || {
        let mut entries = std::fs::read_dir(&audit).ok()?.map(|e| e.unwrap().path());
        entries.find(|p| p.join("found.json").is_file())
    };
    let kept = tokio::task::block_in_place(|| until("the evidence of the contradiction", kept));
    assert_ne!(
        std::fs::read(kept.join("first.note")).unwrap(),
        std::fs::read(kept.join("second.note")).unwrap()
    );
    town.assert_proves(&kept);
    daemon.stop().await;
    assert!(received(&town, &second).is_empty());
    // The truth again, and a restart: still nothing is accepted before a person has looked.
    running.script.lock().unwrap().consistency = None;
    let streams = running.script.lock().unwrap().streams_count;
    let daemon = Daemon::start(&town, RECIPIENT);
    let trust = daemon.ask("/v1/status").await;
    assert_eq!(trust.pointer("/trust/code").unwrap(), "LOG_CONTRADICTION");
    daemon.stop().await;
    assert_eq!(
        running.script.lock().unwrap().streams_count,
        streams,
        "no stream of deliveries is opened"
    );
}

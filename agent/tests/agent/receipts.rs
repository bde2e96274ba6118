//! What settles a packet: only log entries that prove it, and only the recipient's own signature.

use bytes::Bytes;
use prost::Message;
use schakel_agent::clock::randomness;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::contradiction::{Seen, Verdict, judge_seen};
use schakel_proto::wire;
use serde_json::Value;

use crate::flow::{police, refusal, send};
use crate::support::broker::Running;
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::{RECIPIENT, SENDER};
use crate::support::town::{Town, agency, now};
use crate::support::until;

/// A packet of the police, as its own agent tells it.
struct Told {
    id: Bytes,
    case: Bytes,
    digest: Digest,
    part: PartId,
    /// What its recipient says that it saw of the log.
    seen: Option<wire::CheckpointSeen>,
}

impl Told {
    fn of(answer: &Value) -> Self {
        let text = |pointer: &str| answer.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let id: schakel_proto::ids::PacketId = text("/packet").parse().unwrap();
        let case: schakel_proto::ids::CaseRef = text("/case").parse().unwrap();
        Self {
            id: id.to_vec().into(),
            case: case.to_vec().into(),
            digest: text("/manifest_digest").parse().unwrap(),
            part: text("/parts/0/part").parse().unwrap(),
            seen: None,
        }
    }

    fn entry(&self, event: Event) -> wire::EvidenceBody {
        wire::EvidenceBody {
            packet_id: self.id.clone(),
            case_ref: self.case.clone(),
            manifest_digest: self.digest.to_vec().into(),
            sender: "pz-rupel".to_owned(),
            recipient: RECIPIENT.to_owned(),
            ..body(event)
        }
    }

    /// Logs that the part was decided so.
    fn decide(&self, running: &Running, outcome: &str) {
        let mut script = running.script.lock().unwrap();
        let network = script.ledger.network().clone();
        let decision = |parts| wire::Decision {
            packet_id: self.id.clone(),
            recipient: RECIPIENT.to_owned(),
            at_ms: now().millis(),
            bundle_digest: Digest::of(b"rules").to_vec().into(),
            parts,
            ..Default::default()
        };
        let part = wire::PartDecision {
            part_id: self.part.to_vec().into(),
            outcome: outcome.to_owned(),
            reason: "A_REASON".to_owned(),
            ..Default::default()
        };
        let delivered = outcome == "deliver";
        let (shown, hidden) = if delivered {
            (vec![part], vec![])
        } else {
            (vec![], vec![part])
        };
        let (shown, shown_digest) = evidence::conceal(&network, decision(shown), &mut randomness());
        let (hidden, hidden_digest) = evidence::conceal(&network, decision(hidden), &mut randomness());
        let event = if delivered {
            Event::ContentConsignment
        } else {
            Event::ContentWithheld
        };
        let entry = wire::EvidenceBody {
            shown_digest: shown_digest.to_vec().into(),
            hidden_digest: hidden_digest.to_vec().into(),
            ..self.entry(event)
        };
        let index = script.ledger.add(entry, Some(shown), Some(hidden), None);
        script.shown.push(index);
    }

    /// Logs an acknowledgement in the prosecutor's name, signed by `signer`; gives its position.
    fn acknowledge(&self, running: &Running, town: &Town, signer: &str, outcome: &str) -> u64 {
        self.acknowledge_with(running, town, &town.keys(signer), (outcome, now()))
    }

    /// The same with these keys, at this time of the log.
    fn acknowledge_with(
        &self,
        running: &Running,
        town: &Town,
        keys: &SecretKeys,
        (outcome, at): (&str, Timestamp),
    ) -> u64 {
        let refused = outcome == "refused";
        let said = wire::Acknowledgement {
            r#type: "schakel.v1.Acknowledgement".to_owned(),
            network: town.network.spec().network.to_string(),
            packet_id: self.id.clone(),
            recipient: RECIPIENT.to_owned(),
            recipient_key: keys.fingerprint().to_vec().into(),
            manifest_digest: self.digest.to_vec().into(),
            consignment_leaf: Digest::of(b"leaf").to_vec().into(),
            outcome: outcome.to_owned(),
            reason: if refused {
                "FORGED".to_owned()
            } else {
                String::new()
            },
            part_ids: vec![self.part.to_vec().into()],
            made_ms: now().millis(),
            checkpoint_seen: self.seen.clone(),
            ..Default::default()
        };
        let bytes = said.encode_to_vec();
        let signature = keys.sign(&bytes, now()).unwrap();
        let signed = wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        };
        let event = if refused {
            Event::ContentHandoverFailure
        } else {
            Event::ContentHandover
        };
        let entry = wire::EvidenceBody {
            attachment_digest: evidence::attachment_digest(&signed).to_vec().into(),
            at_ms: at.millis(),
            ..self.entry(event)
        };
        let mut script = running.script.lock().unwrap();
        let index = script.ledger.add(entry, None, None, Some(signed));
        script.shown.push(index);
        index
    }
}

/// The one packet in the outbox of the police, as it stands on the disk.
fn record(town: &Town) -> Option<Value> {
    let data = town.network.agent_data(&agency(SENDER));
    let folder = std::fs::read_dir(data.join("outbox"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()
}

/// State of the packet and of its part.
fn states(record: &Value) -> Option<(&str, &str)> {
    let part = record.pointer("/outcomes/0/state")?.as_str()?;
    Some((record.get("state")?.as_str()?, part))
}

/// Waits until packet and part stand so.
fn become_so(town: &Town, packet: &str, part: &str) -> Value {
    let so = || record(town).filter(|r| states(r) == Some((packet, part)));
    tokio::task::block_in_place(|| until(part, so))
}

/// Waits until so many entries are kept as unproved; packet and part stand as before.
fn stay_so(town: &Town, unproved: usize) {
    let so = || record(town).filter(|r| r.get("unproved").unwrap().as_array().unwrap().len() == unproved);
    let record = tokio::task::block_in_place(|| until("an unproved entry", so));
    assert_eq!(states(&record), Some(("accepted", "handed_over")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_only_the_recipients_own_signature_settles_a_packet() {
    let (town, running, daemon) = police(Vec::new()).await;
    let told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "deliver");
    // Believed, this would be final.
    told.acknowledge(&running, &town, "caw-rupel", "refused");
    let index = told.acknowledge(&running, &town, RECIPIENT, "received");
    let packet = become_so(&town, "settled", "received");
    let outcome = packet.pointer("/outcomes/0").unwrap();
    assert_eq!(outcome.get("state").unwrap(), "received");
    assert_eq!(outcome.get("log_index").unwrap().as_u64(), Some(index));
    let folder = town.network.agent_data(&agency("pz-rupel")).join("outbox");
    let folder = folder.join(packet.get("packet").unwrap().as_str().unwrap());
    let gone = || (!folder.join("key-packets.bin").exists()).then_some(());
    tokio::task::block_in_place(|| until("the sealed copy to go when all is proved", gone));
    assert!(
        folder.join("evidence").join(format!("{index}.bin")).is_file(),
        "the proof stays"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_open_and_what_is_withheld_is_final() {
    let (town, running, daemon) = police(Vec::new()).await;
    let told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "hold-for-consent");
    become_so(&town, "accepted", "held");
    told.decide(&running, "withhold");
    become_so(&town, "settled", "withheld");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_a_receipt_that_our_directory_is_too_old_for_is_judged_again_with_the_newer_one() {
    let (town, running, daemon) = police(Vec::new()).await;
    let told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "deliver");
    // The recipient signs with its new key before the directory that lists it has come here.
    town.network.rotate_openpgp(&agency(RECIPIENT), now()).unwrap();
    let newer = std::fs::read(town.network.directory_file()).unwrap();
    let index = told.acknowledge(&running, &town, RECIPIENT, "received");
    stay_so(&town, 1);
    running.script.lock().unwrap().directory = wire::MultiSigned::decode(&*newer).unwrap();
    let packet = become_so(&town, "settled", "received");
    assert_eq!(
        packet.pointer("/outcomes/0/log_index").unwrap().as_u64(),
        Some(index)
    );
    assert_eq!(packet.get("unproved").unwrap().as_array().unwrap().len(), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_a_receipt_with_a_key_that_was_replaced_is_judged_by_the_directory_of_its_time() {
    let (town, running, daemon) = police(Vec::new()).await;
    let told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "deliver");
    let former = town.keys(RECIPIENT);
    town.network.rotate_openpgp(&agency(RECIPIENT), now()).unwrap();
    let only_new = town.network.issue_changed(now(), |directory| {
        let agency = directory.agencies.iter_mut().find(|a| a.id == RECIPIENT);
        agency.unwrap().certificates.truncate(1);
    });
    running.script.lock().unwrap().directory = only_new.unwrap();
    let newer = town
        .network
        .agent_data(&agency(SENDER))
        .join("network/directory-3.bin");
    let there = || newer.is_file().then_some(());
    tokio::task::block_in_place(|| until("the newer directory", there));
    // Long after the change such a key proves nothing; at the time of the change it was the recipient's.
    let late = now().plus_millis(25 * 3_600_000);
    told.acknowledge_with(&running, &town, &former, ("received", late));
    stay_so(&town, 1);
    let index = told.acknowledge_with(&running, &town, &former, ("received", now()));
    let packet = become_so(&town, "settled", "received");
    assert_eq!(
        packet.pointer("/outcomes/0/log_index").unwrap().as_u64(),
        Some(index)
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_a_broker_cannot_end_a_packet_by_a_recall_that_we_did_not_sign_or_before_its_time() {
    let (town, running, daemon) = police(Vec::new()).await;
    let answer = send(&daemon, &town, &["--wait", "accepted"]).await.unwrap();
    let told = Told::of(&answer);
    let log = |event, at: Timestamp, attachment: Option<wire::Signed>| {
        let digest = attachment.as_ref().map(evidence::attachment_digest);
        let entry = wire::EvidenceBody {
            attachment_digest: digest.map(|d| d.to_vec().into()).unwrap_or_default(),
            recipient: String::new(),
            at_ms: at.millis(),
            ..told.entry(event)
        };
        let mut script = running.script.lock().unwrap();
        let index = script.ledger.add(entry, None, None, attachment);
        script.shown.push(index);
    };
    let count_is = |count: usize| {
        let so = || record(&town).filter(|r| r.get("unproved").unwrap().as_array().unwrap().len() == count);
        let record = tokio::task::block_in_place(|| until("an unproved entry", so));
        assert_eq!(states(&record), Some(("accepted", "pending")));
    };
    log(Event::Recalled, now(), None);
    count_is(1);
    let forged = wire::Signed {
        bytes: b"recall".to_vec().into(),
        signature: b"signature".to_vec().into(),
    };
    log(Event::Recalled, now(), Some(forged));
    count_is(2);
    log(Event::Expired, now(), None);
    count_is(3);
    // The log's time alone does not make it late: here it is early.
    log(Event::Expired, now().plus_millis(40 * 86_400_000), None);
    count_is(4);
    // A recall of our own ends it.
    let id = answer.get("packet").unwrap().as_str().unwrap();
    daemon.command(&["recall", id]).await.unwrap();
    let signed = running.script.lock().unwrap().recalls[0].clone();
    log(Event::Recalled, now(), Some(signed));
    become_so(&town, "settled", "recalled");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d03_a_packet_that_the_broker_took_and_said_it_refused_goes_on_once_that_is_proved() {
    let (town, running, daemon) = police(vec![refusal("DENIED_FOR_ALL", "DENY_NOT_ON_ROSTER")]).await;
    let id = send(&daemon, &town, &[]).await.unwrap();
    let told = Told::of(&id);
    become_so(&town, "refused", "denied");
    let entry = wire::EvidenceBody {
        recipient: String::new(),
        ..told.entry(Event::SubmissionAcceptance)
    };
    {
        let mut script = running.script.lock().unwrap();
        let index = script.ledger.add(entry, None, None, None);
        script.shown.push(index);
    }
    become_so(&town, "accepted", "pending");
    told.decide(&running, "deliver");
    told.acknowledge(&running, &town, RECIPIENT, "received");
    become_so(&town, "settled", "received");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l01_l09_an_answer_whose_signer_saw_another_history_settles_its_packet_and_is_kept_as_evidence() {
    let (town, running, daemon) = police(Vec::new()).await;
    let mut told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "deliver");
    let disputed = || {
        let audit = town.network.agent_data(&agency(SENDER)).join("audit");
        let entries = std::fs::read_dir(audit).unwrap().map(|e| e.unwrap().path());
        let mut named = entries.filter(|p| p.to_string_lossy().contains("/disputed-3-"));
        named.find(|p| p.join("found.json").is_file())
    };
    // A tree of three entries, as somebody else was shown it.
    let mut other = Ledger::new(&town);
    for _ in 0..3 {
        other.add(body(Event::BundleActivated), None, None, None);
    }
    let directory = town.directory();
    let seen = SignedCheckpoint::open(&other.checkpoint(), directory.log().key()).unwrap();
    told.seen = Some(wire::CheckpointSeen {
        origin: seen.origin().to_owned(),
        size: 3,
        root: seen.root().to_vec().into(),
    });
    told.acknowledge(&running, &town, RECIPIENT, "received");
    let found = tokio::task::block_in_place(|| until("both sides", disputed));
    become_so(&town, "settled", "received");
    let said: Value = serde_json::from_slice(&std::fs::read(found.join("found.json")).unwrap()).unwrap();
    assert_eq!(
        (&said["by"], &said["in"]),
        (&RECIPIENT.into(), &"acknowledgement".into())
    );
    let root = Digest::try_from(&*told.seen.clone().unwrap().root).unwrap();
    let proof: Vec<Digest> = serde_json::from_value(said["proof"].clone()).unwrap();
    let own = std::fs::read(found.join("own.note")).unwrap();
    let verdict = judge_seen(Seen { size: 3, root }, &own, &proof, directory.log().key());
    assert_eq!(verdict, Ok(Verdict::Disputed));
    town.assert_proves(&found);
    let status = daemon.ask("/v1/status").await;
    assert_eq!(status.get("trust"), Some(&Value::Null));
    daemon.stop().await;
}

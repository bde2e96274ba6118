//! What settles a packet: only log entries that prove it, and only the recipient's own signature.

use bytes::Bytes;
use prost::Message;
use schakel_agent::clock::randomness;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::wire;
use serde_json::Value;

use crate::flow::{police, send};
use crate::support::broker::Running;
use crate::support::ledger::body;
use crate::support::parcel::RECIPIENT;
use crate::support::town::{Town, now};
use crate::support::until;

/// A packet of the police, as its own agent tells it.
struct Told {
    id: Bytes,
    case: Bytes,
    digest: Digest,
    part: PartId,
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
        let keys = town.keys(signer);
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
            checkpoint_seen: None,
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
            ..self.entry(event)
        };
        let mut script = running.script.lock().unwrap();
        let index = script.ledger.add(entry, None, None, Some(signed));
        script.shown.push(index);
        index
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l06_only_the_recipients_own_signature_settles_a_packet() {
    let (town, running, daemon) = police(Vec::new()).await;
    let told = Told::of(&send(&daemon, &town, &["--wait", "accepted"]).await.unwrap());
    told.decide(&running, "deliver");
    // Believed, this would be final.
    told.acknowledge(&running, &town, "caw-rupel", "refused");
    let index = told.acknowledge(&running, &town, RECIPIENT, "received");
    let settled = || async {
        let all = daemon.command(&["status"]).await.unwrap();
        all.pointer("/packets/0").unwrap().clone()
    };
    let mut packet = settled().await;
    while packet.get("state").unwrap() != "settled" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        packet = settled().await;
    }
    let outcome = packet.pointer("/outcomes/0").unwrap();
    assert_eq!(outcome.get("state").unwrap(), "received");
    assert_eq!(outcome.get("log_index").unwrap().as_u64(), Some(index));
    let folder = town
        .network
        .agent_data(&crate::support::town::agency("pz-rupel"))
        .join("outbox");
    let folder = folder.join(packet.get("packet").unwrap().as_str().unwrap());
    assert!(
        !folder.join("key-packets.bin").exists(),
        "the sealed copy goes when all is proved"
    );
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
    let state = || {
        let data = town.network.agent_data(&crate::support::town::agency("pz-rupel"));
        let folder = std::fs::read_dir(data.join("outbox"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let record: Value = serde_json::from_slice(&std::fs::read(folder.join("state.json")).ok()?).ok()?;
        let part = record.pointer("/outcomes/0/state")?.as_str()?.to_owned();
        Some((record.get("state")?.as_str()?.to_owned(), part))
    };
    let become_so = |packet: &str, part: &str| {
        let wanted = (packet.to_owned(), part.to_owned());
        tokio::task::block_in_place(|| until(part, || state().filter(|s| *s == wanted)));
    };
    told.decide(&running, "hold-for-consent");
    become_so("accepted", "held");
    told.decide(&running, "withhold");
    become_so("settled", "withheld");
    daemon.stop().await;
}

//! Every packet of `proto/vectors`, handed to its reader's agent by a broker that checks nothing: set aside with the
//! very code that the vector names, nothing of it in the inbox, and no plaintext anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use prost::Message;
use schakel_agent::clock::{Clock, randomness};
use schakel_agent::config::Config;
use schakel_agent::daemon;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::{CaseRef, DeliveryId, Digest, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::vectors::{NOW, Opening, PacketVector, all};
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;
use schakel_proto::words::{self, LANGUAGES};

use crate::hostile::walk;
use crate::support::broker::{self, Running};
use crate::support::ledger::{Ledger, body};
use crate::support::parcel::bundle;
use crate::support::town::Town;
use crate::support::until;

/// The town, and digest and version of its rules.
type Ground<'a> = (&'a Town, (Digest, u64));

/// Where a vector whose reader finds nothing wrong ends: no case was opened, so the agent's own rules refuse it.
const RULES: &str = "OWN_DECISION_DIFFERS";
/// The offer alone is refused, before a byte is taken: the connection ends, and there is nothing to set aside.
const OFFER: &str = "";

/// The vectors whose answer from an agent is another than the library's, and why.
const OTHERWISE: &[(&str, &str, &str)] = &[
    ("manifest-too-long", OFFER, BOUNDED),
    ("signature-too-long", OFFER, BOUNDED),
    ("no-parts", OFFER, NOTHING),
    ("good-every-field", "CHECKPOINT_OTHER_HISTORY", ELSEWHERE),
];

const BOUNDED: &str = "longer than any offer may be";
const ELSEWHERE: &str = "it says that it saw a log, and this is not that one";
const NOTHING: &str = "no part can be offered to the reader";

fn expected(vector: &PacketVector) -> &str {
    let other = OTHERWISE.iter().find(|(name, _, _)| *name == vector.name);
    other.map_or(vector.open.as_deref().unwrap_or(RULES), |(_, code, _)| code)
}

/// The vectors' moment, set by the test.
#[derive(Clone)]
struct Moment(Arc<AtomicI64>);

impl Clock for Moment {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What is handed over of one part.
struct Handed {
    opening: Opening,
    key_packet: Vec<u8>,
    ciphertext: Vec<u8>,
}

fn part_of(opening: &Opening) -> Option<Vec<u8>> {
    let descriptor = wire::PartDescriptor::decode(opening.descriptor.0.as_slice()).ok()?;
    PartId::try_from(&*descriptor.part_id).ok().map(|id| id.to_vec())
}

/// Everything of a vector that has a key packet for its reader; and what names no part at all.
fn handed(vector: &PacketVector) -> Vec<Handed> {
    let own = |part: &Option<Vec<u8>>| {
        let mut keys = vector
            .key_packets
            .iter()
            .filter(|k| k.recipient == vector.reader.as_str());
        keys.find(|k| part.as_ref().is_none_or(|part| k.part_id.0 == *part))
    };
    let profile = if vector.reader.as_str() == "jh-antwerpen-dader" {
        4
    } else {
        6
    };
    let ciphertext = |part: &Option<Vec<u8>>| {
        let of_part = || {
            vector
                .sealings
                .iter()
                .filter(|s| part.as_ref().is_none_or(|part| s.part_id.0 == *part))
        };
        let found = of_part().find(|s| s.profile == profile).or(of_part().next());
        found.map_or(vec![0], |sealing| sealing.data.0.clone())
    };
    let one = |opening: &Opening| {
        let part = part_of(opening);
        let key = own(&part).map(|key| key.packet.0.clone());
        (part.is_none() || key.is_some()).then(|| Handed {
            opening: opening.clone(),
            key_packet: key.unwrap_or_default(),
            ciphertext: ciphertext(&part),
        })
    };
    vector.parts.iter().filter_map(one).collect()
}

/// What the log of a lying broker says of a vector: whatever the manifest may be, there is an entry for it.
struct Claim {
    packet: PacketId,
    case: CaseRef,
    sender: String,
    delivery: DeliveryId,
}

impl Claim {
    fn of(vector: &PacketVector) -> Self {
        let manifest = wire::Manifest::decode(vector.manifest.bytes.0.as_slice()).unwrap_or_default();
        let mut rng = randomness();
        let packet = PacketId::try_from(&*manifest.packet_id);
        let sender = AgencyId::new(&manifest.sender).map_or("pz-rupel".to_owned(), |id| id.to_string());
        Self {
            packet: packet.unwrap_or_else(|_| PacketId::new(NOW, &mut rng)),
            case: CaseRef::try_from(&*manifest.case_ref).unwrap_or_else(|_| CaseRef::random(&mut rng)),
            sender,
            delivery: DeliveryId::random(&mut rng),
        }
    }

    fn entry(&self, vector: &PacketVector, event: Event) -> wire::EvidenceBody {
        wire::EvidenceBody {
            at_ms: vector.now_ms,
            case_ref: self.case.to_vec().into(),
            packet_id: self.packet.to_vec().into(),
            manifest_digest: Digest::of(&vector.manifest.bytes.0).to_vec().into(),
            sender: self.sender.clone(),
            ..body(event)
        }
    }

    /// Logs submission and hand-over, decided to deliver everything; the frames.
    fn frames(
        &self,
        (ground, ledger): (Ground<'_>, &mut Ledger),
        vector: &PacketVector,
        parts: &[Handed],
    ) -> Vec<Frame> {
        let submission = ledger.add(self.entry(vector, Event::SubmissionAcceptance), None, None, None);
        let network = ledger.network().clone();
        let decision = self.decision(ground, vector, parts);
        let nothing = wire::Decision {
            parts: Vec::new(),
            ..decision.clone()
        };
        let (shown, shown_digest) = evidence::conceal(&network, decision, &mut randomness());
        let (_, hidden_digest) = evidence::conceal(&network, nothing, &mut randomness());
        let entry = wire::EvidenceBody {
            recipient: vector.reader.to_string(),
            shown_digest: shown_digest.to_vec().into(),
            hidden_digest: hidden_digest.to_vec().into(),
            ..self.entry(vector, Event::ContentConsignment)
        };
        let consignment = ledger.add(entry, Some(shown), None, None);
        let mut frames = self.ciphertexts(vector, parts);
        let reader = |o: &&Opening| {
            wire::RecipientDescriptor::decode(o.descriptor.0.as_slice())
                .is_ok_and(|d| d.agency == vector.reader.as_str())
        };
        let recipient = vector
            .recipients
            .iter()
            .find(reader)
            .or(vector.recipients.first());
        let numbered = (1_u32..).zip(parts);
        frames.push(Frame::HandOver(wire::HandOver {
            delivery: self.delivery.to_vec().into(),
            recipient: Some(recipient.map(Opening::to_wire).unwrap_or_default()),
            parts: numbered
                .map(|(stream, part)| wire::HandedPart {
                    stream,
                    part: Some(part.opening.to_wire()),
                    key_packet: part.key_packet.clone().into(),
                })
                .collect(),
            submission: Some(ledger.evidence(submission)),
            consignment: Some(ledger.evidence(consignment)),
        }));
        frames
    }

    fn ciphertexts(&self, vector: &PacketVector, parts: &[Handed]) -> Vec<Frame> {
        let delivery: Bytes = self.delivery.to_vec().into();
        let numbered = || (1_u32..).zip(parts);
        let stream = |(stream, part): (u32, &Handed)| wire::OfferedStream {
            stream,
            length: part.ciphertext.len() as u64,
        };
        let mut frames = vec![Frame::Offer(wire::Offer {
            delivery: delivery.clone(),
            manifest: Some(vector.manifest.to_wire()),
            streams: numbered().map(stream).collect(),
        })];
        for (stream, part) in numbered() {
            for (n, data) in part.ciphertext.chunks(4096).enumerate() {
                frames.push(Frame::Chunk(wire::Chunk {
                    delivery: delivery.clone(),
                    stream,
                    offset: n as u64 * 4096,
                    data: Bytes::copy_from_slice(data),
                }));
            }
        }
        frames
    }

    fn decision(&self, (town, rules): Ground<'_>, vector: &PacketVector, parts: &[Handed]) -> wire::Decision {
        let mut seen = BTreeSet::new();
        let mut part = |handed: &Handed| {
            let named = part_of(&handed.opening).filter(|id| seen.insert(id.clone()));
            wire::PartDecision {
                part_id: named
                    .unwrap_or_else(|| PartId::random(&mut randomness()).to_vec())
                    .into(),
                outcome: "deliver".to_owned(),
                reason: "OK_MATRIX_DELIVER".to_owned(),
                ..Default::default()
            }
        };
        wire::Decision {
            packet_id: self.packet.to_vec().into(),
            recipient: vector.reader.to_string(),
            at_ms: vector.now_ms,
            bundle_digest: rules.0.to_vec().into(),
            bundle_version: rules.1,
            directory_version: town.network.directory(NOW).unwrap().version(),
            parts: parts.iter().map(&mut part).collect(),
            ..Default::default()
        }
    }

    /// Under which names it may lie in quarantine.
    fn is_at(&self, path: &std::path::Path) -> bool {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&self.packet.to_string()) || name.starts_with(&self.delivery.to_string())
    }
}

/// The code with which a claim was set aside; it came with what is wrong and what to do.
fn set_aside(data: &std::path::Path, claim: &Claim) -> Option<String> {
    let entries = std::fs::read_dir(data.join("quarantine")).ok()?;
    let path = entries
        .map(|e| e.unwrap().path())
        .find(|path| claim.is_at(path))?;
    let reason: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.join("reason.json")).ok()?).unwrap();
    let text = |field: &str| reason["problem"][field].as_str().unwrap().to_owned();
    let (code, sentence, remedy) = (text("code"), text("sentence"), text("remedy"));
    assert!(
        !sentence.is_empty() && !sentence.contains(&code) && !remedy.is_empty(),
        "{reason}"
    );
    Some(code)
}

/// Hands each vector of one reader to its agent; what was answered otherwise than it should be.
async fn read_all(
    ((town, rules), running): (Ground<'_>, &Running),
    reader: &AgencyId,
    vectors: &[&PacketVector],
) -> Vec<String> {
    let file = town.network.agent_config(reader);
    let config = Config::load(&file).unwrap();
    let (socket, data) = (config.socket(), town.network.agent_data(reader));
    let moment = Moment(Arc::new(AtomicI64::new(NOW.millis())));
    let before = running.script.lock().unwrap().streams_count;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let run = daemon::run(config, Arc::new(moment.clone()), true, async {
        let _ended = stopped.await;
    });
    let task = tokio::spawn(run);
    tokio::task::block_in_place(|| until("the daemon's socket", || socket.exists().then_some(())));
    let listens = || (running.script.lock().unwrap().streams_count > before).then_some(());
    tokio::task::block_in_place(|| until("the agent's stream", listens));
    let mut wrong = Vec::new();
    for vector in vectors {
        moment.0.store(vector.now_ms, Ordering::SeqCst);
        let (claim, parts) = (Claim::of(vector), handed(vector));
        let streams = {
            let mut script = running.script.lock().unwrap();
            let frames = claim.frames(((town, rules), &mut script.ledger), vector, &parts);
            script.frames.extend(frames);
            script.streams_count
        };
        let answered = || {
            let said = set_aside(&data, &claim);
            let ended = running.script.lock().unwrap().streams_count > streams;
            said.or_else(|| ended.then(|| OFFER.to_owned()))
        };
        let said = tokio::task::block_in_place(|| until(&vector.name, answered));
        let told = said.is_empty()
            || LANGUAGES
                .iter()
                .all(|language| words::of(&said, language).is_some());
        if !told {
            wrong.push(format!("{}: {said} has no words in {LANGUAGES:?}", vector.name));
        }
        if said != expected(vector) {
            wrong.push(format!("{}: {said:?}, not {:?}", vector.name, expected(vector)));
        }
    }
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    wrong
}

/// Names of parts in an inbox, and files anywhere that hold what a vector has inside its seal.
fn leaked(data: &std::path::Path, vectors: &[PacketVector]) -> Vec<PathBuf> {
    let contents: BTreeSet<&[u8]> = vectors
        .iter()
        .flat_map(|vector| &vector.contents)
        .map(|content| content.content.0.as_slice())
        .filter(|content| content.len() >= 12)
        .map(|content| &content[..content.len().min(64)])
        .collect();
    let bad = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let open = contents.iter().any(|c| bytes.windows(c.len()).any(|w| w == *c));
        let named = path.file_name().unwrap().to_string_lossy().into_owned();
        let taken = path.starts_with(data.join("inbox")) && named.starts_with("part-");
        open || taken
    };
    walk(data).into_iter().filter(bad).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c02_c03_c05_c06_c09_c11_c12_every_vector_is_set_aside_by_its_readers_agent_with_its_code() {
    let (town, running) = broker::start_on(Town::of_vectors, None).await;
    running.script.lock().unwrap().settles = false;
    let mut vectors = all();
    vectors.sort_by_key(|vector| vector.now_ms);
    let mut by_reader = BTreeMap::<AgencyId, Vec<&PacketVector>>::new();
    for vector in &vectors {
        by_reader.entry(vector.reader.clone()).or_default().push(vector);
    }
    let rules = schakel_policy::bundle::Bundle::from_archive(&bundle(&town).archive).unwrap();
    let rules = (rules.digest(), rules.version());
    let mut wrong = Vec::new();
    for (reader, own) in &by_reader {
        wrong.extend(read_all(((&town, rules), &running), reader, own).await);
        let leaked = leaked(&town.network.agent_data(reader), &vectors);
        assert!(leaked.is_empty(), "{reader}: {leaked:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let script = running.script.lock().unwrap();
    assert!(
        !script.acknowledgements.is_empty(),
        "what is the sender's fault is answered"
    );
    for signed in &script.acknowledgements {
        let said = wire::Acknowledgement::decode(&*signed.bytes).unwrap();
        assert_eq!(said.outcome, "refused", "{}", said.reason);
    }
}

#[test]
fn what_is_answered_otherwise_is_a_vector() {
    let names: BTreeSet<String> = all().into_iter().map(|vector| vector.name).collect();
    assert!(
        OTHERWISE
            .iter()
            .all(|(name, _, why)| names.contains(*name) && !why.is_empty())
    );
}

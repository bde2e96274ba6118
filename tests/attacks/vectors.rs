//! Every packet of `proto/vectors` at the door of a real broker: accepted, or refused with the very code that its file
//! names, three languages' words for it, one leaf, one more in the counters, and nothing in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_certs_dev::NOBODY;
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::party::AgencyId;
use schakel_proto::statement::{RosterEntry, StatementBody, StatementDraft};
use schakel_proto::time::Timestamp;
use schakel_proto::vectors::{PacketVector, World, all, named};
use schakel_proto::wire::submit_frame::Frame;
use schakel_proto::words::{self, LANGUAGES};
use schakel_proto::{limits, refusal, wire};
use schakel_tests::system::leaves::{MARK, refused_submissions, rejection_leaves, tally};
use schakel_tests::system::network::{Town, agency, now};
use schakel_tests::system::peer::{self, Client, runtime};
use schakel_tests::system::player::code;
use schakel_tests::system::scan::ids_in_folder;
use schakel_tests::system::told::count;

const TOO_MANY: &str = "KEY_PACKETS_TOO_MANY";
const COUNTED: &str = "more of them than parts times recipients: refused before any is looked at";
const OUT_OF_ORDER: &str = "CHUNK_OUT_OF_ORDER";
const STREAMED: &str = "the broker knows a sealing by its chunks: the stream ends before the last";

/// The vectors whose answer over the wire is another than the library's, and why.
const OTHERWISE: &[(&str, &str, &str)] = &[
    (
        "sender-unknown",
        "UNKNOWN_IDENTITY",
        "no member, so no caller: refused at the door before anything is read",
    ),
    (
        "good-every-field",
        "CHECKPOINT_UNKNOWN",
        "a form with every field in it; the checkpoint that it names is of no log here",
    ),
    ("key-packet-for-stranger", TOO_MANY, COUNTED),
    ("key-packet-for-unknown-part", TOO_MANY, COUNTED),
    ("key-packet-twice", TOO_MANY, COUNTED),
    ("sealing-missing", OUT_OF_ORDER, STREAMED),
    ("sealing-truncated", OUT_OF_ORDER, STREAMED),
];

/// What must come of a vector as a submission: the code of its refusal; none: accepted.
fn expected(vector: &PacketVector) -> Option<String> {
    let other = OTHERWISE.iter().find(|(name, _, _)| *name == vector.name);
    other
        .map(|(_, code, _)| (*code).to_owned())
        .or_else(|| vector.submit.clone())
}

/// The frames in which a vector is submitted.
fn frames(vector: &PacketVector) -> Vec<wire::SubmitFrame> {
    let keys = wire::SubmitKeyPackets {
        key_packets: vector.wire_key_packets(),
    };
    let chunks = vector.sealings.iter().flat_map(|sealing| {
        let parts = sealing.data.0.chunks(limits::CHUNK_MAX_BYTES).enumerate();
        parts.map(|(n, data)| {
            Frame::Chunk(wire::SubmitChunk {
                part_id: sealing.part_id.0.clone().into(),
                profile: if sealing.profile == 6 { 1 } else { 2 },
                offset: (n * limits::CHUNK_MAX_BYTES) as u64,
                data: data.to_vec().into(),
            })
        })
    });
    let first = [Frame::Head(vector.head()), Frame::KeyPackets(keys)];
    let frame = |frame| wire::SubmitFrame { frame: Some(frame) };
    first.into_iter().chain(chunks).map(frame).collect()
}

/// The packet id that a manifest names, if it names one.
fn packet_id(vector: &PacketVector) -> Option<PacketId> {
    let manifest = wire::Manifest::decode(vector.manifest.bytes.0.as_slice()).ok()?;
    PacketId::try_from(&*manifest.packet_id).ok()
}

/// A broker on the network of the vectors, and its members in the hands of the test.
struct Stage {
    town: Town,
    world: World,
    time: std::path::PathBuf,
    clients: BTreeMap<AgencyId, Client>,
}

impl Stage {
    fn new() -> Self {
        let mut town = Town::of_vectors();
        town.lift_rates();
        let time = town.scratch("time").join("ahead");
        set_time(&time, schakel_proto::vectors::NOW);
        let mut command = town.broker_command();
        command.arg("--simulated-time").arg(&time);
        town.start_broker_as(command);
        Self {
            town,
            world: World::load(),
            time,
            clients: BTreeMap::new(),
        }
    }

    fn client(&mut self, id: &AgencyId) -> &mut Client {
        let is_member = self.world.members().any(|member| member == id);
        let (town, identity) = (&self.town, if is_member { id.clone() } else { agency(NOBODY) });
        self.clients
            .entry(id.clone())
            .or_insert_with(|| peer::as_agency(town, &identity))
    }

    /// Opens the case that a vector names, with everybody on the roster, as its sender.
    async fn open_case(&mut self, vector: &PacketVector) {
        let Ok(manifest) = wire::Manifest::decode(vector.manifest.bytes.0.as_slice()) else {
            return;
        };
        let (Ok(case_ref), Ok(sender)) = (
            CaseRef::try_from(&*manifest.case_ref),
            AgencyId::new(&manifest.sender),
        ) else {
            return;
        };
        let Some(keys) = self.world.keys(&sender).first() else {
            return;
        };
        let everybody = self.world.members().cloned().map(RosterEntry::active).collect();
        let draft = StatementDraft {
            network: self.world.network.clone(),
            case_ref,
            agency: sender.clone(),
            body: StatementBody::CaseOpened {
                case_type: code("partner_violence"),
                region: code("vlg"),
                roster: everybody,
            },
        };
        let mut rng = StdRng::from_os_rng();
        let at = Timestamp::from_millis(vector.now_ms);
        let (_, signed) = draft.sign(keys, at, &mut rng).unwrap();
        let request = wire::SubmitStatementRequest {
            statement: Some(signed),
        };
        let stated = self.client(&sender).submit_statement(request).await;
        stated.unwrap_or_else(|refused| panic!("{}: {refused}", vector.name));
    }

    /// Submits a vector at its moment; the refusal.
    async fn submit(&mut self, vector: &PacketVector) -> Option<wire::Refusal> {
        set_time(&self.time, Timestamp::from_millis(vector.now_ms));
        self.open_case(vector).await;
        let client = self.client(&vector.caller);
        let refused = client.submit(tokio_stream::iter(frames(vector))).await.err()?;
        Some(refusal::from_status(&refused).unwrap_or_else(|| panic!("{}: {refused}", vector.name)))
    }
}

/// What is missing of a refusal that a person can act on: what, where and what to do, in three languages.
fn unexplained(name: &str, refused: &wire::Refusal) -> Option<String> {
    let whole = !refused.sentence.is_empty() && !refused.remedy.is_empty();
    let told = LANGUAGES
        .iter()
        .all(|language| words::of(&refused.code, language).is_some());
    (!whole || !told).then(|| format!("{name}: {refused:?} is not told in {LANGUAGES:?}"))
}

/// Codes, by who was told them.
type Answers = BTreeMap<AgencyId, Vec<String>>;

/// What the log names for a refusal: its code, or why the rules deny it.
fn leaf(refused: &wire::Refusal) -> String {
    let denied = refused.recipients.first().map(|recipient| &recipient.reason);
    denied.unwrap_or(&refused.code).clone()
}

fn set_time(file: &Path, at: Timestamp) {
    let new = file.with_extension("new");
    std::fs::write(&new, at.millis_since(now()).to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// What came of all vectors.
#[derive(Default)]
struct Heard {
    /// What was answered otherwise than it should be.
    wrong: Vec<String>,
    /// Codes as they were told, and as the log must name them.
    said: Answers,
    logged: Answers,
    hostile: BTreeSet<[u8; 16]>,
    accepted: BTreeSet<[u8; 16]>,
}

impl Heard {
    fn note(&mut self, vector: &PacketVector, refused: Option<wire::Refusal>) {
        let code = refused.as_ref().map(|refusal| refusal.code.clone());
        if code != expected(vector) {
            let wanted = expected(vector);
            self.wrong
                .push(format!("{}: {refused:?}, not {wanted:?}", vector.name));
        }
        let id = packet_id(vector).map(|id| *id.as_bytes());
        let Some(refused) = refused else {
            return self.accepted.extend(id);
        };
        self.wrong.extend(unexplained(&vector.name, &refused));
        // What the rules deny is named in its leaf; what is forged or malformed stands nowhere.
        self.hostile.extend(id.filter(|_| refused.code != "DENIED"));
        let own = |answers: &mut Answers, code| answers.entry(vector.caller.clone()).or_default().push(code);
        own(&mut self.logged, leaf(&refused));
        own(&mut self.said, refused.code);
    }
}

#[test]
fn c01_c06_c08_c10_c11_c15_every_vector_gets_its_answer_from_a_real_broker_and_leaves_nothing() {
    let mut stage = Stage::new();
    let files_before = files(&stage.town);
    let mut vectors = all();
    // The late ones first: nothing that was accepted may expire meanwhile.
    vectors.sort_by_key(|vector| std::cmp::Reverse(vector.now_ms));
    let mut heard = Heard::default();
    let leaves = runtime().block_on(async {
        for vector in &vectors {
            let refused = stage.submit(vector).await;
            heard.note(vector, refused);
        }
        let mut leaves = Answers::new();
        for id in heard.said.keys() {
            if stage.world.members().any(|member| member == id) {
                let codes = rejection_leaves(&mut peer::as_agency(&stage.town, id)).await;
                leaves.insert(id.clone(), codes);
            }
        }
        leaves
    });
    assert!(heard.wrong.is_empty(), "{}", heard.wrong.join("\n"));
    let mut counted = refused_submissions(&stage.town);
    assert_eq!(counted.remove(MARK), Some(leaves.len() as u64), "the marks");
    heard.said.retain(|id, _| leaves.contains_key(id));
    heard.logged.retain(|id, _| leaves.contains_key(id));
    assert_eq!(leaves, heard.logged, "one leaf for each refusal, in their order");
    let told = tally(heard.said.values().flatten());
    assert_eq!(counted, told, "each refusal is counted once");
    heard.hostile.retain(|id| !heard.accepted.contains(id));
    stage.town.take_broker().stop();
    nothing_is_left(&stage.town.network().broker_data(), &vectors, &heard);
    assert_eq!(
        files(&stage.town),
        files_before,
        "small parts lie in the database"
    );
    let refused = heard.hostile.len();
    count(refused as u64, "hostile packets refused by a real broker");
}

/// Of accepted packets there is something in the store, of others nothing.
fn nothing_is_left(data: &Path, vectors: &[PacketVector], heard: &Heard) {
    let all: Vec<[u8; 16]> = heard.hostile.union(&heard.accepted).copied().collect();
    assert_eq!(ids_in_folder(data, &all), heard.accepted, "packet ids");
    let (refused, taken): (Vec<&PacketVector>, Vec<_>) = vectors.iter().partition(|v| expected(v).is_some());
    let taken = middles(taken.into_iter());
    let all: Vec<[u8; 16]> = middles(refused.into_iter()).union(&taken).copied().collect();
    let found = ids_in_folder(data, &all);
    let strange: Vec<_> = found.difference(&taken).collect();
    assert!(strange.is_empty(), "ciphertext: {strange:?}");
    // The database may cut a value in two.
    let (found, taken) = (found.len(), taken.len());
    assert!(2 * found > taken, "control: {found} of {taken}");
}

/// Every file of the store that is not a database: content too large for it.
fn files(town: &Town) -> BTreeSet<String> {
    walkdir::WalkDir::new(town.network().broker_data().join("parts"))
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Sixteen bytes from the middle of each ciphertext of these vectors.
fn middles<'a>(vectors: impl Iterator<Item = &'a PacketVector>) -> BTreeSet<[u8; 16]> {
    vectors
        .flat_map(|vector| &vector.sealings)
        .filter_map(|sealing| {
            sealing
                .data
                .0
                .get(sealing.data.0.len() / 2..)?
                .first_chunk()
                .copied()
        })
        // Plain text of one letter stands elsewhere too.
        .filter(|middle: &[u8; 16]| *middle != [middle[0]; 16])
        .collect()
}

#[test]
fn c13_a_replay_after_its_packet_has_expired_is_refused_for_its_age() {
    let mut stage = Stage::new();
    let vector = named("good-v6");
    runtime().block_on(async {
        assert_eq!(stage.submit(&vector).await, None);
        let again = frames(&vector);
        let repeated = stage
            .client(&vector.caller)
            .submit(tokio_stream::iter(again.clone()))
            .await;
        assert!(
            repeated.unwrap().into_inner().repeated,
            "while it lives it is answered as before"
        );
        let manifest = wire::Manifest::decode(vector.manifest.bytes.0.as_slice()).unwrap();
        set_time(&stage.time, Timestamp::from_millis(manifest.expires_ms + 60_000));
        let refused = stage
            .client(&vector.caller)
            .submit(tokio_stream::iter(again))
            .await
            .unwrap_err();
        assert_eq!(refusal::from_status(&refused).unwrap().code, "PACKET_EXPIRED");
        let leaves = rejection_leaves(stage.client(&vector.caller)).await;
        assert_eq!(leaves, ["PACKET_EXPIRED"]);
    });
}

#[test]
fn what_is_answered_otherwise_is_a_vector_and_says_why() {
    let names: BTreeSet<String> = all().into_iter().map(|vector| vector.name).collect();
    for (name, _, why) in OTHERWISE {
        assert!(names.contains(*name), "{name}");
        assert!(why.len() > 20, "{name}");
    }
}

//! Whoever has the broker's disk changes a byte of its store: `log verify` finds it, also where the row's checksum was
//! made right again, so that nothing but digests and signatures can tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prost::Message;
use rand::{Rng, rngs::StdRng};
use schakel_broker::admin::{Ask, Desk, Told};
use schakel_broker::clock::{Clock, SystemClock};
use schakel_broker::config::Config;
use schakel_broker::store::Store;
use schakel_broker::store::sled::SledStore;
use schakel_broker::store::sled::raw::{self, CHECK_BYTES};
use schakel_proto::ids::{CaseRef, SubjectRef};
use schakel_proto::time::Timestamp;
use schakel_tests::system::network::{Town, copy};
use schakel_tests::system::office::{Document, Office, text};
use schakel_tests::system::process::binary;
use schakel_tests::system::told::{count, rounds, seeded};
use serde_json::{Value, json};

mod lies;

const LARGE: usize = 100_000;

/// Packets of a run.
struct Ran {
    released: String,
    held: String,
    /// For more than one recipient, of whom only one is there.
    shared: String,
    waits: String,
}

/// What the log of a small network holds: a packet held and released, one received and reported, one recalled, one held
/// still, one with a part file that waits for an agent that is down.
fn run(town: &mut Town) -> Ran {
    let mut rng = seeded();
    let [police, welfare, prosecutor] =
        ["pz-rupel", "caw-rupel", "parket-antwerpen"].map(|id| Office::of(town, id));
    let scratch = town.scratch("files");
    let file = |name: &str, length: usize| {
        let path = scratch.join(name);
        std::fs::write(&path, "x".repeat(length)).unwrap();
        path
    };
    let (small, large) = (file("small.txt", 40), file("large.txt", LARGE));
    let case = CaseRef::random(&mut rng);
    let subjects = [0, 1, 2].map(|_| SubjectRef::random(&mut rng));
    let absent = ["pz-rupel-opvolgcel", "jh-antwerpen-slachtoffer"];
    let roster = ["pz-rupel", "caw-rupel", "parket-antwerpen", absent[0], absent[1]];
    police.open_case(case, &roster);
    let about = |subject: SubjectRef, to: &[&str]| {
        let parts = [Document::new("identity", &small)];
        let mut order = Office::order(case, to, ("victim_support", "consent"), &parts);
        order["parts"][0]["subjects"] =
            json!([{ "role": "victim", "age_class": "adult", "subject": subject }]);
        order
    };
    let [released, recalled, held] = subjects.map(|subject| police.send(&about(subject, &["caw-rupel"])));
    let shared = police.send(&about(subjects[2], &["caw-rupel", absent[0], absent[1]]));
    police.packet(&shared, "accepted");
    for packet in [&released, &recalled, &held] {
        police.packet(packet, "decided");
    }
    police.recall(&recalled);
    welfare.state(&json!({
        "kind": "give-consent", "case": case, "subject": subjects[0], "subject_role": "victim",
        "categories": ["identity"], "roles": ["caw_victim"], "purposes": ["victim_support"], "informed": true,
    }));
    let part = text(&welfare.received(&released)["parts"][0], "part");
    police.packet(&released, "settled");
    let report = json!({ "packet": released, "part": part, "obligation": "mislabelled" });
    welfare.ask("POST", "/v1/inbox/fulfilled", Some(&report));
    let facts = |file: &Path| {
        let parts = [
            Document::new("facts_summary", file),
            Document::new("facts_summary", &small),
        ];
        police.send(&Office::order(
            case,
            &["parket-antwerpen"],
            ("prosecution", "legal_duty"),
            &parts,
        ))
    };
    let delivered = facts(&small);
    prosecutor.received(&delivered);
    police.packet(&delivered, "settled");
    town.take_agent("parket-antwerpen").stop();
    let waits = facts(&large);
    police.packet(&waits, "accepted");
    Ran {
        released,
        held,
        shared,
        waits,
    }
}

/// A clock that goes only when it is put forward.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A copy of the stopped broker's store, and a desk on it.
struct Copy {
    clock: Arc<Hands>,
    store: Arc<SledStore>,
    desk: Desk,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    parts: PathBuf,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Copy {
    fn of(town: &Town) -> Self {
        let config = Config::load(&town.network().broker_config()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        copy(&config.data_dir, &data);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = Arc::new(runtime.block_on(SledStore::open_unchecked(&data)).unwrap());
        let clock = Arc::new(Hands(AtomicI64::new(SystemClock.now().millis())));
        let desk = Desk::on(&config, clock.clone(), store.clone()).unwrap();
        Self {
            clock,
            rows: store.raw_rows().unwrap(),
            parts: data.join("parts"),
            store,
            desk,
            runtime,
            _folder: folder,
        }
    }

    /// What `log verify` says.
    fn verify(&self) -> Value {
        let verified = self
            .runtime
            .block_on(self.desk.answer(Ask::Verify, &Told::default()));
        verified.unwrap_or_else(|refusal| json!({ "wrong": 1, "refused": refusal.to_string() }))
    }

    /// Whether it finds anything; its last and cheapest step first.
    fn finds(&self) -> bool {
        let network = schakel_proto::party::NetworkName::new("rupel").unwrap();
        let mut after = None;
        loop {
            let audited = self.store.audit(&network, after, 1_024);
            let Ok(audited) = self.runtime.block_on(audited) else {
                return true;
            };
            if !audited.findings.is_empty() {
                return true;
            }
            match audited.next {
                Some(next) => after = Some(next),
                None => return self.verify()["wrong"] != 0,
            }
        }
    }
}

/// One change, and how to take it back.
struct Change {
    key: Vec<u8>,
    record: Vec<u8>,
    new_key: Vec<u8>,
    new_record: Vec<u8>,
}

impl Change {
    /// Changes one bit pattern of one byte: of the record as it lies there, of the value under a right checksum, or of
    /// the key under a right checksum.
    fn at_random(copy: &Copy, tables: &[Vec<usize>], how: u64, rng: &mut StdRng) -> Self {
        let table = &tables[rng.random_range(0..tables.len())];
        // Every table as often as every row.
        let row = if rng.random() {
            table[rng.random_range(0..table.len())]
        } else {
            rng.random_range(0..copy.rows.len())
        };
        let (key, record) = copy.rows[row].clone();
        let (mut new_key, mut new_record) = (key.clone(), record.clone());
        let mask = rng.random_range(1..=255);
        match how {
            0 => new_record[rng.random_range(0..record.len())] ^= mask,
            1 => {
                new_record[rng.random_range(CHECK_BYTES..record.len())] ^= mask;
                new_record = raw::seal(&key, &new_record[CHECK_BYTES..]);
            }
            _ => {
                new_key[rng.random_range(0..key.len())] ^= mask;
                new_record = raw::seal(&new_key, &record[CHECK_BYTES..]);
            }
        }
        Self {
            key,
            record,
            new_key,
            new_record,
        }
    }

    fn make(&self, copy: &Copy) {
        if self.new_key != self.key {
            copy.store.raw_put(&self.key, None).unwrap();
        }
        copy.store.raw_put(&self.new_key, Some(&self.new_record)).unwrap();
    }

    fn take_back(&self, copy: &Copy) {
        if self.new_key != self.key {
            copy.store.raw_put(&self.new_key, None).unwrap();
        }
        copy.store.raw_put(&self.key, Some(&self.record)).unwrap();
    }
}

/// The last decision on record for a recipient, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Handed {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    leaf: Vec<u8>,
    #[prost(bool, tag = "3")]
    delivers: bool,
    #[prost(uint64, tag = "4")]
    facts_count: u64,
    #[prost(uint64, tag = "5")]
    bundle_version: u64,
    #[prost(uint64, tag = "6")]
    directory_version: u64,
}

/// The state of a part.
#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(uint32, tag = "1")]
    stage: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(string, repeated, tag = "3")]
    obligations: Vec<String>,
    #[prost(int64, tag = "4")]
    since_ms: i64,
    #[prost(bool, tag = "5")]
    possibly_disclosed: bool,
    #[prost(bytes = "vec", tag = "6")]
    leaf: Vec<u8>,
}

/// A checkpoint held up to the witnesses.
#[derive(Clone, PartialEq, Message)]
struct HeldUp {
    #[prost(bytes = "vec", tag = "1")]
    note: Vec<u8>,
    #[prost(int64, tag = "2")]
    since_ms: i64,
}

fn both<M: Message + Default>(change: &Change) -> Option<[M; 2]> {
    let of = |record: &[u8]| M::decode(record.get(CHECK_BYTES + 1..)?).ok();
    Some([of(&change.record)?, of(&change.new_record)?])
}

/// Why a change carries no evidence; none: it should have been found. Each is in docs/operating/log.md.
fn says_nothing(change: &Change) -> Option<&'static str> {
    const HELD: u32 = 1;
    if change.key != change.new_key {
        return None;
    }
    match change.key[0] {
        b'W' => {
            let [mut before, after] = both::<Handed>(change)?;
            before.token.clone_from(&after.token);
            if before == after {
                return Some("the token of a lease");
            }
            // Decided again without a new entry: on what is not in the log.
            let grounds = |one: &Handed| (one.leaf.clone(), one.delivers, one.token.clone());
            (before.leaf.is_empty() && grounds(&before) == grounds(&after))
                .then_some("the ground of a part that is held again")
        }
        b'T' => {
            let [before, after] = both::<State>(change)?;
            let rest = |one: &State| (one.stage, one.since_ms, one.possibly_disclosed, one.leaf.clone());
            (before.stage == HELD && rest(&before) == rest(&after)).then_some("why a part is held again")
        }
        // By a key that no directory lists it is passed over by everybody; of a checkpoint only the note is signed.
        b'w' => Some("a witness' cosignature"),
        b'g' => {
            let [before, after] = both::<HeldUp>(change)?;
            (before.note == after.note).then_some("since when a checkpoint is held up")
        }
        b'M' => {
            let [before, after] = both::<schakel_proto::wire::Signed>(change)?;
            (before.bytes == after.bytes).then_some("what OpenPGP does not hash of a manifest's signature")
        }
        _ => None,
    }
}

#[test]
fn l02_a_changed_byte_anywhere_in_the_store_is_found_by_log_verify() {
    let mut town = Town::running(&["pz-rupel", "caw-rupel", "parket-antwerpen"]);
    run(&mut town);
    let verified = verify(&town);
    assert_eq!(verified.0, Some(0), "the running broker: {}", verified.1);
    town.take_broker().stop();
    let verified = verify(&town);
    assert_eq!(verified.0, Some(0), "the stopped broker: {}", verified.1);
    // That look waits as a pending leaf now.
    let copy = Copy::of(&town);
    let good = copy.verify();
    assert_eq!(
        (&good["wrong"], &good["gone"]),
        (&json!(0), &json!({})),
        "{good:#}"
    );
    let mut tables: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (number, (key, _)) in copy.rows.iter().enumerate() {
        tables.entry(key[0]).or_default().push(number);
    }
    let letters: String = tables.keys().map(|letter| char::from(*letter)).collect();
    for table in "!BCDEFGHJKLMOPQRSTVWXYcfips".chars() {
        assert!(
            letters.contains(table),
            "the run leaves no row of table {table}: {letters}"
        );
    }
    let tables: Vec<Vec<usize>> = tables.into_values().collect();
    let mut rng = seeded();
    let mut nothing: BTreeMap<&str, u64> = BTreeMap::new();
    let all = rounds(400, 12_000);
    for number in 0..all {
        let change = Change::at_random(&copy, &tables, number % 3, &mut rng);
        if copy
            .rows
            .iter()
            .any(|(key, _)| *key == change.new_key && change.new_key != change.key)
        {
            continue;
        }
        change.make(&copy);
        if !copy.finds() {
            let why = says_nothing(&change);
            let why = why.unwrap_or_else(|| {
                panic!(
                    "not found ({number}): key {}, {} -> key {}, {}",
                    hex::encode(&change.key),
                    hex::encode(&change.record),
                    hex::encode(&change.new_key),
                    hex::encode(&change.new_record)
                )
            });
            *nothing.entry(why).or_default() += 1;
        }
        change.take_back(&copy);
    }
    assert_eq!(copy.verify()["wrong"], 0, "all is taken back");
    assert!(nothing.values().sum::<u64>() < all / 20, "{nothing:?}");
    count(
        all,
        &format!("changes of a byte; of these {nothing:?} say nothing"),
    );
    part_files(&copy, &mut rng);
    named(&town, copy);
}

/// A byte of a part file.
fn part_files(copy: &Copy, rng: &mut StdRng) {
    let files = std::fs::read_dir(&copy.parts).unwrap().flatten();
    let file = files.map(|file| file.path()).find(|path| path.is_file()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for _ in 0..4 {
        let mut changed = bytes.clone();
        changed[rng.random_range(0..bytes.len())] ^= rng.random_range(1..=255);
        std::fs::write(&file, changed).unwrap();
        let found = copy.verify();
        assert!(found["wrong"] != 0, "{found:#}");
    }
    std::fs::write(&file, &bytes[1..]).unwrap();
    assert!(copy.verify()["wrong"] != 0, "a shorter one");
    std::fs::remove_file(&file).unwrap();
    assert!(copy.verify()["wrong"] != 0, "none");
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(copy.verify()["wrong"], 0);
}

/// `log verify`: exit status, and what it printed.
fn verify(town: &Town) -> (Option<i32>, String) {
    let mut command = Command::new(binary("schakel-broker"));
    let command = command
        .args(["log", "verify", "--config"])
        .arg(town.network().broker_config());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// The command names the entry, its exit status says it, and it looks also where the broker would not start.
fn named(town: &Town, copy: Copy) {
    let data = Config::load(&town.network().broker_config()).unwrap().data_dir;
    let key = [&b"E"[..], &3_u64.to_be_bytes()].concat();
    let record = &copy.rows.iter().find(|(found, _)| *found == key).unwrap().1;
    let row = |change: &dyn Fn(&SledStore)| {
        let store = copy.runtime.block_on(SledStore::open_unchecked(&data)).unwrap();
        change(&store);
        copy.runtime.block_on(store.close());
    };
    // The middle of an entry lies in its leaf or body.
    let mut changed = record.clone();
    changed[CHECK_BYTES + 120] ^= 1;
    let sealed = raw::seal(&key, &changed[CHECK_BYTES..]);
    for changed in [sealed, changed] {
        row(&|store| store.raw_put(&key, Some(&changed)).unwrap());
        let (status, said) = verify(town);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("wrong: entry 3: "), "{said}");
    }
    row(&|store| store.raw_put(&key, Some(record)).unwrap());
    assert_eq!(verify(town).0, Some(0));
}

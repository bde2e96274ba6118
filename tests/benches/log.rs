//! The log at scale: a store on sled with so many entries; what a proof, the list of a case and a whole verification take,
//! and how much disk an entry is. docs/performance.md has the table.
//!
//!     cargo bench -p schakel-tests --bench log
//!
//! `SCHAKEL_ENTRIES=1000000` sets another size (several with commas), `SCHAKEL_FOLDER` another place for the store. One entry
//! in four carries a recall with an OpenPGP signature; the others carry nothing signed. The entries belong to 1,000 cases,
//! but for one in 20,000, which belong to one case that is spread over the whole log. They are committed and integrated as the
//! broker does it, group by group, each group synced; only sled's cache is larger while they are. `SCHAKEL_AT_ONCE=20000` lets
//! the same verbs write so many in one synced batch: a large store is there sooner, and is less spread over its file than one
//! that grew. Each figure is printed as soon as it is there (standard error), and a table's row at the end (standard output).
//! Beside times stand the seconds of processor time that this process has used so far: those do not depend on who else works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement that cannot be set up stops"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use prost::Message;
use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_broker::activate;
use schakel_broker::admin::{Ask, Desk, Filter, Told};
use schakel_broker::clock::SystemClock;
use schakel_broker::config::Config;
use schakel_broker::directory::Source;
use schakel_broker::erasure::ErasureKeys;
use schakel_broker::log::entry::{EntryDraft, EntryMaker};
use schakel_broker::log::key;
use schakel_broker::log::sequencer::Sequencer;
use schakel_broker::store::kv::NoFaults;
use schakel_broker::store::sled::{SledOptions, SledStore};
use schakel_broker::store::{Filed, Store};
use schakel_certs_dev::Network;
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId};
use schakel_proto::tlog::proof::check_inclusion;
use schakel_proto::tlog::tree::Frontier;
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, now};

const POLICE: &str = "pz-rupel";
/// Entries committed at once: enough for full groups.
const AT_ONCE: usize = 512;
/// Cases that most entries belong to.
const CASES: u64 = 1_000;
/// Every so many-th entry belongs to the one spread case.
const SPREAD: u64 = 20_000;
/// Entries between two words on how far it is.
const TOLD_EVERY: u64 = 250_000;
/// sled's cache while the store is filled; a broker's own is smaller, and so is that of the measurement.
const FILL_CACHE_BYTES: u64 = 1 << 30;
/// Entries up to which the rows are counted by table: for that they are all held in memory.
const COUNTED_MAX: u64 = 200_000;
/// Proofs and lists measured.
const PROOFS: usize = 3_000;
const LISTS: usize = 200;

fn case(number: u64) -> CaseRef {
    CaseRef::try_from(&Digest::of(&number.to_be_bytes()).as_bytes()[..16]).unwrap()
}

/// The case that is spread over the log.
fn spread() -> CaseRef {
    case(u64::MAX)
}

/// A recall of a packet, signed by the police.
fn recall(network: &Network) -> (PacketId, wire::Signed) {
    let mut rng = StdRng::seed_from_u64(1);
    let packet = PacketId::new(now(), &mut rng);
    let keys = network.agency_keys(&agency(POLICE)).unwrap();
    let recall = wire::Recall {
        r#type: "schakel.v1.Recall".to_owned(),
        network: network.spec().network.to_string(),
        packet_id: packet.to_vec().into(),
        sender: POLICE.to_owned(),
        sender_key: keys.fingerprint().to_vec().into(),
        reason: "sent_in_error".to_owned(),
        made_ms: now().millis(),
    };
    let bytes = recall.encode_to_vec();
    let signature = keys.sign(&bytes, now()).unwrap();
    (
        packet,
        wire::Signed {
            bytes: bytes.into(),
            signature: signature.into(),
        },
    )
}

fn draft(number: u64, (packet, signed): &(PacketId, wire::Signed)) -> EntryDraft {
    let of = if number.is_multiple_of(SPREAD) {
        spread()
    } else {
        case(number % CASES)
    };
    let police = agency(POLICE);
    let plain = EntryDraft {
        case: Some(of),
        sender: Some(police.clone()),
        ..EntryDraft::new(Event::FactsChanged, now())
    };
    let draft = if number.is_multiple_of(4) {
        EntryDraft {
            packet: Some(*packet),
            reason: "sent_in_error".to_owned(),
            attachment: Some(signed.clone()),
            ..EntryDraft::new(Event::Recalled, now())
        }
    } else {
        EntryDraft::new(Event::FactsChanged, now())
    };
    EntryDraft {
        case: plain.case,
        sender: plain.sender,
        ..draft
    }
    .concerning(&police, false)
}

async fn fill(data: &Path, config: &Config, network: &Network, numbers: std::ops::Range<u64>) {
    let (began, numbers_before) = (Instant::now(), numbers.start);
    let keys = ErasureKeys::open(&config.erasure_dir).unwrap();
    let options = SledOptions {
        cache_bytes: FILL_CACHE_BYTES,
        ..SledOptions::default()
    };
    let opened = SledStore::open_with(data, options, Arc::new(NoFaults)).await;
    let store: Arc<dyn Store> = Arc::new(opened.unwrap());
    eprintln!("opened to be filled in {:.0} s", began.elapsed().as_secs_f64());
    let maker = EntryMaker::new(config.network.clone(), keys);
    let directory = Source::new(config, true).unwrap().load(now()).unwrap();
    activate::directory(store.as_ref(), &maker, &directory, now())
        .await
        .unwrap();
    let secret = key::load(&config.log_key).unwrap();
    let (sequencer, _log) = Sequencer::start(Arc::clone(&store), secret).await.unwrap();
    let recalled = recall(network);
    let (count, began) = (numbers.end - numbers.start, Instant::now());
    let done = AtomicU64::new(0);
    let one = async |number: u64| {
        let mut rng = StdRng::seed_from_u64(number);
        let entry = maker.make(draft(number, &recalled), &mut rng).await.unwrap();
        store.record(entry).await.unwrap();
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(TOLD_EVERY) {
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let bytes = size(data) / (numbers_before + done);
            eprintln!("{done} of {count} filled, {rate:.0} a second; {bytes} bytes on disk an entry");
        }
    };
    futures_util::stream::iter(numbers)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
    sequencer.stop().await;
    store.close().await;
    let seconds = began.elapsed().as_secs_f64();
    eprintln!(
        "filled {count} entries in {seconds:.0} s, {:.0} a second; {} MiB on disk, {} bytes an entry; peak {} MiB; {:.0} s of processor",
        count as f64 / seconds,
        size(data) >> 20,
        size(data) / (numbers_before + count),
        peak(),
        spent()
    );
}

/// The tree as it is.
async fn frontier_of(store: &SledStore) -> Frontier {
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    let mut peaks = std::collections::HashMap::new();
    for node in Frontier::peaks_of(newest.size) {
        peaks.insert(node, store.node(node).await.unwrap().unwrap());
    }
    Frontier::read(newest.size, |node| peaks.get(&node).copied().ok_or(node)).unwrap()
}

/// The first entry of a new log, as a broker's start makes it.
async fn begin(store: &Arc<SledStore>, config: &Config, maker: &EntryMaker) {
    let directory = Source::new(config, true).unwrap().load(now()).unwrap();
    activate::directory(store.as_ref(), maker, &directory, now())
        .await
        .unwrap();
    let (sequencer, _log) = Sequencer::start(store.clone(), key::load(&config.log_key).unwrap())
        .await
        .unwrap();
    sequencer.stop().await;
}

/// The same in batches of so many, by the same verbs.
async fn fill_at_once(
    data: &Path,
    config: &Config,
    network: &Network,
    numbers: std::ops::Range<u64>,
    at_once: usize,
) {
    let (began, before, count) = (Instant::now(), numbers.start, numbers.end - numbers.start);
    let options = SledOptions {
        cache_bytes: FILL_CACHE_BYTES,
        ..SledOptions::default()
    };
    let store = Arc::new(
        SledStore::open_with(data, options, Arc::new(NoFaults))
            .await
            .unwrap(),
    );
    let keys = ErasureKeys::open(&config.erasure_dir).unwrap();
    let maker = EntryMaker::new(config.network.clone(), keys);
    let secret = Arc::new(key::load(&config.log_key).unwrap());
    if before == 0 {
        begin(&store, config, &maker).await;
    }
    let mut frontier = frontier_of(&store).await;
    let recalled = recall(network);
    let mut writing: Option<tokio::task::JoinHandle<Frontier>> = None;
    let (mut number, mut told) = (before, before);
    while number < numbers.end {
        let mut entries = Vec::with_capacity(at_once);
        while entries.len() < at_once && number < numbers.end {
            let mut rng = StdRng::seed_from_u64(number);
            entries.push(maker.make(draft(number, &recalled), &mut rng).await.unwrap());
            number += 1;
        }
        if let Some(writing) = writing.take() {
            frontier = writing.await.unwrap();
        }
        let (store, secret, mut grown) = (store.clone(), secret.clone(), frontier.clone());
        writing = Some(tokio::task::spawn_blocking(move || {
            store.raw_fill(&entries, &secret, &mut grown).unwrap();
            grown
        }));
        if number - told >= TOLD_EVERY {
            told = number;
            let (rate, bytes) = (
                (number - before) as f64 / began.elapsed().as_secs_f64(),
                size(data) / number,
            );
            eprintln!(
                "{number} filled, {rate:.0} a second; {bytes} bytes on disk an entry; {:.0} s of processor",
                spent()
            );
        }
    }
    if let Some(writing) = writing {
        writing.await.unwrap();
    }
    store.close().await;
    eprintln!(
        "filled {count} entries in {:.0} s in batches of {at_once}; {} MiB on disk, {} bytes an entry; peak {} MiB; {:.0} s of processor",
        began.elapsed().as_secs_f64(),
        size(data) >> 20,
        size(data) / numbers.end,
        peak(),
        spent()
    );
}

/// Processor time that this process has used, in seconds.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Rows and bytes of each table.
fn count(store: &SledStore, entries: u64) {
    let mut tables: BTreeMap<char, (u64, u64, u64)> = BTreeMap::new();
    for (key, record) in store.raw_rows().unwrap() {
        let of = tables.entry(char::from(key[0])).or_default();
        *of = (of.0 + 1, of.1 + key.len() as u64, of.2 + record.len() as u64);
    }
    let all = tables.values().map(|of| of.1 + of.2).sum::<u64>();
    eprintln!(
        "{} bytes of rows an entry; by table: rows, bytes of keys and of records an entry",
        all / entries
    );
    for (table, (rows, keys, records)) in tables {
        let each = |bytes: u64| bytes as f64 / entries as f64;
        eprintln!("  {table} {rows} {:.1} {:.1}", each(keys), each(records));
    }
}

/// Says how far the verification is, and how fast it went there.
async fn follow(mut told: tokio::sync::mpsc::Receiver<serde_json::Value>) {
    let mut said = Instant::now();
    let (mut what, mut began, mut from) = (String::new(), Instant::now(), 0);
    while let Some(word) = told.recv().await {
        let (now, done) = (word["what"].to_string(), word["done"].as_u64().unwrap());
        if now != what {
            (what, began, from) = (now, Instant::now(), done);
        } else if said.elapsed() > Duration::from_secs(15) {
            said = Instant::now();
            let rate = (done - from) as f64 / began.elapsed().as_secs_f64();
            eprintln!("verify: {done} {what}, {rate:.0} a second");
        }
    }
}

/// Most memory that this process had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn size(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    let lengths = files
        .filter_map(|file| file.metadata().ok())
        .filter(|m| m.is_file());
    lengths.map(|m| m.len()).sum()
}

/// Median and 99th percentile, in milliseconds.
fn of(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    format!("{:.2} ({:.2})", at(50), at(99))
}

fn list(of: CaseRef) -> Ask {
    Ask::Entries {
        filter: Filter {
            case: Some(of.to_string()),
            ..Filter::default()
        },
        after: None,
        last: None,
        limit: 100,
        export: false,
    }
}

/// How long single entries with their proofs take, drawn at random.
async fn proofs(store: &Arc<dyn Store>, (entries, size_of_log): (u64, u64)) -> Vec<Duration> {
    let mut rng = StdRng::seed_from_u64(entries);
    let mut proofs = Vec::new();
    for _ in 0..PROOFS {
        let index = rng.random_range(1..size_of_log);
        let leaf = store.filed(Filed::All, Some(index - 1), 1).await.unwrap().found[0].leaf_hash;
        let began = Instant::now();
        let entry = store.entry(leaf).await.unwrap().unwrap();
        proofs.push(began.elapsed());
        let root = entry.checkpoint.root;
        check_inclusion(leaf, index, size_of_log, &entry.inclusion, &root).unwrap();
    }
    proofs
}

/// Opens the store as the broker does, and looks; one line of figures.
async fn measure(data: &Path, config: &Config, entries: u64) {
    let began = Instant::now();
    let opened = Arc::new(SledStore::open(data).await.unwrap());
    let store: Arc<dyn Store> = opened.clone();
    let started = began.elapsed().as_secs_f64();
    eprintln!(
        "{entries} entries: opened in {started:.1} s, {} MiB, {:.0} s of processor",
        peak(),
        spent()
    );
    if entries <= COUNTED_MAX {
        count(&opened, entries);
    }
    let opened = peak();
    let desk = Desk::on(config, Arc::new(SystemClock), Arc::clone(&store)).unwrap();
    let size_of_log = store.latest_checkpoint().await.unwrap().unwrap().size;
    assert!(size_of_log >= entries);
    let proofs = proofs(&store, (entries, size_of_log)).await;
    eprintln!("{entries} entries: proof {} ms", of(proofs.clone()));
    let (mut few, mut page) = (Vec::new(), Vec::new());
    for number in 0..LISTS {
        for (of, times, expected) in [
            (spread(), &mut few, (entries.div_ceil(SPREAD) as usize).min(100)),
            (
                case(1 + number as u64),
                &mut page,
                (entries / CASES / 2).min(100) as usize,
            ),
        ] {
            let began = Instant::now();
            let found = desk.answer(list(of), &Told::default()).await.unwrap();
            times.push(began.elapsed());
            assert!(found["entries"].as_array().unwrap().len() >= expected);
        }
    }
    eprintln!(
        "{entries} entries: spread case {} ms, page of a case {} ms",
        of(few.clone()),
        of(page.clone())
    );
    let (sender, told) = tokio::sync::mpsc::channel(16);
    let following = tokio::spawn(follow(told));
    let began = Instant::now();
    let verified = desk.answer(Ask::Verify, &Told::to(sender)).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    following.await.unwrap();
    assert_eq!(verified["wrong"], 0, "{verified:#}");
    eprintln!(
        "{entries} entries: verified in {seconds:.0} s; {:.0} s of processor in all",
        spent()
    );
    let bytes = size(data);
    println!(
        "| {entries} | {} | {} | {started:.1} ({opened}) | {} | {} | {} | {seconds:.0} | {:.0} | {} |",
        bytes >> 20,
        bytes / size_of_log,
        of(proofs),
        of(few),
        of(page),
        size_of_log as f64 / seconds,
        peak()
    );
    store.close().await;
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, data, config, entries] = arguments.as_slice()
        && mode == "measure"
    {
        let config = Config::load(Path::new(config)).unwrap();
        return runtime.block_on(measure(Path::new(data), &config, entries.parse().unwrap()));
    }
    let sizes = std::env::var("SCHAKEL_ENTRIES").unwrap_or_else(|_| "100000".to_owned());
    let place = std::env::var_os("SCHAKEL_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new()
        .prefix("schakel-log-")
        .tempdir_in(place)
        .unwrap();
    let data = folder.path().join("data");
    let town = Town::rupel();
    let file = town.network().broker_config();
    let config = Config::load(&file).unwrap();
    println!(
        "| entries | store, MiB | bytes an entry | start, s (peak, MiB) | proof, ms (p99) | spread case, ms (p99) | page of 100 of a case, ms (p99) | verify, s | entries a second | peak, MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut before = 0;
    for entries in sizes.split(',').map(|size| size.trim().parse::<u64>().unwrap()) {
        match std::env::var("SCHAKEL_AT_ONCE")
            .ok()
            .and_then(|count| count.parse().ok())
        {
            Some(at_once) => {
                runtime.block_on(fill_at_once(
                    &data,
                    &config,
                    town.network(),
                    before..entries,
                    at_once,
                ));
            }
            None => runtime.block_on(fill(&data, &config, town.network(), before..entries)),
        }
        before = entries;
        // A process of its own, so that the peak is of what a broker would hold.
        let status = Command::new(std::env::current_exe().unwrap())
            .arg("measure")
            .args([data.as_path(), file.as_path()])
            .arg(entries.to_string())
            .status();
        assert!(status.unwrap().success());
    }
}

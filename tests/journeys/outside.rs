//! Somebody who trusts nothing of ours checks the log: Go's own packages read a real broker's checkpoints, tiles and
//! leaves over its port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng, rngs::StdRng};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::{LogKey, LogSecret, SignedCheckpoint};
use schakel_proto::wire;
use schakel_tests::system::network::{Town, agency, copy, now};
use schakel_tests::system::outside::{Reader, program};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait::LIMIT;

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

/// Between two looks at the checkpoint.
const PAUSE: Duration = Duration::from_millis(6);

/// What a log has by then: more than a full tile.
const ENTRIES: u64 = 310;

/// Signed notes by what they are, and the leaves that somebody was shown, by their position.
#[derive(Default)]
struct Seen {
    notes: BTreeSet<Vec<u8>>,
    leaves: BTreeMap<u64, Vec<u8>>,
}

impl Seen {
    /// Asks for the newest checkpoint until it has `size` leaves; gives how many it has.
    async fn until(&mut self, reader: &mut Reader, key: &LogKey, size: u64) -> u64 {
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < LIMIT, "a checkpoint of {size} leaves in time");
            let (status, note) = reader.get("checkpoint").await;
            assert_eq!(status, 200);
            let newest = SignedCheckpoint::open(&note, key).unwrap().size();
            self.notes.insert(note);
            if newest >= size {
                return newest;
            }
            // Not faster than an agency may read.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Everything that an agency is shown of the log so far, and under which checkpoints.
    async fn shown_to(&mut self, player: &mut Player, size: u64) {
        let request = wire::FollowEvidenceRequest::default();
        let mut frames = player.client.follow_evidence(request).await.unwrap().into_inner();
        loop {
            let evidence = frames.message().await.unwrap().unwrap().evidence.unwrap();
            let last = evidence.index + 1 >= size;
            self.notes.insert(evidence.checkpoint.to_vec());
            self.leaves.insert(evidence.index, evidence.leaf.to_vec());
            if last {
                return;
            }
        }
    }
}

/// A packet that its recipient takes, then refused submissions one by one and in crowds: a checkpoint after each.
async fn busy(town: &Town, rng: &mut StdRng, key: &LogKey) -> Seen {
    let [mut police, mut parket] = [POLICE, PARKET].map(|id| Player::of(town, id, StdRng::from_rng(rng)));
    let (mut reader, mut seen) = (Reader::of(town, "ocmw-boom"), Seen::default());
    let case = police.open_case(&[POLICE, PARKET]).await;
    let piece = Piece {
        category: "facts_summary",
        to: &[PARKET],
        content: b"Eerste vaststelling.",
    };
    police.send(case, "prosecution", "legal_duty", &[piece]).await;
    let mut inbox = parket.receive(4).await;
    let delivery = inbox.delivery().await;
    inbox
        .acknowledge(parket.acknowledgement(&delivery, "received", ""))
        .await;
    let mut size = seen.until(&mut reader, key, 5).await;
    while size < ENTRIES {
        let crowd = *[1_u64, 2, 3, 8].choose(rng).unwrap();
        let refused = (0..crowd).map(|_| {
            let mut client = police.client.clone();
            tokio::spawn(async move { client.submit(tokio_stream::iter(Vec::new())).await.map(drop) })
        });
        let refused: Vec<_> = refused.collect();
        // Checkpoints are looked for while they are made.
        size = seen.until(&mut reader, key, size + crowd).await;
        for one in refused {
            one.await.unwrap().expect_err("an empty submission");
        }
    }
    seen.shown_to(&mut police, size).await;
    seen
}

/// The Go program on this folder: what it said, and whether all holds.
fn outside(action: &str, more: &[(&str, &Path)], texts: &[(&str, &str)]) -> Result<String, String> {
    let mut command = program().unwrap();
    command.arg(action);
    for (name, value) in more {
        command.arg(format!("-{name}")).arg(value);
    }
    for (name, value) in texts {
        command.arg(format!("-{name}")).arg(value);
    }
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    match done.status.code() {
        Some(0) => Ok(text(done.stdout)),
        Some(1) => Err(text(done.stderr)),
        other => panic!("{other:?}: {}", text(done.stderr)),
    }
}

/// The Go program reads the log under a prefix of the broker's, as a member, into a folder, and checks all of it.
pub fn fetched(town: &Town, prefix: &str, key: &LogKey, folder: &Path) -> Result<String, String> {
    let network = town.network();
    let (agent, ca) = (network.agent_folder(&agency("caw-rupel")), network.ca_file());
    let (cert, secret) = (agent.join("tls-cert.pem"), agent.join("tls-key.pem"));
    let (url, name, log) = (
        format!("https://{}/{prefix}", town.address()),
        network.spec().broker_name(),
        key.to_text(),
    );
    let paths = [("dir", folder), ("ca", &*ca), ("cert", &*cert), ("key", &*secret)];
    outside("fetch", &paths, &[("url", &url), ("name", &name), ("log", &log)])
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    all.filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect()
}

#[test]
fn gos_own_packages_verify_every_checkpoint_entry_and_extension_and_refuse_altered_copies() {
    if let Err(why) = program() {
        return skip(&why);
    }
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let mut rng = seeded();
    let directory = town.network().directory(now()).unwrap();
    let key = directory.log().key().clone();
    let seen = runtime().block_on(busy(&town, &mut rng, &key));
    let folder = town.scratch("read");
    std::fs::create_dir(folder.join("checkpoints")).unwrap();
    for (number, note) in seen.notes.iter().enumerate() {
        std::fs::write(folder.join(format!("checkpoints/{number}")), note).unwrap();
    }
    let log = key.to_text();
    let said = fetched(&town, "log", &key, &folder).unwrap();
    let mut figures = said
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u64>().ok());
    let [entries, checkpoints, extensions] = [0; 3].map(|_| figures.next().unwrap());
    assert!(entries >= ENTRIES, "{said}");
    assert_eq!(checkpoints, seen.notes.len() as u64 + 1);
    assert_eq!(extensions, checkpoints * (checkpoints - 1) / 2);
    for whole in ["tile/0/000", "tile/entries/000", "tile/1/000.p/1"] {
        assert!(folder.join(whole).is_file(), "{whole} was needed");
    }
    // What an agency was shown as evidence stands at the same place of the same log.
    let leaves = [
        bundled(&folder, "000"),
        bundled(&folder, &format!("001.p/{}", entries - 256)),
    ]
    .concat();
    for (index, leaf) in &seen.leaves {
        assert_eq!(leaves[usize::try_from(*index).unwrap()], *leaf, "leaf {index}");
    }
    let altered = altered_copies(&folder, &log, &seen, &mut rng);
    count(
        entries,
        &format!(
            "entries, {checkpoints} checkpoints, {extensions} extensions verified by Go; {altered} altered copies refused"
        ),
    );
}

fn bundled(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(folder.join("tile/entries").join(name)).unwrap();
    let (mut rest, mut all) = (&bytes[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (leaf, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        all.push(leaf.to_vec());
        rest = after;
    }
    all
}

/// Copies of what was read, each with one thing altered: Go must refuse every one of them, and the copy as it is not.
fn altered_copies(folder: &Path, log: &str, seen: &Seen, rng: &mut StdRng) -> u64 {
    let place = folder.with_file_name("altered");
    copy(folder, &place);
    let verified = || outside("verify", &[("dir", &*place)], &[("log", log)]);
    verified().unwrap();
    let mut refused = 0;
    let mut tried = |file: &Path, change: Vec<u8>, what: &str| {
        let before = std::fs::read(file).unwrap();
        assert_ne!(before, change, "{what} alters nothing");
        std::fs::write(file, change).unwrap();
        let name = file.strip_prefix(&place).unwrap().display();
        let said = verified().expect_err(&format!("{name}: {what}"));
        assert!(said.starts_with("outside: "), "{name}: {what}: {said}");
        std::fs::write(file, before).unwrap();
        refused += 1;
    };
    let (mut all, certain) = (
        files(&place),
        ["checkpoint", "tile/0/000", "tile/1/000.p/1", "tile/entries/000"],
    );
    all.shuffle(rng);
    let chosen = usize::try_from(rounds(8, 1_000)).unwrap();
    for file in certain
        .map(|name| place.join(name))
        .iter()
        .chain(all.iter().take(chosen))
    {
        let bytes = std::fs::read(file).unwrap();
        let mut flipped = bytes.clone();
        flipped[rng.random_range(0..bytes.len())] ^= 1 << rng.random_range(0..8);
        tried(file, flipped, "a bit flipped");
    }
    for file in certain.map(|name| place.join(name)) {
        let bytes = std::fs::read(&file).unwrap();
        tried(&file, bytes[..bytes.len() - 1].to_vec(), "cut");
        tried(&file, [&bytes[..], &[0]].concat(), "longer");
    }
    let bundle = place.join("tile/entries/000");
    tried(&bundle, reordered(&place), "two leaves changed places");
    let newest = place.join("checkpoint");
    let smallest = seen.notes.iter().min_by_key(|note| note_size(note)).unwrap();
    tried(
        &newest,
        smallest.clone(),
        "an older checkpoint in place of the newest",
    );
    let other = LogSecret::generate(log.split('+').next().unwrap(), rng).unwrap();
    let size = note_size(&std::fs::read(&newest).unwrap());
    tried(
        &newest,
        other.sign(size, Digest::of(b"root")).note().to_vec(),
        "signed with another key",
    );
    verified().unwrap();
    refused
}

fn note_size(note: &[u8]) -> u64 {
    std::str::from_utf8(note)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// The first bundle with two neighbours changed.
fn reordered(folder: &Path) -> Vec<u8> {
    let mut leaves = bundled(folder, "000");
    leaves.swap(100, 101);
    let with_length = |leaf: Vec<u8>| [&u16::try_from(leaf.len()).unwrap().to_be_bytes()[..], &leaf].concat();
    leaves.into_iter().flat_map(with_length).collect()
}

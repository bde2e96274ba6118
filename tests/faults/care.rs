//! The operator's care of the store, for real: a backup under load and its way back; backup, restore, compaction and
//! migration killed at each step; nobody else on a store that is in use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_broker::store::backup::restore::inspect;
use schakel_broker::store::sled::SledStore;
use schakel_broker::store::{Store, StoreError};
use schakel_proto::ids::PacketId;
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::process::{Process, binary};
use schakel_tests::system::told::{count, rounds, seeded};
use schakel_tests::system::wait;

use crate::turn;

mod killed;

const POLICE: &str = "pz-rupel";
const PARKET: &str = "parket-antwerpen";

/// Exit status of a command of the operator, and what it printed.
type Said = (Option<i32>, String);

fn run(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        said + &String::from_utf8_lossy(&output.stderr),
    )
}

/// `schakel-broker store …` on a configuration.
fn care(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("schakel-broker"));
    command.arg("store").args(arguments).arg("--config").arg(config);
    command
}

/// The broker's configuration with its data elsewhere, in a file beside it.
fn with_data(town: &Town, name: &str, data: &Path) -> PathBuf {
    let file = town.network().broker_folder().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(town.network().broker_config()).unwrap();
    let changed = text.replace("data_dir = \"data\"", &format!("data_dir = {data:?}"));
    assert_ne!(changed, text, "broker.toml is not what this test takes it for");
    std::fs::write(&file, changed).unwrap();
    file
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Submits until told to stop; what the broker answered for, as soon as it has.
async fn submit(
    mut police: Player,
    mut rng: StdRng,
    taken: Arc<Mutex<Vec<PacketId>>>,
    stop: Arc<AtomicBool>,
) {
    let case = police.open_case(&[POLICE, PARKET]).await;
    while !stop.load(Ordering::SeqCst) {
        let large = rng.random_ratio(1, 4);
        let mut content = vec![
            0;
            if large {
                rng.random_range(60_000..600_000)
            } else {
                rng.random_range(1..3_000)
            }
        ];
        rng.fill_bytes(&mut content);
        let piece = Piece {
            category: "facts_summary",
            to: &[PARKET],
            content: &content,
        };
        let sealed = police.send(case, "prosecution", "legal_duty", &[piece]).await;
        taken.lock().unwrap().push(sealed.id());
    }
}

/// Every packet is in a store, with its content unless nobody waits for it any more.
async fn has_all(data: &Path, packets: &[PacketId]) {
    let store = SledStore::open(data).await.unwrap();
    for packet in packets {
        let stored = store.packet(*packet).await.unwrap();
        let stored = stored.unwrap_or_else(|| panic!("{packet} was acknowledged before and is not there"));
        for part in &stored.parts {
            for sealing in &part.sealings {
                match store.content(*packet, part.part, sealing.profile).await {
                    Ok(mut reader) => while reader.next().await.unwrap().is_some() {},
                    Err(StoreError::Missing(_)) => {}
                    Err(error) => panic!("{packet}: {error}"),
                }
            }
        }
    }
    store.close().await;
}

/// A broker on a store that was restored: it says what to do and ends; confirmed, it goes on.
fn confirmed_it_goes_on(town: &mut Town, config: &Path, (size, root): (u64, &str)) {
    let broker = || {
        let mut command = Command::new(binary("schakel-broker"));
        command.args(["run", "--development", "--config"]).arg(config);
        command
    };
    let (status, said) = run(broker());
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("STORE_RESTORED") && said.contains("store confirm"),
        "{said}"
    );
    let size = size.to_string();
    let (status, said) = run(care(config, &["confirm", "--size", "1", "--root", root]));
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("STORE_OTHER_END"), "{said}");
    let (status, said) = run(care(config, &["confirm", "--size", &size, "--root", root]));
    assert_eq!(status, Some(0), "{said}");
    town.start_broker_as(broker());
    let entries = wait::until("the act's entry under a checkpoint", || {
        let mut command = Command::new(binary("schakel-broker"));
        command.args([
            "log", "ls", "--json", "--event", "AdminAct", "--reason", "confirm", "--config",
        ]);
        let (status, said) = run({
            command.arg(config);
            command
        });
        assert_eq!(status, Some(0), "{said}");
        let page: serde_json::Value = serde_json::from_str(&said).unwrap();
        Some(page["entries"].as_array().unwrap().len()).filter(|count| *count > 0)
    });
    assert!(entries <= 2, "who confirmed, and who tried: {entries}");
    town.take_broker().kill();
}

#[test]
fn d17_a_backup_under_load_restores_to_a_store_that_verifies_and_signs_when_confirmed() {
    let _turn = turn::take();
    let (mut rng, backups) = (seeded(), rounds(2, 40));
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    // What it acknowledges goes while the backup is made.
    town.start_agent(PARKET);
    let (taken, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let scratch = town.scratch("backups");
    let mut made = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (own, other) = (StdRng::from_rng(&mut rng), StdRng::from_rng(&mut rng));
            let (town, taken, stop) = (&town, Arc::clone(&taken), Arc::clone(&stop));
            scope.spawn(move || {
                runtime().block_on(async {
                    submit(Player::of(town, POLICE, own), other, taken, stop).await;
                });
            });
        }
        let config = town.network().broker_config();
        for number in 0..backups {
            let more = taken.lock().unwrap().len() + 20;
            wait::until("twenty more packets", || {
                (taken.lock().unwrap().len() >= more).then_some(())
            });
            let before = taken.lock().unwrap().clone();
            let file = scratch.join(format!("{number}.backup"));
            let (status, said) = run(care(&config, &["backup", path(&file), "--json"]));
            assert_eq!(status, Some(0), "{said}");
            made.push((file, before));
        }
        let (status, said) = run(care(&config, &["backup", path(&scratch.join("0.backup"))]));
        assert!(status == Some(69) && said.contains("BACKUP_EXISTS"), "{said}");
        let (status, said) = run(care(&config, &["check"]));
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("; 0 wrong"), "{said}");
        stop.store(true, Ordering::SeqCst);
    });
    town.take_agent(PARKET).stop();
    town.take_broker().stop();
    let (mut batches, mut packets) = (0, 0);
    for (number, (file, before)) in made.iter().enumerate() {
        let data = scratch.join(format!("restored-{number}"));
        let config = with_data(&town, &format!("restored-{number}"), &data);
        let (status, said) = run(care(&config, &["restore", path(file)]));
        assert_eq!(status, Some(0), "{said}");
        let inspected = inspect(file).unwrap();
        batches += inspected.trailer.batches;
        packets += before.len();
        runtime().block_on(has_all(&data, before));
        for arguments in [["log", "verify"], ["store", "check"]] {
            let mut command = Command::new(binary("schakel-broker"));
            command.args(arguments).arg("--config").arg(&config);
            let (status, said) = run(command);
            assert_eq!(status, Some(0), "{arguments:?}: {said}");
        }
        if number == 0 {
            let trailer = &inspected.trailer;
            confirmed_it_goes_on(&mut town, &config, (trailer.size, &trailer.root));
        }
    }
    assert!(batches > 0, "nothing was committed while the backups were made");
    count(
        backups,
        &format!("backups under load, {packets} packets acknowledged before, {batches} batches meanwhile"),
    );
}

/// A town whose broker took some packets and was stopped; the packets.
fn stopped_town(rng: &mut StdRng) -> (Town, Vec<PacketId>) {
    let mut town = Town::rupel();
    town.lift_rates();
    town.start_broker();
    let own = StdRng::from_rng(rng);
    let packets = runtime().block_on(async {
        let mut police = Player::of(&town, POLICE, own);
        let case = police.open_case(&[POLICE, PARKET]).await;
        let mut packets = Vec::new();
        for number in 0..6_u8 {
            let content = vec![number; if number % 2 == 0 { 200_000 } else { 900 }];
            let piece = Piece {
                category: "facts_summary",
                to: &[PARKET],
                content: &content,
            };
            packets.push(
                police
                    .send(case, "prosecution", "legal_duty", &[piece])
                    .await
                    .id(),
            );
        }
        packets
    });
    town.take_broker().stop();
    (town, packets)
}

#[test]
fn d15_nothing_is_done_with_a_store_that_a_broker_uses_and_a_moved_one_starts_nowhere_else() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (mut town, packets) = stopped_town(&mut rng);
    let (config, scratch) = (town.network().broker_config(), town.scratch("moved"));
    let to = scratch.join("data");
    town.start_broker();
    for arguments in [
        &["compact"][..],
        &["migrate"],
        &["move", "--to", path(&to)],
        &["restore", "none.backup"],
    ] {
        let (status, said) = run(care(&config, arguments));
        assert_eq!(status, Some(69), "{arguments:?}: {said}");
        assert!(said.contains("stop it first"), "{arguments:?}: {said}");
    }
    // Without its socket the lock still says so.
    std::fs::remove_file(town.network().broker_data().join("admin.sock")).unwrap();
    for arguments in [&["compact"][..], &["check"], &["move", "--to", path(&to)]] {
        let (status, said) = run(care(&config, arguments));
        assert_eq!(status, Some(69), "{arguments:?}: {said}");
        assert!(
            said.contains("another broker uses this store"),
            "{arguments:?}: {said}"
        );
    }
    assert!(!to.exists());
    town.take_broker().stop();
    let (status, said) = run(care(&config, &["move", "--to", path(&to)]));
    assert_eq!(status, Some(0), "{said}");
    let mut process = Process::start(
        "the former store's broker",
        &mut town.broker_command(),
        &scratch.join("former.log"),
    );
    let ended = wait::until("its end", || process.ended());
    assert!(
        !ended.success() && process.printed().contains("STORE_MOVED"),
        "{}",
        process.printed()
    );
    runtime().block_on(has_all(&to, &packets));
    let moved = with_data(&town, "moved", &to);
    let mut broker = Command::new(binary("schakel-broker"));
    broker.args(["run", "--development", "--config"]).arg(&moved);
    town.start_broker_as(broker);
    let mut verify = Command::new(binary("schakel-broker"));
    verify.args(["log", "verify", "--config"]).arg(&moved);
    let (status, said) = run(verify);
    assert_eq!(status, Some(0), "{said}");
    town.take_broker().stop();
}

/// The command's text.
fn checked(config: &Path) -> Said {
    run(care(config, &["check"]))
}

#[test]
fn d10_d11_a_check_names_what_is_damaged_beside_a_running_broker_and_without_one() {
    let _turn = turn::take();
    let mut rng = seeded();
    let (mut town, _) = stopped_town(&mut rng);
    let (config, data) = (town.network().broker_config(), town.network().broker_data());
    let (status, said) = checked(&config);
    assert!(
        status == Some(0) && said.contains(" part files checked; 0 wrong"),
        "{said}"
    );
    town.start_broker();
    let mut parts: Vec<PathBuf> = std::fs::read_dir(data.join("parts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // Not the directory and bundle that are kept.
        .filter(|path| path.is_file() && path.metadata().unwrap().len() > 150_000)
        .collect();
    parts.sort();
    let mut bytes = std::fs::read(&parts[0]).unwrap();
    bytes[77_777] ^= 4;
    std::fs::write(&parts[0], bytes).unwrap();
    std::fs::remove_file(&parts[1]).unwrap();
    let named = |path: &Path| format!("part file sha256:{}", path.file_name().unwrap().to_str().unwrap());
    let both = |said: &str| {
        said.contains(&format!(
            "{}: has other bytes than its name says",
            named(&parts[0])
        )) && said.contains(&format!("{}: is not there", named(&parts[1])))
    };
    let (status, said) = checked(&config);
    assert!(
        status == Some(1) && said.contains("; 2 wrong") && both(&said),
        "{said}"
    );
    town.take_broker().stop();
    // Under a right checksum and under a wrong one; the tree notices the first, its checksum the second.
    runtime().block_on(async {
        let store = SledStore::open(&data).await.unwrap();
        let rows = store.raw_rows().unwrap();
        let node = rows.iter().find(|(key, _)| key.starts_with(b"O\x01")).unwrap();
        let other = schakel_broker::store::sled::raw::seal(&node.0, &[vec![0], vec![7; 32]].concat());
        store.raw_put(&node.0, Some(&other)).unwrap();
        let manifest = rows.iter().find(|(key, _)| key.first() == Some(&b'M')).unwrap();
        let mut record = manifest.1.clone();
        record[20] ^= 1;
        store.raw_put(&manifest.0, Some(&record)).unwrap();
        store.close().await;
    });
    let (status, said) = checked(&config);
    assert!(
        status == Some(1) && said.contains("; 4 wrong") && both(&said),
        "{said}"
    );
    assert!(said.contains("node 0 of level 1 of the tree"), "{said}");
    assert!(said.contains("of table M does not match its checksum"), "{said}");
    let file = town.scratch("backups").join("one.backup");
    let (status, said) = run(care(&config, &["backup", path(&file)]));
    assert!(
        status == Some(69) && !file.exists(),
        "a damaged store is not backed up: {said}"
    );
}

//! A part of hundreds of MiB: nobody on its way holds it in memory, no byte of it is readable on a disk before its
//! last tag was checked, and a disk that is too small for it says so and keeps nothing of it.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngCore, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_tests::bench::usage;
use schakel_tests::system::disk::SmallDisk;
use schakel_tests::system::network::{Town, agency};
use schakel_tests::system::office::{Document, Office, outcomes, text};
use schakel_tests::system::scan::Needles;
use schakel_tests::system::told::{count, rounds, seeded, skip};
use schakel_tests::system::wait;
use serde_json::{Value, json};

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";
/// What a process may need more at its peak than before the part came, in bytes.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
/// Longest wait for a part of 256 MiB between debug builds on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

/// A file of `mebibytes`, every MiB with the same needle and otherwise its own.
fn file(folder: &Path, needle: &str, mebibytes: u64, rng: &mut StdRng) -> PathBuf {
    let path = folder.join(format!("{mebibytes}.bin"));
    let mut block = vec![0; 1 << 20];
    rng.fill_bytes(&mut block);
    block[1_000..1_000 + needle.len()].copy_from_slice(needle.as_bytes());
    let mut file = std::fs::File::create(&path).unwrap();
    for number in 0..mebibytes {
        block[..8].copy_from_slice(&number.to_be_bytes());
        file.write_all(&block).unwrap();
    }
    path
}

/// Whether two files hold the same, without holding either.
fn same(one: &Path, other: &Path) -> bool {
    let mut files = [one, other].map(|path| std::fs::File::open(path).unwrap());
    if files[0].metadata().unwrap().len() != files[1].metadata().unwrap().len() {
        return false;
    }
    let mut blocks = [vec![0; 1 << 20], vec![0; 1 << 20]];
    loop {
        let mut length = 0;
        for (file, block) in files.iter_mut().zip(&mut blocks) {
            length = 0;
            loop {
                match file.read(&mut block[length..]).unwrap() {
                    0 => break,
                    some => length += some,
                }
            }
        }
        if blocks[0][..length] != blocks[1][..length] {
            return false;
        }
        if length < 1 << 20 {
            return true;
        }
    }
}

fn order(case: CaseRef, file: &Path) -> Value {
    let parts = [Document::new("investigation_file", file)];
    Office::order(case, &[PROSECUTOR], ("prosecution", "legal_duty"), &parts)
}

/// Waits until the one part of a packet was received.
fn arrived(police: &Office, packet: &str) {
    let began = Instant::now();
    loop {
        let route = format!("/v1/packets/{packet}?wait=settled&seconds=50");
        let record = police.ask("GET", &route, None);
        let (_, _, state, reason) = outcomes(&record).remove(0);
        if state == "received" {
            return;
        }
        let waits = ["pending", "handed_over"].contains(&state.as_str());
        assert!(
            waits && began.elapsed() < LIMIT,
            "{packet} is {state}, {reason}: {record:#}"
        );
    }
}

/// The packet's only part at its recipient.
fn part(office: &Office, packet: &str) -> String {
    text(&office.received(packet)["parts"][0], "part")
}

#[test]
fn a_large_part_goes_through_in_flat_memory_and_is_nowhere_readable() {
    let mut rng = seeded();
    let mebibytes = rounds(96, 256);
    let mut town = Town::running(&[POLICE, PROSECUTOR]);
    let scratch = town.scratch("files");
    let needle = format!("needle-{:032x}", u128::from(rng.next_u64()));
    let (small, large) = (
        file(&scratch, &needle, 1, &mut rng),
        file(&scratch, &needle, mebibytes, &mut rng),
    );
    let [police, prosecutor] = [POLICE, PROSECUTOR].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[POLICE, PROSECUTOR]);
    // One of everything before the part that counts: what a process needs anyway it has by then.
    let first = police.send(&order(case, &small));
    arrived(&police, &first);
    prosecutor.open(&first, &part(&prosecutor, &first), &scratch);
    let processes = [
        ("broker", town.broker().id()),
        (POLICE, town.agent(POLICE)),
        (PROSECUTOR, town.agent(PROSECUTOR)),
    ];
    let peaks = || processes.map(|(_, process)| usage::peak_bytes(process).unwrap());
    let (before, began) = (peaks(), Instant::now());
    let packet = police.send(&order(case, &large));
    arrived(&police, &packet);
    let readable = Needles::new(&[&needle]);
    for folder in [
        prosecutor.data().to_owned(),
        police.data().to_owned(),
        town.network().broker_data(),
    ] {
        let found = readable.in_folder(&folder);
        assert!(found.is_empty(), "content lies open in {}", folder.display());
    }
    let out = scratch.join("out.bin");
    let request = json!({ "packet": packet, "part": part(&prosecutor, &packet), "out": out });
    prosecutor.ask("POST", "/v1/inbox/open", Some(&request));
    assert!(same(&large, &out), "the content differs");
    let after = peaks();
    for ((name, _), (before, after)) in processes.iter().zip(before.iter().zip(&after)) {
        let [before, after] = [before, after].map(|bytes| bytes / 1024);
        println!("{name}: peak {before} KiB before {mebibytes} MiB, {after} KiB after");
        let most = GROWTH_MAX_BYTES / 1024;
        assert!(
            after < before + most,
            "{name} grew by {} KiB for {mebibytes} MiB",
            after - before
        );
    }
    let grown = std::array::from_fn::<u64, 3, _>(|n| (after[n] - before[n]) >> 10);
    count(
        mebibytes,
        &format!("MiB in {} s; grown by {grown:?} KiB", began.elapsed().as_secs()),
    );
    town.take_broker().stop();
}

#[test]
fn c04_no_byte_is_written_before_the_last_tag_was_checked_and_a_full_disk_keeps_none() {
    let disk = match SmallDisk::new(8) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let town = Town::running(&[POLICE, PROSECUTOR]);
    let scratch = town.scratch("files");
    let large = file(&scratch, "needle", 12, &mut rng);
    let [police, prosecutor] = [POLICE, PROSECUTOR].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[POLICE, PROSECUTOR]);
    let packet = police.send(&order(case, &large));
    arrived(&police, &packet);
    let part = part(&prosecutor, &packet);
    let stored = stored(&prosecutor, &part);
    let open = |out: &Path| {
        let request = json!({ "packet": packet, "part": part, "out": out });
        let (status, said) = prosecutor
            .try_ask("POST", "/v1/inbox/open", Some(&request))
            .unwrap();
        assert_ne!(status, 200, "{said}");
        text(&said, "code")
    };
    // There is no room for the content: whoever writes it runs into that.
    let out = disk.path().join("out.bin");
    assert_eq!(open(&out), "DISK_FULL");
    assert_eq!(
        std::fs::read_dir(disk.path()).unwrap().count(),
        0,
        "something was left on the full disk"
    );
    // With a damaged last tag nothing is written at all: there the room is not missed.
    flip_last_byte(&stored);
    assert_ne!(open(&out), "DISK_FULL");
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    flip_last_byte(&stored);
    disk.grow(64);
    let request = json!({ "packet": packet, "part": part, "out": out });
    prosecutor.ask("POST", "/v1/inbox/open", Some(&request));
    assert!(same(&large, &out), "the content differs");
}

/// The file of a sealed part in the inbox.
fn stored(office: &Office, part: &str) -> PathBuf {
    let files = walkdir::WalkDir::new(office.data()).into_iter().flatten();
    files
        .map(walkdir::DirEntry::into_path)
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name == format!("{part}.pgp").as_str())
        })
        .expect("the part lies sealed in the inbox")
}

fn flip_last_byte(path: &Path) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).unwrap();
    file.read_exact(&mut last).unwrap();
    file.seek(SeekFrom::End(-1)).unwrap();
    file.write_all(&[last[0] ^ 1]).unwrap();
}

#[test]
fn a_delivery_that_the_recipients_disk_is_too_small_for_leaves_nothing_and_comes_when_there_is_room() {
    let disk = match SmallDisk::new(8) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let mut town = Town::rupel();
    let data = town.network().agent_data(&agency(PROSECUTOR));
    std::fs::remove_dir_all(&data).ok();
    std::os::unix::fs::symlink(disk.path(), &data).unwrap();
    town.start_broker();
    town.start_agent(POLICE);
    town.start_agent(PROSECUTOR);
    let large = file(&town.scratch("files"), "needle", 12, &mut rng);
    let [police, prosecutor] = [POLICE, PROSECUTOR].map(|id| Office::of(&town, id));
    let case = CaseRef::random(&mut rng);
    police.open_case(case, &[POLICE, PROSECUTOR]);
    let packet = police.send(&order(case, &large));
    // First there is no room for what comes in, then for that but not for its copy in the inbox.
    for (mebibytes, says) in [(24, "a delivery was not taken"), (64, "no deliveries are taken")] {
        let agent = town.take_agent(PROSECUTOR);
        wait::until("the agent to say that its disk is full", || {
            let told = |line: &str| line.contains(says) && line.contains("DISK_FULL");
            agent.printed().lines().any(told).then_some(())
        });
        wait::until("everything of it to be gone", || {
            let left = used(&data.join("spool")) + used(&data.join("inbox"));
            (left == 0).then_some(())
        });
        assert!(
            prosecutor.inbox().is_empty(),
            "half a delivery stands in the inbox"
        );
        let (_, _, state, _) = outcomes(&police.ask("GET", &format!("/v1/packets/{packet}"), None)).remove(0);
        assert!(["pending", "handed_over"].contains(&state.as_str()), "{state}");
        agent.stop();
        disk.grow(mebibytes);
        town.start_agent(PROSECUTOR);
    }
    arrived(&police, &packet);
}

/// Bytes in the files of a folder.
fn used(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder)
        .follow_root_links(true)
        .into_iter()
        .flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum()
}

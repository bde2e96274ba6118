//! A disk under the broker that is full or takes nothing more: submissions are refused with a code that says so, what was
//! accepted is there, and when there is room again everything goes on by itself.

use std::os::unix::fs::PermissionsExt;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::refusal;
use schakel_proto::wire::{GetOutcomeRequest, receive_frame::Frame};
use schakel_tests::system::disk::{Disk, SmallDisk};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::process::Process;
use schakel_tests::system::told::{count, seeded, skip};
use schakel_tests::system::wait;

use crate::turn;

const POLICE: &str = "pz-rupel";
const PROSECUTOR: &str = "parket-antwerpen";

fn piece(content: &[u8]) -> [Piece<'_>; 1] {
    [Piece {
        category: "facts_summary",
        to: &[PROSECUTOR],
        content,
    }]
}

async fn submit(police: &mut Player, case: CaseRef, content: &[u8]) -> Result<PacketId, tonic::Status> {
    let manifest = police.manifest(case, "prosecution", "legal_duty");
    let sealed = police.seal(manifest, &piece(content));
    police.submit(sealed.frames()).await.map(|_| sealed.id())
}

async fn are_known(police: &mut Player, accepted: &[PacketId]) {
    for packet in accepted {
        let request = GetOutcomeRequest {
            packet_id: packet.to_vec().into(),
        };
        police.client.get_outcome(request).await.expect("reading goes on");
    }
}

/// Fills the disk with packets of `length` bytes, at most so many, then gives it room.
fn until_there_is_room(mut town: Town, disk: &SmallDisk, (length, most): (usize, usize)) {
    let mut rng = seeded();
    town.lift_rates();
    town.start_broker();
    runtime().block_on(async {
        let mut police = Player::of(&town, POLICE, StdRng::from_rng(&mut rng));
        let case = police.open_case(&[POLICE, PROSECUTOR]).await;
        let content = vec![b'v'; length];
        let mut accepted = Vec::new();
        let refused = loop {
            match submit(&mut police, case, &content).await {
                Ok(packet) => accepted.push(packet),
                Err(refused) => break refused,
            }
            assert!(accepted.len() < most, "it took {most} packets of {length} bytes");
        };
        let code = refusal::from_status(&refused).map(|r| r.code);
        assert_eq!(
            (refused.code(), code.as_deref()),
            (tonic::Code::ResourceExhausted, Some("STORE_FULL")),
            "{refused}"
        );
        assert!(accepted.len() > 3, "only {} packets fitted", accepted.len());
        are_known(&mut police, &accepted).await;
        // Hand-over and acknowledgement go on, too: they make room.
        let mut prosecutor = Player::of(&town, PROSECUTOR, StdRng::from_rng(&mut rng));
        let mut session = prosecutor.receive(1).await;
        let delivery = session.delivery().await;
        session
            .acknowledge(prosecutor.acknowledgement(&delivery, "received", ""))
            .await;
        assert!(
            matches!(session.next().await, Frame::Settled(_)),
            "the acknowledgement is settled on a full disk"
        );
        disk.grow(256);
        accepted_again(&mut police, case, &content).await;
        count(accepted.len() as u64, "packets until the disk was full");
    });
    assert_eq!(town.health("/health/live"), Some(200));
    town.take_broker().stop();
}

#[test]
fn d08_a_full_disk_refuses_submissions_and_nothing_else_until_there_is_room() {
    let _turn = turn::take();
    let disk = match SmallDisk::new(24) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let town = Town::rupel();
    town.put_broker_on(disk.path());
    until_there_is_room(town, &disk, (900_000, 100));
}

/// The log and all rows on a disk of their own, large parts on another that has room.
#[test]
fn d09_a_full_disk_under_the_log_alone_refuses_what_would_get_no_leaf_until_there_is_room() {
    let _turn = turn::take();
    let town = Town::rupel();
    let data = town.network().broker_data();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    let disk = match SmallDisk::at(16, &data.join("rows")) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    until_there_is_room(town, &disk, (40_000, 2_000));
}

/// Submits until it is accepted, which it must be soon.
async fn accepted_again(police: &mut Player, case: CaseRef, content: &[u8]) {
    let began = std::time::Instant::now();
    while let Err(refused) = submit(police, case, content).await {
        assert!(
            began.elapsed() < wait::LIMIT,
            "still refused with room: {refused}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[test]
fn d07_a_disk_that_turns_read_only_is_said_and_what_was_accepted_is_there_when_it_is_mended() {
    let _turn = turn::take();
    let disk = match Disk::new(512) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let mut town = Town::rupel();
    town.put_broker_on(&disk.path());
    town.lift_rates();
    town.start_broker();
    let (runtime, content) = (runtime(), vec![b'r'; 90_000]);
    let _inside = runtime.enter();
    let mut police = Player::of(&town, POLICE, StdRng::from_rng(&mut rng));
    let case = runtime.block_on(police.open_case(&[POLICE, PROSECUTOR]));
    let mut accepted = Vec::new();
    for _ in 0..5 {
        accepted.push(runtime.block_on(submit(&mut police, case, &content)).unwrap());
    }
    disk.turn_read_only();
    let short = vec![b's'; 500];
    for content in [&content, &short] {
        let refused = runtime.block_on(submit(&mut police, case, content)).unwrap_err();
        let refusal = refusal::from_status(&refused).unwrap_or_else(|| panic!("without words: {refused}"));
        assert!(!refusal.remedy.is_empty(), "{refused}");
    }
    let failed = || (town.health_words("/health/ready").as_deref() == Some("failed\n")).then_some(());
    wait::until("health to say that the store has stopped", failed);
    town.take_broker().kill();
    // Started on it as it is, it ends and says why.
    let log = town.scratch("again").join("log");
    let mut again = Process::start("broker again", &mut town.broker_command(), &log);
    let ended = wait::until("its end", || again.ended());
    let said = again.printed();
    assert!(!ended.success() && said.contains("Read-only"), "{ended}: {said}");
    disk.mend();
    town.start_broker();
    let mut police = Player::of(&town, POLICE, StdRng::from_rng(&mut rng));
    runtime.block_on(async {
        are_known(&mut police, &accepted).await;
        accepted_again(&mut police, case, &content).await;
    });
    count(
        accepted.len() as u64,
        "packets accepted before the disk turned read-only, none lost",
    );
    town.take_broker().stop();
}

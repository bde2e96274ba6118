//! A full disk under the broker: submissions are refused with a code that says so, reading goes on, and when there is
//! room again everything goes on by itself.

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::ids::CaseRef;
use schakel_proto::refusal;
use schakel_proto::wire::{GetOutcomeRequest, receive_frame::Frame};
use schakel_tests::system::disk::SmallDisk;
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::{count, seeded, skip};
use schakel_tests::system::wait;

use crate::turn;

#[test]
fn d08_a_full_disk_refuses_submissions_and_nothing_else_until_there_is_room() {
    let _turn = turn::take();
    let disk = match SmallDisk::new(24) {
        Ok(disk) => disk,
        Err(why) => return skip(&why),
    };
    let mut rng = seeded();
    let mut town = Town::rupel();
    town.put_broker_on(disk.path());
    town.lift_rates();
    town.start_broker();
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let case = police.open_case(&["pz-rupel", "parket-antwerpen"]).await;
        let content = vec![b'v'; 900_000];
        let piece = [Piece {
            category: "facts_summary",
            to: &["parket-antwerpen"],
            content: &content,
        }];
        let mut accepted = Vec::new();
        let refused = loop {
            let manifest = police.manifest(case, "prosecution", "legal_duty");
            let sealed = police.seal(manifest, &piece);
            match police.submit(sealed.frames()).await {
                Ok(_) => accepted.push(sealed.id()),
                Err(refused) => break refused,
            }
            assert!(accepted.len() < 100, "24 MiB took 100 packets of a megabyte");
        };
        let code = refusal::from_status(&refused).map(|r| r.code);
        assert_eq!(
            (refused.code(), code.as_deref()),
            (tonic::Code::ResourceExhausted, Some("STORE_FULL")),
            "{refused}"
        );
        assert!(accepted.len() > 3, "only {} packets fitted", accepted.len());
        for packet in &accepted {
            let request = GetOutcomeRequest {
                packet_id: packet.to_vec().into(),
            };
            police.client.get_outcome(request).await.expect("reading goes on");
        }
        // Hand-over and acknowledgement go on, too: they make room.
        let mut prosecutor = Player::of(&town, "parket-antwerpen", StdRng::from_rng(&mut rng));
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
        accepted_again(&mut police, case, &piece).await;
        count(accepted.len() as u64, "packets until the disk was full");
    });
    assert_eq!(town.health("/health/live"), Some(200));
}

/// Submits until it is accepted, which it must be soon.
async fn accepted_again(police: &mut Player, case: CaseRef, piece: &[Piece<'_>]) {
    let began = std::time::Instant::now();
    loop {
        let manifest = police.manifest(case, "prosecution", "legal_duty");
        let sealed = police.seal(manifest, piece);
        match police.submit(sealed.frames()).await {
            Ok(_) => return,
            Err(refused) => assert!(
                began.elapsed() < wait::LIMIT,
                "still refused with room: {refused}"
            ),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

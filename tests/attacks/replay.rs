//! Replays: the same packet again is answered as before, and delivered once; the same id with other bytes is refused.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::refusal;
use schakel_proto::wire::receive_frame::Frame;
use schakel_tests::system::leaves::{refused_submissions, rejection_leaves};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Piece, Player};
use schakel_tests::system::told::seeded;

const PART: Piece<'_> = Piece {
    category: "facts_summary",
    to: &["parket-antwerpen"],
    content: b"Vaststellingen.",
};

#[test]
fn c13_a_replayed_packet_is_answered_as_before_and_delivered_once() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let case = police.open_case(&["pz-rupel", "parket-antwerpen"]).await;
        let manifest = police.manifest(case, "prosecution", "legal_duty");
        let sealed = police.seal(manifest, &[PART]);
        let first = police.submit(sealed.frames()).await.unwrap();
        assert!(!first.repeated);
        for _ in 0..3 {
            let again = police.submit(sealed.frames()).await.unwrap();
            assert!(again.repeated);
            assert_eq!(
                (&again.leaf_hash, again.accepted_ms),
                (&first.leaf_hash, first.accepted_ms)
            );
        }
        let mut prosecutor = Player::of(&town, "parket-antwerpen", StdRng::from_rng(&mut rng));
        let mut session = prosecutor.receive(8).await;
        let delivery = session.delivery().await;
        session
            .acknowledge(prosecutor.acknowledgement(&delivery, "received", ""))
            .await;
        assert!(matches!(session.next().await, Frame::Settled(_)));
        // After it was delivered, too: answered, not delivered again.
        assert!(police.submit(sealed.frames()).await.unwrap().repeated);
        let more = session.next_within(Duration::from_secs(2)).await;
        assert!(more.is_none(), "a second delivery: {more:?}");
    });
}

#[test]
fn c14_the_same_id_with_other_bytes_is_refused() {
    let town = Town::running(&[]);
    let mut rng = seeded();
    runtime().block_on(async {
        let mut police = Player::of(&town, "pz-rupel", StdRng::from_rng(&mut rng));
        let case = police.open_case(&["pz-rupel", "parket-antwerpen"]).await;
        let manifest = police.manifest(case, "prosecution", "legal_duty");
        let first = police.seal(manifest.clone(), &[PART]);
        let second = police.seal(manifest, &[PART]);
        assert_eq!(first.id(), second.id());
        police.submit(first.frames()).await.unwrap();
        let refused = police.submit(second.frames()).await.unwrap_err();
        assert_eq!(refusal::from_status(&refused).unwrap().code, "PACKET_ID_REUSED");
        assert!(
            police.submit(first.frames()).await.unwrap().repeated,
            "the first one stands"
        );
        assert_eq!(rejection_leaves(&mut police.client).await, ["PACKET_ID_REUSED"]);
    });
    assert_eq!(refused_submissions(&town)["PACKET_ID_REUSED"], 1);
}

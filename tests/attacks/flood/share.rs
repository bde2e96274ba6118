//! More than one's share: of submissions, and of the log.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::{refusal, wire};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{count, rounds, seeded};
use tokio::task::JoinSet;

use super::storm::{elsewhere, felt, sealed, submitted};
use super::{HONEST, PART, code};

/// Streams that the hot agency sends on at once.
const STREAMS: u64 = 60;

/// Sends the same packet `number` times over many streams at once; the refusals.
async fn sent_again_and_again(
    hot: &Player,
    frames: Vec<wire::SubmitFrame>,
    number: u64,
) -> Vec<tonic::Status> {
    let mut sending = JoinSet::new();
    for _ in 0..STREAMS {
        let (mut client, frames) = (hot.client.clone(), frames.clone());
        sending.spawn(async move {
            let mut refused = Vec::new();
            for _ in 0..number / STREAMS {
                let sent = client.submit(tokio_stream::iter(frames.clone())).await;
                refused.extend(sent.err());
            }
            refused
        });
    }
    sending.join_all().await.concat()
}

#[test]
fn n16_an_agency_with_a_hundred_times_its_share_takes_nothing_from_the_others() {
    let packets = usize::try_from(rounds(10, 200)).unwrap();
    // The case, as many packets in quiet as under the flood.
    let share = 2 * packets as u64 + 1;
    let mut town = Town::rupel();
    town.limit(&format!("submissions_per_minute_max_count = {share}"));
    town.start_broker();
    let mut rng = seeded();
    let place = elsewhere();
    let (refused, felt) = runtime().block_on(async {
        let mut honest = Player::of(&town, HONEST, StdRng::from_rng(&mut rng));
        let case = honest
            .open_case(&[HONEST, "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let (before, during) = (
            sealed(&mut honest, case, packets),
            sealed(&mut honest, case, packets),
        );
        let mut hot = {
            // Its connection lives where it sends from.
            let _there = place.enter();
            Player::of(&town, "pz-rupel-opvolgcel", StdRng::from_rng(&mut rng))
        };
        let manifest = hot.manifest(case, "prosecution", "legal_duty");
        let frames = hot.seal(manifest, &PART).frames();
        let quiet = submitted(&mut honest, &before).await;
        let flood = place.spawn(async move { sent_again_and_again(&hot, frames, 100 * share).await });
        let busy = submitted(&mut honest, &during).await;
        (flood.await.unwrap(), felt(&quiet, &busy))
    });
    let throttled: Vec<_> = refused
        .iter()
        .filter(|status| status.code() == tonic::Code::ResourceExhausted)
        .collect();
    // While it lasts some come back to it; the rest is the share that it had, however that ended.
    let number = throttled.len() as u64;
    assert!(number >= 90 * share, "{number} of {}", 100 * share);
    // Who goes on sending what is refused loses its connection at last; the rest is told when to try again.
    let told: Vec<_> = throttled
        .iter()
        .filter_map(|status| refusal::from_status(status))
        .collect();
    assert!(
        told.len() as u64 >= number / 2,
        "{} of {number} told why",
        told.len()
    );
    for said in &told {
        assert!(said.retry_after_ms > 0, "when to try again: {said:?}");
        let known = ["TOO_FAST", "TOO_MANY_AT_ONCE"].contains(&&*said.code);
        assert!(known, "{said:?}");
    }
    let told = town.figure("schakel_refusals_total{what=\"submission\",code=\"TOO_FAST\"}");
    assert!(told.is_some_and(|n| n > 0), "throttling is counted");
    count(
        number,
        &format!(
            "of {} throttled; all {packets} honest packets accepted; {felt}",
            100 * share
        ),
    );
}

#[test]
fn each_forgery_is_counted_and_logged_once_and_under_a_flood_the_log_says_how_many_it_left_out() {
    const LEAVES: u32 = 5;
    const FORGED: u64 = 40;
    let mut town = Town::rupel();
    town.limit(&format!("rejection_leaves_per_hour_max_count = {LEAVES}"));
    town.start_broker();
    let mut rng = seeded();
    let before_stop = runtime().block_on(async {
        let mut police = Player::of(&town, HONEST, StdRng::from_rng(&mut rng));
        let case = police.open_case(&[HONEST, "parket-antwerpen"]).await;
        for _ in 0..FORGED {
            let manifest = police.manifest(case, "prosecution", "legal_duty");
            let mut sealed = police.seal(manifest, &PART);
            let mut signature = sealed.packet.manifest.signature.to_vec();
            let last = signature.len() - 1;
            signature[last] ^= 1;
            sealed.packet.manifest.signature = signature.into();
            let refused = police.submit(sealed.frames()).await.unwrap_err();
            assert_eq!(code(&refused).1, "SIGNATURE_BAD");
        }
        police.send(case, "prosecution", "legal_duty", &PART).await;
        rejections(&mut police, 1).await
    });
    let written = vec![("SIGNATURE_BAD".to_owned(), 0); LEAVES as usize];
    assert_eq!(
        before_stop, written,
        "each has one leaf, until the share is used up"
    );
    let left_out = FORGED - u64::from(LEAVES);
    assert_eq!(town.figure("schakel_rejections_left_out_total"), Some(left_out));
    assert_eq!(
        town.figure("schakel_refusals_total{what=\"submission\",code=\"SIGNATURE_BAD\"}"),
        Some(FORGED)
    );
    town.take_broker().stop();
    town.start_broker();
    let after = runtime().block_on(async {
        let mut police = Player::of(&town, HONEST, StdRng::from_rng(&mut rng));
        let case = police.open_case(&[HONEST, "parket-antwerpen"]).await;
        police.send(case, "prosecution", "legal_duty", &PART).await;
        // The first acceptance in the log came before the stop.
        rejections(&mut police, 2).await
    });
    let said: u64 = after.iter().map(|(_, left_out)| left_out).sum();
    assert_eq!(said, left_out, "{after:?}");
    assert_eq!(after.last().map(|(reason, _)| &**reason), Some("LEFT_OUT"));
    count(
        FORGED,
        "forgeries: all counted, a bounded number logged, the rest told as a number",
    );
}

#[test]
fn a_malformed_recall_is_logged_as_an_attempt_and_counted() {
    let town = Town::running(&[]);
    let (found, code) = runtime().block_on(async {
        let mut police = Player::of(&town, HONEST, StdRng::from_os_rng());
        let recall = Some(police.sign(vec![0xff; 50]));
        let refused = police
            .client
            .recall(wire::RecallRequest { recall })
            .await
            .unwrap_err();
        let case = police.open_case(&[HONEST, "parket-antwerpen"]).await;
        police.send(case, "prosecution", "legal_duty", &PART).await;
        (rejections(&mut police, 1).await, code(&refused).1)
    });
    assert_eq!(found, [(code.clone(), 0)]);
    let counted = town.figure(&format!(
        "schakel_refusals_total{{what=\"recall\",code=\"{code}\"}}"
    ));
    assert_eq!(counted, Some(1));
}

/// The rejections in the log that their sender sees, up to its n-th accepted packet: reason, and how many were left
/// out.
async fn rejections(police: &mut Player, accepted: usize) -> Vec<(String, u64)> {
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = police.client.follow_evidence(request).await.unwrap().into_inner();
    let (mut found, mut seen) = (Vec::new(), 0);
    while seen < accepted {
        let frame = frames.message().await.unwrap().unwrap();
        let body = wire::EvidenceBody::decode(frame.evidence.unwrap().body).unwrap();
        match body.event.as_str() {
            "SubmissionRejection" => found.push((body.reason, body.left_out)),
            "SubmissionAcceptance" => seen += 1,
            _ => {}
        }
    }
    found
}

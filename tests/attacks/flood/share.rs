//! More than one's share: of submissions, and of the log.

use prost::Message;
use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::{refusal, wire};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::{Player, Sealed};
use schakel_tests::system::told::{count, seeded};
use tokio::task::JoinSet;

use super::{HONEST, PART, code};

#[test]
fn n16_an_agency_with_a_hundred_times_its_share_takes_nothing_from_the_others() {
    const SHARE: u64 = 20;
    let mut town = Town::rupel();
    town.limit(&format!("submissions_per_minute_max_count = {SHARE}"));
    town.start_broker();
    let mut rng = seeded();
    let (accepted, refused) = runtime().block_on(async {
        let mut honest = Player::of(&town, HONEST, StdRng::from_rng(&mut rng));
        let mut hot = Player::of(&town, "pz-rupel-opvolgcel", StdRng::from_rng(&mut rng));
        let case = honest
            .open_case(&[HONEST, "pz-rupel-opvolgcel", "parket-antwerpen"])
            .await;
        let manifest = hot.manifest(case, "prosecution", "legal_duty");
        let frames = hot.seal(manifest, &PART).frames();
        let flood = async {
            let mut sending = JoinSet::new();
            for _ in 0..8 {
                let (mut client, frames) = (hot.client.clone(), frames.clone());
                sending.spawn(async move {
                    let mut refused = Vec::new();
                    for _ in 0..100 * SHARE / 8 {
                        let sent = client.submit(tokio_stream::iter(frames.clone())).await;
                        refused.extend(sent.err());
                    }
                    refused
                });
            }
            sending.join_all().await.concat()
        };
        // The case's opening was the first of its share.
        let packets: Vec<Sealed> = (1..SHARE)
            .map(|_| {
                let manifest = honest.manifest(case, "prosecution", "legal_duty");
                honest.seal(manifest, &PART)
            })
            .collect();
        let fair = async {
            let mut accepted = 0;
            for sealed in &packets {
                honest.submit(sealed.frames()).await.expect("within its share");
                accepted += 1;
            }
            accepted
        };
        let (refused, accepted) = tokio::join!(flood, fair);
        (accepted, refused)
    });
    assert_eq!(accepted, SHARE - 1);
    let throttled: Vec<_> = refused
        .iter()
        .filter(|status| status.code() == tonic::Code::ResourceExhausted)
        .collect();
    // While it lasts some come back to it; the rest is the share that it had, however that ended.
    assert!(
        throttled.len() as u64 >= 90 * SHARE,
        "{} of {}",
        throttled.len(),
        100 * SHARE
    );
    for status in &throttled {
        let said = refusal::from_status(status).unwrap();
        assert!(said.retry_after_ms > 0, "when to try again: {said:?}");
        assert!(
            ["TOO_FAST", "TOO_MANY_AT_ONCE"].contains(&&*said.code),
            "{said:?}"
        );
    }
    let told = town
        .figure("schakel_refusals_total{what=\"submission\",code=\"TOO_FAST\"}")
        .unwrap_or_default();
    assert!(told > 0, "throttling is counted");
    count(
        throttled.len() as u64,
        &format!("of {} throttled, {accepted} honest packets accepted", 100 * SHARE),
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

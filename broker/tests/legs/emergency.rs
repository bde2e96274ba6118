//! Break-glass: a complete record or nothing, before everything else, and reviewed by another agency in time.

use std::sync::Arc;

use schakel_broker::admin::Ask;
use schakel_broker::clock::SetClock;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::CaseRef;
use schakel_proto::packet::manifest::{BreakGlass, ManifestFields};
use schakel_proto::party::OfficerId;
use schakel_proto::statement::StatementBody;
use schakel_proto::wire;

use crate::inbox::Inbox;
use crate::oversight::ask;
use crate::packet::{Client, Sealed, code, new_case, refusal, state, submit};
use crate::peer::{Ground, now};

const POLICE: &str = "pz-rupel";
const CAW: &str = "caw-rupel";
const PARKET: &str = "parket-antwerpen";
const HOURS: i64 = 3_600_000;

fn emergency(ground: &Ground, case: CaseRef, change: fn(&mut BreakGlass)) -> Sealed {
    let parts = [("alert", &b"hij is onderweg"[..], &[CAW][..])];
    ground.seal_emergency((POLICE, PARKET), case, (&[CAW], &parts), change)
}

fn review(ground: &Ground, by: &str, case: CaseRef, sealed: &Sealed) -> wire::Signed {
    let body = StatementBody::BreakGlassReviewed {
        packet: sealed.packet.packet_id,
        reviewer: OfficerId::new("beleid-parket-antwerpen").unwrap(),
        finding: code("justified"),
    };
    ground.statement(by, case, body)
}

/// The first acceptance that the log shows to this reader.
async fn acceptance(ground: &Ground, reader: &mut Client) -> evidence::Body {
    let mut follow = reader
        .follow_evidence(wire::FollowEvidenceRequest::default())
        .await
        .unwrap()
        .into_inner();
    let directory = ground.network.directory(now()).unwrap();
    loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let network = &ground.network.spec().network;
        let checked = evidence::check(&shown, network, directory.log().key()).unwrap();
        if checked.body().event == Event::SubmissionAcceptance {
            return checked.body().clone();
        }
    }
}

#[tokio::test]
async fn p14_the_glass_is_broken_with_reason_and_second_person_and_counted_until_reviewed() {
    let ground = Ground::new();
    let start = now();
    let clock = Arc::new(SetClock::at(start));
    let broker = ground.broker_at(clock.clone()).await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let case = new_case();
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET, CAW]);
    state(&mut police, opening).await.unwrap();
    // Without a reason, or with a review that is too late, nothing goes.
    let incomplete: [fn(&mut BreakGlass); 2] = [
        |record| record.justification_chars = 5,
        |record| record.review_by = now().plus_millis(73 * HOURS),
    ];
    for change in incomplete {
        let sealed = emergency(&ground, case, change);
        let refused = refusal(&submit(&mut police, sealed.frames()).await.unwrap_err());
        assert_eq!(refused.code, "DENIED");
    }
    let sealed = emergency(&ground, case, |_| {});
    submit(&mut police, sealed.frames()).await.unwrap();
    // The second person learns of it from the log: who broke the glass, in which case, with which packet.
    let mut parket = ground.client(broker.address(), PARKET).await;
    let shown = acceptance(&ground, &mut parket).await;
    assert_eq!(
        (shown.packet, shown.case),
        (Some(sealed.packet.packet_id), Some(case))
    );
    assert_eq!(shown.sender.unwrap().as_str(), POLICE);
    // It is counted from the first moment, and overdue when nobody has reviewed it in time.
    let of = |found: &serde_json::Value| {
        (
            found["counts"]["review"].as_u64(),
            found["emergencies"]["unreviewed"].as_u64(),
        )
    };
    assert_eq!(of(&ask(&ground, Ask::Overdue).await), (Some(0), Some(1)));
    clock.set(start.plus_millis(49 * HOURS));
    let found = ask(&ground, Ask::Overdue).await;
    assert_eq!(of(&found), (Some(1), Some(1)), "{found:#}");
    let reviews = found["overdue"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["kind"] == "review");
    let packets: Vec<_> = reviews.map(|one| one["packet"].clone()).collect();
    assert_eq!(packets, [sealed.packet.packet_id.to_string()]);
    // Who broke the glass does not review it; the second person does, and then nobody waits any more.
    clock.set(now());
    let own = review(&ground, POLICE, case, &sealed);
    let refused = refusal(&state(&mut police, own).await.unwrap_err());
    assert_eq!(refused.code, "STATE_REFUSED");
    let reviewed = review(&ground, PARKET, case, &sealed);
    state(&mut parket, reviewed).await.unwrap();
    clock.set(start.plus_millis(49 * HOURS));
    assert_eq!(of(&ask(&ground, Ask::Overdue).await), (Some(0), Some(0)));
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn an_emergency_goes_before_everything_that_waits_and_before_what_was_leased() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), POLICE).await;
    let case = new_case();
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET, CAW]);
    state(&mut police, opening).await.unwrap();
    let large = vec![7_u8; 900 * 1024];
    for _ in 0..6 {
        let sealed = ground.seal(
            POLICE,
            case,
            &[CAW],
            &[("measures", large.as_slice(), &[CAW][..])],
        );
        submit(&mut police, sealed.frames()).await.unwrap();
    }
    let [first, second] = [(), ()].map(|()| emergency(&ground, case, |_| {}));
    submit(&mut police, first.frames()).await.unwrap();
    let mut caw = ground.client(broker.address(), CAW).await;
    let mut inbox = Inbox::open(&mut caw, 16).await;
    let packet = |handed: &crate::inbox::Handed| {
        let manifest = handed.manifest.bytes.as_ref();
        ManifestFields::parse(manifest).unwrap().packet_id
    };
    assert_eq!(
        packet(&inbox.handed().await),
        first.packet.packet_id,
        "it came last and goes first"
    );
    // All the others are leased by now, and on their way as far as the line has room: two of them at most.
    inbox.handed().await;
    submit(&mut police, second.frames()).await.unwrap();
    let mut place = 1;
    while packet(&inbox.handed().await) != second.packet.packet_id {
        place += 1;
    }
    assert!(
        place <= 4,
        "the second emergency waited behind {place} routine packets"
    );
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
}

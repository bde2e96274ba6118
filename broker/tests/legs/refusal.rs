//! Denials that are not a rule of the broker's own: a recipient's agent that decides otherwise, a directory
//! that is out of date, and what changes after a hand-over is committed and before its keys are sent.

use std::sync::Arc;

use prost::Message;
use schakel_broker::activate;
use schakel_broker::clock::SetClock;
use schakel_proto::evidence::{self, Event};
use schakel_proto::limits;
use schakel_proto::wire::{self, receive_frame::Frame};

use crate::inbox::Inbox;
use crate::packet::{Client, Sealed, new_case, refusal, state, submit};
use crate::peer::{Ground, agency, now};

const PARKET: &str = "parket-antwerpen";

/// A case of police and prosecutor, and a packet in it.
async fn packet(ground: &Ground, police: &mut Client) -> Sealed {
    let case = new_case();
    let opened = ground.opening("pz-rupel", case, &["pz-rupel", PARKET]);
    state(police, opened).await.unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &[PARKET][..])];
    ground.seal("pz-rupel", case, &[PARKET], &parts)
}

#[tokio::test]
async fn p04_a_denial_by_the_recipients_own_agent_is_logged_beside_the_brokers_decision() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let sealed = packet(&ground, &mut police).await;
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    let handed = inbox.handed().await;
    let said = handed.acknowledgement(&ground, PARKET, &sealed);
    let mut said = wire::Acknowledgement::decode(&*said.bytes).unwrap();
    said.outcome = "refused".to_owned();
    said.reason = "OWN_DECISION_DIFFERS".to_owned();
    let bytes = said.encode_to_vec();
    let signature = ground.keys(PARKET).sign(&bytes, now()).unwrap();
    let signed = wire::Signed {
        bytes: bytes.into(),
        signature: signature.into(),
    };
    let settled = inbox.acknowledge(signed.clone()).await;
    // Both sender and recipient are shown both: what the broker decided, and that it was not accepted.
    let directory = ground.network.directory(now()).unwrap();
    for client in [&mut police, &mut parket] {
        let request = wire::FollowEvidenceRequest::default();
        let mut follow = client.follow_evidence(request).await.unwrap().into_inner();
        let mut decided = false;
        let denial = loop {
            let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
            let network = &ground.network.spec().network;
            let checked = evidence::check(&shown, network, directory.log().key()).unwrap();
            decided |= checked.body().event == Event::ContentConsignment;
            if checked.body().event == Event::ContentHandoverFailure {
                break checked;
            }
        };
        assert!(decided);
        assert_eq!(denial.leaf_hash().to_vec(), settled.leaf_hash);
        assert_eq!(denial.body().reason, "OWN_DECISION_DIFFERS");
        assert_eq!(denial.attachment(), Some(&signed), "in the recipient's own words");
    }
    let packet_id = sealed.packet.packet_id.to_vec().into();
    let outcome = police
        .get_outcome(wire::GetOutcomeRequest { packet_id })
        .await
        .unwrap();
    let outcome = outcome.into_inner();
    let part = (outcome.parts[0].state.as_str(), outcome.parts[0].reason.as_str());
    assert_eq!(
        (outcome.state.as_str(), part),
        ("settled", ("refused", "OWN_DECISION_DIFFERS"))
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn p11_by_a_directory_that_is_out_of_date_nothing_is_accepted_stated_or_handed_over() {
    let ground = Ground::new();
    let (file, begin) = (ground.network.directory_file(), now());
    let clock = Arc::new(SetClock::at(begin));
    let until = |millis: i64| {
        let directory = ground.network.issue_changed(begin, |directory| {
            directory.valid_until_ms = begin.plus_millis(millis).millis();
        });
        std::fs::write(&file, directory.unwrap().encode_to_vec()).unwrap();
    };
    until(60_000);
    let broker = ground.broker_at(clock.clone()).await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let waiting = packet(&ground, &mut police).await;
    submit(&mut police, waiting.frames()).await.unwrap();
    clock.set(begin.plus_millis(60_001));
    let late = ground.seal(
        "pz-rupel",
        new_case(),
        &[PARKET],
        &[("measures", b"x", &[PARKET])],
    );
    let status = submit(&mut police, late.frames()).await.unwrap_err();
    assert_eq!(refusal(&status).code, "DIRECTORY_EXPIRED");
    let status = state(&mut police, ground.opening("pz-rupel", new_case(), &["pz-rupel"]));
    assert_eq!(refusal(&status.await.unwrap_err()).code, "DIRECTORY_EXPIRED");
    // The same file again changes nothing.
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    activate::refresh(broker.state()).await;
    assert!(
        broker
            .state()
            .directories
            .valid(begin.plus_millis(60_001))
            .is_err()
    );
    // What waits is handed over by a newer one only.
    until(86_400_000);
    activate::refresh(broker.state()).await;
    clock.set(begin.plus_millis(60_001 + limits::LEASE_MILLIS));
    let handed = inbox.handed().await;
    let newest = ground.network.directory(begin).unwrap().version();
    assert_eq!(handed.decision(&ground).directory_version(), newest);
    assert_eq!(newest, 3);
    broker.stop().await.unwrap();
}

/// A delivery whose decision is committed while its keys still wait for room on the recipient's line: the
/// recipient has stopped reading just then.
async fn committed(ground: &Ground, police: &mut Client, inbox: &mut Inbox) -> Sealed {
    let case = new_case();
    let opened = ground.opening("pz-rupel", case, &["pz-rupel", PARKET]);
    state(police, opened).await.unwrap();
    let large = vec![5_u8; 20 << 20];
    let parts = [("facts_summary", large.as_slice(), &[PARKET][..])];
    let sealed = ground.seal("pz-rupel", case, &[PARKET], &parts);
    submit(police, sealed.frames()).await.unwrap();
    loop {
        let frame = inbox.next().await.unwrap();
        assert!(matches!(frame, Frame::Offer(_) | Frame::Chunk(_)), "{frame:?}");
        // What has room now is put on the line; then it is seen whether the last of it was.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let packet_id = sealed.packet.packet_id.to_vec().into();
        let outcome = police
            .get_outcome(wire::GetOutcomeRequest { packet_id })
            .await
            .unwrap();
        if outcome.into_inner().parts[0].state == "handed_over" {
            return sealed;
        }
    }
}

/// Reads on to the end of the delivery: chunks, and then that it was dropped.
async fn dropped(inbox: &mut Inbox) {
    loop {
        match inbox.next().await.unwrap() {
            Frame::Chunk(_) => {}
            Frame::Dropped(_) => return,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_recalled_before_its_keys_are_sent_is_not_opened_to_anybody_any_more() {
    let ground = Ground::new();
    let clock = Arc::new(SetClock::at(now()));
    let broker = ground.broker_at(clock.clone()).await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 2).await;
    let sealed = committed(&ground, &mut police, &mut inbox).await;
    let answer = police
        .recall(ground.recall("pz-rupel", &sealed))
        .await
        .unwrap()
        .into_inner();
    // The log says that it was consigned: what is told stays on the safe side.
    assert_eq!((answer.recalled.len(), answer.too_late.len()), (0, 1));
    dropped(&mut inbox).await;
    // Nor does it come again when its lease would be over; what is sent after it comes.
    clock.set(now().plus_millis(10 * limits::LEASE_MILLIS));
    let next = packet(&ground, &mut police).await;
    submit(&mut police, next.frames()).await.unwrap();
    assert_eq!(
        inbox
            .handed()
            .await
            .open(&ground, PARKET)
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        next.ids
    );
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn i01_keys_are_not_sent_to_an_identity_that_was_taken_out_of_the_directory_meanwhile() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let mut parket = ground.client(broker.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    committed(&ground, &mut police, &mut inbox).await;
    ground.network.rotate_tls(&agency(PARKET), now()).unwrap();
    activate::refresh(broker.state()).await;
    let ended = loop {
        match inbox.frames.message().await {
            Ok(Some(frame)) => assert!(!matches!(frame.frame, Some(Frame::HandOver(_))), "keys were sent"),
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break refusal(&status).code,
        }
    };
    assert_eq!(ended, "UNKNOWN_IDENTITY");
    broker.stop().await.unwrap();
}

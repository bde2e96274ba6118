//! Leg 1: what is accepted, what is answered as before, what is refused and leaves nothing.

use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::Digest;
use schakel_proto::packet::manifest::CheckpointSeen;
use schakel_proto::tlog::tree::Node;
use schakel_proto::wire::{self, submit_frame::Frame};

use crate::packet::{new_case, refusal, state, submit};
use crate::peer::{Ground, now};

#[tokio::test]
async fn c13_c14_the_same_packet_is_answered_as_before_and_another_with_its_id_is_refused() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen"];
    let opened = state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    assert_eq!((opened.number, opened.roster_version), (1, 1));
    let large = vec![7_u8; 600 * 1024];
    let parts = [("facts_summary", large.as_slice(), &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    let first = submit(&mut police, sealed.frames()).await.unwrap();
    assert!(!first.repeated);
    assert_eq!(first.outlook.len(), 1);
    assert_eq!(first.outlook[0].part.as_ref().unwrap().outcome, "deliver");
    let again = submit(&mut police, sealed.frames()).await.unwrap();
    assert!(again.repeated);
    assert_eq!(
        (&again.leaf_hash, again.accepted_ms),
        (&first.leaf_hash, first.accepted_ms)
    );
    let id = sealed.packet.packet_id;
    let other = ground.seal_as(id, "pz-rupel", case, (&["parket-antwerpen"], &parts));
    let status = submit(&mut police, other.frames()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::AlreadyExists);
    assert_eq!(refusal(&status).code, "PACKET_ID_REUSED");

    // The log proves the acceptance, to its sender.
    let mut follow = police
        .follow_evidence(wire::FollowEvidenceRequest::default())
        .await
        .unwrap()
        .into_inner();
    let directory = ground.network.directory(now()).unwrap();
    loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let checked = evidence::check(&shown, &ground.network.spec().network, directory.log().key()).unwrap();
        if checked.body().event == Event::SubmissionAcceptance {
            assert_eq!(
                checked.leaf_hash(),
                Digest::try_from(first.leaf_hash.as_ref()).unwrap()
            );
            break;
        }
    }
    broker.stop().await.unwrap();
}

/// Made-up words about the log would make a packet come again and again at its recipients, who can believe neither.
#[tokio::test]
async fn l01_what_a_sender_says_that_it_saw_must_be_of_this_log() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let store = &broker.state().store;
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    let directory = ground.network.directory(now()).unwrap();
    let seen = |size, root, origin: &str| CheckpointSeen {
        origin: origin.to_owned(),
        size,
        root,
    };
    let origin = directory.log().key().origin();
    let parts = [("facts_summary", &b"feiten"[..], &["parket-antwerpen"][..])];
    let sealed = |seen| ground.seal_seen(seen, "pz-rupel", case, (&["parket-antwerpen"], &parts));
    let other = Digest::of(b"another history");
    let first = store.node(Node { level: 0, index: 0 }).await.unwrap().unwrap();
    for wrong in [
        seen(newest.size, other, origin),
        seen(1, other, origin),
        seen(newest.size + 100, newest.root, origin),
        seen(0, other, origin),
        seen(newest.size, newest.root, "elsewhere.example/log"),
    ] {
        let status = submit(&mut police, sealed(wrong.clone()).frames())
            .await
            .unwrap_err();
        assert_eq!(refusal(&status).code, "CHECKPOINT_UNKNOWN", "{wrong:?}");
    }
    for right in [
        seen(newest.size, newest.root, origin),
        seen(1, first, origin),
        seen(0, Digest::of(b""), origin),
        seen(newest.size, newest.root, origin),
    ] {
        let packet = sealed(right.clone());
        submit(&mut police, packet.frames())
            .await
            .unwrap_or_else(|e| panic!("{right:?}: {e}"));
    }
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_forged_or_malformed_leaves_one_leaf_and_no_packet() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);

    // Another member's packet.
    let mut thief = ground.client(broker.address(), "ocmw-boom").await;
    let status = submit(&mut thief, sealed.frames()).await.unwrap_err();
    assert_eq!(refusal(&status).code, "SENDER_NOT_CALLER");
    // A changed signature, a changed chunk, a missing chunk, an empty stream.
    let mut frames = sealed.frames();
    if let Some(Frame::Head(head)) = &mut frames[0].frame {
        let signed = head.manifest.as_mut().unwrap();
        let mut signature = signed.signature.to_vec();
        *signature.last_mut().unwrap() ^= 1;
        signed.signature = signature.into();
    }
    let status = submit(&mut police, frames).await.unwrap_err();
    assert_eq!(refusal(&status).code, "SIGNATURE_BAD");
    let mut frames = sealed.frames();
    if let Some(Frame::Chunk(chunk)) = &mut frames.last_mut().unwrap().frame {
        let mut data = chunk.data.to_vec();
        *data.last_mut().unwrap() ^= 1;
        chunk.data = data.into();
    }
    let status = submit(&mut police, frames).await.unwrap_err();
    assert_eq!(refusal(&status).code, "SEALING_DIGEST_DIFFERS");
    let mut frames = sealed.frames();
    frames.pop();
    let status = submit(&mut police, frames).await.unwrap_err();
    assert_eq!(refusal(&status).code, "CHUNK_OUT_OF_ORDER");
    let status = submit(&mut police, Vec::new()).await.unwrap_err();
    assert_eq!(refusal(&status).code, "FRAMES_OUT_OF_ORDER");

    let request = wire::GetOutcomeRequest {
        packet_id: sealed.packet.packet_id.to_vec().into(),
    };
    let status = police.get_outcome(request).await.unwrap_err();
    assert_eq!(refusal(&status).code, "PACKET_UNKNOWN");
    // Nothing stands in the way of the real one.
    assert!(!submit(&mut police, sealed.frames()).await.unwrap().repeated);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_packet_that_every_recipient_is_denied_is_rejected_with_reasons() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    state(
        &mut police,
        ground.opening("pz-rupel", case, &["pz-rupel", "parket-antwerpen"]),
    )
    .await
    .unwrap();
    let parts = [("measures", &b"huisverbod"[..], &["ocmw-schelle"][..])];
    let sealed = ground.seal("pz-rupel", case, &["ocmw-schelle"], &parts);
    let status = submit(&mut police, sealed.frames()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let refusal = refusal(&status);
    assert_eq!(refusal.code, "DENIED");
    assert_eq!(refusal.recipients.len(), 1);
    assert_eq!(refusal.recipients[0].recipient, "ocmw-schelle");
    assert_eq!(refusal.recipients[0].reason, "DENY_RECIPIENT_NOT_IN_CASE");

    // A case that is none of one's business does not exist; nor may just anyone change its roster.
    let mut other = ground.client(broker.address(), "ocmw-niel").await;
    let request = wire::GetFactsRequest {
        case_ref: case.to_vec().into(),
    };
    let status = other.get_facts(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert_eq!(
        police
            .get_facts(request)
            .await
            .unwrap()
            .into_inner()
            .facts
            .unwrap()
            .entries
            .len(),
        1
    );
    let change = ground.roster("ocmw-niel", case, 2, &["ocmw-niel"]);
    let status = state(&mut other, change).await.unwrap_err();
    assert_eq!(crate::packet::refusal(&status).code, "STATE_REFUSED");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn an_agency_that_is_too_fast_is_told_when_to_come_back() {
    let ground = Ground::new();
    let file = ground.network.broker_config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}\n[limits]\nsubmissions_per_minute_max_count = 2\n"),
    )
    .unwrap();
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    for _ in 0..2 {
        let status = submit(&mut police, Vec::new()).await.unwrap_err();
        assert_eq!(refusal(&status).code, "FRAMES_OUT_OF_ORDER");
    }
    let status = submit(&mut police, Vec::new()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let told = refusal(&status);
    assert!(told.code == "TOO_FAST" && told.retry_after_ms > 0, "{told:?}");
    // Others are not held up.
    let mut other = ground.client(broker.address(), "ocmw-boom").await;
    let status = submit(&mut other, Vec::new()).await.unwrap_err();
    assert_eq!(refusal(&status).code, "FRAMES_OUT_OF_ORDER");
    broker.stop().await.unwrap();
}

//! Leg 2: what each recipient gets, and what it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use schakel_broker::clock::SetClock;
use schakel_broker::serve::Running;
use schakel_proto::evidence::{self, Event};
use schakel_proto::ids::Digest;
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::proof::shown_root;
use schakel_proto::wire::{self, receive_frame::Frame};

use crate::inbox::{Inbox, contains};
use crate::packet::{Client, Sealed, new_case, state, submit};
use crate::peer::{Ground, agency, now};

pub async fn outcomes(client: &mut Client, sealed: &Sealed) -> BTreeMap<(String, usize), (String, String)> {
    let request = wire::GetOutcomeRequest {
        packet_id: sealed.packet.packet_id.to_vec().into(),
    };
    let answer = client.get_outcome(request).await.unwrap().into_inner();
    let number = |id: &[u8]| sealed.ids.iter().position(|part| part.as_bytes() == id).unwrap();
    let one = |part: wire::PartState| ((part.recipient, number(&part.part_id)), (part.state, part.reason));
    answer.parts.into_iter().map(one).collect()
}

#[tokio::test]
async fn each_recipient_gets_what_it_may_have_and_no_trace_of_the_rest() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let both = ["parket-antwerpen", "caw-rupel"];
    let roster = ["pz-rupel", "parket-antwerpen", "caw-rupel"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let large = vec![3_u8; 900 * 1024];
    // For the CAW: held for want of consent, never, and delivered.
    let parts = [
        ("facts_summary", &b"wat er gebeurde"[..], &both[..]),
        ("investigation_file", large.as_slice(), &both[..]),
        ("measures", &b"tijdelijk huisverbod"[..], &both[..]),
    ];
    let sealed = ground.seal("pz-rupel", case, &both, &parts);
    submit(&mut police, sealed.frames()).await.unwrap();

    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let mut inbox = Inbox::open(&mut parket, 4).await;
    let handed = inbox.handed().await;
    let opened = handed.open(&ground, "parket-antwerpen");
    assert_eq!(opened.len(), 3);
    for (id, part) in sealed.ids.iter().zip(&parts) {
        assert_eq!(opened[id], part.1);
    }
    let settled = inbox
        .acknowledge(handed.acknowledgement(&ground, "parket-antwerpen", &sealed))
        .await;
    assert_eq!(settled.packet_id, sealed.packet.packet_id.to_vec());
    // Said again, it is settled as before.
    let again = inbox
        .acknowledge(handed.acknowledgement(&ground, "parket-antwerpen", &sealed))
        .await;
    assert_eq!(again.leaf_hash, settled.leaf_hash);

    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let handed = inbox.handed().await;
    let opened = handed.open(&ground, "caw-rupel");
    assert_eq!(opened.keys().copied().collect::<Vec<_>>(), [sealed.ids[2]]);
    inbox
        .acknowledge(handed.acknowledgement(&ground, "caw-rupel", &sealed))
        .await;
    for hidden in [0, 1] {
        assert!(
            !contains(&inbox.seen, sealed.ids[hidden].as_bytes()),
            "part {hidden} left a trace"
        );
    }
    assert!(contains(&inbox.seen, sealed.ids[2].as_bytes()));

    let outcomes = outcomes(&mut police, &sealed).await;
    let of = |who: &str, part: usize| outcomes[&(who.to_owned(), part)].0.as_str();
    assert_eq!(
        [0, 1, 2].map(|part| of("parket-antwerpen", part)),
        ["received"; 3]
    );
    assert_eq!(
        [0, 1, 2].map(|part| of("caw-rupel", part)),
        ["held", "withheld", "received"]
    );
    assert_eq!(outcomes[&("caw-rupel".to_owned(), 0)].1, "HOLD_CONSENT_MISSING");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn who_left_the_case_meanwhile_gets_nothing_and_the_sender_learns_it() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen", "caw-rupel"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("measures", &b"huisverbod"[..], &["caw-rupel"][..])];
    let sealed = ground.seal("pz-rupel", case, &["caw-rupel"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let changed = ground.roster("pz-rupel", case, 2, &["pz-rupel", "parket-antwerpen"]);
    assert_eq!(state(&mut police, changed).await.unwrap().roster_version, 2);

    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let mut follow = police
        .follow_evidence(wire::FollowEvidenceRequest::default())
        .await
        .unwrap()
        .into_inner();
    let directory = ground.network.directory(now()).unwrap();
    let hidden = loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let network = &ground.network.spec().network;
        let checked = evidence::check(&shown, network, directory.log().key()).unwrap();
        if checked.body().event == Event::ContentWithheld {
            break checked.hidden().cloned().unwrap();
        }
    };
    assert_eq!(hidden.parts()[0].outcome, "deny-packet");
    assert_eq!(hidden.parts()[0].reason, "DENY_RECIPIENT_NOT_IN_CASE");
    let outcomes = outcomes(&mut police, &sealed).await;
    assert_eq!(outcomes[&("caw-rupel".to_owned(), 0)].0, "withheld");
    // The stream of the one who left ends without a single frame.
    broker.stop().await.unwrap();
    assert!(inbox.next().await.is_none());
}

#[tokio::test]
async fn a_recall_takes_back_what_was_not_handed_over() {
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
    let parts = [("facts_summary", &b"vergissing"[..], &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let request = ground.recall("pz-rupel", &sealed);
    let answer = police.recall(request.clone()).await.unwrap().into_inner();
    assert_eq!((answer.recalled.len(), answer.too_late.len()), (1, 0));
    // Only its sender may take it back.
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let status = parket.recall(request).await.unwrap_err();
    assert_eq!(crate::packet::refusal(&status).code, "SENDER_NOT_CALLER");
    let inbox = &mut Inbox::open(&mut parket, 4).await;
    assert_eq!(
        outcomes(&mut police, &sealed).await.values().next().unwrap().0,
        "recalled"
    );
    broker.stop().await.unwrap();
    assert!(inbox.next().await.is_none());
}

/// The next entry with this event that concerns the client, hidden decision and all.
pub async fn next_event(ground: &Ground, client: &mut Client, event: Event) -> evidence::CheckedEvidence {
    let request = wire::FollowEvidenceRequest::default();
    let mut follow = client.follow_evidence(request).await.unwrap().into_inner();
    let directory = ground.network.directory(now()).unwrap();
    loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let network = &ground.network.spec().network;
        let checked = evidence::check(&shown, network, directory.log().key()).unwrap();
        if checked.body().event == event {
            return checked;
        }
    }
}

#[tokio::test]
async fn a_held_part_is_decided_again_when_a_statement_arrives() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen", "caw-rupel"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &["caw-rupel"][..])];
    let sealed = ground.seal("pz-rupel", case, &["caw-rupel"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let held = next_event(&ground, &mut police, Event::ContentWithheld).await;
    assert_eq!(held.hidden().unwrap().parts()[0].outcome, "hold-for-consent");
    assert_eq!(
        outcomes(&mut police, &sealed).await[&("caw-rupel".to_owned(), 0)].0,
        "held"
    );

    // The CAW leaves the case: what was held for it is withheld, without it connecting again.
    let changed = ground.roster("pz-rupel", case, 2, &["pz-rupel", "parket-antwerpen"]);
    state(&mut police, changed).await.unwrap();
    let directory = ground.network.directory(now()).unwrap();
    let network = ground.network.spec().network.clone();
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: held.index() + 1,
    };
    let mut follow = police.follow_evidence(request).await.unwrap().into_inner();
    let again = loop {
        let shown = follow.message().await.unwrap().unwrap().evidence.unwrap();
        let checked = evidence::check(&shown, &network, directory.log().key()).unwrap();
        if checked.body().event == Event::ContentWithheld {
            break checked;
        }
    };
    let decision = again.hidden().unwrap();
    assert_eq!(
        (decision.parts()[0].outcome.as_str(), decision.facts_count()),
        ("deny-packet", 2)
    );
    assert_eq!(
        outcomes(&mut police, &sealed).await[&("caw-rupel".to_owned(), 0)].0,
        "withheld"
    );
    broker.stop().await.unwrap();
    assert!(inbox.next().await.is_none());
}

#[tokio::test]
async fn what_was_accepted_before_a_restart_is_delivered_after_it_and_again_until_acknowledged() {
    let ground = Ground::new();
    let case = new_case();
    let parts = [("facts_summary", &b"feiten"[..], &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    let broker = ground.broker().await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    state(
        &mut police,
        ground.opening("pz-rupel", case, &["pz-rupel", "parket-antwerpen"]),
    )
    .await
    .unwrap();
    let accepted = submit(&mut police, sealed.frames()).await.unwrap();
    broker.stop().await.unwrap();

    let broker = ground.broker().await;
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let first = Inbox::open(&mut parket, 1).await.handed().await;
    // The stream ends without an acknowledgement: the packet comes again on the next, newly decided.
    let mut inbox = Inbox::open(&mut parket, 1).await;
    let second = inbox.handed().await;
    assert_eq!(
        first.open(&ground, "parket-antwerpen"),
        second.open(&ground, "parket-antwerpen")
    );
    inbox
        .acknowledge(second.acknowledgement(&ground, "parket-antwerpen", &sealed))
        .await;
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let again = submit(&mut police, sealed.frames()).await.unwrap();
    assert!(again.repeated && again.leaf_hash == accepted.leaf_hash);
    let settled = wire::GetOutcomeRequest {
        packet_id: sealed.packet.packet_id.to_vec().into(),
    };
    assert_eq!(
        police.get_outcome(settled).await.unwrap().into_inner().state,
        "settled"
    );
    // One log through it all.
    let request = wire::GetConsistencyRequest {
        from_size: 1,
        to_size: 0,
    };
    let answer = police.get_consistency(request).await.unwrap().into_inner();
    assert!(!answer.proof.is_empty());
    // From a power of two the root that stands there is told, for the proof does not show it.
    let directory = ground.network.directory(now()).unwrap();
    let newest = SignedCheckpoint::open(&answer.checkpoint, directory.log().key()).unwrap();
    let proof: Vec<Digest> = answer
        .proof
        .iter()
        .map(|h| Digest::try_from(&**h).unwrap())
        .collect();
    let told = Digest::try_from(&*answer.from_root).unwrap();
    let shown = shown_root(1, newest.size(), Some(&told), &proof, &newest.root());
    assert_eq!(shown, Ok(told));
    assert_eq!(
        told,
        leaf_hash(&broker.state().store.leaves(0, 1).await.unwrap()[0])
    );
    for (from_size, to_size) in [(3, 0), (newest.size(), newest.size()), (0, 0)] {
        let request = wire::GetConsistencyRequest { from_size, to_size };
        let answer = police.get_consistency(request).await.unwrap().into_inner();
        assert!(answer.from_root.is_empty(), "{from_size} {to_size}");
    }
    broker.stop().await.unwrap();
}

/// Waits until this many alarms of this kind were raised.
pub async fn alarmed(broker: &Running, code: &str, count: u64) {
    while broker.state().alarms.count(code) < count {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(broker.state().alarms.count(code), count, "{code}");
}

#[tokio::test]
async fn l06_a_forged_or_borrowed_acknowledgement_settles_nothing_and_keeps_nobody_out() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let both = ["parket-antwerpen", "caw-rupel"];
    let roster = ["pz-rupel", "parket-antwerpen", "caw-rupel"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("measures", &b"verbod"[..], &both[..])];
    let sealed = ground.seal("pz-rupel", case, &both, &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let mut inbox = Inbox::open(&mut parket, 2).await;
    let handed = inbox.handed().await;
    let good = handed.acknowledgement(&ground, "parket-antwerpen", &sealed);

    // Another agency hands it in.
    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    let mut other = Inbox::open(&mut caw, 0).await;
    other.say(good.clone()).await;
    alarmed(&broker, "SENDER_NOT_CALLER", 1).await;
    // A changed signature; a byte more behind the message; made tomorrow; with a key that nobody lists.
    let mut signature = good.signature.to_vec();
    *signature.last_mut().unwrap() ^= 1;
    let forged = wire::Signed {
        bytes: good.bytes.clone(),
        signature: signature.into(),
    };
    inbox.say(forged).await;
    alarmed(&broker, "SIGNATURE_BAD", 1).await;
    let mut bytes = good.bytes.to_vec();
    bytes.extend([0xf8, 0x01, 0x01]);
    let unknown_field = wire::Signed {
        bytes: bytes.into(),
        signature: good.signature.clone(),
    };
    inbox.say(unknown_field).await;
    alarmed(&broker, "MESSAGE_MALFORMED", 1).await;
    let mut said = wire::Acknowledgement::decode(good.bytes.as_ref()).unwrap();
    said.made_ms += 86_400_000;
    inbox.say(signed(&ground.keys("parket-antwerpen"), &said)).await;
    alarmed(&broker, "SIGNATURE_IN_FUTURE", 1).await;
    let keys = ground.keys("ocmw-boom");
    said.made_ms -= 86_400_000;
    said.recipient_key = keys.fingerprint().as_bytes().to_vec().into();
    inbox.say(signed(&keys, &said)).await;
    alarmed(&broker, "SENDER_KEY_UNKNOWN", 1).await;
    let of = |all: BTreeMap<_, (String, String)>| all[&("parket-antwerpen".to_owned(), 0)].0.clone();
    assert_eq!(of(outcomes(&mut police, &sealed).await), "handed_over");

    // None of it ended the stream: the true word settles, and what comes next is delivered on it.
    let settled = inbox.acknowledge(good).await;
    assert_eq!(settled.packet_id, sealed.packet.packet_id.to_vec());
    assert_eq!(of(outcomes(&mut police, &sealed).await), "received");
    let next = ground.seal("pz-rupel", case, &both, &parts);
    submit(&mut police, next.frames()).await.unwrap();
    let handed = inbox.handed().await;
    assert_eq!(handed.open(&ground, "parket-antwerpen").len(), 1);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn l06_an_answer_signed_with_a_key_that_was_replaced_since_is_settled_once_signed_anew() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let roster = ["pz-rupel", "parket-antwerpen"];
    state(&mut police, ground.opening("pz-rupel", case, &roster))
        .await
        .unwrap();
    let parts = [("measures", &b"verbod"[..], &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    let handed = inbox.handed().await;
    let former = handed.acknowledgement(&ground, "parket-antwerpen", &sealed);
    // The former certificate is taken out of the directory at once.
    let id = agency("parket-antwerpen");
    ground.network.rotate_openpgp(&id, now()).unwrap();
    let only_new = ground.network.issue_changed(now(), |directory| {
        let parket = directory.agencies.iter_mut().find(|a| a.id == id.as_str());
        parket.unwrap().certificates.truncate(1);
    });
    std::fs::write(ground.network.directory_file(), only_new.unwrap().encode_to_vec()).unwrap();
    schakel_broker::activate::refresh(broker.state()).await;

    // On every stream that it opens: not settled, and not shut out.
    for count in 1..=2 {
        inbox = Inbox::open(&mut parket, 0).await;
        inbox.say(former.clone()).await;
        alarmed(&broker, "SENDER_KEY_UNKNOWN", count).await;
    }
    let anew = handed.acknowledgement(&ground, "parket-antwerpen", &sealed);
    inbox.acknowledge(anew).await;
    let outcome = outcomes(&mut police, &sealed).await;
    assert_eq!(outcome[&("parket-antwerpen".to_owned(), 0)].0, "received");
    broker.stop().await.unwrap();
}

/// A message, signed now.
fn signed(keys: &SecretKeys, message: &impl Message) -> wire::Signed {
    let bytes = message.encode_to_vec();
    let signature = keys.sign(&bytes, now()).unwrap();
    wire::Signed {
        bytes: bytes.into(),
        signature: signature.into(),
    }
}

#[tokio::test]
async fn p11_a_role_that_ends_while_a_delivery_is_on_its_way_stops_it() {
    let ground = Ground::new();
    let clock = Arc::new(SetClock::at(now()));
    let broker = ground.broker_at(clock.clone()).await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    let until = now().plus_millis(60_000);
    let opened = ground.opening_until("pz-rupel", case, ("parket-antwerpen", until));
    state(&mut police, opened).await.unwrap();
    // More than the connection's windows hold, so that it cannot all be on its way at once.
    let large = vec![5_u8; 20 << 20];
    let parts = [("facts_summary", large.as_slice(), &["parket-antwerpen"][..])];
    let sealed = ground.seal("pz-rupel", case, &["parket-antwerpen"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(broker.address(), "parket-antwerpen").await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    let Some(Frame::Offer(_)) = inbox.next().await else {
        panic!("no offer")
    };
    clock.set(until.plus_millis(1));
    loop {
        match inbox.next().await.unwrap() {
            Frame::Chunk(_) => {}
            Frame::Dropped(_) => break,
            other => panic!("{other:?}"),
        }
    }
    let withheld = next_event(&ground, &mut police, Event::ContentWithheld).await;
    assert_eq!(
        withheld.hidden().unwrap().parts()[0].reason,
        "DENY_RECIPIENT_NOT_IN_CASE"
    );
    assert!(!contains(&inbox.seen, sealed.ids[0].as_bytes()));
    broker.stop().await.unwrap();
    assert!(inbox.next().await.is_none());
}

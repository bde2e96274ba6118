//! A part that waits for a fact: its sender is told, and at the end of its life it is destroyed.

use std::sync::Arc;

use schakel_broker::clock::SetClock;
use schakel_proto::evidence::Event;

use crate::delivery::{next_event, outcomes};
use crate::inbox::{Inbox, contains};
use crate::packet::{new_case, state, submit};
use crate::peer::{Ground, now};

#[tokio::test]
async fn what_is_held_is_told_to_the_sender_and_destroyed_at_the_end_of_its_life_with_evidence() {
    let ground = Ground::new();
    let clock = Arc::new(SetClock::at(now()));
    let broker = ground.broker_at(clock.clone()).await;
    let case = new_case();
    let mut police = ground.client(broker.address(), "pz-rupel").await;
    state(
        &mut police,
        ground.opening("pz-rupel", case, &["pz-rupel", "caw-rupel"]),
    )
    .await
    .unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &["caw-rupel"][..])];
    let sealed = ground.seal("pz-rupel", case, &["caw-rupel"], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut caw = ground.client(broker.address(), "caw-rupel").await;
    let mut inbox = Inbox::open(&mut caw, 1).await;
    let held = next_event(&ground, &mut police, Event::ContentWithheld).await;
    let decided = held.hidden().unwrap();
    assert_eq!(decided.parts()[0].outcome, "hold-for-consent");
    assert!(
        decided.parts()[0]
            .obligations
            .iter()
            .any(|one| one == "park-encrypted-max-14d")
    );
    let stored = || async {
        let packet = broker.state().store.packet(sealed.packet.packet_id).await;
        packet.unwrap().unwrap()
    };
    assert!(!stored().await.parts[0].purged);
    // A moment before the end nothing goes.
    let end = stored().await.expires;
    let life = end.millis_since(stored().await.accepted_at);
    let apart = (life - 14 * 86_400_000).abs();
    assert!(
        apart < 600_000,
        "14 days, give or take the minutes between making and acceptance: {life} ms"
    );
    clock.set(end.plus_millis(-1));
    assert_eq!(schakel_broker::expire::sweep(broker.state()).await.unwrap(), 0);
    clock.set(end);
    // The broker sweeps by itself, too: whoever comes first, it happens once.
    schakel_broker::expire::sweep(broker.state()).await.unwrap();
    let expired = next_event(&ground, &mut police, Event::Expired).await;
    assert_eq!(expired.body().packet, Some(sealed.packet.packet_id));
    let stored = stored().await;
    assert!(stored.parts[0].purged, "the sealed part is gone");
    let profile = stored.parts[0].sealings[0].profile;
    let content = broker
        .state()
        .store
        .content(stored.packet, stored.parts[0].part, profile)
        .await;
    assert!(matches!(
        content,
        Err(schakel_broker::store::StoreError::Missing(_))
    ));
    let outcome = outcomes(&mut police, &sealed).await;
    assert_eq!(outcome[&("caw-rupel".to_owned(), 0)].0, "expired");
    assert!(
        !contains(&inbox.seen, sealed.ids[0].as_bytes()),
        "the recipient never heard of it"
    );
    crate::oversight::sound(&ground).await;
    broker.stop().await.unwrap();
    assert!(inbox.next().await.is_none());
}

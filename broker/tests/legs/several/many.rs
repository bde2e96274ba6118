//! What several brokers on one store do together, but for the shards of the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use schakel_broker::activate;
use schakel_broker::log::entry::EntryDraft;
use schakel_broker::serve::Running;
use schakel_broker::store::{Ceiling, CeilingOf, Ear, Heard, Store};
use schakel_proto::evidence::Event;
use schakel_proto::ids::Digest;
use schakel_proto::tlog::cosignature::WitnessSecret;
use schakel_proto::tlog::shards::Opens;
use schakel_proto::wire;
use schakel_proto::wire::receive_frame::Frame;

use super::{CAW, PARKET, POLICE, Site, at_each_site, comes, count, events, sound, until};
use crate::bundles::{of_version, officers, signed};
use crate::delivery::outcomes;
use crate::inbox::Inbox;
use crate::packet::{Client, new_case, refusal, state, submit};
use crate::peer::{Ground, agency, now};

at_each_site!(
    d15_of_several_brokers_on_one_store_one_writes_the_log_at_a_time_and_the_others_follow,
    what_one_broker_takes_goes_to_a_stream_at_another_and_its_bell_rings,
    p01_what_one_broker_brings_into_force_binds_the_others_whose_files_are_older,
    p01_a_ceiling_whose_directory_does_not_hold_stops_decisions_and_is_never_used,
    l01_witnesses_at_several_brokers_add_up_and_outlive_a_restart,
    a_broker_that_joins_disturbs_nobody_and_leaves_no_entry,
);

/// Everybody's hearing, for checkpoints: of each size one root was ever there.
async fn one_root_each(store: Arc<dyn Store>) -> BTreeMap<u64, Digest> {
    let (mut ear, mut roots) = (Ear::on(store.as_ref()), BTreeMap::new());
    // Until nothing is said for a while.
    while let Ok(word) = tokio::time::timeout(Duration::from_secs(4), ear.next()).await {
        let newest = store.latest_checkpoint().await.unwrap();
        let Some(newest) = newest.filter(|_| matches!(word, Heard::Tree | Heard::Everything)) else {
            continue;
        };
        let before = roots.insert(newest.size, newest.root);
        assert!(before.is_none_or(|before| before == newest.root), "a fork");
    }
    roots
}

async fn d15_of_several_brokers_on_one_store_one_writes_the_log_at_a_time_and_the_others_follow(site: Site) {
    let (ground, store) = (Ground::new(), site.open("test").await);
    let (a, b) = (site.broker(&ground, "a").await, site.broker(&ground, "b").await);
    let watched = tokio::spawn(one_root_each(Arc::clone(&store)));
    let mut clients = [
        ground.client(a.address(), POLICE).await,
        ground.client(b.address(), POLICE).await,
    ];
    let mut leaves = Vec::new();
    for _ in 0..6 {
        for client in &mut clients {
            let opening = ground.opening(POLICE, new_case(), &[POLICE]);
            let answer = state(client, opening).await.unwrap();
            leaves.push(Digest::try_from(answer.leaf_hash.as_ref()).unwrap());
        }
    }
    // Each learns of every leaf, whoever wrote it.
    for broker in [&a, &b] {
        for leaf in &leaves {
            let index = comes("a leaf under a checkpoint", broker.state().log.wait_for(*leaf)).await;
            assert!(index.unwrap() < 1_000);
        }
    }
    // Whoever goes: the other writes.
    a.stop().await.unwrap();
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    let answer = state(&mut clients[1], opening).await.unwrap();
    let leaf = Digest::try_from(answer.leaf_hash.as_ref()).unwrap();
    comes("the other writes", b.state().log.wait_for(leaf))
        .await
        .unwrap();
    let a = site.broker(&ground, "a").await;
    b.stop().await.unwrap();
    let mut police = ground.client(a.address(), POLICE).await;
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    let answer = state(&mut police, opening).await.unwrap();
    let leaf = Digest::try_from(answer.leaf_hash.as_ref()).unwrap();
    comes("the first writes again", a.state().log.wait_for(leaf))
        .await
        .unwrap();
    let roots = watched.await.unwrap();
    assert!(roots.len() >= 3, "{roots:?}");
    sound(&ground, "a").await;
    a.stop().await.unwrap();
}

async fn what_one_broker_takes_goes_to_a_stream_at_another_and_its_bell_rings(site: Site) {
    let ground = Ground::new();
    let (a, b) = (site.broker(&ground, "a").await, site.broker(&ground, "b").await);
    let mut police = ground.client(a.address(), POLICE).await;
    let case = new_case();
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET, CAW]);
    state(&mut police, opening).await.unwrap();
    // Nobody has a stream yet: only a word from the store can ring here.
    let bell = b.state().bells.of(&agency(CAW));
    let parts = [("measures", &b"huisverbod"[..], &[CAW][..])];
    let sealed = ground.seal(POLICE, case, &[CAW], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    comes("the bell at the other broker", bell.notified()).await;
    let hurried = b.state().bells.hurried(&agency(PARKET));
    let urgent = [("alert", &b"hij is onderweg"[..], &[PARKET][..])];
    let emergency = ground.seal_emergency((POLICE, PARKET), case, (&[PARKET], &urgent), |_| {});
    submit(&mut police, emergency.frames()).await.unwrap();
    until("what cannot wait hurries at the other broker", async || {
        hurried.load(std::sync::atomic::Ordering::SeqCst) > 0
    })
    .await;
    // Handed over, acknowledged and told by the other broker.
    let mut caw = ground.client(b.address(), CAW).await;
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let handed = comes("the packet", inbox.handed()).await;
    assert_eq!(handed.open(&ground, CAW)[&sealed.ids[0]], parts[0].1);
    let acknowledged = handed.acknowledgement(&ground, CAW, &sealed);
    comes("the settlement", inbox.acknowledge(acknowledged)).await;
    let told = outcomes(&mut police, &sealed).await;
    assert_eq!(told[&(CAW.to_owned(), 0)].0, "received");
    sound(&ground, "b").await;
    a.stop().await.unwrap();
    b.stop().await.unwrap();
}

/// Puts a file in the place of another.
fn replace(file: PathBuf, bytes: &[u8]) {
    let next = file.with_extension("new");
    std::fs::write(&next, bytes).unwrap();
    std::fs::rename(next, file).unwrap();
}

async fn p01_what_one_broker_brings_into_force_binds_the_others_whose_files_are_older(site: Site) {
    let ground = Ground::new();
    let (a, b) = (site.broker(&ground, "a").await, site.broker(&ground, "b").await);
    let before = b.state().directories.current().version();
    // A newer directory and bundle, in the files of the first only.
    ground.network.refresh(now()).unwrap();
    let newer = signed(&ground, &of_version(2), &officers(&ground)[..2]);
    replace(ground.network.bundle_file(), &newer.to_bytes());
    activate::refresh(a.state()).await;
    let version = a.state().directories.current().version();
    assert!(version > before && a.state().rules.current().version() == 2);
    until("the second goes by both", async || {
        let state = b.state();
        state.directories.current().version() == version && state.rules.current().version() == 2
    })
    .await;
    // Its own older files change nothing, and are no alarm.
    for _ in 0..3 {
        activate::refresh(b.state()).await;
    }
    assert_eq!(b.state().alarms.total(), 0);
    assert_eq!(b.state().directories.current().version(), version);
    // Both take and decide by it.
    let (mut police, case) = (ground.client(b.address(), POLICE).await, new_case());
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET]);
    state(&mut police, opening).await.unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &[PARKET][..])];
    let sealed = ground.seal(POLICE, case, &[PARKET], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut parket = ground.client(b.address(), PARKET).await;
    let handed = comes("a hand-over", Inbox::open(&mut parket, 1).await.handed()).await;
    assert_eq!(
        handed.decision(&ground).bundle_digest(),
        a.state().rules.current().digest()
    );
    // One that starts with the older files goes on with the newer ones.
    b.stop().await.unwrap();
    let b = site.broker(&ground, "b").await;
    assert_eq!(b.state().directories.current().version(), version);
    assert_eq!(b.state().rules.current().version(), 2);
    let events = events(&ground, &a).await;
    assert_eq!(
        count(&events, Event::DirectoryActivated),
        2,
        "each once: {events:?}"
    );
    assert_eq!(count(&events, Event::BundleActivated), 2, "each once: {events:?}");
    sound(&ground, "a").await;
    a.stop().await.unwrap();
    b.stop().await.unwrap();
}

async fn p01_a_ceiling_whose_directory_does_not_hold_stops_decisions_and_is_never_used(site: Site) {
    let (ground, store) = (Ground::new(), site.open("test").await);
    let b = site.broker(&ground, "b").await;
    let (mut police, case) = (ground.client(b.address(), POLICE).await, new_case());
    let opening = ground.opening(POLICE, case, &[POLICE, PARKET]);
    state(&mut police, opening).await.unwrap();
    let parts = [("facts_summary", &b"feiten"[..], &[PARKET][..])];
    let sealed = ground.seal(POLICE, case, &[PARKET], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    // Another broker's store access alone makes no directory: it is checked as a file is.
    let mut forged = ground.network.issue_changed(now(), |_| {}).unwrap();
    forged.bytes = [&forged.bytes[..], b"\x00"].concat().into();
    let ceiling = Ceiling {
        version: b.state().directories.current().version() + 1,
        digest: Digest::of(&forged.bytes),
    };
    let entry = b.state().entry(EntryDraft::new(Event::DirectoryActivated, now()));
    let of = CeilingOf::Directory;
    store.raise(of, ceiling, entry.await.unwrap()).await.unwrap();
    let encoded = forged.encode_to_vec();
    store.keep(of, ceiling, encoded.into()).await.unwrap();
    until("an alarm", async || b.state().alarms.total() > 0).await;
    assert!(activate::catch_up(b.state()).await.is_err());
    assert_eq!(
        activate::must_be_current(b.state()).await.unwrap_err().code,
        "BROKER_BEHIND"
    );
    assert!(b.state().directories.current().version() < ceiling.version);
    let refused = state(&mut police, ground.opening(POLICE, new_case(), &[POLICE])).await;
    assert!(!refusal(&refused.unwrap_err()).code.is_empty());
    let mut parket = ground.client(b.address(), PARKET).await;
    let mut inbox = Inbox::open(&mut parket, 1).await;
    // Offered it may be, sealed and nameless; what opens it never comes.
    let frames = async {
        loop {
            let frame = inbox.next().await.unwrap();
            assert!(!matches!(frame, Frame::HandOver(_)), "{frame:?}");
        }
    };
    let waited: Result<(), _> = tokio::time::timeout(Duration::from_secs(3), frames).await;
    assert!(waited.is_err());
    let told = outcomes(&mut police, &sealed).await;
    assert_eq!(told[&(PARKET.to_owned(), 0)].0, "pending");
    b.stop().await.unwrap();
}

async fn ask(client: &mut Client) -> wire::CosignAnswer {
    let asked = client.cosign(wire::CosignRequest::default()).await;
    asked.unwrap().into_inner()
}

async fn l01_witnesses_at_several_brokers_add_up_and_outlive_a_restart(site: Site) {
    let (ground, store) = (Ground::new(), site.open("test").await);
    let (a, b) = (site.broker(&ground, "a").await, site.broker(&ground, "b").await);
    let directory = ground.network.directory(now()).unwrap();
    let (watch, shards) = (directory.log().watch(), directory.log().shards());
    let mut police = ground.client(a.address(), POLICE).await;
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    state(&mut police, opening).await.unwrap();
    until("there is a checkpoint", async || {
        store.latest_checkpoint().await.unwrap().is_some()
    })
    .await;
    let mut other = ground.client(b.address(), POLICE).await;
    let candidate = ask(&mut police).await.candidate;
    assert_eq!(ask(&mut other).await.candidate, candidate, "one and the same");
    let checkpoint = shards.open(&candidate).unwrap();
    let seconds = u64::try_from(now().millis() / 1_000).unwrap();
    let brokers = [&a, &b];
    let witnesses = directory.log().witnesses().to_vec();
    for (number, id) in (0..).zip(witnesses.iter().take(watch.needed())) {
        let text = std::fs::read_to_string(ground.network.witness_key_file(id)).unwrap();
        let line = WitnessSecret::from_text(&text)
            .unwrap()
            .cosign(&checkpoint, seconds);
        let cosigned = wire::CosignRequest {
            size: checkpoint.size(),
            cosignature: format!("{}\n", line.unwrap().line).into_bytes().into(),
        };
        let at: &Running = brokers[number % 2];
        let mut client = ground.client(at.address(), id.as_str()).await;
        client.cosign(cosigned).await.unwrap();
    }
    for client in [&mut police, &mut other] {
        let witnessed = shards.open(&ask(client).await.witnessed).unwrap();
        assert_eq!(witnessed.size(), checkpoint.size());
        let standing = watch.standing(&witnessed).unwrap();
        assert!(standing.is_witnessed() && standing.by().len() == watch.needed());
    }
    sound(&ground, "a").await;
    a.stop().await.unwrap();
    b.stop().await.unwrap();
    let b = site.broker(&ground, "b").await;
    let mut other = ground.client(b.address(), POLICE).await;
    let witnessed = shards.open(&ask(&mut other).await.witnessed).unwrap();
    assert_eq!(witnessed.size(), checkpoint.size());
    assert!(watch.standing(&witnessed).unwrap().is_witnessed());
    b.stop().await.unwrap();
}

async fn a_broker_that_joins_disturbs_nobody_and_leaves_no_entry(site: Site) {
    let (ground, store) = (Ground::new(), site.open("test").await);
    let a = site.broker(&ground, "a").await;
    let (mut police, case) = (ground.client(a.address(), POLICE).await, new_case());
    let opening = ground.opening(POLICE, case, &[POLICE, CAW]);
    state(&mut police, opening).await.unwrap();
    // The first waits for a consent.
    let parts = [
        ("facts_summary", &b"feiten"[..], &[CAW][..]),
        ("measures", &b"huisverbod"[..], &[CAW][..]),
    ];
    let sealed = ground.seal(POLICE, case, &[CAW], &parts);
    submit(&mut police, sealed.frames()).await.unwrap();
    let mut caw = ground.client(a.address(), CAW).await;
    let mut inbox = Inbox::open(&mut caw, 4).await;
    let handed = comes("what may go", inbox.handed()).await;
    let acknowledged = handed.acknowledgement(&ground, CAW, &sealed);
    comes("the settlement", inbox.acknowledge(acknowledged)).await;
    let held = async || {
        let told = outcomes(&mut ground.client(a.address(), POLICE).await, &sealed).await;
        told[&(CAW.to_owned(), 0)].0 == "held" && told[&(CAW.to_owned(), 1)].0 == "received"
    };
    until("one is held", held).await;
    let before = events(&ground, &a).await;
    for _ in 0..2 {
        // What is held is decided again at the stream that is open elsewhere, and held again.
        let b = site.broker(&ground, "b").await;
        until("nothing waits", async || {
            store.waiting(&agency(CAW)).await.unwrap().packets == 0
        })
        .await;
        assert!(held().await);
        b.stop().await.unwrap();
    }
    assert_eq!(events(&ground, &a).await, before);
    sound(&ground, "a").await;
    a.stop().await.unwrap();
}

//! Several brokers on one store go on together in the log's next shard, whichever of them is told.

use schakel_broker::activate;
use schakel_broker::admin::{Ask, socket};
use schakel_broker::log::{key, shards};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;

use super::{POLICE, Site, at_each_site, comes, config, sound, until};
use crate::packet::{new_case, state};
use crate::peer::{Ground, now};

const LATER: &str = "rupel.example/log/2099h1";

at_each_site!(l10_all_brokers_stop_at_the_end_of_a_shard_and_go_on_in_the_next);

async fn l10_all_brokers_stop_at_the_end_of_a_shard_and_go_on_in_the_next(site: Site) {
    let (ground, store) = (Ground::new(), site.open("test").await);
    let (a, b) = (site.broker(&ground, "a").await, site.broker(&ground, "b").await);
    let mut police = ground.client(a.address(), POLICE).await;
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    state(&mut police, opening).await.unwrap();
    let next = shards::next_key_file(&config(&ground, "a").log_key);
    let next = key::create(&next, LATER, &mut schakel_broker::clock::seeded_rng()).unwrap();
    // Told at one of them, whichever writes.
    let folder = config(&ground, "b").data_dir;
    let successor = LATER.to_owned();
    let told = tokio::task::spawn_blocking(move || socket::ask(&folder, &Ask::Freeze { successor }));
    told.await.unwrap().expect("no broker runs").unwrap();
    until("both stand still", async || {
        a.state().log.is_frozen() && b.state().log.is_frozen()
    })
    .await;
    let last = store.latest_checkpoint().await.unwrap().unwrap();
    ground
        .network
        .freeze_log(&last.note, next.public(), true, now())
        .unwrap();
    // In the files of the first only.
    activate::refresh(a.state()).await;
    until("both go on", async || {
        !a.state().log.is_frozen() && !b.state().log.is_frozen()
    })
    .await;
    let mut police = ground.client(b.address(), POLICE).await;
    until("the second goes by the directory", async || {
        b.state().directories.current().log().origin() == LATER
    })
    .await;
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    let answer = state(&mut police, opening).await.unwrap();
    let leaf = Digest::try_from(answer.leaf_hash.as_ref()).unwrap();
    for broker in [&a, &b] {
        let index = comes("the leaf", broker.state().log.wait_for(leaf))
            .await
            .unwrap();
        assert!(index >= last.size);
    }
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    assert!(SignedCheckpoint::open(&newest.note, next.public()).is_ok());
    // Whoever wrote until now: the other can.
    a.stop().await.unwrap();
    let opening = ground.opening(POLICE, new_case(), &[POLICE]);
    let answer = state(&mut police, opening).await.unwrap();
    let leaf = Digest::try_from(answer.leaf_hash.as_ref()).unwrap();
    comes("the other writes", b.state().log.wait_for(leaf))
        .await
        .unwrap();
    sound(&ground, "b").await;
    b.stop().await.unwrap();
}

//! Shards: a frozen one stays as it is, and what waits goes into exactly one, whichever step is broken.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::evidence::{Event, ShardLink};
use schakel_proto::ids::Digest;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::proof::check_consistency;
use schakel_proto::tlog::shards::{Frozen, Opens, Shards};
use schakel_proto::tlog::tree::Frontier;

use super::super::*;
use super::bench::Bench;
use super::breaker::Break;
use crate::log::entry::EntryDraft;
use crate::log::sequencer::{LogHandle, LogState, Sequencer};
use crate::log::shards::follow;

const OLD: &str = "rupel.example/log";
const NEXT: &str = "rupel.example/log/2027h1";

fn next_key() -> LogSecret {
    LogSecret::generate(NEXT, &mut StdRng::seed_from_u64(7)).unwrap()
}

async fn record(bench: &mut Bench, count: usize) -> Vec<Digest> {
    let mut leaves = Vec::new();
    for _ in 0..count {
        let draft = EntryDraft::new(Event::SubmissionRejection, bench.now);
        let entry = bench.entry(draft).await;
        leaves.push(bench.store().record(entry).await.unwrap());
    }
    leaves
}

async fn closing(bench: &mut Bench) -> NewEntry {
    let link = ShardLink {
        origin: NEXT.to_owned(),
        end: None,
    };
    let draft = EntryDraft {
        shard: Some(link),
        ..EntryDraft::new(Event::ShardFrozen, bench.now)
    };
    bench.entry(draft).await
}

async fn until(log: &LogHandle, wanted: impl Fn(&LogState) -> bool) -> LogState {
    let mut state = log.watch();
    let there = state.wait_for(|state| wanted(state));
    let there = tokio::time::timeout(Duration::from_secs(60), there).await;
    there.expect("the log gets there").unwrap().clone()
}

/// What the directory would say after the freeze.
fn directory(bench: &Bench, end: &StoredCheckpoint) -> Shards {
    let frozen = Frozen::new(bench.secret().public().clone(), &end.note).unwrap();
    Shards::new(vec![frozen], next_key().public().clone()).unwrap()
}

/// The next step, by hand, signed with this key.
async fn rival(bench: &Bench, secret: &LogSecret) -> Integrated {
    let store = bench.store();
    let size = store.latest_checkpoint().await.unwrap().map_or(0, |one| one.size);
    let mut known = std::collections::HashMap::new();
    for node in Frontier::peaks_of(size) {
        known.insert(node, store.node(node).await.unwrap().unwrap());
    }
    let mut frontier = Frontier::read(size, |n| known.get(&n).copied().ok_or(n)).unwrap();
    let (leaves, mut nodes) = (store.pending(1_000).await.unwrap(), Vec::new());
    for leaf in &leaves {
        frontier.append(leaf.leaf_hash, &mut |n, h| nodes.push((n, h)));
    }
    let step = Integration {
        expected_size: size,
        leaves,
        nodes,
        checkpoint: secret.sign(frontier.size(), frontier.root()),
    };
    store.integrate(step).await.unwrap()
}

/// Every row follows from the others.
async fn sound(bench: &Bench) {
    let mut after = None;
    loop {
        let page = bench.store().audit(&bench.network, after, 64).await.unwrap();
        assert!(page.findings.is_empty(), "{:?}", page.findings);
        let Some(next) = page.next else { return };
        after = Some(next);
    }
}

/// Three entries, the one that ends the shard, and two that come too late: in the order in which they were committed.
async fn freeze(bench: &mut Bench) -> Vec<Digest> {
    let mut leaves = record(bench, 3).await;
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    log.wait_for(leaves[2]).await.unwrap();
    let end = closing(bench).await;
    leaves.push(end.leaf_hash());
    let store = bench.store();
    let other = store.close_shard(NEXT, end.clone()).await.unwrap();
    assert_eq!(other, ShardChanged::Other);
    let done = store.close_shard(OLD, end.clone()).await.unwrap();
    assert_eq!(done, ShardChanged::Done);
    let again = store.close_shard(OLD, closing(bench).await).await.unwrap();
    assert_eq!(again, ShardChanged::Same);
    leaves.extend(record(bench, 2).await);
    let frozen = until(&log, |s| matches!(s, LogState::Frozen { .. })).await;
    assert_eq!(frozen, LogState::Frozen { size: 4 });
    assert_eq!(log.wait_for(end.leaf_hash()).await.unwrap(), 3);
    sequencer.stop().await;
    drop(store);
    bench.reopen().await;
    leaves
}

/// A directory that freezes the log anywhere but where it ended is refused, and changes nothing.
async fn refused_elsewhere(bench: &Bench) {
    let store = bench.store();
    let before = store.shards().await.unwrap();
    for (size, code) in [(3, "LOG_FROZEN"), (4, "LOG_FROZEN"), (5, "LOG_FREEZE_OTHER")] {
        let other = bench.secret().sign(size, Digest::of(b"other"));
        let end = StoredCheckpoint {
            size,
            root: other.root(),
            note: other.note().to_vec().into(),
        };
        let refused = follow(store.as_ref(), &bench.maker, &directory(bench, &end), bench.now).await;
        assert_eq!(refused.unwrap_err().code, code, "{size}");
    }
    assert_eq!(store.shards().await.unwrap(), before);
}

pub(super) async fn a_frozen_shard_stays_as_it_is_and_what_waits_goes_into_the_next(mut bench: Bench) {
    let mut leaves = freeze(&mut bench).await;
    // Nothing is written to it: by its own key, by another, after a restart.
    for key in [bench.secret(), next_key()] {
        assert_eq!(rival(&bench, &key).await, Integrated::Frozen);
    }
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    assert_eq!(log.state(), LogState::Frozen { size: 4 });
    let store = bench.store();
    let last = store.latest_checkpoint().await.unwrap().unwrap();
    let ends: Vec<_> = store
        .shards()
        .await
        .unwrap()
        .into_iter()
        .map(|s| (s.first, s.end))
        .collect();
    assert_eq!(ends, [(0, Some(last.clone()))]);
    sound(&bench).await;
    refused_elsewhere(&bench).await;
    // The one that freezes it where it ended brings the next shard into force.
    let named = directory(&bench, &last);
    log.add_key(next_key());
    for _ in 0..2 {
        follow(store.as_ref(), &bench.maker, &named, bench.now)
            .await
            .unwrap();
    }
    leaves.extend(record(&mut bench, 2).await);
    for (place, leaf) in (0..).zip(&leaves) {
        // The entry that says that the shard is open stands behind what waited.
        let expected: u64 = if place < 6 { place } else { place + 1 };
        let found = log.wait_for(*leaf).await.unwrap();
        assert_eq!(found, expected, "each leaf once, in its order");
    }
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    let signed = named.open(&newest.note).unwrap();
    assert_eq!((signed.origin(), signed.size()), (NEXT, 9));
    let proof = store.consistency(4, 9).await.unwrap();
    check_consistency(4, 9, &proof, &last.root, &newest.root).unwrap();
    let reopened = store.reopen_shard(OLD).await.unwrap();
    assert_eq!(reopened, ShardChanged::Other, "there is no way back");
    sequencer.stop().await;
    drop(store);
    bench.reopen().await;
    no_way_back(&mut bench).await;
}

/// The stolen key writes nothing, and no sequencer starts with it; the next one goes on.
async fn no_way_back(bench: &mut Bench) {
    sound(bench).await;
    record(bench, 1).await;
    let stolen = rival(bench, &bench.secret()).await;
    assert_eq!(stolen, Integrated::Frozen, "the stolen key");
    let refused = Sequencer::start(bench.store(), bench.secret()).await;
    assert!(
        matches!(refused.map(drop), Err(StoreError::Unusable(_))),
        "the former key"
    );
    let (sequencer, log) = Sequencer::start(bench.store(), next_key()).await.unwrap();
    until(&log, |s| *s == LogState::Running { size: 10 }).await;
    sequencer.stop().await;
}

pub(super) async fn a_directory_may_freeze_a_shard_that_nobody_asked_to_end(mut bench: Bench) {
    let first = record(&mut bench, 2).await;
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    log.wait_for(first[1]).await.unwrap();
    sequencer.stop().await;
    let store = bench.store();
    // Asked for, and overtaken by the directory.
    let end = closing(&mut bench).await;
    store.close_shard(OLD, end.clone()).await.unwrap();
    let named = directory(&bench, &store.latest_checkpoint().await.unwrap().unwrap());
    follow(store.as_ref(), &bench.maker, &named, bench.now)
        .await
        .unwrap();
    sound(&bench).await;
    let (sequencer, log) = Sequencer::start(bench.store(), next_key()).await.unwrap();
    assert_eq!(log.wait_for(end.leaf_hash()).await.unwrap(), 2);
    until(&log, |s| *s == LogState::Running { size: 4 }).await;
    sequencer.stop().await;
    sound(&bench).await;
}

pub(super) async fn a_freeze_that_is_taken_back_loses_nothing(mut bench: Bench) {
    let (sequencer, log) = Sequencer::start(bench.store(), bench.secret()).await.unwrap();
    let store: Arc<dyn Store> = bench.store();
    let end = closing(&mut bench).await;
    assert_eq!(store.reopen_shard(OLD).await.unwrap(), ShardChanged::Same);
    store.close_shard(OLD, end.clone()).await.unwrap();
    until(&log, |s| matches!(s, LogState::Frozen { .. })).await;
    let waits = record(&mut bench, 2).await;
    let named = directory(&bench, &store.latest_checkpoint().await.unwrap().unwrap());
    assert_eq!(store.reopen_shard(OLD).await.unwrap(), ShardChanged::Done);
    for leaf in waits {
        log.wait_for(leaf).await.unwrap();
    }
    until(&log, |s| *s == LogState::Running { size: 3 }).await;
    // The directory that was made of the freeze comes too late.
    let late = follow(store.as_ref(), &bench.maker, &named, bench.now).await;
    assert_eq!(late.unwrap_err().code, "LOG_FROZEN");
    sequencer.stop().await;
    sound(&bench).await;
}

/// Closing, integrating the last leaf, opening: each fails, or fails and was saved after all, and is done again.
pub(super) async fn a_change_of_shard_may_be_broken_at_each_step(mut bench: Bench) {
    for (at, how) in (0..3).flat_map(|at| [(at, Break::Failed), (at, Break::FailedButSaved)]) {
        let mut one = Bench::new(bench.backend).await;
        std::mem::swap(&mut bench, &mut one);
        let mut leaves = record(&mut bench, 1).await;
        let end = closing(&mut bench).await;
        let store = bench.store();
        if at == 0 {
            bench.breaker.arm(how);
            let broken = store.close_shard(OLD, end.clone()).await;
            assert!(matches!(broken, Err(StoreError::Unconfirmed(_))));
        }
        store.close_shard(OLD, end.clone()).await.unwrap();
        leaves.push(end.leaf_hash());
        leaves.extend(record(&mut bench, 1).await);
        if at == 1 {
            bench.breaker.arm(how);
        }
        // The sequencer looks up what it could not confirm.
        let (sequencer, log) = Sequencer::start(store.clone(), bench.secret()).await.unwrap();
        until(&log, |s| *s == LogState::Frozen { size: 2 }).await;
        sequencer.stop().await;
        drop(store);
        bench.reopen().await;
        let store = bench.store();
        let named = directory(&bench, &store.latest_checkpoint().await.unwrap().unwrap());
        if at == 2 {
            bench.breaker.arm(how);
            let broken = follow(store.as_ref(), &bench.maker, &named, bench.now).await;
            assert!(broken.is_err());
        }
        follow(store.as_ref(), &bench.maker, &named, bench.now)
            .await
            .unwrap();
        let (sequencer, log) = Sequencer::start(store.clone(), next_key()).await.unwrap();
        for (place, leaf) in (0..).zip(&leaves) {
            assert_eq!(log.wait_for(*leaf).await.unwrap(), place, "step {at} {how:?}");
        }
        until(&log, |s| *s == LogState::Running { size: 4 }).await;
        let opened = store.records(3, 9).await.unwrap();
        assert_eq!(opened.len(), 1, "the shard is opened once");
        sequencer.stop().await;
        sound(&bench).await;
    }
}

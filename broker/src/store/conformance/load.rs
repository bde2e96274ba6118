//! Many callers at once.

use std::sync::Arc;

use super::super::*;
use super::bench::{Bench, LARGE, SMALL, WELFARE, agency};

pub(super) async fn concurrent_verbs_share_one_sync(mut bench: Bench) {
    const PACKETS: usize = 64;
    let mut all = Vec::new();
    for _ in 0..PACKETS {
        all.push(bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await);
    }
    let before = bench.commits();
    // The first group is held back until all others wait for the next.
    bench.breaker.hold();
    let tasks: Vec<_> = all
        .into_iter()
        .map(|new| {
            let store = bench.store();
            tokio::spawn(async move { store.accept(new).await })
        })
        .collect();
    while !bench.breaker.holding() {
        tokio::task::yield_now().await;
    }
    // A verb is in the writer's queue once its task has been polled: let all of them be.
    for _ in 0..PACKETS * 20 {
        tokio::task::yield_now().await;
    }
    bench.breaker.let_go();
    for task in tasks {
        assert!(matches!(task.await.unwrap().unwrap(), Accepted::New(_)));
    }
    let commits = bench.commits() - before;
    assert!(
        (1..=8).contains(&commits),
        "{PACKETS} packets took {commits} syncs"
    );
    bench.reopen().await;
    assert_eq!(
        bench.store().waiting(&agency(WELFARE)).await.unwrap().packets,
        PACKETS as u64
    );
    assert_eq!(bench.store().pending(1_000).await.unwrap().len(), PACKETS);
}

pub(super) async fn the_same_packet_from_many_callers_is_accepted_once(mut bench: Bench) {
    let first = bench.packet(&[WELFARE], &[(LARGE, &[WELFARE])]).await;
    let (id, part) = (first.packet, first.parts[0].part);
    let mut all = Vec::new();
    for _ in 0..15 {
        all.push(bench.again(&first).await);
    }
    all.push(first);
    let store: Arc<dyn Store> = bench.store();
    let tasks: Vec<_> = all
        .into_iter()
        .map(|new| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.accept(new).await.unwrap() })
        })
        .collect();
    let mut new = Vec::new();
    let mut repeated = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Accepted::New(answer) => new.push(answer),
            Accepted::Repeated(answer) => repeated.push(answer),
            Accepted::ConflictingDigest => panic!("the digest is the same"),
        }
    }
    assert_eq!((new.len(), repeated.len()), (1, 15));
    assert!(repeated.iter().all(|r| *r == new[0]));
    drop(store);
    assert_eq!(bench.store().pending(100).await.unwrap().len(), 1);
    assert_eq!(bench.read_all(id, part).await.unwrap().len(), LARGE);
    bench.reopen().await;
    assert_eq!(bench.read_all(id, part).await.unwrap().len(), LARGE);
}

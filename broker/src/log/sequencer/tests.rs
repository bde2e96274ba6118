//! Several sequencers on one store: one writes at a time, none forks, and whoever is left goes on.

use std::collections::BTreeMap;

use schakel_proto::evidence::Event;
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;

use super::*;
use crate::erasure::ErasureKeys;
use crate::log::entry::{EntryDraft, EntryMaker};
use crate::store::NewEntry;
use crate::store::memory::MemoryStore;

const ORIGIN: &str = "rupel.example/log";

fn secret() -> LogSecret {
    use rand::SeedableRng;
    LogSecret::generate(ORIGIN, &mut rand::rngs::StdRng::seed_from_u64(7)).unwrap()
}

/// Makes entries that say nothing.
struct Maker(
    EntryMaker,
    #[expect(dead_code, reason = "goes with it")] tempfile::TempDir,
);

impl Maker {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = ErasureKeys::open(&folder.path().join("erasure")).unwrap();
        Self(EntryMaker::new(NetworkName::new("rupel").unwrap(), keys), folder)
    }

    async fn entry(&self) -> NewEntry {
        let draft = EntryDraft::new(Event::AdminAct, Timestamp::from_millis(5));
        self.0.make(draft, &mut seeded_rng()).await.unwrap()
    }
}

async fn comes<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(150), future).await;
    waited.expect("it does not come")
}

/// Takes down every checkpoint that is there when a word of the tree is heard.
fn watch_roots(store: Arc<dyn Store>) -> tokio::task::JoinHandle<BTreeMap<u64, Digest>> {
    let mut ear = Ear::on(store.as_ref());
    tokio::spawn(async move {
        let mut roots = BTreeMap::new();
        while let Ok(_word) = tokio::time::timeout(Duration::from_secs(3), ear.next()).await {
            if let Some(newest) = store.latest_checkpoint().await.unwrap() {
                let before = roots.insert(newest.size, newest.root);
                assert!(before.is_none_or(|before| before == newest.root), "a fork");
            }
        }
        roots
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_sequencers_on_one_store_fork_nothing_and_the_last_of_them_goes_on() {
    let (store, maker): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::shared().unwrap()), Maker::new());
    let roots = watch_roots(Arc::clone(&store));
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(Sequencer::start(Arc::clone(&store), secret()).await.unwrap());
    }
    let (mut leaves, mut count) = (Vec::new(), 0_u64);
    while let Some((first, _)) = all.pop() {
        for _ in 0..20 {
            leaves.push(store.record(maker.entry().await).await.unwrap());
            count += 1;
        }
        // Whoever it is that goes: of what waits then nothing is lost.
        first.stop().await;
        for (_, log) in &all {
            for leaf in &leaves {
                comes(log.wait_for(*leaf)).await.unwrap();
            }
            assert_eq!(
                comes(settled(log, count)).await,
                LogState::Running { size: count }
            );
        }
        leaves.clear();
    }
    let roots = roots.await.unwrap();
    let newest = store.latest_checkpoint().await.unwrap().unwrap();
    // The last of them may have gone before it took over.
    assert!(newest.size >= count - 20 && roots.contains_key(&newest.size));
    for (size, root) in &roots {
        let proof = store.consistency(*size, newest.size).await.unwrap();
        let held =
            schakel_proto::tlog::proof::check_consistency(*size, newest.size, &proof, root, &newest.root);
        assert!(held.is_ok(), "{size}: {held:?}");
    }
}

/// The state of a log once it has so many leaves.
async fn settled(log: &LogHandle, size: u64) -> LogState {
    let mut watched = log.watch();
    let reached = watched
        .wait_for(|state| *state == LogState::Running { size })
        .await;
    reached.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d15_one_that_is_overtaken_follows_and_takes_over_again() {
    let (store, maker): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::shared().unwrap()), Maker::new());
    let (sequencer, log) = Sequencer::start(Arc::clone(&store), secret()).await.unwrap();
    let mut frontier = Frontier::default();
    let first = store.record(maker.entry().await).await.unwrap();
    comes(log.wait_for(first)).await.unwrap();
    frontier.append(first, &mut |_, _| {});
    // A rival that writes at once whatever is there, until it was first.
    let mut won = 0;
    for _ in 0..2_000 {
        let leaf = store.record(maker.entry().await).await.unwrap();
        let (mut next, mut nodes) = (frontier.clone(), Vec::new());
        let leaves = store.pending(PAGE_MAX_COUNT).await.unwrap();
        for one in &leaves {
            next.append(one.leaf_hash, &mut |node, hash| nodes.push((node, hash)));
        }
        let step = Integration {
            expected_size: frontier.size(),
            leaves,
            nodes,
            checkpoint: secret().sign(next.size(), next.root()),
        };
        let wrote = store.integrate(step).await;
        if matches!(wrote, Ok(Integrated::Done { .. })) {
            won += 1;
        }
        comes(log.wait_for(leaf)).await.unwrap();
        frontier = again(&store).await;
        if won >= 3 {
            break;
        }
    }
    assert!(won > 0, "the rival was never first");
    // The rival is gone: the one that followed writes.
    let leaf = store.record(maker.entry().await).await.unwrap();
    comes(log.wait_for(leaf)).await.unwrap();
    assert!(matches!(log.state(), LogState::Running { .. }));
    sequencer.stop().await;
    // A key of another log starts nothing, shared or not.
    let mut rng = seeded_rng();
    for origin in [ORIGIN, "rupel.example/other"] {
        let other = LogSecret::generate(origin, &mut rng).unwrap();
        let refused = Sequencer::start(Arc::clone(&store), other).await;
        assert!(
            matches!(refused.map(drop), Err(StoreError::Unusable(_))),
            "{origin}"
        );
    }
}

/// The tree as the store has it.
async fn again(store: &Arc<dyn Store>) -> Frontier {
    let size = store.latest_checkpoint().await.unwrap().unwrap().size;
    let mut nodes = std::collections::HashMap::new();
    for node in Frontier::peaks_of(size) {
        nodes.insert(node, store.node(node).await.unwrap().unwrap());
    }
    Frontier::read(size, |n| nodes.get(&n).copied().ok_or(n)).unwrap()
}

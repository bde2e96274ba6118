//! Paths as the specification writes them, and tiles of logs of many sizes against a tree that is made here.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_proto::evidence::Event;
use schakel_proto::ids::Digest;
use schakel_proto::party::NetworkName;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::tlog::hash::leaf_hash;
use schakel_proto::tlog::tree::Frontier;

use super::*;
use crate::erasure::ErasureKeys;
use crate::log::entry::{EntryDraft, EntryMaker};
use crate::store::memory::MemoryStore;
use crate::store::{Integration, PAGE_MAX_COUNT};

async fn tile(store: &dyn Store, level: u8, span: Span) -> Result<Option<Bytes>, StoreError> {
    super::tile(store, size(store).await?, (level, span)).await
}

async fn entries(store: &dyn Store, span: Span) -> Result<Option<Bytes>, StoreError> {
    super::entries(store, size(store).await?, span).await
}

fn span(index: u64, width: u16) -> Span {
    Span { index, width }
}

#[test]
fn paths_are_read_as_the_specification_writes_them() {
    for (path, resource) in [
        ("checkpoint", Resource::Checkpoint),
        ("tile/0/000", Resource::Tile(0, span(0, 256))),
        ("tile/1/999", Resource::Tile(1, span(999, 256))),
        ("tile/2/x001/000", Resource::Tile(2, span(1_000, 256))),
        ("tile/63/x001/x234/067", Resource::Tile(63, span(1_234_067, 256))),
        ("tile/0/x001/x234/067.p/1", Resource::Tile(0, span(1_234_067, 1))),
        ("tile/entries/000.p/255", Resource::Entries(span(0, 255))),
        ("tile/entries/x012/345", Resource::Entries(span(12_345, 256))),
        (
            "tile/0/x018/x446/x744/x073/x709/x551/615",
            Resource::Tile(0, span(u64::MAX, 256)),
        ),
        ("entry/0", Resource::Entry(0)),
        ("entry/18446744073709551615", Resource::Entry(u64::MAX)),
    ] {
        assert_eq!(Resource::parse(path).ok(), Some(resource), "{path}");
        assert_eq!(resource.to_string(), path);
    }
}

#[test]
fn anything_else_is_refused_and_says_what_is_wrong() {
    let malformed = "tile tile/ tile/0 tile/0/ tile/0/0 tile/0/00 tile/0/0000 tile/0/x000 tile/0/x000/000 tile/0/000/000 \
        tile/0/x001/x000 tile/0/001/000 tile/0/x001//000 tile/0/000/ tile/0//000 tile/00/000 tile/01/000 tile/64/000 \
        tile/-1/000 tile/+1/000 tile/256/000 tile/x/000 tile/0/0x0 tile/0/00a tile/0/-01 tile/0/+01 tile/0/000.p \
        tile/0/000.p/ tile/0/000.p/0 tile/0/000.p/00 tile/0/000.p/01 tile/0/000.p/256 tile/0/000.p/-1 tile/0/000.p/1/ \
        tile/0/000.p/1.p/1 tile/0/.p/1 tile/0/x001/x000.p/1 tile/0/x018/x446/x744/x073/x709/x551/616 \
        tile/0/x001/x018/x446/x744/x073/x709/x551/615 tile/entries tile/entries/ tile/entries/0 tile/entries/000.p/256 \
        tile/data/000 tile/8/0/000 tile/0/%30%30%30 tile/0/٠٠٠ entry entry/ entry/01 entry/-1 entry/1/ entry/1.p/1 \
        entry/18446744073709551616 entry/0x1 tile/0/000?x";
    let unknown = [
        "",
        "/",
        "checkpoint/",
        "Checkpoint",
        "checkpoints",
        "tiles/0/000",
        "log/checkpoint",
        "..",
        "index.html",
    ];
    // Words that stand alone name nothing; with something behind them they are paths, and not well written.
    let alone = ["tile", "entry"];
    for path in malformed.split_whitespace().filter(|path| !alone.contains(path)) {
        let refused = Resource::parse(path).unwrap_err();
        assert_eq!(
            (refused.fault, refused.code),
            (Fault::Invalid, "LOG_PATH_MALFORMED"),
            "{path}"
        );
    }
    for path in unknown.iter().chain(&alone) {
        let refused = Resource::parse(path).unwrap_err();
        assert_eq!(
            (refused.fault, refused.code),
            (Fault::NotFound, "LOG_PATH_UNKNOWN"),
            "{path}"
        );
    }
}

/// A log of which `size` leaves stand under a checkpoint and some wait.
async fn log_of(size: usize, waiting: usize) -> (Arc<dyn Store>, Vec<Digest>) {
    log_where(size, waiting, |_| true).await
}

/// As [`log_of`]; only nodes for which `kept` says so are.
async fn log_where(size: usize, waiting: usize, kept: fn(Node) -> bool) -> (Arc<dyn Store>, Vec<Digest>) {
    let folder = tempfile::tempdir().unwrap();
    let network = NetworkName::new("rupel").unwrap();
    let maker = EntryMaker::new(
        network,
        ErasureKeys::open(&folder.path().join("erasure")).unwrap(),
    );
    let mut rng = StdRng::seed_from_u64(size as u64);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let secret = LogSecret::generate("rupel.example/log", &mut rng).unwrap();
    let (mut frontier, mut hashes) = (Frontier::default(), Vec::new());
    for number in 0..size + waiting {
        let draft = EntryDraft::new(
            Event::SubmissionRejection,
            Timestamp::from_millis(number as i64 + 1),
        );
        store
            .record(maker.make(draft, &mut rng).await.unwrap())
            .await
            .unwrap();
    }
    while hashes.len() < size {
        let limit = (size - hashes.len()).min(PAGE_MAX_COUNT);
        let leaves = store.pending(limit).await.unwrap();
        let (expected_size, mut nodes) = (frontier.size(), Vec::new());
        for leaf in &leaves {
            hashes.push(leaf.leaf_hash);
            frontier.append(leaf.leaf_hash, &mut |node, hash| nodes.push((node, hash)));
        }
        nodes.retain(|(node, _)| kept(*node));
        let checkpoint = secret.sign(frontier.size(), frontier.root());
        let step = Integration {
            expected_size,
            leaves,
            nodes,
            checkpoint,
        };
        store.integrate(step).await.unwrap();
    }
    (store, hashes)
}

/// Hash of a subtree as RFC 6962 defines it, for powers of two.
fn subtree(leaves: &[Digest]) -> Digest {
    match leaves {
        [one] => *one,
        all => {
            let (left, right) = all.split_at(all.len() / 2);
            schakel_proto::tlog::hash::node_hash(&subtree(left), &subtree(right))
        }
    }
}

#[tokio::test]
async fn tiles_and_bundles_hold_what_the_checkpoint_covers_and_no_more() {
    for size in [0_usize, 1, 2, 255, 256, 257, 511, 512, 700] {
        let (store, hashes) = log_of(size, 3).await;
        for index in 0..4_u64 {
            let start = usize::try_from(index).unwrap() * 256;
            for width in [1_u16, 2, 188, 254, 255, 256] {
                let end = start + usize::from(width);
                let (place, covered) = (span(index, width), end <= size);
                let hashes_there = tile(&*store, 0, place).await.unwrap();
                let expected = covered.then(|| {
                    hashes[start..end]
                        .iter()
                        .flat_map(|h| *h.as_bytes())
                        .collect::<Vec<_>>()
                });
                assert_eq!(
                    hashes_there.map(|b| b.to_vec()),
                    expected,
                    "tile/0/{place} of {size}"
                );
                let bundle = entries(&*store, place).await.unwrap();
                let leaves = bundle.map(|bundle| unbundled(&bundle));
                assert_eq!(
                    leaves,
                    covered.then(|| hashes[start..end].to_vec()),
                    "entries/{place} of {size}"
                );
            }
        }
        for width in [1_u16, 2, 3, 255, 256] {
            let whole = size / 256;
            let there = tile(&*store, 1, span(0, width)).await.unwrap();
            let expected = (usize::from(width) <= whole).then(|| {
                let parts = hashes.chunks_exact(256).take(usize::from(width));
                parts
                    .flat_map(|part| *subtree(part).as_bytes())
                    .collect::<Vec<_>>()
            });
            assert_eq!(
                there.map(|b| b.to_vec()),
                expected,
                "width {width} at level 1 of {size}"
            );
        }
        for level in [2, 7, 8, 31, 32, 63] {
            assert_eq!(
                tile(&*store, level, span(0, 1)).await.unwrap(),
                None,
                "level {level} of {size}"
            );
        }
        for far in [1 << 20, 1 << 56, (1 << 56) + 1, u64::MAX] {
            assert_eq!(tile(&*store, 0, span(far, 256)).await.unwrap(), None);
            assert_eq!(entries(&*store, span(far, 1)).await.unwrap(), None);
        }
    }
}

fn unbundled(mut bundle: &[u8]) -> Vec<Digest> {
    let mut hashes = Vec::new();
    while let Some((length, rest)) = bundle.split_first_chunk::<2>() {
        let (leaf, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        hashes.push(leaf_hash(leaf));
        bundle = rest;
    }
    assert!(bundle.is_empty());
    hashes
}

#[tokio::test]
async fn a_shards_tiles_end_where_it_does() {
    let (store, hashes) = log_of(300, 5).await;
    for (size, width, there) in [
        (300, 256, true),
        (256, 256, true),
        (255, 256, false),
        (255, 255, true),
    ] {
        let tile = super::tile(&*store, size, (0, span(0, width))).await.unwrap();
        assert_eq!(tile.is_some(), there, "{size} {width}");
        let bundle = super::entries(&*store, size, span(0, width)).await.unwrap();
        let leaves = bundle.map(|bundle| unbundled(&bundle));
        assert_eq!(leaves, there.then(|| hashes[..usize::from(width)].to_vec()));
    }
    for (path, shard) in [("shard/0/checkpoint", 0), ("shard/12/checkpoint", 12)] {
        let resource = Resource::Checkpoint;
        assert_eq!(
            Path::parse(path).unwrap(),
            Path {
                shard: Some(shard),
                resource
            }
        );
    }
    assert_eq!(Path::parse("tile/0/000").unwrap().shard, None);
    for path in [
        "shard/00/checkpoint",
        "shard/x/checkpoint",
        "shard/1/shard/0/checkpoint",
        "shard/1/",
        "shard/1",
        "shard/1/entry/0",
    ] {
        assert!(Path::parse(path).is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_missing_node_is_damage_and_not_a_shorter_tile() {
    let (store, _) = log_of(3, 0).await;
    for (level, index, count) in [(0, 0, 3), (0, 1, 2), (0, 3, 0), (1, 0, 1), (2, 0, 0)] {
        let nodes = store.nodes(Node { level, index }, 256).await.unwrap();
        assert_eq!(nodes.len(), count, "level {level} from {index}");
    }
    assert_eq!(
        store.nodes(Node { level: 0, index: 1 }, 1).await.unwrap().len(),
        1
    );
    let (damaged, _) = log_where(3, 0, |node| node.index != 1).await;
    assert!(tile(&*damaged, 0, span(0, 1)).await.unwrap().is_some());
    let lost = tile(&*damaged, 0, span(0, 3)).await;
    assert!(matches!(lost, Err(StoreError::Corrupt(_))), "{lost:?}");
}

#[test]
fn a_bundle_costs_a_call_for_every_sixteen_leaves() {
    for (path, price) in [
        ("checkpoint", 1),
        ("entry/7", 1),
        ("tile/0/000", 1),
        ("tile/entries/000.p/1", 1),
        ("tile/entries/000.p/16", 1),
        ("tile/entries/000.p/17", 2),
        ("tile/entries/000", 16),
    ] {
        assert_eq!(Resource::parse(path).unwrap().price(), price, "{path}");
    }
}

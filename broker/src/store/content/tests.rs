//! Spools: what they are promised, and what is left of one that is given up.

use futures_util::future::poll_immediate;

use super::*;

#[test]
fn a_finish_that_is_given_up_at_any_step_leaves_no_file() {
    const LENGTH: usize = 80 * 1024;
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build();
    one_thread.unwrap().block_on(async {
        // One thread does what blocks, one thing after the other: what was begun is done by then.
        let idle = || async { tokio::task::spawn_blocking(|| ()).await.unwrap() };
        let bytes = vec![7; LENGTH];
        for steps in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let contents = Contents::in_folder(dir.path()).unwrap();
            let keeper = Arc::downgrade(&contents);
            contents.notify_orphans(Box::new(move || {
                let contents = keeper.upgrade().unwrap();
                for digest in contents.take_orphans() {
                    contents.remove_unpinned(&digest).unwrap();
                }
            }));
            let mut spool = contents.spool(LENGTH as u64, |_| true).unwrap();
            spool.write(&bytes).await.unwrap();
            let mut finish = Box::pin(spool.finish(Digest::of(&bytes)));
            for _ in 0..steps {
                if let Some(stored) = poll_immediate(&mut finish).await {
                    stored.unwrap();
                    assert!(steps > 2, "it has several steps");
                    return;
                }
                idle().await;
            }
            let (go, gate) = std::sync::mpsc::channel::<()>();
            let held_back = tokio::task::spawn_blocking(move || gate.recv());
            drop(poll_immediate(&mut finish).await);
            drop(finish);
            drop(go);
            let _let_go = held_back.await;
            idle().await;
            assert_eq!(contents.all().unwrap(), [], "given up after {steps}");
            let left = std::fs::read_dir(dir.path().join(TEMPORARY)).unwrap().count();
            assert_eq!(left, 0, "given up after {steps}");
        }
    });
}

#[tokio::test]
async fn room_that_one_spool_was_promised_is_not_promised_to_another() {
    const LENGTH: u64 = 60 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let contents = Contents::in_folder(dir.path()).unwrap();
    let room = |needed: u64| needed <= 100 * 1024;
    let mut first = contents.spool(LENGTH, room).unwrap();
    assert!(matches!(contents.spool(LENGTH, room), Err(StoreError::Full)));
    let bytes = vec![7; usize::try_from(LENGTH).unwrap()];
    first.write(&bytes).await.unwrap();
    assert_eq!(contents.outstanding(), 0, "it is on the disk now");
    let second = contents.spool(LENGTH, room).unwrap();
    assert_eq!(contents.outstanding(), LENGTH);
    drop(second);
    let stored = first.finish(Digest::of(&bytes)).await.unwrap();
    assert_eq!((stored.length(), contents.outstanding()), (LENGTH, 0));
}

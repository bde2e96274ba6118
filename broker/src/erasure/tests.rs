//! Keys: made once, destroyed for good, also when several processes are about it at the same moment.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Barrier;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

#[tokio::test]
async fn a_key_is_made_once_kept_private_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let mut rng = StdRng::seed_from_u64(1);
    let case = CaseRef::random(&mut rng);
    let keys = ErasureKeys::open(&folder).unwrap();
    assert!(keys.existing(Some(case)).await.unwrap().is_none());
    let key = keys.obtain(Some(case), &mut rng).await.unwrap();
    let none = keys.obtain(None, &mut rng).await.unwrap();
    assert_ne!(key.as_bytes(), none.as_bytes());
    assert_eq!(
        keys.obtain(Some(case), &mut rng).await.unwrap().as_bytes(),
        key.as_bytes()
    );
    let again = ErasureKeys::open(&folder)
        .unwrap()
        .existing(Some(case))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.as_bytes(), key.as_bytes());
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        count += 1;
    }
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_destroyed_key_is_gone_at_once_and_no_other_comes_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let mut rng = StdRng::seed_from_u64(1);
    let (case, other) = (CaseRef::random(&mut rng), CaseRef::random(&mut rng));
    let keys = ErasureKeys::open(&folder).unwrap();
    // Another desk of the same broker, with the key in its own memory.
    let second = ErasureKeys::open(&folder).unwrap();
    let key = keys.obtain(Some(case), &mut rng).await.unwrap();
    keys.obtain(Some(other), &mut rng).await.unwrap();
    assert!(second.existing(Some(case)).await.unwrap().is_some());
    keys.destroy(case).await.unwrap();
    keys.destroy(case).await.unwrap();
    let file = |end: &str| folder.join(format!("{}.{end}", hex::encode(case.as_bytes())));
    assert!(!file("key").exists());
    assert_eq!(std::fs::metadata(file("erased")).unwrap().mode() & 0o777, 0o600);
    // A copy of the key that somebody puts back changes nothing, and does not outlast the next start.
    std::fs::write(file("key"), key.as_bytes()).unwrap();
    std::fs::set_permissions(file("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let none = keys.obtain(None, &mut rng).await.unwrap();
    std::fs::write(folder.join("no-case.erased"), "").unwrap();
    let again = ErasureKeys::open(&folder).unwrap();
    assert!(!file("key").exists());
    let kept = again.existing(None).await.unwrap().unwrap();
    assert_eq!(
        kept.as_bytes(),
        none.as_bytes(),
        "the key of no case is never destroyed"
    );
    for keys in [&keys, &second, &again] {
        assert!(keys.is_erased(case).unwrap() && !keys.is_there(Some(case)));
        assert!(keys.existing(Some(case)).await.unwrap().is_none());
        let made = keys.obtain(Some(case), &mut rng).await;
        assert!(matches!(made, Err(StoreError::Erased)));
        assert!(!file("key").exists());
        assert!(keys.existing(Some(other)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn an_erased_key_is_gone_and_a_readable_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    ErasureKeys::open(dir.path())
        .unwrap()
        .obtain(None, &mut rng)
        .await
        .unwrap();
    let file = dir.path().join("no-case.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let keys = ErasureKeys::open(dir.path()).unwrap();
    assert!(matches!(keys.existing(None).await, Err(StoreError::Unusable(_))));
    std::fs::remove_file(&file).unwrap();
    assert!(keys.existing(None).await.unwrap().is_none());
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(
        ErasureKeys::open(dir.path()),
        Err(StoreError::Unusable(_))
    ));
}

/// As many processes as there are folders opened: none knows what another holds in memory.
fn processes(folder: &Path, count: usize) -> Vec<ErasureKeys> {
    (0..count).map(|_| ErasureKeys::open(folder).unwrap()).collect()
}

/// What lies in a folder, by how its name ends.
fn files(folder: &Path, end: &str) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).count()
}

#[test]
fn processes_that_make_the_key_of_one_case_at_the_same_moment_go_on_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let all = processes(&folder, 4);
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..50 {
        let (case, barrier) = (CaseRef::random(&mut rng), Barrier::new(all.len()));
        let obtain = |keys: &ErasureKeys| {
            barrier.wait();
            let fresh = ErasureKey::random(&mut StdRng::from_os_rng());
            keys.0.load(Some(case), Some(fresh)).unwrap().unwrap()
        };
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = all.iter().map(|keys| scope.spawn(|| obtain(keys))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let again = ErasureKeys::open(&folder).unwrap();
        let kept = again.0.load(Some(case), None).unwrap().unwrap();
        assert!(made.iter().all(|key| key.as_bytes() == kept.as_bytes()));
    }
    assert_eq!((files(&folder, ".key"), files(&folder, MAKING)), (50, 0));
}

#[test]
fn a_key_that_is_made_while_another_process_erases_its_case_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let all = processes(&folder, 4);
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..100 {
        let (case, barrier) = (CaseRef::random(&mut rng), Barrier::new(all.len()));
        std::thread::scope(|scope| {
            for (number, keys) in all.iter().enumerate() {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    if number < 2 {
                        keys.0.destroy(case).unwrap();
                    } else {
                        let fresh = ErasureKey::random(&mut StdRng::from_os_rng());
                        // Before or after: one of them it was.
                        let _key = keys.0.load(Some(case), Some(fresh)).unwrap();
                    }
                });
            }
        });
        for keys in &all {
            assert!(keys.0.cached(Some(case)).unwrap().is_none(), "round {round}");
            assert!(keys.0.load(Some(case), None).unwrap().is_none(), "round {round}");
        }
        assert_eq!(files(&folder, ".erased"), round + 1);
    }
    assert_eq!(
        (files(&folder, ".key"), files(&folder, MAKING)),
        (0, 0),
        "not even on its way"
    );
}

#[tokio::test]
async fn what_a_process_left_on_its_way_goes_and_what_is_young_stays() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let case = CaseRef::from_bytes([7; 16]);
    let keys = ErasureKeys::open(&folder).unwrap();
    let name = hex::encode(case.as_bytes());
    let lay = |end: &str| {
        let path = folder.join(format!("{name}.{end}"));
        std::fs::write(&path, [1; 32]).unwrap();
        path
    };
    let (old, young) = (lay("01.making"), lay("02.making"));
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1);
    std::fs::File::open(&old).unwrap().set_modified(long_ago).unwrap();
    ErasureKeys::open(&folder).unwrap();
    assert!(!old.exists() && young.exists());
    keys.destroy(case).await.unwrap();
    assert!(!young.exists(), "a copy of a key goes with it");
}

#[tokio::test]
async fn one_process_at_a_time_is_about_to_erase_a_case() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("erasure");
    let (one, other) = (
        ErasureKeys::open(&folder).unwrap(),
        ErasureKeys::open(&folder).unwrap(),
    );
    let case = CaseRef::from_bytes([7; 16]);
    let claim = one.claim(case).await.unwrap().unwrap();
    assert!(other.claim(case).await.unwrap().is_none());
    drop(claim);
    // One that was left by a process that ended counts for nothing.
    let mark = folder.join(format!("{}.{GOING}", hex::encode(case.as_bytes())));
    std::fs::write(&mark, "").unwrap();
    let second = other.claim(case).await.unwrap();
    assert!(second.is_some() && one.claim(case).await.unwrap().is_none());
    drop(second);
    assert!(!mark.exists());
    one.destroy(case).await.unwrap();
    assert!(other.claim(case).await.unwrap().is_none(), "it is erased");
    assert!(!mark.exists());
}

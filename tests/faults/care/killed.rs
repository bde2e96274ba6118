//! Backup, restore, compaction and migration killed at each step by `strace`.

use std::path::Path;
use std::process::Command;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schakel_broker::store::backup::restore::inspect;
use schakel_broker::store::sled::SledStore;
use schakel_broker::store::{Care, Store};
use schakel_tests::system::peer::runtime;
use schakel_tests::system::process::{binary, command};
use schakel_tests::system::strace::has_strace;
use schakel_tests::system::told::{count, rounds, seeded, skip};

use super::{Said, care, has_all, path, run, stopped_town, with_data};
use crate::turn;

/// The same, killed at its `when`-th of these `calls`; exit status none: it was.
fn killed(config: &Path, arguments: &[&str], (calls, when): (&str, u64)) -> Said {
    let mut tracer = command("strace");
    tracer.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
    tracer.arg(format!("--trace={calls}"));
    tracer.arg(format!("--inject={calls}:signal=KILL:when={when}"));
    tracer.arg("--").arg(binary("schakel-broker"));
    tracer.arg("store").args(arguments).arg("--config").arg(config);
    run(tracer)
}

/// Some of the steps at which a command can die, in any order; all of them in a long run.
fn steps(kinds: &[(&'static str, u64)], usual: u64, rng: &mut StdRng) -> Vec<(&'static str, u64)> {
    let each = |(calls, last): &(&'static str, u64)| {
        let calls = *calls;
        (1..=*last).map(move |when| (calls, when))
    };
    let mut steps: Vec<_> = kinds.iter().flat_map(each).collect();
    let long = steps.len() as u64;
    steps.shuffle(rng);
    steps.truncate(usize::try_from(rounds(usual, long)).unwrap());
    steps
}

const RENAMES: &str = "rename,renameat,renameat2";
const REMOVALS: &str = "unlink,unlinkat,rmdir";

#[test]
fn d17_a_backup_that_is_killed_at_any_step_leaves_no_file_that_restores_to_less() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let (town, packets) = stopped_town(&mut rng);
    let (config, scratch) = (town.network().broker_config(), town.scratch("backups"));
    let kinds = [
        ("write", 6),
        ("fsync", 4),
        ("fdatasync", 2),
        (RENAMES, 2),
        ("openat", 40),
    ];
    let (mut died, mut left) = (0, 0);
    for (number, step) in steps(&kinds, 8, &mut rng).into_iter().enumerate() {
        let file = scratch.join(format!("{number}.backup"));
        let (status, _) = killed(&config, &["backup", path(&file)], step);
        died += u64::from(status.is_none());
        let partial = scratch.join(format!("{number}.backup.partial"));
        for found in [&file, &partial].into_iter().filter(|found| found.exists()) {
            let whole = inspect(found);
            if found == &file || status == Some(0) {
                assert!(whole.is_ok(), "{step:?}: {whole:?}");
            }
            let data = scratch.join(format!("restored-{number}"));
            let config = with_data(&town, "killed", &data);
            let (status, said) = run(care(&config, &["restore", path(found)]));
            if whole.is_ok() {
                assert_eq!(status, Some(0), "{step:?}: {said}");
                runtime().block_on(has_all(&data, &packets));
            } else {
                left += 1;
                assert!(
                    status == Some(69) && said.contains("BACKUP_DAMAGED"),
                    "{step:?}: {said}"
                );
                assert!(!data.exists(), "{step:?}");
            }
        }
        // The store is as it was, and a backup can be made.
        runtime().block_on(has_all(&town.network().broker_data(), &packets));
    }
    let file = scratch.join("last.backup");
    let (status, said) = run(care(&config, &["backup", path(&file)]));
    assert_eq!(status, Some(0), "{said}");
    assert!(died > 0);
    count(
        died,
        &format!("backups killed, {left} left a file that is refused"),
    );
}

#[test]
fn d17_a_restore_that_is_killed_at_any_step_is_refused_or_whole_and_can_be_given_again() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let (town, packets) = stopped_town(&mut rng);
    let scratch = town.scratch("backups");
    let file = scratch.join("one.backup");
    let (status, said) = run(care(&town.network().broker_config(), &["backup", path(&file)]));
    assert_eq!(status, Some(0), "{said}");
    let data = scratch.join("restored");
    let config = with_data(&town, "restored", &data);
    let kinds = [
        ("fsync", 16),
        ("fdatasync", 3),
        (RENAMES, 8),
        (REMOVALS, 3),
        ("pwrite64", 4),
        ("mkdir", 4),
    ];
    let (mut died, mut refused) = (0, 0);
    for step in steps(&kinds, 8, &mut rng) {
        std::fs::remove_dir_all(&data).ok();
        let (status, said) = killed(&config, &["restore", path(&file)], step);
        assert!(matches!(status, None | Some(0)), "{step:?}: {said}");
        died += u64::from(status.is_none());
        match data
            .join("STORE")
            .exists()
            .then(|| runtime().block_on(SledStore::open(&data)))
        {
            Some(Ok(store)) => {
                let halted = runtime().block_on(async {
                    let halted = store.halted().await.unwrap();
                    store.close().await;
                    halted
                });
                assert!(halted.is_some(), "{step:?}: whole, and not marked");
                runtime().block_on(has_all(&data, &packets));
                continue;
            }
            Some(Err(error)) => {
                assert!(error.to_string().contains("broken off"), "{step:?}: {error}");
            }
            None => {
                let mut command = Command::new(binary("schakel-broker"));
                command.args(["log", "stats", "--config"]).arg(&config);
                let (status, said) = run(command);
                assert_eq!(status, Some(69), "{step:?}: {said}");
            }
        }
        refused += 1;
        let (status, said) = run(care(&config, &["restore", path(&file)]));
        assert_eq!(status, Some(0), "{step:?}: {said}");
        runtime().block_on(has_all(&data, &packets));
    }
    assert!(died > 0 && refused > 0);
    count(
        died,
        &format!("restores killed, {refused} refused until they were given again"),
    );
}

/// Takes the files of cases and packets away, as in the store of an older program.
async fn unfile(data: &Path) -> usize {
    let store = SledStore::open(data).await.unwrap();
    let mut count = 0;
    for (key, _) in store.raw_rows().unwrap() {
        if key == b"!filed" || matches!(key.first(), Some(b'i' | b'p')) {
            store.raw_put(&key, None).unwrap();
            count += 1;
        }
    }
    store.close().await;
    count
}

#[test]
fn d16_killed_at_each_step_of_a_compaction_or_migration_one_store_opens_with_everything() {
    let _turn = turn::take();
    if let Err(why) = has_strace() {
        return skip(&why);
    }
    let mut rng = seeded();
    let (town, packets) = stopped_town(&mut rng);
    let (config, data) = (town.network().broker_config(), town.network().broker_data());
    let mut died = 0;
    let kinds = [
        (RENAMES, 6),
        ("fsync", 14),
        ("fdatasync", 4),
        (REMOVALS, 6),
        ("pwrite64", 4),
        ("mkdir", 2),
    ];
    for step in steps(&kinds, 10, &mut rng) {
        let (status, said) = killed(&config, &["compact"], step);
        assert!(matches!(status, None | Some(0)), "{step:?}: {said}");
        died += u64::from(status.is_none());
        runtime().block_on(has_all(&data, &packets));
        assert!(
            !data.join("rows.old").exists() && !data.join("rows.new").exists(),
            "{step:?}"
        );
    }
    for step in steps(&[("fdatasync", 2), ("pwrite64", 3), ("fsync", 4)], 4, &mut rng) {
        assert!(runtime().block_on(unfile(&data)) > 0);
        let (status, said) = run(care(&config, &["migrate", "--dry-run"]));
        assert!(status == Some(0) && said.contains(" to do"), "{step:?}: {said}");
        let (status, said) = killed(&config, &["migrate"], step);
        assert!(matches!(status, None | Some(0)), "{step:?}: {said}");
        died += u64::from(status.is_none());
        let (status, said) = run(care(&config, &["migrate"]));
        assert_eq!(status, Some(0), "{step:?}: {said}");
        let (_, said) = run(care(&config, &["migrate", "--dry-run"]));
        assert!(said.contains("nothing to do"), "{step:?}: {said}");
        runtime().block_on(has_all(&data, &packets));
    }
    let mut command = Command::new(binary("schakel-broker"));
    command.args(["log", "verify", "--config"]).arg(&config);
    let (status, said) = run(command);
    assert_eq!(status, Some(0), "{said}");
    assert!(died > 0);
    count(
        died,
        "compactions and migrations killed, one store opened each time",
    );
}

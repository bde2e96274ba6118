//! What only the store in a database does: several brokers on one, what the standby has, who is fenced.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::cluster::{self, Cluster};
use super::*;

struct Shared {
    cluster: Cluster,
    folder: PathBuf,
    next: u32,
}

/// The server that the tests of this process share, each in a schema of its own.
fn shared() -> std::sync::MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        if let Some(why) = cluster::missing() {
            panic!("PostgreSQL is needed: {why}");
        }
        let folder = tempfile::Builder::new().prefix("schakel-pg").tempdir().unwrap().keep();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&folder, open).unwrap();
        let cluster = Cluster::start(&folder.join("primary")).unwrap();
        Mutex::new(Shared { cluster, folder, next: 0 })
    });
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A schema of its own on the server of this process.
pub(crate) fn fresh(notes: &std::path::Path) -> PostgresOptions {
    let mut shared = shared();
    shared.next += 1;
    let schema = format!("test_{}_{}", std::process::id(), shared.next);
    let _ = &shared.folder;
    shared.cluster.options(&schema, notes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_brought_up_to_date_once_and_a_newer_one_is_refused() {
    let notes = tempfile::tempdir().unwrap();
    let options = fresh(notes.path());
    let asked = PostgresOptions {
        migrate: false,
        ..options.clone()
    };
    let Err(StoreError::Unusable(why)) = PostgresStore::open(asked.clone()).await else {
        panic!("there is no schema yet");
    };
    assert!(why.contains("store migrate"), "{why}");
    let all = futures_util::future::join_all((0..4).map(|_| PgKv::migrate(options.clone()))).await;
    let took: Vec<i32> = all.into_iter().map(|one| one.unwrap().0.taken).collect();
    assert_eq!(took.iter().filter(|taken| **taken == 0).count(), 1, "{took:?}");
    let store = PostgresStore::open(asked.clone()).await.unwrap();
    crate::store::Store::close(&store).await;
    let later = format!(
        "INSERT INTO {}.migration (number, name, needs) VALUES (900, 'later', 900)",
        options.schema
    );
    shared().cluster.ask("schakel", &later).unwrap();
    for options in [asked, options] {
        let Err(StoreError::Unusable(why)) = PostgresStore::open(options).await else {
            panic!("it is newer");
        };
        assert!(why.contains("newer version"), "{why}");
    }
}

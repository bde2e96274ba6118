//! What only the store in a database does: several brokers on one, what the standby has, who is fenced.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use schakel_proto::ids::{DeliveryId, PacketId};
use schakel_proto::time::Timestamp;

use super::cluster::{self, Cluster};
use super::*;
use crate::store::conformance::{Backend, Bench, SMALL, WELFARE, agency};
use crate::store::{Acceptance, Accepted, AcceptedPacket, Known, Lease, LeaseRequest, Store};

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
        let folder = tempfile::Builder::new()
            .prefix("schakel-pg")
            .tempdir()
            .unwrap()
            .keep();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&folder, open).unwrap();
        let cluster = Cluster::start(&folder.join("primary")).unwrap();
        Mutex::new(Shared {
            cluster,
            folder,
            next: 0,
        })
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
    store.close().await;
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

/// A primary and its synchronous standby, and what is tried on them.
struct Pair {
    folder: tempfile::TempDir,
    primary: Cluster,
    standby: Cluster,
    bench: Bench,
    schema: String,
}

/// Waits in these tests: a standby that is there answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

impl Pair {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let primary = Cluster::start(&folder.path().join("primary")).unwrap();
        let standby = primary.standby(&folder.path().join("standby")).unwrap();
        Self {
            folder,
            primary,
            standby,
            // Only for what it makes: packets and entries.
            bench: Bench::new(Backend::Memory).await,
            schema: "schakel".to_owned(),
        }
    }

    /// A broker that knows both servers and notes what it sees in a folder named so.
    fn options(&self, notes: &str) -> PostgresOptions {
        let notes = self.folder.path().join(notes);
        std::fs::create_dir_all(&notes).unwrap();
        PostgresOptions {
            hosts: vec![self.primary.host(), self.standby.host()],
            standby: Standby::Required,
            confirm_max: PATIENCE,
            ..self.primary.options(&self.schema, &notes)
        }
    }

    async fn open(&self, notes: &str) -> PostgresStore {
        PostgresStore::open(self.options(notes)).await.unwrap()
    }

    async fn packet(&mut self) -> Acceptance {
        self.bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await
    }

    /// The primary is gone for good, and the standby takes its place, with a new standby of its own.
    fn fail_over(&mut self) -> Cluster {
        self.primary.kill();
        self.standby.promote().unwrap();
        let folder = self
            .folder
            .path()
            .join(format!("standby-{}", self.standby.host().port));
        self.standby.standby(&folder).unwrap()
    }
}

/// Repeats a verb as its contract says, until it is confirmed.
async fn accept(store: &PostgresStore, packet: &Acceptance) -> Accepted {
    for _ in 0..60 {
        match store.accept(packet.clone()).await {
            Ok(accepted) => return accepted,
            Err(StoreError::Away(_) | StoreError::Unconfirmed(_)) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it is never confirmed");
}

async fn is_known(store: &PostgresStore, packet: &Acceptance) -> Result<bool, StoreError> {
    store
        .known(packet.packet, packet.manifest_digest)
        .await
        .map(|known| known != Known::No)
}

fn is_unconfirmed<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unconfirmed(_) | StoreError::Away(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d21_without_its_standby_nothing_is_acknowledged_and_it_goes_on_by_itself() {
    let mut pair = Pair::new().await;
    let store = pair.open("a").await;
    let (before, during) = (pair.packet().await, pair.packet().await);
    store.accept(before.clone()).await.unwrap();
    pair.standby.kill();
    for _ in 0..2 {
        let tried = store.accept(during.clone()).await;
        assert!(is_unconfirmed(&tried), "{tried:?}");
    }
    // It may stand on the primary: nobody is told so.
    let asked = is_known(&store, &during).await;
    assert!(is_unconfirmed(&asked), "{asked:?}");
    // Also if the operator has the primary wait for nobody.
    pair.primary.require("").unwrap();
    let tried = store.accept(during.clone()).await;
    assert!(is_unconfirmed(&tried), "{tried:?}");
    let name = format!("standby_{}", pair.standby.host().port);
    pair.primary.require(&name).unwrap();
    pair.standby.run().unwrap();
    accept(&store, &during).await;
    assert!(is_known(&store, &before).await.unwrap() && is_known(&store, &during).await.unwrap());
    assert_eq!(
        store.waiting(&agency(WELFARE)).await.unwrap().packets,
        2,
        "each once"
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d19_d20_d22_d23_what_no_standby_has_is_unknown_is_not_acted_on_and_stays_behind_at_a_failover() {
    let mut pair = Pair::new().await;
    let store = pair.open("a").await;
    let (kept, cut) = (pair.packet().await, pair.packet().await);
    store.accept(kept.clone()).await.unwrap();
    pair.standby.freeze();
    let tried = cancelled(&pair, store.accept(cut.clone())).await;
    assert!(is_unconfirmed(&tried), "{tried:?}");
    let rows = format!(
        "SELECT count(*) FROM {}.row WHERE k = decode('50{}', 'hex')",
        pair.schema,
        hex::encode(cut.packet.as_bytes())
    );
    assert_eq!(
        pair.primary.ask("schakel", &rows).unwrap(),
        "1",
        "it stands on the primary"
    );
    // D23: whoever reads is not told of it, and its recipient does not get it.
    let asked = is_known(&store, &cut).await;
    assert!(is_unconfirmed(&asked), "{asked:?}");
    let leased = lease(&store, &mut pair).await;
    assert!(is_unconfirmed(&leased), "{leased:?}");
    // D19: the primary dies with it.
    pair.standby.thaw();
    pair.standby.freeze();
    let _second = {
        pair.primary.kill();
        pair.standby.thaw();
        pair.fail_over()
    };
    for _ in 0..60 {
        if is_known(&store, &kept).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(
        is_known(&store, &kept).await.unwrap(),
        "what was acknowledged is there"
    );
    // D20: the sender sends again with the same number, and it is one packet.
    accept(&store, &cut).await;
    let all: std::collections::BTreeSet<_> = lease(&store, &mut pair).await.unwrap().into_iter().collect();
    assert_eq!(all, [kept.packet, cut.packet].into());
    the_former_primary_is_fenced(&mut pair, &cut).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d22_a_primary_that_is_replaced_while_it_runs_is_left_for_its_successor() {
    let mut pair = Pair::new().await;
    let store = pair.open("a").await;
    let (kept, late) = (pair.packet().await, pair.packet().await);
    store.accept(kept.clone()).await.unwrap();
    pair.standby.promote().unwrap();
    let folder = pair.folder.path().join("second-standby");
    let _second = pair.standby.standby(&folder).unwrap();
    // The connections to the former one stand; it waits for a standby that it has not any more.
    accept(&store, &late).await;
    assert!(is_known(&store, &kept).await.unwrap() && is_known(&store, &late).await.unwrap());
    let rows = format!(
        "SELECT count(*) FROM {}.row WHERE k >= 'P' AND k < 'Q'",
        pair.schema
    );
    assert_eq!(pair.standby.ask("schakel", &rows).unwrap(), "2");
    store.close().await;
}

/// What comes of work whose wait for the standby is cancelled: the primary has it, the standby has not.
async fn cancelled<T>(pair: &Pair, work: impl Future<Output = T>) -> T {
    const CANCEL: &str =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let (done, was_cancelled) = tokio::join!(work, async {
        for _ in 0..1_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if pair.primary.sql(CANCEL).unwrap() != "0" {
                return true;
            }
        }
        false
    });
    assert!(was_cancelled);
    done
}

/// After a failover: the former primary runs again, with rows of its own.
async fn the_former_primary_is_fenced(pair: &mut Pair, cut: &Acceptance) {
    // D22: the old primary comes back, and its operator has it wait for nobody.
    pair.primary.run().unwrap();
    pair.primary.require("").unwrap();
    let (former, newest) = (bare(&pair.primary).await, bare(&pair.standby).await);
    assert!(
        strays::between(&former, &newest).await.unwrap().is_empty(),
        "sent again, it is there"
    );
    let stray = format!(
        "INSERT INTO {}.row VALUES (decode('50{}', 'hex'), '')",
        pair.schema,
        "fe".repeat(16)
    );
    pair.primary.ask("schakel", &stray).unwrap();
    let strays = strays::between(&former, &newest).await.unwrap();
    assert_eq!(strays, [PacketId::from_bytes([0xfe; 16])]);
    let fresh = pair.open("b").await;
    assert!(is_known(&fresh, cut).await.unwrap(), "the newer one is chosen");
    fresh.close().await;
    let old = PostgresOptions {
        hosts: vec![pair.primary.host()],
        ..pair.options("b")
    };
    let Err(StoreError::Away(why)) = PostgresStore::open(old).await else {
        panic!("the old one is fenced");
    };
    assert!(why.contains("former primary"), "{why}");
    // A broker that never saw the newer one gets nothing confirmed by the old one either.
    let alone = PostgresOptions {
        hosts: vec![pair.primary.host()],
        ..pair.options("c")
    };
    let opened = PostgresStore::open(alone).await;
    assert!(is_unconfirmed(&opened), "{opened:?}");
}

async fn bare(server: &Cluster) -> tokio_postgres::Client {
    let notes = tempfile::tempdir().unwrap();
    let connector = connect::Connector::new(server.options("schakel", notes.path())).unwrap();
    connector.bare(None).await.unwrap()
}

async fn lease(store: &PostgresStore, pair: &mut Pair) -> Result<Vec<PacketId>, StoreError> {
    let tokens = (0..4).map(|_| pair.bench.token()).collect();
    let request = LeaseRequest {
        recipient: agency(WELFARE),
        tokens,
        now: pair.bench.now,
        lease_millis: 1_000,
    };
    let leased = store.lease(request).await?;
    Ok(leased.into_iter().map(|one| one.packet.packet).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_brokers_take_and_lease_each_packet_once_and_the_leases_of_a_dead_one_are_free() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = fresh(one.path());
    let first = Arc::new(PostgresStore::open(options.clone()).await.unwrap());
    let other = PostgresOptions {
        notes_dir: two.path().to_owned(),
        ..options
    };
    let second = Arc::new(PostgresStore::open(other).await.unwrap());
    let mut heard = second.heard().unwrap();
    let mut bench = Bench::new(Backend::Memory).await;
    let mut packets = Vec::new();
    for _ in 0..40 {
        packets.push(bench.packet(&[WELFARE], &[(SMALL, &[WELFARE])]).await);
    }
    // Each packet through both, at the same time.
    let both = packets
        .iter()
        .flat_map(|packet| [(Arc::clone(&first), packet), (Arc::clone(&second), packet)]);
    let all = futures_util::future::join_all(
        both.map(|(store, packet)| async move { store.accept(packet.clone()).await }),
    );
    let leaves: std::collections::BTreeSet<_> = all
        .await
        .into_iter()
        .map(|one| taken(one.unwrap()).leaf_hash)
        .collect();
    assert_eq!(leaves.len(), 40);
    let word = tokio::time::timeout(Duration::from_secs(60), heard.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(
        [Heard::Work(agency(WELFARE)), Heard::Everything].contains(&word),
        "{word:?}"
    );
    let now = bench.now;
    let mut tokens = |count| (0..count).map(|_| bench.token()).collect::<Vec<_>>();
    let (mine, yours) = tokio::join!(claim(&first, tokens(15), now), claim(&second, tokens(15), now));
    let ids: std::collections::BTreeSet<_> = mine
        .iter()
        .chain(&yours)
        .map(|lease| lease.packet.packet)
        .collect();
    assert_eq!((mine.len(), yours.len(), ids.len()), (15, 15, 30), "none twice");
    assert_eq!(claim(&second, tokens(40), now).await.len(), 10);
    assert!(claim(&second, tokens(40), now).await.is_empty());
    let held = mine[0].token;
    assert!(first.renew(held, now, now.plus_millis(60_000)).await.unwrap());
    assert!(
        !second
            .renew(bench_token(99), now, now.plus_millis(1))
            .await
            .unwrap()
    );
    // The first one dies, with its connections.
    first.close().await;
    let mut freed = 0;
    for _ in 0..100 {
        freed += claim(&second, tokens(40), now).await.len();
        if freed == 15 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(freed, 15, "what a dead broker held is free at once");
    second.close().await;
}

async fn claim(store: &Arc<PostgresStore>, tokens: Vec<DeliveryId>, now: Timestamp) -> Vec<Lease> {
    let request = LeaseRequest {
        recipient: agency(WELFARE),
        tokens,
        now,
        lease_millis: 60_000,
    };
    store.lease(request).await.unwrap()
}

fn taken(accepted: Accepted) -> AcceptedPacket {
    match accepted {
        Accepted::New(packet) | Accepted::Repeated(packet) => packet,
        Accepted::ConflictingDigest => panic!("it is the same manifest"),
    }
}

fn bench_token(byte: u8) -> DeliveryId {
    DeliveryId::from_bytes([byte; 16])
}

//! Several brokers on one store: what one of them takes, decides, brings into force or is told, all of them go by. The same
//! on a store in memory that they share in this process, and in a real database.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schakel_broker::admin::{Ask, socket};
use schakel_broker::clock::{Clock, SystemClock};
use schakel_broker::config::Config;
use schakel_broker::serve::{self, Running};
use schakel_broker::store::Store;
use schakel_broker::store::memory::MemoryStore;
#[cfg(feature = "raw-rows")]
use schakel_broker::store::postgres::{PostgresStore, cluster::Cluster};
use schakel_proto::evidence::{Body, Event};

use crate::peer::Ground;

mod many;
mod shards;

pub const POLICE: &str = "pz-rupel";
pub const CAW: &str = "caw-rupel";
pub const PARKET: &str = "parket-antwerpen";

/// Where the store is that several brokers use.
pub enum Site {
    /// In this process.
    Memory(Arc<dyn Store>),
    /// In a database of its own: each broker opens it for itself.
    #[cfg(feature = "raw-rows")]
    Postgres(Cluster, tempfile::TempDir),
}

impl Site {
    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryStore::shared().unwrap()))
    }

    /// None, and a word on it: there is no PostgreSQL on this machine.
    #[cfg(feature = "raw-rows")]
    pub fn postgres(test: &str) -> Option<Self> {
        if let Some(why) = schakel_broker::store::postgres::cluster::missing() {
            println!("SKIPPED {test}: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let cluster = Cluster::start(&folder.path().join("primary")).unwrap();
        Some(Self::Postgres(cluster, folder))
    }

    /// A broker's own way to the store.
    pub async fn open(&self, _name: &str) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store),
            #[cfg(feature = "raw-rows")]
            Self::Postgres(cluster, folder) => {
                let notes = folder.path().join(_name);
                std::fs::create_dir_all(&notes).unwrap();
                let options = cluster.options("schakel", &notes);
                Arc::new(PostgresStore::open(options).await.unwrap())
            }
        }
    }

    pub async fn broker(&self, ground: &Ground, name: &str) -> Running {
        self.broker_at(ground, name, Arc::new(SystemClock)).await
    }

    pub async fn broker_at(&self, ground: &Ground, name: &str, clock: Arc<dyn Clock>) -> Running {
        let store = self.open(name).await;
        let started = serve::start_on(store, config(ground, name), true, clock);
        started.await.unwrap()
    }
}

/// Stamps tests onto the sites.
macro_rules! at_each_site {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::several::Site::memory()).await;
                }
            )*
        }

        #[cfg(feature = "raw-rows")]
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    if let Some(site) = crate::several::Site::postgres(stringify!($test)) {
                        super::$test(site).await;
                    }
                }
            )*
        }
    };
}
pub(crate) use at_each_site;

/// The configuration of one of them: the second has files of its own.
pub fn config(ground: &Ground, name: &str) -> Config {
    let mut config = Config::load(&ground.network.broker_config()).unwrap();
    if name != "a" {
        let own = |file: &PathBuf| file.with_extension(name);
        config.data_dir = own(&config.data_dir);
        for file in [&mut config.directory, &mut config.bundle] {
            let copy = own(file);
            if !copy.exists() {
                std::fs::copy(&*file, &copy).unwrap();
            }
            *file = copy;
        }
    }
    config
}

/// Waits until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come to this: {what}");
}

/// What is waited for comes at all.
pub async fn comes<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(150), future).await;
    waited.unwrap_or_else(|_| panic!("it does not come: {what}"))
}

/// Asks one of them over its socket; nothing is wrong with the store that they share.
pub async fn sound(ground: &Ground, name: &str) {
    let folder = config(ground, name).data_dir;
    let asked = tokio::task::spawn_blocking(move || socket::ask(&folder, &Ask::Verify));
    let found = asked.await.unwrap().expect("no broker runs").unwrap();
    assert_eq!(
        (&found["wrong"], &found["gone"]),
        (&0.into(), &serde_json::json!({})),
        "{found:#}"
    );
}

/// How many entries of each kind the log has; all that were committed are in the tree.
pub async fn events(ground: &Ground, broker: &Running) -> BTreeMap<String, u64> {
    let store = &broker.state().store;
    until("everything is in the tree", async || {
        store.pending(1).await.unwrap().is_empty()
    })
    .await;
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    for record in store.records(0, 1_000).await.unwrap() {
        // Of what went only the leaf is left.
        if let Ok(body) = Body::parse(&record.body, &ground.network.spec().network) {
            *events.entry(body.event.as_str().to_owned()).or_default() += 1;
        }
    }
    events
}

/// What the entries of a kind say together was left out, or went.
pub async fn left_out(ground: &Ground, broker: &Running, event: Event) -> u64 {
    let records = broker.state().store.records(0, 1_000).await.unwrap();
    let bodies = records
        .iter()
        .map(|record| Body::parse(&record.body, &ground.network.spec().network));
    let of = bodies.filter_map(|body| body.ok().filter(|body| body.event == event));
    of.map(|body| body.left_out).sum()
}

pub fn count(events: &BTreeMap<String, u64>, event: Event) -> u64 {
    events.get(event.as_str()).copied().unwrap_or_default()
}

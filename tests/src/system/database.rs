//! Databases under the brokers of a test: real PostgreSQL servers in folders of their own.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use schakel_broker::store::postgres::Host;
use schakel_broker::store::postgres::cluster::{self, Cluster};

use super::network::Town;

/// What a broker's configuration says of its database.
pub fn section(hosts: &[Host], schema: &str, standby: bool) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    let standby = if standby { "required" } else { "none" };
    format!(
        "\n[store.postgres]\nhosts = [{}]\ndatabase = \"schakel\"\nuser = \"schakel\"\nschema = \"{schema}\"\n\
         standby = \"{standby}\"\nmigrate = true\n",
        hosts.join(", ")
    )
}

/// A folder that PostgreSQL's own user may enter.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new()
        .prefix("schakel-database-")
        .tempdir()
        .unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    if let Some(why) = cluster::missing() {
        panic!("PostgreSQL is needed: {why}");
    }
    folder
}

/// One server that the tests of this process share, each in a schema of its own.
pub struct Shared {
    cluster: Cluster,
    schemas: u32,
}

/// The shared server, started by the first that asks.
pub fn shared() -> MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let folder = folder().keep();
        Mutex::new(Shared {
            cluster: Cluster::start(&folder.join("server")).unwrap(),
            schemas: 0,
        })
    });
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Puts a town's broker on a schema of its own; gives its name.
    pub fn put_under(&mut self, town: &Town) -> String {
        self.schemas += 1;
        let schema = format!("town_{}_{}", std::process::id(), self.schemas);
        town.add_to_broker(&section(&[self.cluster.host()], &schema, false));
        schema
    }
}

/// A server of a test's own: it may be killed.
pub struct Alone {
    /// The server.
    pub cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl Alone {
    /// A new one.
    pub fn start() -> Self {
        let folder = folder();
        Self {
            cluster: Cluster::start(&folder.path().join("server")).unwrap(),
            _folder: folder,
        }
    }
}

/// A primary and its synchronous standby, which change places.
pub struct Pair {
    primary: Cluster,
    standby: Cluster,
    _folder: tempfile::TempDir,
}

impl Pair {
    /// New ones.
    pub fn start() -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let primary = Cluster::start(&at("one")).unwrap();
        let standby = primary.standby(&at("two")).unwrap();
        Self {
            primary,
            standby,
            _folder: folder,
        }
    }

    /// Both, whichever is the primary.
    pub fn hosts(&self) -> Vec<Host> {
        vec![self.primary.host(), self.standby.host()]
    }

    /// The server that takes writes.
    pub fn primary(&self) -> &Cluster {
        &self.primary
    }

    /// Kills the primary and promotes its standby; then makes the former primary the new one's standby, without which
    /// nothing is confirmed.
    pub fn fail_over(&mut self) {
        self.primary.kill();
        self.standby.promote().unwrap();
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.primary.take_back(&mut self.standby).unwrap();
    }
}

/// Puts a town's broker on these servers.
pub fn put_under(town: &Town, hosts: &[Host], standby: bool) {
    town.add_to_broker(&section(hosts, "schakel", standby));
}

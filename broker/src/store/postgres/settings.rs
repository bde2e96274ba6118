//! Where the database is, how it is entered, and what must be true of it.

use std::path::PathBuf;
use std::time::Duration;

/// Connections of one broker that read, at most, if the configuration does not say; one that writes and one that listens
/// come in addition.
pub const POOL_MAX_COUNT: usize = 8;
/// Longest wait for one host's answer when connecting.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time of one statement, in milliseconds; the server ends it.
pub(super) const STATEMENT_MAX_MILLIS: u64 = 10_000;
/// Longest time that a transaction may stand without a statement, in milliseconds: a broker that hangs lets go.
pub(super) const IDLE_MAX_MILLIS: u64 = 10_000;
/// Longest wait for the standby's confirmation, and for a commit, before the answer is "unknown", if nothing else is said.
pub const CONFIRM_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a free connection.
pub(super) const POOL_WAIT_MAX: Duration = Duration::from_secs(5);

/// Whether a commit counts only once a synchronous standby has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Nothing is acknowledged, and nothing read is answered with, that is not flushed on a standby.
    Required,
    /// The primary's own disk is enough.
    None,
}

/// How the way to the database is kept private.
#[derive(Clone, Debug)]
pub enum Privacy {
    /// TLS; the server's certificate must chain to this file (PEM) and carry the host's name.
    Tls {
        /// Certificates of the authority, PEM.
        ca: PathBuf,
        /// Certificate and key of this broker, where the server asks for them.
        identity: Option<(PathBuf, PathBuf)>,
    },
    /// Not at all: only on this machine (a socket in a folder, or a loopback address).
    ThisMachine,
}

/// Which database, and on what terms.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The servers, primary or standby in any order: `name:port`, or a folder with a socket and a port (`/folder:port`).
    pub hosts: Vec<Host>,
    /// Name of the database.
    pub database: String,
    /// Who enters it.
    pub user: String,
    /// With which password.
    pub password: Option<String>,
    /// Name of the schema: one network each.
    pub schema: String,
    /// How the way is kept private.
    pub privacy: Privacy,
    /// Whether a standby must confirm.
    pub standby: Standby,
    /// Longest wait for a commit and for the standby's confirmation.
    pub confirm_max: Duration,
    /// Whether the schema may be brought up to date at start.
    pub migrate: bool,
    /// Connections that read, at most.
    pub pool_max_count: usize,
    /// Where this broker notes what it has seen of the database (timeline, size of the log).
    pub notes_dir: PathBuf,
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.hosts)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("schema", &self.schema)
            .field("standby", &self.standby)
            .finish_non_exhaustive()
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name, address, or folder of the socket.
    pub name: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl std::str::FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a host is written name:port, e.g. db1.example:5432";
        let (name, port) = text.rsplit_once(':').ok_or(FORM)?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| FORM)?;
        let good = !name.is_empty() && port > 0 && !name.chars().any(char::is_whitespace);
        good.then(|| Self {
            name: name.to_owned(),
            port,
        })
        .ok_or(FORM)
    }
}

impl Host {
    /// Whether the way there stays on this machine.
    pub fn is_here(&self) -> bool {
        let address = self.name.parse::<std::net::IpAddr>();
        self.name.starts_with('/') || self.name == "localhost" || address.is_ok_and(|one| one.is_loopback())
    }
}

/// Whether a schema may have this name: it is written into statements.
pub fn is_schema_name(name: &str) -> bool {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|one| one.is_ascii_lowercase());
    first
        && name.len() <= 63
        && letters.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_schema_names_are_parsed_strictly() {
        let host = |text: &str| text.parse::<Host>();
        assert_eq!(host("db1.example:5432").unwrap().to_string(), "db1.example:5432");
        assert!(host("[::1]:5432").unwrap().is_here() && host("/run/postgresql:5432").unwrap().is_here());
        assert!(!host("10.0.0.1:5432").unwrap().is_here());
        for wrong in ["", "db1", "db1:", ":5432", "db1:0", "db1:70000", "a b:1"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        assert!(is_schema_name("schakel") && is_schema_name("rupel_2"));
        for wrong in ["", "2a", "Rupel", "a;b", "a\"b", "a b", &"a".repeat(64)] {
            assert!(!is_schema_name(wrong), "{wrong}");
        }
    }
}

//! Connecting: which of the servers is the primary, whether it is the one that was seen before or a later one, and what
//! every connection is set to.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::{CONNECT_MAX, Host, IDLE_MAX_MILLIS, PostgresOptions, Privacy, STATEMENT_MAX_MILLIS};
use super::strays;
use crate::store::durable::write_durably;
use crate::store::error::StoreError;

/// Notifications of one connection that wait to be heard.
const HEARD_MAX_COUNT: usize = 1_024;
/// Packets that only a former primary has, told one by one.
const STRAYS_TOLD_MAX_COUNT: usize = 64;
/// How long a look at all servers holds for connections made just after it.
const SCOUTED: Duration = Duration::from_secs(1);
/// The note of the newest primary that was seen.
const NOTE: &str = "database";

/// As an error of the store: what the server says in words is left out of what agencies see, and holds no content.
pub(super) fn away(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL || *code == SqlState::OUT_OF_MEMORY => StoreError::Full,
        _ => StoreError::Away(said(&error).into()),
    }
}

/// What the server or the connection said.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// What it commits is waited for.
    Commits,
    /// Reads; and what it writes is of use only if a later commit rests on it (leases, chunks of content).
    Reads,
}

/// A connection that is ready for use.
pub(super) struct Link {
    pub(super) client: Client,
    /// Notices that the server sent: one during a commit means that it did not wait for the standby.
    pub(super) notices: Arc<AtomicU64>,
    pub(super) get: Statement,
    pub(super) from: Statement,
    pub(super) after: Statement,
    /// Of the server that it leads to.
    timeline: u32,
}

impl Link {
    /// How many notices came so far.
    pub(super) fn noticed(&self) -> u64 {
        self.notices.load(Ordering::SeqCst)
    }
}

/// Which server a primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The cluster's own number.
    system: i64,
    /// Grows with each promotion of a standby.
    timeline: u32,
}

/// What one server said of itself.
struct Scouted {
    host: usize,
    is_primary: bool,
    seen: Seen,
    is_safe: bool,
}

/// Makes connections.
pub(super) struct Connector {
    options: PostgresOptions,
    tls: Option<MakeRustlsConnect>,
    seen: Mutex<Option<Seen>>,
    last: Mutex<Option<(Instant, usize)>>,
    /// Of which former primaries the operator was told, by what came after them.
    told: Mutex<std::collections::HashSet<(usize, u32)>>,
}

impl Connector {
    pub(super) fn new(options: PostgresOptions) -> Result<Self, StoreError> {
        let tls = match &options.privacy {
            Privacy::ThisMachine => None,
            Privacy::Tls { ca, identity } => {
                Some(MakeRustlsConnect::new(client_config(ca, identity.as_ref())?))
            }
        };
        let seen = read_note(&options.notes_dir.join(NOTE))?;
        Ok(Self {
            options,
            tls,
            seen: Mutex::new(seen),
            last: Mutex::default(),
            told: Mutex::default(),
        })
    }

    pub(super) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the primary, for its use by the store.
    pub(super) async fn link(&self, use_of: Use) -> Result<Link, StoreError> {
        let host = self.primary().await?;
        let timeline = self.timeline();
        let opened = self.open(host, use_of, None).await;
        let (client, notices) = opened.inspect_err(|_| self.forget())?;
        let get = client.prepare("SELECT v FROM row WHERE k = $1");
        let from = client.prepare("SELECT k, v FROM row WHERE k >= $1 AND k < $2 ORDER BY k LIMIT $3");
        let after = client.prepare("SELECT k, v FROM row WHERE k > $1 AND k < $2 ORDER BY k LIMIT $3");
        let (get, from, after) = tokio::try_join!(get, from, after).map_err(away)?;
        Ok(Link {
            client,
            notices,
            get,
            from,
            after,
            timeline,
        })
    }

    /// Whether a connection stands, and leads to a server that was not replaced since.
    pub(super) fn is_current(&self, link: &Link) -> bool {
        !link.client.is_closed() && link.timeline == self.timeline()
    }

    /// A bare connection to the primary: for migrations, and with `heard` for listening.
    pub(super) async fn bare(&self, heard: Option<mpsc::Sender<String>>) -> Result<Client, StoreError> {
        let host = self.primary().await?;
        let opened = self.open(host, Use::Commits, heard).await;
        opened.map(|(client, _)| client).inspect_err(|_| self.forget())
    }

    /// The timeline of the newest primary that was seen; 0: none was yet.
    pub(super) fn timeline(&self) -> u32 {
        Self::lock(&self.seen).map_or(0, |seen| seen.timeline)
    }

    /// The next connection looks at all servers again.
    pub(super) fn forget(&self) {
        *Self::lock(&self.last) = None;
    }

    /// The primary: of those that take writes the one with the highest timeline, and none that is behind what was seen.
    async fn primary(&self) -> Result<usize, StoreError> {
        if let Some((at, host)) = *Self::lock(&self.last)
            && at.elapsed() < SCOUTED
        {
            return Ok(host);
        }
        let looks: FuturesUnordered<_> = (0..self.options.hosts.len())
            .map(|host| self.scout(host))
            .collect();
        let found: Vec<Result<Scouted, StoreError>> = looks.collect().await;
        let mut why = String::new();
        let mut primaries: Vec<&Scouted> = Vec::new();
        for one in &found {
            match one {
                Ok(one) if one.is_primary => primaries.push(one),
                Ok(_) => {}
                Err(error) => why = error.to_string(),
            }
        }
        primaries.sort_by_key(|one| one.seen.timeline);
        let Some(newest) = primaries.pop() else {
            let why = if why.is_empty() {
                "none of its servers is a primary".to_owned()
            } else {
                why
            };
            return Err(StoreError::Away(why.into()));
        };
        for old in &primaries {
            self.alarm_of_old(old, newest).await;
        }
        self.fence(newest)?;
        if !newest.is_safe {
            let why = "the database runs with fsync or full_page_writes off and would lose what it confirmed: set both on";
            return Err(StoreError::Unusable(why.into()));
        }
        *Self::lock(&self.last) = Some((Instant::now(), newest.host));
        Ok(newest.host)
    }

    /// Tells the operator of a former primary that takes writes, and what only it has; once for each promotion.
    async fn alarm_of_old(&self, old: &Scouted, newest: &Scouted) {
        if !Self::lock(&self.told).insert((old.host, newest.seen.timeline)) {
            return;
        }
        let host = self
            .options
            .hosts
            .get(old.host)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            %host,
            timeline = old.seen.timeline,
            newest = newest.seen.timeline,
            "alarm: a former primary takes writes; it is not used. Stop it"
        );
        let compared = async {
            let (former, _) = self.open(old.host, Use::Reads, None).await?;
            let (newest, _) = self.open(newest.host, Use::Reads, None).await?;
            strays::between(&former, &newest).await.map_err(away)
        };
        match tokio::time::timeout(CONNECT_MAX, compared).await {
            Ok(Ok(strays)) => {
                for packet in strays.iter().take(STRAYS_TOLD_MAX_COUNT) {
                    tracing::error!(%host, %packet, "alarm: only the former primary has this packet; it was never acknowledged");
                }
                tracing::error!(%host, packets = strays.len(), "what only the former primary has was counted");
            }
            Ok(Err(why)) => {
                tracing::error!(%host, %why, "what only the former primary has could not be listed")
            }
            Err(_) => tracing::error!(%host, "what only the former primary has could not be listed in time"),
        }
    }

    /// Refuses a primary that is behind one that was seen, or that is another database; notes a newer one, durably and
    /// before it is used.
    fn fence(&self, newest: &Scouted) -> Result<(), StoreError> {
        let mut seen = Self::lock(&self.seen);
        if let Some(before) = *seen {
            if before.system != newest.seen.system {
                let why = "the database is not the one that this broker has used: put the right one into [store.postgres] \
                           hosts; if it was replaced on purpose, remove the file `database` from data_dir";
                return Err(StoreError::Unusable(why.into()));
            }
            if before.timeline > newest.seen.timeline {
                tracing::error!(
                    timeline = newest.seen.timeline,
                    seen = before.timeline,
                    "alarm: only a former primary of the database answers; it is not used"
                );
                let why = "only a former primary answers; the one that was promoted after it is not reached";
                return Err(StoreError::Away(why.into()));
            }
            if before == newest.seen {
                return Ok(());
            }
        }
        let text = format!("{} {}\n", newest.seen.system, newest.seen.timeline);
        write_durably(&self.options.notes_dir.join(NOTE), text.as_bytes(), 0o600)?;
        *seen = Some(newest.seen);
        Ok(())
    }

    async fn scout(&self, host: usize) -> Result<Scouted, StoreError> {
        const ASK: &str = "SELECT pg_is_in_recovery(), \
             CASE WHEN pg_is_in_recovery() THEN '00000000' ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END, \
             (SELECT system_identifier FROM pg_control_system()), \
             current_setting('fsync')::bool AND current_setting('full_page_writes')::bool";
        let asked = async {
            let (client, _) = self.open(host, Use::Reads, None).await?;
            let row = client.query_one(ASK, &[]).await.map_err(away)?;
            let timeline: &str = row.get(1);
            Ok(Scouted {
                host,
                is_primary: !row.get::<_, bool>(0),
                seen: Seen {
                    system: row.get(2),
                    timeline: u32::from_str_radix(timeline, 16).unwrap_or_default(),
                },
                is_safe: row.get(3),
            })
        };
        let late = || Err(StoreError::Away("a server does not answer".into()));
        tokio::time::timeout(CONNECT_MAX, asked)
            .await
            .unwrap_or_else(|_| late())
    }

    fn config(&self, host: &Host, use_of: Use) -> Config {
        let commit = match use_of {
            Use::Commits => "on",
            Use::Reads => "off",
        };
        let mut config = Config::new();
        config
            .host(&host.name)
            .port(host.port)
            .dbname(&self.options.database)
            .user(&self.options.user)
            .application_name("schakel-broker")
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(CONNECT_MAX)
            .keepalives_idle(CONNECT_MAX)
            .options(format!(
                "-c search_path={} -c statement_timeout={STATEMENT_MAX_MILLIS} -c lock_timeout={STATEMENT_MAX_MILLIS} \
                 -c idle_in_transaction_session_timeout={IDLE_MAX_MILLIS} -c synchronous_commit={commit} \
                 -c client_min_messages=warning -c plan_cache_mode=force_generic_plan",
                self.options.schema
            ));
        if let Some(password) = &self.options.password {
            config.password(password);
        }
        if self.tls.is_some() {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
        } else {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        }
        config
    }

    async fn open(
        &self,
        host: usize,
        use_of: Use,
        heard: Option<mpsc::Sender<String>>,
    ) -> Result<(Client, Arc<AtomicU64>), StoreError> {
        let host = self
            .options
            .hosts
            .get(host)
            .ok_or(StoreError::Misused("a host that is not there"))?;
        let config = self.config(host, use_of);
        let notices = Arc::new(AtomicU64::new(0));
        let opened = async {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    tokio::spawn(drive(connection, Arc::clone(&notices), heard));
                    Ok(client)
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    tokio::spawn(drive(connection, Arc::clone(&notices), heard));
                    Ok(client)
                }
            }
        };
        let late = |_| StoreError::Away(format!("{host} does not answer").into());
        let client = tokio::time::timeout(CONNECT_MAX, opened).await.map_err(late)?;
        let client = client.map_err(|error: tokio_postgres::Error| match error.code() {
            Some(code)
                if *code == SqlState::INVALID_PASSWORD
                    || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                StoreError::Unusable(
                    format!("the database at {host} refuses this broker: {}", said(&error)).into(),
                )
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                StoreError::Unusable(format!("{host}: {}. Make it with createdb", said(&error)).into())
            }
            _ => StoreError::Away(format!("{host}: {}", said(&error)).into()),
        })?;
        Ok((client, notices))
    }
}

/// Runs a connection until it ends.
async fn drive<S, T>(
    mut connection: Connection<S, T>,
    notices: Arc<AtomicU64>,
    heard: Option<mpsc::Sender<String>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    while let Some(message) = messages.next().await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                notices.fetch_add(1, Ordering::SeqCst);
                tracing::warn!(
                    code = notice.code().code(),
                    "the database warns: {}",
                    notice.message()
                );
            }
            Ok(AsyncMessage::Notification(notification)) => {
                // A full queue is noticed by whoever listens: the sender closes, and all is looked at anew.
                if let Some(heard) = &heard
                    && heard.try_send(notification.payload().to_owned()).is_err()
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(why = said(&error), "a connection to the database has ended");
                return;
            }
        }
    }
}

/// A queue for what one connection hears.
pub(super) fn ears() -> (mpsc::Sender<String>, mpsc::Receiver<String>) {
    mpsc::channel(HEARD_MAX_COUNT)
}

fn client_config(
    ca: &Path,
    identity: Option<&(std::path::PathBuf, std::path::PathBuf)>,
) -> Result<rustls::ClientConfig, StoreError> {
    let wrong = |what: &'static str| move |_| StoreError::Unusable(what.into());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca)
        .map_err(wrong("[store.postgres] ca holds no certificate in PEM"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(wrong("[store.postgres] ca holds no certificate in PEM"))?;
        roots
            .add(certificate)
            .map_err(|_| StoreError::Unusable("[store.postgres] ca holds no authority".into()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| StoreError::Misused("TLS 1.3 is not there"))?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(wrong("[store.postgres] certificate holds none in PEM"))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(wrong("[store.postgres] key holds no private key in PEM"))?;
    builder.with_client_auth_cert(chain, key).map_err(|_| {
        StoreError::Unusable("[store.postgres] certificate and key do not belong together".into())
    })
}

fn read_note(path: &Path) -> Result<Option<Seen>, StoreError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("the note of its database", error)),
    };
    let parsed = text.trim_end().split_once(' ').and_then(|(system, timeline)| {
        Some(Seen {
            system: system.parse().ok()?,
            timeline: timeline.parse().ok()?,
        })
    });
    let damaged = || {
        let why = "the file `database` in data_dir is damaged: make sure that [store.postgres] hosts name the right database \
                   and its newest primary, then remove the file";
        StoreError::Unusable(why.into())
    };
    parsed.map(Some).ok_or_else(damaged)
}

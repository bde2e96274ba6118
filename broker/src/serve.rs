//! Start and stop. Start-up goes one way: configuration, directory, store (with its scrub), bundle, log,
//! ready. Told to stop, the broker takes nothing new, finishes what is in flight, flushes, and ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schakel_proto::directory::Directory;
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire::broker_server::BrokerServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::activate;
use crate::admin::{Desk, socket};
use crate::auditors::Audits;
use crate::beats::Beats;
use crate::bundle::{self, RulesInForce};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, StoreConfig};
use crate::directory::{self, Directories};
use crate::erasure::ErasureKeys;
use crate::health::{self, Readiness};
use crate::intake::held::Held;
use crate::intake::rates::Intake;
use crate::intake::rejection::{self, Rejections};
use crate::intake::turns::Turns;
use crate::log::cosigned::Cosigned;
use crate::log::entry::EntryMaker;
use crate::log::publish::Evidences;
use crate::log::sequencer::Sequencer;
use crate::log::shards;
use crate::meters::Meters;
use crate::overdue::Gauges;
use crate::reading::{self, Reading};
use crate::requests::{Around, by_status};
use crate::seen;
use crate::service::Service;
use crate::state::{Alarms, Bells, State};
use crate::store::halt;
use crate::store::postgres::PostgresStore;
use crate::store::sled::SledStore;
use crate::store::{Store, StoreError};
use crate::tls;

mod chores;

mod hearing;

/// Calls of one agency that only read, per minute and at once.
const READS: (u32, usize) = (12_000, 64);
/// Longest answer: the facts of a case.
const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why the broker does not start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration, or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Directory, bundle or log key is refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The store cannot be opened.
    #[error("{0}. docs/operating/broker.md says what to do")]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}. Choose another address, or stop what uses it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The server broke.
    #[error("the server ended: {0}")]
    Server(String),
}

/// Checks the configuration and every file that it names, without opening the store.
///
/// # Errors
/// The first thing that would keep the broker from starting.
pub fn check(config: &Config, development: bool) -> Result<(), ServeError> {
    let now = SystemClock.now();
    let _tls = tls::server_config(&config.tls)?;
    let directory = directory::Source::new(config, development)?.load(now)?;
    let source = bundle::Source::new(config.bundle.clone(), config.network.clone());
    let rules = source.load(&source.bytes()?, &directory, now)?;
    config
        .overdue
        .check(rules.engine().bundle().vocabulary("Category"))?;
    let _key = log_key(config, &directory)?;
    Ok(())
}

fn log_key(
    config: &Config,
    directory: &Directory,
) -> Result<schakel_proto::tlog::checkpoint::LogSecret, ServeError> {
    let secret = shards::load_key(&config.log_key, directory.log().key())?;
    secret.ok_or_else(|| {
        let sentence = "this is not the key of the log that the directory names";
        let remedy = "Put the network's log key there, or have the authority list this one.";
        ConfigError::file(&config.log_key, sentence, remedy).into()
    })
}

/// A running broker.
pub struct Running {
    address: SocketAddr,
    health: SocketAddr,
    state: Arc<State>,
    readiness: watch::Sender<Readiness>,
    stop: watch::Sender<bool>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    tasks: Vec<JoinHandle<()>>,
    sequencer: Sequencer,
    desk: Arc<Desk>,
    drain_max: Duration,
    data_dir: PathBuf,
    /// The store was opened by somebody else, who closes it.
    lent: bool,
}

/// Starts everything; returns once the broker takes work.
///
/// # Errors
/// What keeps it from starting.
pub async fn start(config: Config, development: bool, clock: Arc<dyn Clock>) -> Result<Running, ServeError> {
    started(config, development, clock, None).await
}

/// The same on a store that the caller opened, and closes: several brokers of one process on one store.
///
/// # Errors
/// What keeps it from starting.
pub async fn start_on(
    store: Arc<dyn Store>,
    config: Config,
    development: bool,
    clock: Arc<dyn Clock>,
) -> Result<Running, ServeError> {
    started(config, development, clock, Some(store)).await
}

async fn started(
    config: Config,
    development: bool,
    clock: Arc<dyn Clock>,
    store: Option<Arc<dyn Store>>,
) -> Result<Running, ServeError> {
    let lent = store.is_some();
    let (stop, stopped) = watch::channel(false);
    let (readiness, ready) = watch::channel(Readiness::Starting);
    let health_listener = listen(config.health_listen).await?;
    let health = local_address(&health_listener, config.health_listen)?;
    let gauges = Arc::new(Gauges::default());
    let meters = Arc::new(Meters::default());
    let shown = (ready, Arc::clone(&gauges), Arc::clone(&meters));
    let beats = Arc::new(Beats::default());
    tokio::spawn(health::serve(
        health_listener,
        shown,
        Arc::clone(&beats),
        stopped.clone(),
    ));
    let tls = tls::server_config(&config.tls)?;
    let (state, sequencer) = share(
        &config,
        development,
        (clock, gauges, meters, beats),
        (stopped.clone(), store),
    )
    .await?;
    let desk = Arc::new(Desk::running(&state, &config, development)?);
    let listener = listen(config.listen).await?;
    let address = local_address(&listener, config.listen)?;
    let meters = Arc::clone(&state.meters);
    let connections = tls::accept(listener, tls, &state.bounds, meters, stopped.clone());
    let server = tokio::spawn(grpc(
        Arc::clone(&state),
        ReceiverStream::new(connections),
        stopped.clone(),
    ));
    let mut tasks = chores::start(&state, &readiness);
    match socket::bind(&config.data_dir) {
        Ok(admin) => tasks.push(tokio::spawn(socket::serve(admin, Arc::clone(&desk), stopped))),
        // What agencies need goes on without it.
        Err(error) => tracing::error!(kind = %error.kind(), "alarm: the operator's socket cannot be made"),
    }
    readiness.send_replace(Readiness::Ready);
    tracing::info!(%address, %health, network = %state.network, "ready");
    let drain_max = Duration::from_secs(state.bounds.drain_max_seconds);
    Ok(Running {
        address,
        health,
        state,
        readiness,
        stop,
        server,
        tasks,
        sequencer,
        desk,
        drain_max,
        data_dir: config.data_dir,
        lent,
    })
}

/// What all calls share: directory, store, rules and log, in the order in which one needs the other.
async fn share(
    config: &Config,
    development: bool,
    (clock, gauges, meters, beats): (Arc<dyn Clock>, Arc<Gauges>, Arc<Meters>, Arc<Beats>),
    (stop, lent): (watch::Receiver<bool>, Option<Arc<dyn Store>>),
) -> Result<(Arc<State>, Sequencer), ServeError> {
    let now = clock.now();
    let source = directory::Source::new(config, development)?;
    let directory = source.load(now)?;
    let _key_of_the_file = log_key(config, &directory)?;
    let keys = ErasureKeys::open(&config.erasure_dir)?;
    make_private(&config.data_dir)?;
    let store = match lent {
        Some(store) => store,
        None => open_store(config).await?,
    };
    halt::may_sign(store.as_ref()).await?;
    let directory = activate::newest_directory(store.as_ref(), &source, directory, now).await?;
    let secret = log_key(config, &directory)?;
    let entries = EntryMaker::new(config.network.clone(), keys.clone());
    shards::follow(store.as_ref(), &entries, directory.log().shards(), now).await?;
    activate::directory(store.as_ref(), &entries, &directory, now).await?;
    let rules = load_rules(config, store.as_ref(), &directory, now).await?;
    let current = rules.current();
    config
        .overdue
        .check(current.engine().bundle().vocabulary("Category"))?;
    activate::rules(store.as_ref(), &entries, (&current, &directory), now).await?;
    // What was held under other rules, or in a stop between a change and its consequence, is decided again.
    let _nobody_listens_yet = store.reconsider(None).await?;
    let (sequencer, log) = Sequencer::start_beating(Arc::clone(&store), secret, Arc::clone(&beats)).await?;
    let bounds = config.bounds.clone();
    let state = Arc::new(State {
        network: config.network.clone(),
        clock,
        store,
        entries,
        evidences: Evidences::new(keys),
        log,
        shard: shards::Watch::new(config.log_key.clone()),
        cosigned: Cosigned::default(),
        directories: Directories::new(source, directory),
        rules,
        submissions: Intake::new(
            bounds.submissions_per_minute_max_count,
            bounds.submissions_at_once_max_count,
        ),
        turns: Turns::for_this_machine(),
        seen: seen::Known::default(),
        audits: Audits::default(),
        reads: Intake::new(READS.0, READS.1),
        rejections: Rejections::new(bounds.rejection_leaves_per_hour_max_count),
        held: Held::new(bounds.memory_max_bytes),
        meters,
        bounds,
        overdue: config.overdue.clone(),
        gauges,
        retention: config.retention,
        beats,
        bells: Bells::default(),
        alarms: Alarms::default(),
        refreshing: tokio::sync::Mutex::default(),
        stop,
    });
    Ok((state, sequencer))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener
        .local_addr()
        .map_err(|source| ServeError::Listen { address, source })
}

/// Opens the store of a configuration; takes the lock of `data_dir`.
///
/// # Errors
/// The store is not to be used as it is, or by this process.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    make_private(&config.data_dir)?;
    Ok(match &config.store {
        StoreConfig::Sled => Arc::new(SledStore::open(&config.data_dir).await?),
        StoreConfig::Postgres(options) => Arc::new(PostgresStore::open(options.as_ref().clone()).await?),
    })
}

/// Makes a directory that only the broker's user may enter, if it is missing. Its parent is synced by the
/// store, which takes it from there.
fn make_private(folder: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| {
        let sentence = format!("this directory cannot be made ({})", error.kind());
        ConfigError::file(
            folder,
            sentence,
            "Make it, mode 0700, owned by the broker's user.",
        )
    })
}

/// The bundle compiles and runs its own cases: off the threads that serve.
async fn load_rules(
    config: &Config,
    store: &dyn Store,
    directory: &Directory,
    now: Timestamp,
) -> Result<RulesInForce, ServeError> {
    let source = Arc::new(bundle::Source::new(config.bundle.clone(), config.network.clone()));
    let file = source.bytes()?;
    let seen = Digest::of(&file);
    let load = |bytes: Vec<u8>| {
        let (source, directory) = (Arc::clone(&source), directory.clone());
        tokio::task::spawn_blocking(move || source.load(&bytes, &directory, now))
    };
    let failed = |error: tokio::task::JoinError| ServeError::Server(error.to_string());
    let mut rules = load(file).await.map_err(failed)??;
    // Another broker on the store may have brought a newer one into force.
    if let Some(newer) = activate::newest_bundle(store, rules.version()).await? {
        rules = load(newer).await.map_err(failed)??;
    }
    let source = bundle::Source::new(config.bundle.clone(), config.network.clone());
    Ok(RulesInForce::new(source, rules, seen))
}

/// The gRPC server and the log's files beside it, with every limit of HTTP/2 set. Connections have no greatest age: streams of deliveries last for
/// days, a key that leaves the directory is refused at the next call, and one that asks for nothing is closed.
async fn grpc(
    state: Arc<State>,
    connections: ReceiverStream<std::io::Result<tls::Connection>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let around = Around::new(&state.bounds, Arc::clone(&state.meters));
    let reading = around.put(Reading::new(Arc::clone(&state)), reading::refused);
    let service = BrokerServer::new(Service::new(state))
        .max_decoding_message_size(limits::MESSAGE_MAX_BYTES)
        .max_encoding_message_size(ANSWER_MAX_BYTES);
    tonic::transport::Server::builder()
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_frame_size(limits::FRAME_MAX_BYTES)
        .max_concurrent_streams(limits::STREAMS_MAX_COUNT)
        .http2_max_header_list_size(limits::HEADER_LIST_MAX_BYTES)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS_UNSEEN_MAX_COUNT))
        .http2_max_local_error_reset_streams(Some(limits::RESETS_CAUSED_MAX_COUNT))
        .http2_keepalive_interval(Some(Duration::from_millis(limits::KEEP_ALIVE_INTERVAL_MILLIS)))
        .http2_keepalive_timeout(Some(Duration::from_millis(limits::KEEP_ALIVE_TIMEOUT_MILLIS)))
        .add_service(around.put(service, by_status))
        .add_service(reading)
        .serve_with_incoming_shutdown(connections, async move {
            // A dropped sender means the broker is gone: stop as well.
            let _stopped = stop.wait_for(|stop| *stop).await;
        })
        .await
}

impl Running {
    /// Where agents connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health is told.
    pub fn health_address(&self) -> SocketAddr {
        self.health
    }

    /// What the calls share.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Takes nothing new, finishes what is in flight within the limit, flushes, ends.
    ///
    /// # Errors
    /// The server had broken before.
    pub async fn stop(self) -> Result<(), ServeError> {
        tracing::info!("stopping");
        self.readiness.send_replace(Readiness::Draining);
        self.stop.send_replace(true);
        let abort = self.server.abort_handle();
        let ended = tokio::time::timeout(self.drain_max, self.server).await;
        if ended.is_err() {
            tracing::warn!("calls were still in flight at the end of the limit");
            abort.abort();
        }
        for task in self.tasks {
            task.abort();
        }
        socket::unbind(&self.data_dir);
        rejection::settle(&self.state, true).await;
        self.desk.settle().await;
        self.sequencer.stop().await;
        if !self.lent {
            self.state.store.close().await;
        }
        tracing::info!("stopped");
        match ended {
            Ok(Ok(Err(error))) => Err(ServeError::Server(error.to_string())),
            Ok(Err(error)) => Err(ServeError::Server(error.to_string())),
            Ok(Ok(Ok(()))) | Err(_) => Ok(()),
        }
    }
}

/// Runs until SIGTERM or SIGINT, then stops in order.
///
/// # Errors
/// What keeps it from starting, or broke.
pub async fn run(config: Config, development: bool, clock: Arc<dyn Clock>) -> Result<(), ServeError> {
    let failed = |error: std::io::Error| ServeError::Server(error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let started = tokio::select! {
        started = start(config, development, clock) => Some(started?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let Some(running) = started else { return Ok(()) };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await
}

/// A refusal at start is a matter of configuration, not of a caller.
impl ServeError {
    /// Whether the operator's files are at fault.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Refused(refusal) => refusal.fault == Fault::Precondition || refusal.fault == Fault::Invalid,
            Self::Store(_) | Self::Listen { .. } | Self::Server(_) => false,
        }
    }
}

//! The daemon: one lock on the data folder, six loops and the local API, until it is told to stop.

use std::fs::{File, TryLockError};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::beats::{self, Monitor};
use crate::clock::{Clock, randomness};
use crate::config::Config;
use crate::disk::Disk;
use crate::link::Loop;
use crate::problem::{Kind, Problem};
use crate::transport::backoff::Backoff;
use crate::{keeper, local_api, receipts, receive, submitter, witness};

/// Takes the data folder for this process alone; the lock goes with the process.
fn lock(config: &Config, disk: &Disk) -> Result<File, Problem> {
    disk.make_dir(&config.data_dir)?;
    let path = config.data_dir.join("lock");
    let file = File::create(&path).map_err(|e| Problem::io(&e, &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let remedy = "Stop the other agent, or give this one its own data_dir.";
            let sentence = "another agent uses this data folder";
            Err(Problem::new(Kind::Usage, "DATA_DIR_IN_USE", sentence, remedy).at(config.data_dir.display()))
        }
        Err(TryLockError::Error(e)) => Err(Problem::io(&e, &path)),
    }
}

/// Runs an agent until `stop` is done. Every state is on disk at every moment: stopping needs no farewell.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    development: bool,
    stop: impl Future<Output = ()>,
) -> Result<(), Problem> {
    let disk = Disk::default();
    let _lock = lock(&config, &disk)?;
    let agent = Arc::new(Agent::open(config, clock, disk, development)?);
    let listener = local_api::bind(&agent.config.socket())?;
    tracing::info!(agency = %agent.network.agency(), network = %agent.network.name(), "agent started");
    beats::watch(&agent).map_err(|e| Problem::io(&e, &agent.config.data_dir))?;
    let mut loops = JoinSet::new();
    loops.spawn(refresh(Arc::clone(&agent)));
    loops.spawn(submitter::run(Arc::clone(&agent)));
    loops.spawn(receive::run(Arc::clone(&agent)));
    loops.spawn(receipts::run(Arc::clone(&agent)));
    loops.spawn(keeper::run(Arc::clone(&agent)));
    loops.spawn(witness::run(Arc::clone(&agent)));
    loops.spawn(local_api::serve(Arc::clone(&agent), listener));
    let ended = tokio::select! {
        () = stop => Ok(()),
        ended = loops.join_next() => {
            let what = ended.map(|e| e.map(|()| "a loop ended".to_owned()).unwrap_or_else(|e| e.to_string()));
            let remedy = "Tell the developers, with the log around this moment.";
            Err(Problem::new(Kind::Local, "DEFECT", what.unwrap_or_default(), remedy))
        }
    };
    loops.shutdown().await;
    local_api::unbind(&agent.config.socket());
    tracing::info!("agent stopped");
    ended
}

/// Keeps directory and bundle fresh, from the first contact on.
async fn refresh(agent: Arc<Agent>) {
    let mut backoff = Backoff::new(randomness());
    loop {
        let version = || agent.network.view().map(|view| view.directory().version()).ok();
        let (known, before) = (version().is_some(), version());
        let (stay, mut client) = agent.at_broker();
        match agent.network.refresh(&mut client).await {
            Ok(()) => {
                agent.does(Loop::Rules);
                if version() != before {
                    // What did not hold under the former directory is judged again.
                    agent.changed();
                }
                if !known {
                    // The channel of the first contact knew no pinned key.
                    agent.reconnect();
                    agent.outgoing.notify_one();
                    tracing::info!("the network's directory is known");
                }
                backoff.reset();
                let pause = Duration::from_secs(agent.config.refresh_seconds);
                agent.beats.rest(Monitor::Directory, pause).await;
            }
            Err(problem) => {
                if problem.is_temporary() {
                    tracing::debug!(code = problem.code, "directory and bundle are asked again");
                } else {
                    tracing::error!(
                        code = problem.code,
                        sentence = problem.sentence,
                        remedy = problem.remedy,
                        "directory or bundle refused"
                    );
                }
                agent.failed_at(stay, Loop::Rules, &problem);
                if !known {
                    agent.reconnect();
                }
                let pause = backoff.next(problem.retry_after_ms);
                agent.beats.rest(Monitor::Directory, pause).await;
            }
        }
    }
}

//! What goes on beside the calls, each with a beat of its own: newer files, expired packets, what is overdue, what was
//! kept for its time, what other brokers say, readiness.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::activate;
use crate::beats::Monitor;
use crate::expire;
use crate::health::Readiness;
use crate::intake::rejection;
use crate::log::sequencer::LogState;
use crate::overdue;
use crate::redact::{Code, safe};
use crate::retention;
use crate::state::State;
use crate::store::StoreHealth;

/// How often the operator's files are looked at for something newer.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// How often packets whose life has ended are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How often readiness is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Between two rounds of retention, and between two of which the first did not come to the end.
const RETAIN_EVERY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));

/// Starts them.
pub(super) fn start(state: &Arc<State>, readiness: &watch::Sender<Readiness>) -> Vec<JoinHandle<()>> {
    let shared = || Arc::clone(state);
    vec![
        tokio::spawn(files(shared())),
        tokio::spawn(super::hearing::ring(shared())),
        tokio::spawn(super::hearing::follow(shared())),
        tokio::spawn(expiry(shared())),
        tokio::spawn(watch_overdue(shared())),
        tokio::spawn(retain(shared())),
        tokio::spawn(watch_readiness(shared(), readiness.clone())),
    ]
}

async fn files(state: Arc<State>) {
    let mut hangup = hangups();
    loop {
        tokio::select! {
            () = state.beats.rest(Monitor::Files, REFRESH_EVERY) => {}
            () = asked(&mut hangup) => {}
        }
        activate::refresh(&state).await;
    }
}

async fn expiry(state: Arc<State>) {
    loop {
        state.beats.rest(Monitor::Expiry, SWEEP_EVERY).await;
        if let Err(refusal) = expire::sweep(&state).await {
            tracing::error!(code = safe(Code(&refusal)), "expired packets could not be ended");
        }
        rejection::settle(&state, false).await;
    }
}

async fn watch_overdue(state: Arc<State>) {
    let mut told = BTreeSet::new();
    loop {
        state.beats.beat(Monitor::Overdue);
        let began = tokio::time::Instant::now();
        overdue::watch(&state, &mut told).await;
        // At most a twentieth of the time goes into looking.
        let rest = REFRESH_EVERY.max(began.elapsed() * 20);
        state.beats.rest(Monitor::Overdue, rest).await;
    }
}

async fn retain(state: Arc<State>) {
    let mut place = retention::Place::default();
    let (mut more, mut hangup) = (false, hangups());
    loop {
        let (at_the_end, on_the_way) = RETAIN_EVERY;
        let rest = if more { on_the_way } else { at_the_end };
        tokio::select! {
            () = state.beats.rest(Monitor::Retention, rest) => {}
            () = asked(&mut hangup) => {}
        }
        match retention::sweep(&state, &mut place).await {
            Ok(swept) => more = swept.more,
            Err(refusal) => {
                more = false;
                tracing::error!(
                    code = safe(Code(&refusal)),
                    "what was kept for its time could not go"
                );
            }
        }
    }
}

async fn watch_readiness(state: Arc<State>, readiness: watch::Sender<Readiness>) {
    let mut told: Vec<Monitor> = Vec::new();
    loop {
        state.beats.rest(Monitor::Readiness, WATCH_EVERY).await;
        let health = state.store.health();
        let stopped = health == StoreHealth::Stopped || matches!(state.log.state(), LogState::Stopped(_));
        readiness.send_if_modified(|now| {
            let next = match *now {
                Readiness::Ready | Readiness::Away if stopped => Readiness::Failed,
                Readiness::Ready | Readiness::Away if health == StoreHealth::Away => Readiness::Away,
                Readiness::Away => Readiness::Ready,
                as_it_is => as_it_is,
            };
            let differs = *now != next;
            *now = next;
            differs
        });
        let silent: Vec<Monitor> = state.beats.silent().into_iter().map(|(one, _)| one).collect();
        for one in silent.iter().filter(|one| !told.contains(one)) {
            tracing::error!(monitor = one.as_str(), "alarm: a monitor has fallen silent");
        }
        for one in told.iter().filter(|one| !silent.contains(one)) {
            tracing::info!(monitor = one.as_str(), "the monitor is heard of again");
        }
        told = silent;
    }
}

/// SIGHUP: directory and policies, and what was kept for its time, are to be looked at now.
fn hangups() -> Option<Signal> {
    let watched = signal(SignalKind::hangup());
    watched
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP is not watched"))
        .ok()
}

async fn asked(hangup: &mut Option<Signal>) {
    let heard = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending().await
    }
}

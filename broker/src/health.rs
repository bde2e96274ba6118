//! `/health/live`, `/health/ready` and `/metrics`: plain HTTP on loopback, for the service manager and monitors.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::beats::{Beats, Monitor};
use crate::brief::Brief;
use crate::meters::Meters;
use crate::overdue::Gauges;

/// Why the broker does or does not take work, in one fixed word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Loading, scrubbing the store.
    Starting,
    /// Takes work.
    Ready,
    /// Told to stop; finishes what is in flight.
    Draining,
    /// The store's database is not reached: nothing is accepted until it is.
    Away,
    /// The store or the log stopped: nothing is accepted until the cause is removed and the broker restarted.
    Failed,
}

impl Readiness {
    /// The word in the answer's body.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Away => "away",
            Self::Failed => "failed",
        }
    }
}

/// Serves the routes until `stop` becomes true.
pub async fn serve(
    listener: TcpListener,
    (readiness, gauges, meters): (watch::Receiver<Readiness>, Arc<Gauges>, Arc<Meters>),
    beats: Arc<Beats>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state((Arc::new(readiness), Arc::clone(&beats), Arc::clone(&meters)))
        .route(
            "/metrics",
            get(move || metrics(Arc::clone(&gauges), Arc::clone(&meters), Arc::clone(&beats))),
        );
    axum::serve(Brief::new(listener), router)
        .with_graceful_shutdown(async move {
            // A dropped sender means the broker is gone: stop as well.
            let _stopped = stop.wait_for(|stop| *stop).await;
        })
        .await
}

async fn metrics(
    gauges: Arc<Gauges>,
    meters: Arc<Meters>,
    beats: Arc<Beats>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], gauges.to_text() + &meters.to_text() + &beats.to_text())
}

/// That is looked at here, so that no other monitor is needed to find one that fell silent.
async fn ready(State((readiness, beats, meters)): State<Looked>) -> (StatusCode, String) {
    let now = *readiness.borrow();
    if now == Readiness::Ready && meters.do_newcomers_wait() {
        return (StatusCode::SERVICE_UNAVAILABLE, NO_DESCRIPTORS.to_owned());
    }
    said(now, &beats.silent())
}

/// What readiness is told from.
type Looked = (Arc<watch::Receiver<Readiness>>, Arc<Beats>, Arc<Meters>);

/// Who is connected is served; who comes anew waits.
const NO_DESCRIPTORS: &str = "no file descriptors\n";

/// Ready, and nothing that runs beside the calls has fallen silent.
fn said(now: Readiness, silent: &[(Monitor, Duration)]) -> (StatusCode, String) {
    if now == Readiness::Ready && !silent.is_empty() {
        let line = |(monitor, silence): &(Monitor, Duration)| {
            format!("silent {} {} s\n", monitor.as_str(), silence.as_secs())
        };
        return (StatusCode::SERVICE_UNAVAILABLE, silent.iter().map(line).collect());
    }
    let status = if now == Readiness::Ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, format!("{}\n", now.word()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l14_a_silent_monitor_makes_it_unready_by_name_and_never_the_other_way_round() {
        let silent = [(Monitor::Expiry, Duration::from_millis(31_900))];
        let said = said(Readiness::Ready, &silent);
        assert_eq!(
            said,
            (StatusCode::SERVICE_UNAVAILABLE, "silent expiry 31 s\n".into())
        );
        assert_eq!(
            super::said(Readiness::Ready, &[]),
            (StatusCode::OK, "ready\n".into())
        );
        for word in [
            Readiness::Starting,
            Readiness::Draining,
            Readiness::Away,
            Readiness::Failed,
        ] {
            let expected = (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", word.word()));
            assert_eq!(super::said(word, &silent), expected);
        }
    }

    #[tokio::test]
    async fn ready_says_so_with_its_status() {
        let (set, readiness) = watch::channel(Readiness::Starting);
        let meters = Arc::new(Meters::default());
        let state = State((Arc::new(readiness), Arc::default(), Arc::clone(&meters)));
        assert_eq!(
            ready(state.clone()).await,
            (StatusCode::SERVICE_UNAVAILABLE, "starting\n".into())
        );
        set.send(Readiness::Ready).unwrap();
        assert_eq!(ready(state.clone()).await, (StatusCode::OK, "ready\n".into()));
        meters.newcomers_wait(true);
        let full = (StatusCode::SERVICE_UNAVAILABLE, NO_DESCRIPTORS.into());
        assert_eq!(ready(state).await, full);
    }
}

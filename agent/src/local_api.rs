//! The local API: HTTP and JSON on a Unix socket that only the agent's own user can open. The CLI uses
//! it, and so may programs of the agency. Errors are `Problem`s.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, Path as UrlPath, RawQuery, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use schakel_proto::ids::{CaseRef, PacketId};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use crate::agent::{Agent, blocking};
use crate::disk::UNFINISHED;
use crate::inbox::record::{Answer, Delivery};
use crate::local_door::{self, Asked, Door};
use crate::outbox::record::Record;
use crate::problem::{Kind, Problem};
use crate::request::{FulfilledRequest, OpenRequest, RecallRequest, SendRequest};
use crate::shown;
use crate::stated;
use crate::statements::StatementRequest;
use crate::{witness, witnessed};

/// Longest socket path that the system takes, in bytes; longer ones go by way of an open folder.
const SOCKET_PATH_MAX_BYTES: usize = 100;
/// Longest wait for an outcome, in seconds.
const WAIT_MAX_SECONDS: u64 = 3600;

type Shared = State<Arc<Agent>>;
type Answered = Result<Json<Value>, Problem>;

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Later => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Distrust => StatusCode::BAD_GATEWAY,
            Kind::Local => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self)).into_response()
    }
}

/// A socket's path, short enough for the system: folders are opened, and named by their descriptor.
/// The file given beside it must be kept open while the path is used.
pub fn reachable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if path.as_os_str().len() <= SOCKET_PATH_MAX_BYTES {
        return Ok((path.to_owned(), None));
    }
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let name = path.file_name().unwrap_or_default();
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    Ok((short, Some(folder)))
}

/// Opens the socket, mode 0600, in place of one that a former run left behind. It appears under its name
/// only when it listens.
pub fn bind(path: &Path) -> Result<UnixListener, Problem> {
    let failed = |e: io::Error| Problem::io(&e, path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!("{UNFINISHED}{name}"));
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let (short, _folder) = reachable(&unfinished).map_err(failed)?;
    let listener = UnixListener::bind(short).map_err(failed)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    Ok(listener)
}

/// Removes the socket; a leftover does no harm.
pub fn unbind(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "the socket is already gone");
    }
}

/// Serves the API until the daemon ends.
pub async fn serve(agent: Arc<Agent>, listener: UnixListener) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/packets", get(packets).post(send))
        .route("/v1/packets/{packet}", get(packet))
        .route("/v1/disclosed", get(disclosed))
        .route("/v1/recalls", post(recall))
        .route("/v1/statements", post(statement))
        .route("/v1/facts/{case}", get(facts))
        .route("/v1/inbox", get(inbox))
        .route("/v1/inbox/open", post(open))
        .route("/v1/inbox/fulfilled", post(fulfilled))
        .route("/v1/quarantine", get(quarantine))
        .route("/v1/evidence", post(evidence))
        .fallback(unknown_route)
        .layer(from_fn_with_state(local_door::REQUEST_MAX, local_door::in_time))
        .with_state(agent);
    let router = router.into_make_service_with_connect_info::<Asked>();
    if let Err(error) = axum::serve(Door::new(listener), router).await {
        tracing::error!(%error, "the local API ended");
    }
}

async fn unknown_route() -> Problem {
    let remedy = "See docs/operating/agent.md for the routes.";
    Problem::new(
        Kind::NotFound,
        "ROUTE_UNKNOWN",
        "the local API has no such route",
        remedy,
    )
}

fn value<T: serde::Serialize>(item: &T) -> Answered {
    let defect = |e: serde_json::Error| Problem::new(Kind::Local, "DEFECT", e.to_string(), "");
    serde_json::to_value(item).map(Json).map_err(defect)
}

/// A request's body, or what is wrong with it.
///
/// # Errors
/// `REQUEST`.
pub fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        let remedy = "See docs/operating/agent.md for the fields.";
        Problem::new(
            Kind::Usage,
            "REQUEST",
            format!("the request does not parse: {e}"),
            remedy,
        )
    })
}

fn id<T: FromStr<Err = impl std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|e| {
        let remedy = "Copy the identifier as it was shown.";
        Problem::new(Kind::Usage, "IDENTIFIER", format!("{e}"), remedy)
    })
}

async fn status(State(agent): Shared) -> Answered {
    let link = agent.problem();
    let view = agent.network.view().ok();
    let records = agent.outbox().all();
    let unsettled = records.iter().filter(|r| !r.state.is_final()).count();
    let bundle = agent.network.engine().map(|e| e.bundle().version());
    Ok(Json(json!({
        "agency": agent.network.agency(),
        "network": agent.network.name(),
        "connected": link.is_none() && view.is_some(),
        "problem": link,
        "brokers": agent.brokers().status(),
        "trust": agent.audit.trust().err(),
        "witness": witness::status(&agent),
        "clock": agent.network.skew().problem(),
        "silent": agent.beats.silent().into_iter().map(|(name, seconds)| json!({ "monitor": name, "seconds": seconds }))
            .collect::<Vec<_>>(),
        "directory_version": view.map(|v| v.directory().version()),
        "bundle_version": bundle,
        "unsettled": unsettled,
        "receipts_overdue": witnessed::overdue(&agent),
        "unanswered": agent.inbox().all().iter().filter(|d| d.is_open()).count(),
        "ended_sent": shown::disclosed(&records, true, None).len(),
        "ended_received": agent.inbox().all().iter().flat_map(|d| &d.parts).filter(|p| p.ended.is_some()).count(),
    })))
}

/// A packet that we sent, as it is shown.
fn sent(agent: &Agent, record: &Record) -> Answered {
    let view = agent.network.view().ok();
    value(&shown::packet(record, view.as_ref().map(|view| view.directory())))
}

async fn send(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    let request: SendRequest = body(&bytes)?;
    sent(&agent, &agent.send(request).await?)
}

async fn packets(State(agent): Shared) -> Answered {
    let (all, view) = (agent.outbox().all(), agent.network.view().ok());
    let directory = view.as_ref().map(|view| view.directory());
    let records: Vec<_> = all.iter().map(|r| shown::packet(r, directory)).collect();
    value(&records)
}

/// Until when a caller waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Accepted,
    Decided,
    Settled,
}

impl Until {
    fn is_met(self, record: &Record) -> bool {
        match self {
            Self::Accepted => record.accepted.is_some() || record.state.is_final(),
            Self::Decided => record.is_decided(),
            Self::Settled => record.state.is_final(),
        }
    }
}

/// `wait=accepted|decided|settled` and `seconds=N`.
fn waiting(query: Option<&str>) -> Result<Option<(Until, u64)>, Problem> {
    let (mut until, mut seconds) = (None, 60);
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let wrong = || {
            let remedy = "Write wait=accepted, wait=decided or wait=settled, and seconds=1 to 3600.";
            Problem::new(
                Kind::Usage,
                "REQUEST",
                format!("\"{pair}\" is not understood"),
                remedy,
            )
        };
        match pair.split_once('=').ok_or_else(wrong)? {
            ("wait", "accepted") => until = Some(Until::Accepted),
            ("wait", "decided") => until = Some(Until::Decided),
            ("wait", "settled") => until = Some(Until::Settled),
            ("seconds", n) => seconds = n.parse::<u64>().map_err(|_| wrong())?.min(WAIT_MAX_SECONDS),
            _ => return Err(wrong()),
        }
    }
    Ok(until.map(|until| (until, seconds)))
}

/// One packet; a packet that was sealed anew leads to the one that stands for it.
async fn packet(
    State(agent): Shared,
    UrlPath(packet): UrlPath<String>,
    RawQuery(query): RawQuery,
) -> Answered {
    let packet: PacketId = id(&packet)?;
    let Some((until, seconds)) = waiting(query.as_deref())? else {
        return sent(&agent, &*agent.outbox().known(&packet)?);
    };
    let mut changes = agent.watch();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        changes.mark_unchanged();
        let mut record = agent.outbox().known(&packet)?;
        while let Some(next) = record.replaced_by.and_then(|next| agent.outbox().get(&next)) {
            record = next;
        }
        if until.is_met(&record)
            || tokio::time::timeout_at(deadline, changes.changed())
                .await
                .is_err()
        {
            return sent(&agent, &record);
        }
    }
}

async fn recall(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    let request: RecallRequest = body(&bytes)?;
    sent(&agent, &*agent.recall(&request).await?)
}

async fn statement(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    let request: StatementRequest = body(&bytes)?;
    let case = request.case();
    let (id, answer) = agent.state(request).await?;
    Ok(Json(json!({
        "statement": id,
        "case": case,
        "number": answer.number,
        "head": hex::encode(&answer.head),
        "leaf": hex::encode(&answer.leaf_hash),
        "roster_version": answer.roster_version,
    })))
}

async fn facts(State(agent): Shared, UrlPath(case): UrlPath<String>) -> Answered {
    let case: CaseRef = id(&case)?;
    let chain = agent.facts(case).await?;
    let facts: Vec<_> = chain.facts().iter().map(stated::fact).collect();
    Ok(Json(
        json!({ "case": case, "roster_version": chain.roster_version(), "facts": facts }),
    ))
}

async fn inbox(State(agent): Shared) -> Answered {
    let received = |d: &&Arc<Delivery>| d.answer == Answer::Received && !d.parts.is_empty();
    let all = agent.inbox().all();
    let view = agent.network.view().ok();
    let directory = view.as_ref().map(|view| view.directory());
    let me = agent.network.agency();
    let shown = all
        .iter()
        .filter(received)
        .map(|d| shown::delivery(d, me, directory));
    value(&shown.collect::<Vec<_>>())
}

async fn fulfilled(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    let request: FulfilledRequest = body(&bytes)?;
    let delivery = agent.fulfilled(request).await?;
    let view = agent.network.view().ok();
    let directory = view.as_ref().map(|view| view.directory());
    value(&shown::delivery(&delivery, agent.network.agency(), directory))
}

/// What was handed over of what we sent, or may have been; `ended` of which the ground has ended since.
async fn disclosed(State(agent): Shared, RawQuery(query): RawQuery) -> Answered {
    let ended = match query.as_deref() {
        None | Some("") => false,
        Some("ended") => true,
        Some(other) => {
            let sentence = format!("\"{other}\" is not understood");
            return Err(Problem::new(
                Kind::Usage,
                "REQUEST",
                sentence,
                "Write ended, or nothing.",
            ));
        }
    };
    let view = agent.network.view().ok();
    let directory = view.as_ref().map(|view| view.directory());
    value(&shown::disclosed(&agent.outbox().all(), ended, directory))
}

async fn open(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    let request: OpenRequest = body(&bytes)?;
    let (packet, part, out) = (request.packet, request.part, request.out.clone());
    let names = agent.open_part(request).await?;
    Ok(Json(
        json!({ "packet": packet, "part": part, "out": out, "names": names }),
    ))
}

async fn evidence(State(agent): Shared, bytes: bytes::Bytes) -> Answered {
    value(&agent.export_evidence(body(&bytes)?).await?)
}

async fn quarantine(State(agent): Shared) -> Answered {
    let kept = blocking(move || agent.inbox().quarantined()).await?;
    let kept: Vec<_> = kept
        .into_iter()
        .map(|(folder, reason)| json!({ "folder": folder, "reason": reason }))
        .collect();
    value(&kept)
}

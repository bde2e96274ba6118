//! The log over plain HTTP, beside the calls and behind the same bounds: checkpoint, tiles and bundles of leaves for
//! members, and what opens a leaf for those whom it concerns and, without decisions and what was signed, for auditors.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body as Bytewise;
use bytes::Bytes;
use prost::Message;
use schakel_proto::refusal::{Fault, Refusal};
use tonic::body::Body;
use tonic::codegen::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use tonic::codegen::http::{HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use tonic::codegen::{BoxFuture, Service as Call};
use tonic::server::NamedService;

use crate::auditors;
use crate::log::tiles::{self, Path, Resource};
use crate::refusals::Refused;
use crate::requests::Holding;
use crate::roles::Caller;
use crate::state::State;
use crate::tls::TlsIdentity;

/// What all paths begin with: the log's prefix, in the words of C2SP tlog-tiles.
const PREFIX: &str = "/log/";

/// Code of the refusal of every other method.
const GET_ONLY: &str = "LOG_GET_ONLY";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const EVIDENCE: HeaderValue = HeaderValue::from_static("application/protobuf");
/// Members only: no cache that others share may keep it.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
const NEVER: HeaderValue = HeaderValue::from_static("no-store");

/// The paths over the shared state.
#[derive(Clone)]
pub struct Reading {
    state: Arc<State>,
}

impl Reading {
    /// Over `state`.
    pub fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

/// Routed by its first word, as the calls are by their service's name.
impl NamedService for Reading {
    const NAME: &'static str = "log";
}

impl Call<Request<Body>> for Reading {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.state);
        // Nobody sends a body with a GET: what comes is not read.
        let (request, _unread) = request.into_parts();
        Box::pin(async move {
            Ok(match answer(&state, &request).await {
                Ok(answer) => answer,
                Err((what, refusal)) => {
                    state.meters.refused(what, refusal.code);
                    refused(&refusal)
                }
            })
        })
    }
}

async fn answer(state: &State, request: &Parts) -> Result<Response<Body>, (Refused, Refusal)> {
    let identity = request.extensions.get::<TlsIdentity>().copied();
    let caller = Caller::of(identity, state.directories.current()).map_err(|r| (Refused::Caller, r))?;
    let known = show(state, &caller, request).await;
    known.map_err(|refusal| (Refused::Request, refusal))
}

async fn show(state: &State, caller: &Caller, request: &Parts) -> Result<Response<Body>, Refusal> {
    let agency = caller.agency();
    let _place = state.reads.enter(agency, state.clock.now())?;
    if request.method != Method::GET {
        return Err(other_method());
    }
    let path = request.uri.path_and_query().map_or("", |path| path.as_str());
    let path = Path::parse(path.strip_prefix(PREFIX).unwrap_or_default())?;
    let more = path.resource.price().saturating_sub(1);
    state.reads.charge(agency, more, state.clock.now())?;
    let (resource, bytes) = (path.resource, read(state, caller, path).await?);
    let hold = state.held.take(agency, bytes.len())?;
    let kind = match resource {
        Resource::Checkpoint => TEXT,
        Resource::Tile(..) | Resource::Entries(_) => BYTES,
        Resource::Entry(_) => EVIDENCE,
    };
    let keep = if resource.is_immutable() { FOR_EVER } else { NEVER };
    let mut answer = with(StatusCode::OK, (kind, keep), bytes);
    if let Some(hold) = hold {
        answer.extensions_mut().insert(Holding(Arc::new(hold)));
    }
    Ok(answer)
}

async fn read(state: &State, caller: &Caller, path: Path) -> Result<Bytes, Refusal> {
    let agency = caller.agency();
    let store = state.store.as_ref();
    // A bundle is read from as many rows as it has leaves: whoever asks for many at once waits for itself.
    let _turn = state.turns.take(agency).await?;
    let (size, note) = match path.shard {
        None => (tiles::size(store).await?, None),
        Some(number) => of_shard(state, number).await?,
    };
    let found = match path.resource {
        Resource::Checkpoint if path.shard.is_some() => note,
        Resource::Checkpoint => state.newest_note().await?,
        Resource::Tile(level, span) => tiles::tile(store, size, (level, span)).await?,
        Resource::Entries(span) => tiles::entries(store, size, span).await?,
        Resource::Entry(index) => return entry(state, caller, index).await,
    };
    found.ok_or_else(|| {
        let sentence = "The newest checkpoint does not cover this, or not all of it";
        Refusal::new(
            Fault::NotFound,
            "LOG_NOT_YET",
            sentence,
            "Fetch log/checkpoint; ask for what a tree of its size has.",
        )
    })
}

/// How far a shard's tree goes, and its newest checkpoint; none: it has none yet.
async fn of_shard(state: &State, number: u64) -> Result<(u64, Option<Bytes>), Refusal> {
    let shards = state.store.shards().await?;
    let last = shards.last().is_none_or(|last| last.number == number);
    let Some(shard) = shards.into_iter().find(|one| one.number == number) else {
        let sentence = "The log has no shard of this number";
        let remedy = "The shards are numbered from 0, oldest first, as the directory lists them.";
        return Err(Refusal::new(
            Fault::NotFound,
            "LOG_SHARD_UNKNOWN",
            sentence,
            remedy,
        ));
    };
    if let Some(end) = &shard.end {
        return Ok((end.size, Some(state.cosigned.dress(end))));
    }
    let newest = state.store.latest_checkpoint().await?;
    let own = newest.filter(|newest| last && newest.size > shard.first);
    Ok((
        own.as_ref().map_or(0, |own| own.size),
        own.map(|own| state.cosigned.dress(&own)),
    ))
}

/// What opens a leaf. Whom it does not concern is told what is told of an entry that does not exist.
async fn entry(state: &State, caller: &Caller, index: u64) -> Result<Bytes, Refusal> {
    let (store, agency) = (state.store.as_ref(), caller.agency());
    let since = state.evidences.since(store, agency, index, 1).await?;
    let mut found = since.0.into_iter().find(|evidence| evidence.index == index);
    if found.is_none() && caller.directory().auditors().contains(agency) {
        auditors::record(state, agency).await?;
        found = state.evidences.audited(store, index).await?;
    }
    found
        .map(|evidence| evidence.encode_to_vec().into())
        .ok_or_else(|| {
            let sentence = "There is no such entry, or none that this agency is shown";
            Refusal::new(Fault::NotFound, "LOG_ENTRY_UNKNOWN", sentence, "Check the index.")
        })
}

fn other_method() -> Refusal {
    let sentence = "The log is read with GET and in no other way";
    Refusal::new(Fault::Forbidden, GET_ONLY, sentence, "Use GET.")
}

/// A refusal as HTTP says it: the status, and in words what a gRPC caller is told.
pub fn refused(refusal: &Refusal) -> Response<Body> {
    let status = match refusal.fault {
        _ if refusal.code == GET_ONLY => StatusCode::METHOD_NOT_ALLOWED,
        Fault::Invalid => StatusCode::BAD_REQUEST,
        // Not 401: that asks for a password, and nothing but another key would help.
        Fault::Unauthenticated | Fault::Forbidden => StatusCode::FORBIDDEN,
        Fault::NotFound => StatusCode::NOT_FOUND,
        Fault::Precondition | Fault::Conflict => StatusCode::CONFLICT,
        Fault::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Fault::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = with(status, (TEXT, NEVER), format!("{refusal}\n").into());
    let headers = answer.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    if refusal.retry_after_millis > 0 {
        headers.insert(RETRY_AFTER, refusal.retry_after_millis.div_ceil(1_000).into());
    }
    answer
}

fn with(status: StatusCode, (kind, keep): (HeaderValue, HeaderValue), bytes: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::new(Bytewise::from(bytes)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer.headers_mut().insert(CACHE_CONTROL, keep);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_status_and_when_to_come_again() {
        let said = |fault, millis: u64| {
            let answer = refused(&Refusal::new(fault, "A_CODE", "No", "Else.").retry_after(millis));
            let retry = answer
                .headers()
                .get(RETRY_AFTER)
                .map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(answer.headers()[CONTENT_TYPE], TEXT);
            assert_eq!(answer.headers()[CACHE_CONTROL], NEVER);
            (answer.status().as_u16(), retry)
        };
        let retry = |text: &str| Some(text.to_owned());
        assert_eq!(said(Fault::Exhausted, 1), (429, retry("1")));
        assert_eq!(said(Fault::Exhausted, 1_000), (429, retry("1")));
        assert_eq!(said(Fault::Unavailable, 1_001), (503, retry("2")));
        assert_eq!(said(Fault::NotFound, 0), (404, None));
        assert_eq!(said(Fault::Invalid, 0), (400, None));
        assert_eq!(said(Fault::Unauthenticated, 0), (403, None));
        assert_eq!(said(Fault::Internal, 0), (500, None));
        assert_eq!(refused(&other_method()).headers()[ALLOW], "GET");
    }
}

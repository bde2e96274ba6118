//! Around every call, before and after the service: how many requests a key may have open until their answers are
//! taken, how long and how large a request in one message may be, and how long its answer may wait for its reader.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use schakel_proto::limits;
use schakel_proto::refusal::{Fault, Refusal};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as Call, http};
use tonic::server::NamedService;

use crate::config::Bounds;
use crate::guard::Answers;
use crate::intake::held::Hold;
use crate::meters::Meters;
use crate::places::{Counts, Place};
use crate::refusals::Refused;
use crate::tls::{Peer, TlsIdentity};

/// Put among an answer's extensions: what it counts as holding until it is taken.
#[derive(Clone)]
pub struct Holding(pub Arc<Hold>);

/// Calls whose request goes on for as long as the caller wants. All others come in one message.
const LONG_REQUESTS: [&str; 2] = ["/schakel.v1.Broker/Submit", "/schakel.v1.Broker/Receive"];
/// Calls whose answer goes on. All others are answered in one message.
const LONG_ANSWERS: [&str; 2] = ["/schakel.v1.Broker/Receive", "/schakel.v1.Broker/FollowEvidence"];

/// The bounds around all services of one port: what a key has open at one counts at the others.
#[derive(Clone)]
pub struct Around {
    open: Arc<Counts<TlsIdentity>>,
    open_max_count: usize,
    body_max: Duration,
    meters: Arc<Meters>,
}

impl Around {
    /// As the operator set them.
    pub fn new(bounds: &Bounds, meters: Arc<Meters>) -> Self {
        Self {
            open: Arc::default(),
            open_max_count: bounds.requests_open_max_count,
            body_max: Duration::from_secs(bounds.body_max_seconds),
            meters,
        }
    }

    /// Puts them around `service`, whose callers are refused as `refuse` says.
    pub fn put<S>(&self, service: S, refuse: fn(&Refusal) -> http::Response<Body>) -> Bounded<S> {
        Bounded {
            service,
            around: self.clone(),
            refuse,
        }
    }
}

/// A refusal as gRPC says it.
pub fn by_status(refusal: &Refusal) -> http::Response<Body> {
    refusal.to_status().into_http()
}

/// A service with its bounds around it.
#[derive(Clone)]
pub struct Bounded<S> {
    service: S,
    around: Around,
    refuse: fn(&Refusal) -> http::Response<Body>,
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Call<http::Request<Body>> for Bounded<S>
where
    S: Call<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            // Who has no identity is refused by the service itself.
            return self.service.call(request);
        };
        let around = &self.around;
        let headers_only = request.method() == http::Method::HEAD;
        let Some(place) = around.open.enter(peer.identity, around.open_max_count) else {
            around.meters.refused(Refused::Request, "TOO_MANY_AT_ONCE");
            let refused = (self.refuse)(&too_many());
            return Box::pin(std::future::ready(Ok(cut(refused, headers_only))));
        };
        let path = request.uri().path();
        let is = |paths: [&str; 2]| paths.contains(&path);
        let (long_request, long_answer) = (is(LONG_REQUESTS), is(LONG_ANSWERS));
        let mut request = if long_request {
            request
        } else {
            request.map(|body| Body::new(Arriving::new(body, around.body_max)))
        };
        request.extensions_mut().insert(peer.identity);
        let answering = self.service.call(request);
        Box::pin(async move {
            let mut response = cut(answering.await?, headers_only);
            let holding = response.extensions_mut().remove::<Holding>();
            let bytes = holding.as_ref().map_or(0, |holding| holding.0.bytes());
            let waiting = (!long_answer).then(|| Waiting::new(peer.answers, bytes));
            Ok(response.map(|body| {
                Body::new(Leaving {
                    body,
                    rest: Bytes::new(),
                    _place: place,
                    _holding: holding,
                    _waiting: waiting,
                })
            }))
        })
    }
}

/// An answer to HEAD has no body, whatever it says (RFC 9110, section 9.3.2).
fn cut(response: http::Response<Body>, headers_only: bool) -> http::Response<Body> {
    if headers_only {
        response.map(|_| Body::empty())
    } else {
        response
    }
}

fn too_many() -> Refusal {
    let sentence = "This key has as many requests open as one key may have";
    let remedy = "Take the answers that are due, wait as long as retry_after_ms says, then try again.";
    Refusal::new(Fault::Exhausted, "TOO_MANY_AT_ONCE", sentence, remedy).retry_after(1_000)
}

/// A request that comes in one message: so long, and within so much time.
struct Arriving {
    body: Body,
    left_bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl Arriving {
    fn new(body: Body, limit: Duration) -> Self {
        Self {
            body,
            left_bytes: limits::REQUEST_MAX_BYTES,
            until: Box::pin(tokio::time::sleep(limit)),
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(left) = self.left_bytes.checked_sub(length) else {
                    return Poll::Ready(Some(Err(too_long())));
                };
                self.left_bytes = left;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => self.until.as_mut().poll(cx).map(|()| Some(Err(too_slow()))),
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_long() -> Status {
    let sentence = format!("The request is longer than {} bytes", limits::REQUEST_MAX_BYTES);
    let remedy = "Send one message of this call's request.";
    Refusal::new(Fault::Invalid, "FRAME_TOO_LONG", sentence, remedy).to_status()
}

fn too_slow() -> Status {
    let sentence = "The request did not come in time";
    let remedy = "Check the line, then try again.";
    Refusal::new(Fault::Unavailable, "REQUEST_TOO_SLOW", sentence, remedy)
        .retry_after(5_000)
        .to_status()
}

/// An answer is handed on in pieces of this size, each a copy: HTTP/2 takes a piece as soon as a single byte of it may be
/// sent, and what it has taken no longer counts as held.
const PIECE_BYTES: usize = 16 * 1024;

/// An answer on its way: what it holds is given back when it was taken, or is no longer wanted.
struct Leaving {
    body: Body,
    /// What is left of a frame of the body.
    rest: Bytes,
    _place: Place<TlsIdentity>,
    _holding: Option<Holding>,
    _waiting: Option<Waiting>,
}

/// An answer among those that its connection has not taken.
struct Waiting {
    answers: Arc<Answers>,
    number: u64,
}

impl Waiting {
    /// A long answer has the time that a slow line takes for it.
    fn new(answers: Arc<Answers>, bytes: usize) -> Self {
        let line = Duration::from_secs(bytes as u64 / limits::SLOWEST_BYTES_PER_SECOND);
        let until = Instant::now() + Duration::from_millis(limits::ANSWER_MAX_MILLIS) + line;
        let number = answers.wait(until);
        Self { answers, number }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.answers.taken(self.number);
    }
}

impl http_body::Body for Leaving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() > PIECE_BYTES => self.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return other,
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&self.rest.split_to(length));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Of a body whose frame is half handed on nothing is known but what is left of it.
        if self.rest.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

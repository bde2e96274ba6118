//! The local API's door: so many connections at once, and each request in its time, whatever the program at the other
//! end does.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::problem::{Kind, Problem};

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX_COUNT: usize = 64;
/// Time for a request, head and body each, and for the next one on the same connection.
pub const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Longest body.
const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;

/// The listener.
pub struct Door {
    listener: UnixListener,
    places: Arc<Semaphore>,
}

impl Door {
    /// Over `listener`.
    pub fn new(listener: UnixListener) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX_COUNT));
        Self { listener, places }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Visit, Self::Addr) {
        // Never closed; were it, nothing more could be served.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let visit = Visit {
            stream,
            asked: Asked::default(),
            was_asked: false,
            until: Box::pin(tokio::time::sleep(REQUEST_MAX)),
            _place: place,
        };
        (visit, from)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Whether a request is being answered on a connection: then its client waits, for as long as it likes.
#[derive(Clone, Default)]
pub struct Asked(Arc<AtomicBool>);

impl Connected<IncomingStream<'_, Door>> for Asked {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().asked.clone()
    }
}

struct Answering(Asked);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::SeqCst);
    }
}

/// Takes the body within its time and length, then lets the request in.
pub async fn in_time(
    State(limit): State<Duration>,
    ConnectInfo(asked): ConnectInfo<Asked>,
    request: Request,
    next: Next,
) -> Response {
    asked.0.store(true, Ordering::SeqCst);
    let _answering = Answering(asked);
    let (parts, body) = request.into_parts();
    let refused = |sentence: &str, remedy: &str| Problem::new(Kind::Usage, "REQUEST", sentence, remedy);
    match tokio::time::timeout(limit, axum::body::to_bytes(body, BODY_MAX_BYTES)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => refused(
            "the request broke off or is longer than 2 MiB",
            "Send shorter requests.",
        )
        .into_response(),
        Err(_) => refused("the request did not come in time", "Send it in one go.").into_response(),
    }
}

/// A connection that ends when no request comes in time.
pub struct Visit {
    stream: UnixStream,
    asked: Asked,
    was_asked: bool,
    until: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let asked = self.asked.0.load(Ordering::SeqCst);
        if self.was_asked && !asked {
            self.until.as_mut().reset(Instant::now() + REQUEST_MAX);
        }
        self.was_asked = asked;
        !asked && (self.until.is_elapsed() || self.until.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_pending() && self.is_late(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

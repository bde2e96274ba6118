//! Plain HTTP for monitors: few connections at once, each for a short time, whatever its client does.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::descriptors;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX_COUNT: usize = 32;
/// Longest life of a connection: monitors connect again.
const LIFE: Duration = Duration::from_secs(5);

/// A listener whose connections are few and short.
pub struct Brief {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// Given to a monitor when there is no other descriptor: it is then that it must be answered.
    spare: Option<File>,
}

impl Brief {
    /// Over `listener`.
    pub fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX_COUNT));
        Self {
            listener,
            places,
            spare: descriptors::spare(),
        }
    }

    /// The next connection, whatever fails.
    async fn next(&mut self) -> (TcpStream, std::net::SocketAddr) {
        loop {
            self.spare = self.spare.take().or_else(descriptors::spare);
            match self.listener.accept().await {
                Ok(next) => return next,
                Err(error) if descriptors::ran_out(&error) && self.spare.take().is_some() => {
                    if let Ok(next) = self.listener.accept().await {
                        return next;
                    }
                }
                Err(_) => tokio::time::sleep(descriptors::REST).await,
            }
        }
    }
}

impl axum::serve::Listener for Brief {
    type Io = Short;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Short, Self::Addr) {
        // Never closed; were it, nothing more could be served.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (stream, from) = self.next().await;
        let short = Short {
            stream,
            until: Box::pin(tokio::time::sleep(LIFE)),
            _place: place,
        };
        (short, from)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by time.
pub struct Short {
    stream: TcpStream,
    until: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Short {
    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let late = self.until.is_elapsed() || self.until.as_mut().poll(cx).is_ready();
        match polled {
            Poll::Pending if late => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        }
    }
}

impl AsyncRead for Short {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.in_time(cx, polled)
    }
}

impl AsyncWrite for Short {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, polled)
    }
}

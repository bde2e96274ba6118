//! The way in: own accept loop with TLS 1.3, client certificates, hybrid key exchange, and caps on
//! connections. What comes out is a connection that knows the SHA-256 of its peer's public key.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use schakel_proto::ids::Digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::config::{Bounds, ConfigError, TlsFiles};
use crate::descriptors;
use crate::guard::pace::Pace;
use crate::guard::{Answers, Guard, Limits, Started};
use crate::meters::{Closed, Meters};
use crate::places::{Counts, Place};
use crate::redact::{Short, safe};
use crate::state::Alarms;

/// The client's preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much the thread that computes handshakes gives way (see nice(2)).
const HANDSHAKE_NICE: i32 = 5;
/// Connections past their handshake that wait to be served.
const BACKLOG_MAX_COUNT: usize = 64;

/// Who is at the other end: SHA-256 of the SubjectPublicKeyInfo of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsIdentity(Digest);

impl From<Digest> for TlsIdentity {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl TlsIdentity {
    /// The identity in a leaf certificate (DER).
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, webpki::Error> {
        let leaf = webpki::EndEntityCert::try_from(certificate)?;
        Ok(Self(Digest::of(leaf.subject_public_key_info().as_ref())))
    }

    /// The digest that the directory lists.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

/// The TLS side of the server from the operator's files. Nothing of a session is kept: every
/// connection shows its certificate.
pub fn server_config(files: &TlsFiles) -> Result<ServerConfig, ConfigError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| {
        ConfigError::file(
            &files.key,
            "no private key in PEM",
            "Put a PKCS#8 key in PEM there.",
        )
    })?;
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.ca)? {
        roots.add(root).map_err(|_| {
            ConfigError::file(&files.ca, "not a TLS authority", "Put the network's CA there.")
        })?;
    }
    let provider = Arc::new(rustls::crypto::CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    });
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|_| {
            ConfigError::file(
                &files.ca,
                "no usable TLS authority",
                "Put the network's CA there.",
            )
        })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(clients)
                .with_single_cert(chain, key)
        })
        .map_err(|error| {
            let sentence = format!("certificate and key do not make a TLS server ({error})");
            ConfigError::file(
                &files.certificate,
                sentence,
                "Use the key that the certificate names.",
            )
        })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

fn certificates(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|_| ConfigError::file(file, "no certificates in PEM", "Put PEM certificates there."))?;
    if found.is_empty() {
        return Err(ConfigError::file(
            file,
            "no certificate in it",
            "Put PEM certificates there.",
        ));
    }
    Ok(found)
}

/// Who is at the other end of a request's connection, and the answers that wait for it.
#[derive(Clone)]
pub struct Peer {
    /// Its key.
    pub identity: TlsIdentity,
    /// What it has not taken yet.
    pub answers: Arc<Answers>,
}

/// A connection whose TLS handshake and HTTP/2 preface are done.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    guard: Guard,
    identity: TlsIdentity,
    /// The preface, to be read once more by the HTTP/2 layer.
    preface: &'static [u8],
    /// The peer broke off or ended.
    ended: bool,
    meters: Arc<Meters>,
    stop: watch::Receiver<bool>,
    _place: Place<TlsIdentity>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Passes `polled` on, unless the peer's time is up.
    fn unless_late<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.guard.poll_late(cx).map(|kind| Err(over(kind))),
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Err(error))
            }
            ready => ready,
        }
    }

    /// As [`Self::unless_late`], for writing: what was written is looked at.
    fn written<'a>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
        bytes: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        self.guard.writes(polled.is_ready(), now);
        if let Poll::Ready(Ok(count)) = polled {
            let mut left = count;
            for piece in bytes {
                let (sent, _) = piece.split_at(piece.len().min(left));
                left -= sent.len();
                self.guard.sent(sent, now);
            }
        }
        self.unless_late(cx, polled)
    }
}

fn over(kind: Closed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, kind.as_str())
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            identity: self.identity,
            answers: Arc::clone(self.guard.answers()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.meters.left();
        let by_us = self.guard.ended_by();
        if *self.stop.borrow() || (self.ended && by_us.is_none()) {
            return;
        }
        let kind = by_us.unwrap_or(Closed::Lost);
        tell(self.meters.closed(kind), kind, Some(self.identity));
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let (now, later) = self.preface.split_at(self.preface.len().min(buf.remaining()));
            buf.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled {
            let came = buf.filled().get(before..).unwrap_or_default();
            self.ended |= came.is_empty();
            if let Some(kind) = self.guard.received(came, Instant::now()) {
                return Poll::Ready(Err(over(kind)));
            }
        }
        self.unless_late(cx, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, polled, std::iter::once(buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.guard.writes(polled.is_ready(), Instant::now());
        self.unless_late(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.guard.writes(polled.is_ready(), Instant::now());
        self.unless_late(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, polled, bufs.iter().map(|buf| &**buf))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A line in the log for a connection that was closed; under a flood not for each.
fn tell(count: u64, kind: Closed, identity: Option<TlsIdentity>) {
    if Alarms::is_told(count) {
        let identity = identity.map(|identity| safe(Short(&identity.0)).to_string());
        tracing::warn!(kind = kind.as_str(), identity, count, "a connection was closed");
    }
}

/// Accepts until `stop` becomes true; connections ready to be served come out of the channel.
/// As many handshakes as may be under way make newcomers wait in the kernel's queue; nothing is read from them before.
pub fn accept(
    listener: TcpListener,
    config: ServerConfig,
    bounds: &Bounds,
    meters: Arc<Meters>,
    mut stop: watch::Receiver<bool>,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (ready, served) = mpsc::channel(BACKLOG_MAX_COUNT);
    let handshakes = Arc::new(Semaphore::new(bounds.handshakes_max_count));
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        addresses: Arc::default(),
        identities: Arc::default(),
        connections: Arc::new(Semaphore::new(bounds.connections_max_count)),
        started: Arc::new(Started::new(bounds.requests_per_minute())),
        pace: Pace::new(bounds.handshakes_per_second_max_count, Instant::now()),
        bounds: bounds.clone(),
        meters,
        ready,
        stop: stop.clone(),
    });
    let apart = Apart::new();
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => None,
                next = next(&handshakes, &listener) => Some(next),
            };
            match next {
                None => return,
                Some(Ok((under_way, tcp, from))) => {
                    let max = door.bounds.handshakes_per_address_max_count;
                    let address = network(from.ip());
                    match door.addresses.enter(address, max) {
                        Some(place) => {
                            apart.spawn(Arc::clone(&door).admit((under_way, place), (tcp, address)));
                        }
                        None => door.closed(Closed::AddressFull, None),
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(kind = %error.kind(), "cannot accept connections for the moment");
                    descriptors::rest(&error, &door.meters).await;
                }
            }
        }
    });
    served
}

/// What counts as one address: of IPv6 the first 64 bits, since the rest is the peer's to choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        canonical @ IpAddr::V4(_) => canonical,
    }
}

/// The next connection, once there is room for its handshake.
async fn next(
    handshakes: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let permit = Arc::clone(handshakes)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (tcp, from) = listener.accept().await?;
    Ok((permit, tcp, from))
}

/// Where handshakes are computed: on a thread of their own that gives way to the others, so that many of them take no
/// time from calls.
struct Apart(Option<Runtime>);

impl Apart {
    fn new() -> Self {
        let made = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("handshakes")
            .on_thread_start(|| {
                // On Linux this is about the calling thread alone. Without it handshakes are as fast as calls.
                let _refused = rustix::process::nice(HANDSHAKE_NICE);
            })
            .enable_time()
            .build();
        let told = made.inspect_err(|error| {
            tracing::warn!(kind = %error.kind(), "no thread for handshakes: they are made among the calls");
        });
        Self(told.ok())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Each ends by itself, with its limit of time.
        let _task = match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        };
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropped where nothing may wait.
            runtime.shutdown_background();
        }
    }
}

/// What every newcomer passes.
struct Door {
    acceptor: TlsAcceptor,
    addresses: Arc<Counts<IpAddr>>,
    identities: Arc<Counts<TlsIdentity>>,
    connections: Arc<Semaphore>,
    started: Arc<Started>,
    pace: Pace,
    bounds: Bounds,
    meters: Arc<Meters>,
    ready: mpsc::Sender<io::Result<Connection>>,
    stop: watch::Receiver<bool>,
}

impl Door {
    /// `under_way` is held until the handshake is over.
    async fn admit(
        self: Arc<Self>,
        under_way: (OwnedSemaphorePermit, Place<IpAddr>),
        (tcp, address): (TcpStream, IpAddr),
    ) {
        let limit = Duration::from_secs(self.bounds.handshake_max_seconds);
        // A handshake costs as much as many calls: those who are in come first.
        if tokio::time::timeout(limit, self.pace.wait(address))
            .await
            .is_err()
        {
            return self.closed(Closed::AddressFull, None);
        }
        let (stream, identity) = match tokio::time::timeout(limit, greet(tcp, &self.acceptor)).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(_)) => return self.closed(Closed::HandshakeFailed, None),
            Err(_) => return self.closed(Closed::HandshakeSlow, None),
        };
        drop(under_way);
        let most = self.bounds.connections_per_identity_max_count;
        let Some(place) = self.identities.enter(identity, most) else {
            return self.closed(Closed::IdentityFull, Some(identity));
        };
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return self.closed(Closed::Full, Some(identity));
        };
        let (started, limits) = (Arc::clone(&self.started), Limits::of(&self.bounds));
        self.meters.entered();
        let connection = Connection {
            stream,
            guard: Guard::new(identity, started, limits, Instant::now()),
            identity,
            preface: PREFACE,
            ended: false,
            meters: Arc::clone(&self.meters),
            stop: self.stop.clone(),
            _place: place,
            _permit: permit,
        };
        // A closed channel means the server has stopped: the connection is dropped.
        let _stopped = self.ready.send(Ok(connection)).await;
    }

    fn closed(&self, kind: Closed, identity: Option<TlsIdentity>) {
        tell(self.meters.closed(kind), kind, identity);
    }
}

/// TLS handshake, then the HTTP/2 preface: who does not speak HTTP/2 is not served.
async fn greet(tcp: TcpStream, acceptor: &TlsAcceptor) -> io::Result<(TlsStream<TcpStream>, TlsIdentity)> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = leaf
        .and_then(|leaf| TlsIdentity::of(leaf).ok())
        .ok_or_else(|| io::Error::other("no client certificate"))?;
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if &preface != PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
    }
    Ok((stream, identity))
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_is_a_host_or_a_network_of_ipv6() {
        let network = |text: &str| super::network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}

//! The way in: own accept loop with TLS 1.3, client certificates, hybrid key exchange, and caps on
//! connections. What comes out is a connection that knows the SHA-256 of its peer's public key.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::config::{Bounds, ConfigError, TlsFiles};
use crate::redact::{Short, safe};

/// The client's preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Rest after a failed accept, e.g. for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Connections past their handshake that wait to be served.
const BACKLOG_MAX_COUNT: usize = 64;

/// Who is at the other end: SHA-256 of the SubjectPublicKeyInfo of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsIdentity(Digest);

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

/// Connections of each identity at this moment.
#[derive(Default)]
struct Counts(Mutex<HashMap<TlsIdentity, usize>>);

impl Counts {
    /// One more for `identity`, unless it has `max`.
    fn enter(self: &Arc<Self>, identity: TlsIdentity, max: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(identity).or_default();
        (*count < max).then(|| {
            *count += 1;
            Place {
                counts: Arc::clone(self),
                identity,
            }
        })
    }
}

/// One connection's place in the counts; given back on drop.
struct Place {
    counts: Arc<Counts>,
    identity: TlsIdentity,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.identity) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.identity);
            }
        }
    }
}

/// A connection whose TLS handshake and HTTP/2 preface are done.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    identity: TlsIdentity,
    /// The preface, to be read once more by the HTTP/2 layer.
    preface: &'static [u8],
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TlsIdentity;

    fn connect_info(&self) -> TlsIdentity {
        self.identity
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
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Accepts until `stop` becomes true; connections ready to be served come out of the channel.
/// A full house makes newcomers wait in the kernel's queue; nothing is read from them before.
pub fn accept(
    listener: TcpListener,
    config: ServerConfig,
    bounds: &Bounds,
    mut stop: watch::Receiver<bool>,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (ready, served) = mpsc::channel(BACKLOG_MAX_COUNT);
    let permits = Arc::new(Semaphore::new(bounds.connections_max_count));
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        counts: Arc::new(Counts::default()),
        per_identity_max_count: bounds.connections_per_identity_max_count,
        ready,
    });
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => None,
                next = next(&permits, &listener) => Some(next),
            };
            match next {
                None => return,
                Some(Ok((permit, tcp))) => {
                    tokio::spawn(Arc::clone(&door).admit(permit, tcp));
                }
                Some(Err(error)) => {
                    tracing::warn!(kind = %error.kind(), "cannot accept connections for the moment");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    });
    served
}

/// The next connection, once there is room for it.
async fn next(
    permits: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(OwnedSemaphorePermit, TcpStream)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (tcp, _) = listener.accept().await?;
    Ok((permit, tcp))
}

/// What every newcomer passes.
struct Door {
    acceptor: TlsAcceptor,
    counts: Arc<Counts>,
    per_identity_max_count: usize,
    ready: mpsc::Sender<io::Result<Connection>>,
}

impl Door {
    async fn admit(self: Arc<Self>, permit: OwnedSemaphorePermit, tcp: TcpStream) {
        let limit = Duration::from_millis(limits::TLS_HANDSHAKE_MAX_MILLIS);
        let (stream, identity) = match tokio::time::timeout(limit, greet(tcp, &self.acceptor)).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return tracing::debug!(kind = %error.kind(), "handshake failed"),
            Err(_) => return tracing::debug!("handshake took too long"),
        };
        let Some(place) = self.counts.enter(identity, self.per_identity_max_count) else {
            return tracing::warn!(
                identity = safe(Short(&identity.0)),
                "too many connections of one identity"
            );
        };
        let connection = Connection {
            stream,
            identity,
            preface: PREFACE,
            _place: place,
            _permit: permit,
        };
        // A closed channel means the server has stopped: the connection is dropped.
        let _stopped = self.ready.send(Ok(connection)).await;
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
    use super::*;

    #[test]
    fn a_place_is_counted_per_identity_and_given_back() {
        let counts = Arc::new(Counts::default());
        let (one, two) = (TlsIdentity(Digest::of(b"1")), TlsIdentity(Digest::of(b"2")));
        let first = counts.enter(one, 1);
        assert!(first.is_some() && counts.enter(one, 1).is_none() && counts.enter(two, 1).is_some());
        drop(first);
        assert!(counts.enter(one, 1).is_some());
    }
}

//! HTTP/2 by hand (RFC 9113, RFC 7541) over real TLS with a real certificate: what no HTTP library would send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::network::{Town, agency};
use super::peer::tls;

/// The client's preface.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// No more on this stream.
pub const END_STREAM: u8 = 1;
/// The header block is complete.
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An integer behind the bits of `first` (RFC 7541, section 5.1).
fn integer(first: u8, prefix: u32, mut value: usize) -> Vec<u8> {
    let most = (1_usize << prefix) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    value -= most;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128 + 128).unwrap());
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

/// A field as it is, not for the table.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A field that the receiver is to remember.
pub fn remembered(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// The newest remembered field once more: one byte that stands for all of it.
pub const AGAIN: u8 = 0x80 | 62;

/// The fields of a call.
pub fn call(method: &str) -> Vec<u8> {
    let path = format!("/schakel.v1.Broker/{method}");
    // ":method: POST" and ":scheme: https" are 3 and 7 in the static table, ":path" is 4, ":authority" 1.
    let known = |index: u8, value: &str| [vec![index], text(value)].concat();
    [
        vec![0x83, 0x87],
        known(4, &path),
        known(1, "broker"),
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ]
    .concat()
}

/// A call whose request goes on.
pub fn begin(stream: u32, method: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call(method))
}

/// A gRPC message.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

/// How a connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Reason in the last GOAWAY (RFC 9113, section 7), if there was one.
    pub reason: Option<u32>,
    /// Streams that the broker reset.
    pub resets: usize,
    /// Bytes that it sent.
    pub bytes: usize,
}

/// Where hostile connections come from, and how.
#[derive(Clone)]
pub struct Door {
    broker: SocketAddr,
    name: ServerName<'static>,
    settings: Arc<ClientConfig>,
    from: Ipv4Addr,
}

impl Door {
    /// With the certificate of an agency; `from` is an address of this machine (any of 127.0.0.0/8).
    pub fn of(town: &Town, id: &str, from: [u8; 4]) -> Self {
        let folder = town.network().agent_folder(&agency(id));
        Self {
            broker: town.address(),
            name: ServerName::try_from(town.network().spec().broker_name()).unwrap(),
            settings: Arc::new(tls(town, Some(&folder))),
            from: from.into(),
        }
    }

    /// The same from another address.
    pub fn from(&self, from: [u8; 4]) -> Self {
        Self {
            from: from.into(),
            ..self.clone()
        }
    }

    /// TCP and no more.
    pub async fn tcp(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((self.from, 0)))?;
        let stream = socket.connect(self.broker).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// TLS and no more.
    pub async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp().await?;
        let connector = TlsConnector::from(Arc::clone(&self.settings));
        connector.connect(self.name.clone(), tcp).await
    }

    /// HTTP/2 with preface and settings.
    pub async fn http(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = self.tls().await?;
        let first = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&first).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

/// Writes `act(n)` for n = 0, 1, … `pause` apart, up to `most` times, reads all that comes, until the connection
/// ends; none: it did not end within `limit`. What is read is not answered.
pub async fn until_ended<S>(
    stream: S,
    (most, pause): (u32, Duration),
    limit: Duration,
    act: impl Fn(u32) -> Vec<u8>,
) -> Option<Ended>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        for n in 0..most {
            if writer.write_all(&act(n)).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let (mut ended, mut pending) = (Ended::default(), Vec::new());
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            ended.bytes += length;
            pending.extend_from_slice(&buffer[..length]);
            while let Some((kind, payload, rest)) = first(&pending) {
                match kind {
                    GOAWAY => {
                        let reason = payload.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok());
                        ended.reason = reason.map(u32::from_be_bytes);
                    }
                    RST_STREAM => ended.resets += 1,
                    _ => {}
                }
                pending = rest.to_vec();
            }
        }
        ended
    };
    let whole = async {
        tokio::select! {
            ended = read => ended,
            () = write => unreachable!("it waits"),
        }
    };
    tokio::time::timeout(limit, whole).await.ok()
}

/// The first whole frame in `bytes`: kind, payload, and what follows.
fn first(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    Some((head[3], payload, rest))
}

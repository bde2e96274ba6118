//! The connection to the broker: one HTTP/2 channel over our own TLS connector.
//! It reconnects by itself; whoever uses it waits between attempts (`backoff`).

pub mod backoff;

pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use schakel_proto::limits;
use schakel_proto::wire::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::config::Config;
use crate::keyring::TlsIdentity;
use crate::problem::{Kind, Problem};
use tls::Pins;

/// The client of the broker's service.
pub type Client = BrokerClient<Channel>;

/// Time for a call that is answered at once, in milliseconds.
const CALL_MAX_MILLIS: u64 = 30_000;
/// HTTP/2 flow-control window of one stream, bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 flow-control window of the connection, bytes.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Opens channels to the broker.
#[derive(Clone)]
pub struct Transport {
    endpoint: Endpoint,
    connector: TlsConnector,
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Transport {
    /// From the settings and our TLS identity; `pins` decides which key the broker may show.
    pub fn new(config: &Config, identity: &TlsIdentity, pins: Arc<Pins>) -> Result<Self, Problem> {
        let wrong = |e: &dyn std::fmt::Display| {
            let remedy = "Check `broker` and `broker_name` in agent.toml.";
            Problem::new(
                Kind::Usage,
                "BROKER_ADDRESS",
                format!("the address does not parse: {e}"),
                remedy,
            )
        };
        let uri = format!("https://{}:{}", config.broker_name, config.broker_port);
        let uri = uri.parse::<Uri>().map_err(|e| wrong(&e))?;
        let endpoint = Endpoint::from(uri)
            .connect_timeout(Duration::from_millis(2 * limits::TLS_HANDSHAKE_MAX_MILLIS))
            .http2_keep_alive_interval(Duration::from_millis(limits::KEEP_ALIVE_INTERVAL_MILLIS))
            .keep_alive_timeout(Duration::from_millis(limits::KEEP_ALIVE_TIMEOUT_MILLIS))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(Self {
            endpoint,
            connector: TlsConnector::from(Arc::new(tls::client_config(identity, pins)?)),
            host: config.broker_host.clone(),
            port: config.broker_port,
            name: ServerName::try_from(config.broker_name.clone()).map_err(|e| wrong(&e))?,
        })
    }

    /// A client over a channel that connects at the first call and again after each loss.
    pub fn client(&self) -> Client {
        let this = self.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let this = this.clone();
            async move { this.connect().await.map(TokioIo::new) }
        });
        let channel = self.endpoint.connect_with_connector_lazy(connect);
        BrokerClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::MESSAGE_MAX_BYTES)
    }

    async fn connect(&self) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let limit = Duration::from_millis(limits::TLS_HANDSHAKE_MAX_MILLIS);
        let late = |what: &str| std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned());
        let tcp = tokio::time::timeout(limit, TcpStream::connect((self.host.as_str(), self.port)))
            .await
            .map_err(|_| late("no TCP connection in time"))??;
        tcp.set_nodelay(true)?;
        let tls = self.connector.connect(self.name.clone(), tcp);
        tokio::time::timeout(limit, tls)
            .await
            .map_err(|_| late("no TLS handshake in time"))?
    }
}

/// A request that must be answered within 30 s.
pub fn bounded<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(Duration::from_millis(CALL_MAX_MILLIS));
    request
}

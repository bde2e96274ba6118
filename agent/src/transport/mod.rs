//! The connection to the broker in use: one HTTP/2 channel over our own TLS connector. It reconnects by itself, and ends
//! with the stay at that broker (`brokers`); whoever uses it waits between attempts (`backoff`).

pub mod backoff;

pub mod brokers;

pub mod tls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use schakel_proto::limits;
use schakel_proto::wire::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::clock::randomness;
use crate::config::{BrokerAddress, Config};
use crate::keyring::TlsIdentity;
use crate::problem::{Kind, Problem};
use brokers::{Brokers, CONNECT_WAIT_MAX_MILLIS, Stay};
use tls::Pins;

/// The client of the broker's service.
pub type Client = BrokerClient<Channel>;

/// Time for a call that is answered at once, in milliseconds.
const CALL_MAX_MILLIS: u64 = 30_000;
/// HTTP/2 flow-control window of one stream, bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 flow-control window of the connection, bytes.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Time for the wait before a connection, TCP and TLS together, in milliseconds: each has its own, shorter limit.
const CONNECT_MAX_MILLIS: u64 = CONNECT_WAIT_MAX_MILLIS + 2 * limits::TLS_HANDSHAKE_MAX_MILLIS + 1_000;

/// Opens channels to the brokers.
pub struct Transport {
    first: Door,
    others: Vec<Door>,
    connector: TlsConnector,
    brokers: Arc<Brokers>,
    open: Mutex<Option<(Stay, Client)>>,
}

/// How one broker of the list is reached.
#[derive(Clone)]
struct Door {
    endpoint: Endpoint,
    broker: BrokerAddress,
    name: ServerName<'static>,
}

impl Door {
    fn new(broker: &BrokerAddress) -> Result<Self, Problem> {
        let wrong = |e: &dyn std::fmt::Display| {
            let remedy = "Check `broker` and `broker_name` in agent.toml.";
            let sentence = format!("the address does not parse: {e}");
            Problem::new(Kind::Usage, "BROKER_ADDRESS", sentence, remedy).at(broker)
        };
        let uri = format!("https://{}:{}", broker.name, broker.port);
        let uri = uri.parse::<Uri>().map_err(|e| wrong(&e))?;
        let endpoint = Endpoint::from(uri)
            .connect_timeout(Duration::from_millis(CONNECT_MAX_MILLIS))
            .http2_keep_alive_interval(Duration::from_millis(limits::KEEP_ALIVE_INTERVAL_MILLIS))
            .keep_alive_timeout(Duration::from_millis(limits::KEEP_ALIVE_TIMEOUT_MILLIS))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(Self {
            endpoint,
            broker: broker.clone(),
            name: ServerName::try_from(broker.name.clone()).map_err(|e| wrong(&e))?,
        })
    }

    async fn connect(
        &self,
        connector: &TlsConnector,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let limit = Duration::from_millis(limits::TLS_HANDSHAKE_MAX_MILLIS);
        let late = |what: &str| std::io::Error::new(std::io::ErrorKind::TimedOut, what.to_owned());
        let address = (self.broker.host.as_str(), self.broker.port);
        let tcp = tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| late("no TCP connection in time"))??;
        tcp.set_nodelay(true)?;
        let tls = connector.connect(self.name.clone(), tcp);
        tokio::time::timeout(limit, tls)
            .await
            .map_err(|_| late("no TLS handshake in time"))?
    }
}

impl Transport {
    /// From the settings and our TLS identity; `pins` decides which key each broker may show.
    pub fn new(config: &Config, identity: &TlsIdentity, pins: Arc<Pins>) -> Result<Self, Problem> {
        let none = || {
            let sentence = "no broker is configured";
            Problem::new(
                Kind::Usage,
                "BROKER_ADDRESS",
                sentence,
                "Set `broker` in agent.toml.",
            )
        };
        let (first, others) = config.brokers.split_first().ok_or_else(none)?;
        Ok(Self {
            first: Door::new(first)?,
            others: others.iter().map(Door::new).collect::<Result<_, _>>()?,
            connector: TlsConnector::from(Arc::new(tls::client_config(identity, pins)?)),
            brokers: Arc::new(Brokers::new(config.brokers.clone(), randomness())),
            open: Mutex::default(),
        })
    }

    /// The list, and which broker of it is in use.
    pub fn brokers(&self) -> &Brokers {
        &self.brokers
    }

    /// A client over the connection that all share, and the stay at the broker that it belongs to.
    pub fn client(&self) -> (Stay, Client) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let stay = self.brokers.stay();
        match &*open {
            Some((of, client)) if *of == stay => (stay, client.clone()),
            _ => {
                let client = self.channel(stay);
                *open = Some((stay, client.clone()));
                (stay, client)
            }
        }
    }

    /// Gives up the connection: the next client has a new one, with the keys pinned by now.
    pub fn reconnect(&self) {
        self.brokers.give_up();
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A client over a channel that connects at the first call and again after each loss, while the stay lasts.
    fn channel(&self, stay: Stay) -> Client {
        let other = stay
            .place()
            .checked_sub(1)
            .and_then(|place| self.others.get(place));
        let (door, brokers) = (other.unwrap_or(&self.first).clone(), Arc::clone(&self.brokers));
        let (endpoint, connector) = (door.endpoint.clone(), self.connector.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let (door, brokers, connector) = (door.clone(), Arc::clone(&brokers), connector.clone());
            async move {
                brokers.due(stay).await?;
                let made = door.connect(&connector).await;
                match &made {
                    Ok(_) => brokers.connected(stay),
                    Err(error) => brokers.not_connected(stay, error),
                }
                made.map(TokioIo::new)
            }
        });
        let channel = endpoint.connect_with_connector_lazy(connect);
        BrokerClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_MAX_BYTES)
            .max_encoding_message_size(limits::MESSAGE_MAX_BYTES)
    }
}

/// A request that must be answered within 30 s.
pub fn bounded<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(Duration::from_millis(CALL_MAX_MILLIS));
    request
}

//! A peer of one's own at the broker's door: any TLS identity, any message. What an honest agent never sends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::wire::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::network::Town;

/// A client of the broker's service, without the agent's manners.
pub type Client = BrokerClient<Channel>;

/// A runtime for one test.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// TLS settings with the certificate in a folder (`tls-cert.pem`, `tls-key.pem`), or without one.
pub fn tls(town: &Town, identity: Option<&Path>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_file_iter(town.network().ca_file()).unwrap() {
        roots.add(ca.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let settings = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut settings = match identity {
        None => settings.with_no_client_auth(),
        Some(folder) => {
            let chain = CertificateDer::pem_file_iter(folder.join("tls-cert.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join("tls-key.pem")).unwrap();
            settings
                .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                .unwrap()
        }
    };
    settings.alpn_protocols = vec![b"h2".to_vec()];
    settings
}

/// A TLS connection to the broker.
pub async fn connect(
    address: SocketAddr,
    name: String,
    settings: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(settings))
        .connect(ServerName::try_from(name).unwrap(), tcp)
        .await
}

/// A client with an agency's TLS identity.
pub fn as_agency(town: &Town, agency: &AgencyId) -> Client {
    with(town, tls(town, Some(&town.network().agent_folder(agency))))
}

/// A client with any TLS settings.
pub fn with(town: &Town, settings: ClientConfig) -> Client {
    client(town, town.address(), settings, |endpoint| endpoint)
}

/// A client with an agency's TLS identity and the windows of a real agent: for measurements.
pub fn as_agent(town: &Town, agency: &AgencyId) -> Client {
    as_agent_at(town, agency, town.address())
}

/// As [`as_agent`], at another server that has the broker's certificate.
pub fn as_agent_at(town: &Town, agency: &AgencyId, address: SocketAddr) -> Client {
    let settings = tls(town, Some(&town.network().agent_folder(agency)));
    let windows = |endpoint: Endpoint| {
        endpoint
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
    };
    client(town, address, settings, windows)
}

fn client(
    town: &Town,
    address: SocketAddr,
    settings: ClientConfig,
    tune: impl FnOnce(Endpoint) -> Endpoint,
) -> Client {
    BrokerClient::new(channel(town, address, settings, tune))
        .max_decoding_message_size(2 * limits::MESSAGE_MAX_BYTES)
        .max_encoding_message_size(2 * limits::MESSAGE_MAX_BYTES)
}

/// HTTP/2 with an agency's TLS identity, for whatever is asked over it.
pub fn line(town: &Town, agency: &AgencyId) -> Channel {
    let settings = tls(town, Some(&town.network().agent_folder(agency)));
    channel(town, town.address(), settings, |endpoint| endpoint)
}

fn channel(
    town: &Town,
    address: SocketAddr,
    settings: ClientConfig,
    tune: impl FnOnce(Endpoint) -> Endpoint,
) -> Channel {
    let name = town.network().spec().broker_name();
    let endpoint = tune(Endpoint::from(format!("https://{name}").parse::<Uri>().unwrap()));
    let door = tower::service_fn(move |_: Uri| {
        let (name, settings) = (name.clone(), settings.clone());
        async move { connect(address, name, settings).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector_lazy(door)
}

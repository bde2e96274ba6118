//! A network on loopback: a broker in this process, and members that speak to it over real TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schakel_broker::clock::{Clock, SystemClock};
use schakel_broker::config::Config;
use schakel_broker::serve::{self, Running};
use schakel_certs_dev::{Mint, Network, NetworkSpec, mint};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::wire::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// A minted network in a folder that goes with it.
pub struct Ground {
    pub network: Network,
    _folder: tempfile::TempDir,
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn agency(id: &str) -> AgencyId {
    AgencyId::new(id).unwrap()
}

impl Ground {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = NetworkSpec::builtin("rupel").unwrap();
        let out = folder.path().join("net");
        let order = Mint {
            spec: &spec,
            out: &out,
            port: 0,
            health_port: 0,
            at: now(),
        };
        let network = mint(&order, &mut StdRng::from_os_rng()).unwrap();
        Self {
            network,
            _folder: folder,
        }
    }

    pub async fn broker(&self) -> Running {
        self.broker_at(Arc::new(SystemClock)).await
    }

    pub async fn broker_at(&self, clock: Arc<dyn Clock>) -> Running {
        let config = Config::load(&self.network.broker_config()).unwrap();
        serve::start(config, true, clock).await.unwrap()
    }

    pub fn keys(&self, id: &str) -> SecretKeys {
        self.network.agency_keys(&agency(id)).unwrap()
    }

    /// TLS settings of a member; `None`: without a client certificate.
    pub fn tls(&self, member: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.network.ca_file())).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match member {
            None => builder.with_no_client_auth(),
            Some(id) => {
                let folder = self.network.agent_folder(&agency(id));
                let key = PrivateKeyDer::from_pem_file(folder.join("tls-key.pem")).unwrap();
                let chain = vec![certificate(&folder.join("tls-cert.pem"))];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    pub fn name(&self) -> ServerName<'static> {
        ServerName::try_from(self.network.spec().broker_name()).unwrap()
    }

    /// A client of the broker's service as this member.
    pub async fn client(&self, at: SocketAddr, member: &str) -> BrokerClient<Channel> {
        BrokerClient::new(self.channel(at, member).await).max_decoding_message_size(16 << 20)
    }

    /// A connection of this member's own.
    pub async fn channel(&self, at: SocketAddr, member: &str) -> Channel {
        let connector = TlsConnector::from(Arc::new(self.tls(Some(member))));
        let name = self.name();
        let connect = tower::service_fn(move |_: Uri| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let tcp = TcpStream::connect(at).await?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
            }
        });
        let endpoint = Endpoint::from_static("https://broker");
        endpoint.connect_with_connector(connect).await.unwrap()
    }
}

fn certificate(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

//! The log as an agency may see it: fetched from the broker with the agency's own TLS identity, checked
//! with the public library alone, with no code of broker or agent.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schakel_proto::evidence::{self, CheckedEvidence};
use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::tlog::checkpoint::{LogKey, SignedCheckpoint};
use schakel_proto::tlog::proof;
use schakel_proto::wire;
use schakel_proto::wire::broker_client::BrokerClient;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::problem::{Problem, Result};
use super::stage::Stage;

/// Longest wait for the next entry while some are still awaited.
const ENTRY_MAX: Duration = Duration::from_secs(30);
/// Once all awaited entries are there: how long the log is listened to for others, which must not come.
const QUIET: Duration = Duration::from_millis(700);

/// The log as one agency sees it.
pub struct Reader {
    client: BrokerClient<Channel>,
    key: LogKey,
    network: schakel_proto::party::NetworkName,
}

impl Reader {
    /// Connects as an agency, trusting the network's certificate authority only.
    pub fn connect(stage: &Stage, agency: &AgencyId, key: LogKey) -> Result<Self> {
        let settings = Arc::new(tls(stage, agency)?);
        let (address, name) = (stage.address(), stage.network().spec().broker_name());
        let uri: Uri = format!("https://{name}")
            .parse()
            .map_err(Problem::during("the broker's name"))?;
        let server = ServerName::try_from(name).map_err(Problem::during("the broker's name"))?;
        let door = tower::service_fn(move |_: Uri| {
            let (settings, server) = (Arc::clone(&settings), server.clone());
            async move {
                let tcp = TcpStream::connect(address).await?;
                let tls = tokio_rustls::TlsConnector::from(settings)
                    .connect(server, tcp)
                    .await?;
                Ok::<_, std::io::Error>(TokioIo::new(tls))
            }
        });
        let client = BrokerClient::new(Endpoint::from(uri).connect_with_connector_lazy(door))
            .max_decoding_message_size(limits::MESSAGE_MAX_BYTES);
        Ok(Self {
            client,
            key,
            network: stage.network().spec().network.clone(),
        })
    }

    /// Fetches entries from the start of the log, checking each, until `enough` says so and nothing more
    /// comes. An entry that does not hold is an error.
    pub async fn follow(
        &mut self,
        enough: impl Fn(&[CheckedEvidence]) -> bool,
    ) -> Result<Vec<CheckedEvidence>> {
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: 0,
        };
        let answer = self.client.follow_evidence(request).await;
        let mut stream = answer
            .map_err(Problem::during("asking the broker for evidence"))?
            .into_inner();
        let mut entries = Vec::new();
        loop {
            let wait = if enough(&entries) { QUIET } else { ENTRY_MAX };
            let Ok(frame) = tokio::time::timeout(wait, stream.message()).await else {
                break;
            };
            let Some(frame) = frame.map_err(Problem::during("evidence"))? else {
                break;
            };
            let evidence = frame.evidence.unwrap_or_default();
            let checked = evidence::check(&evidence, &self.network, &self.key);
            entries.push(checked.map_err(Problem::during("a log entry does not hold"))?);
        }
        Ok(entries)
    }

    /// Proves that the newest checkpoint extends an older one; gives the newest's size.
    pub async fn extends(&mut self, older: &SignedCheckpoint) -> Result<u64> {
        let request = wire::GetConsistencyRequest {
            from_size: older.size(),
            to_size: 0,
        };
        let answer = self.client.get_consistency(request).await;
        let answer = answer
            .map_err(Problem::during("asking for a consistency proof"))?
            .into_inner();
        let newest = SignedCheckpoint::open(&answer.checkpoint, &self.key);
        let newest = newest.map_err(Problem::during("the newest checkpoint"))?;
        let hashes = answer.proof.iter().map(|hash| Digest::try_from(hash.as_ref()));
        let hashes = hashes.collect::<std::result::Result<Vec<_>, _>>();
        let hashes = hashes.map_err(Problem::during("the consistency proof"))?;
        proof::check_consistency(
            older.size(),
            newest.size(),
            &hashes,
            &older.root(),
            &newest.root(),
        )
        .map_err(Problem::during("the log was rewritten"))?;
        Ok(newest.size())
    }
}

fn tls(stage: &Stage, agency: &AgencyId) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let file = stage.network().ca_file();
    for ca in CertificateDer::pem_file_iter(&file).map_err(Problem::during(file.display()))? {
        let ca = ca.map_err(Problem::during(file.display()))?;
        roots.add(ca).map_err(Problem::during(file.display()))?;
    }
    let folder = stage.network().agent_folder(agency);
    let chain = CertificateDer::pem_file_iter(folder.join("tls-cert.pem"))
        .and_then(|chain| chain.collect::<std::result::Result<Vec<_>, _>>())
        .map_err(Problem::during("the agency's TLS certificate"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls-key.pem"));
    let key = key.map_err(Problem::during("the agency's TLS key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut settings = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|s| s.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(Problem::during("TLS"))?;
    settings.alpn_protocols = vec![b"h2".to_vec()];
    Ok(settings)
}

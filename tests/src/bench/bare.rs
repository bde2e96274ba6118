//! The bare protocol: the broker's own door and service definition, with nothing behind it. It reads a submission to
//! its end and answers; what it gives is what HTTP/2, TLS and the messages leave to a broker at best.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use schakel_broker::config::Config;
use schakel_broker::meters::Meters;
use schakel_broker::tls;
use schakel_proto::limits;
use schakel_proto::wire;
use schakel_proto::wire::broker_server::{Broker, BrokerServer};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Trouble;
use crate::system::network::Town;

struct Bare;

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

fn nothing<T>() -> Answer<T> {
    Err(Status::unimplemented("only submissions are taken here"))
}

#[tonic::async_trait]
impl Broker for Bare {
    type ReceiveStream = Out<wire::ReceiveFrame>;
    type FollowEvidenceStream = Out<wire::FollowEvidenceFrame>;

    async fn submit(&self, request: Request<Streaming<wire::SubmitFrame>>) -> Answer<wire::SubmitAnswer> {
        let mut frames = request.into_inner();
        while let Some(frame) = frames.next().await {
            let _taken = frame?;
        }
        Ok(Response::new(wire::SubmitAnswer::default()))
    }

    async fn get_directory(&self, _: Request<wire::GetDirectoryRequest>) -> Answer<wire::GetDirectoryAnswer> {
        nothing()
    }

    async fn get_bundle(&self, _: Request<wire::GetBundleRequest>) -> Answer<wire::GetBundleAnswer> {
        nothing()
    }

    async fn submit_statement(
        &self,
        _: Request<wire::SubmitStatementRequest>,
    ) -> Answer<wire::SubmitStatementAnswer> {
        nothing()
    }

    async fn get_facts(&self, _: Request<wire::GetFactsRequest>) -> Answer<wire::GetFactsAnswer> {
        nothing()
    }

    async fn get_outcome(&self, _: Request<wire::GetOutcomeRequest>) -> Answer<wire::GetOutcomeAnswer> {
        nothing()
    }

    async fn recall(&self, _: Request<wire::RecallRequest>) -> Answer<wire::RecallAnswer> {
        nothing()
    }

    async fn receive(&self, _: Request<Streaming<wire::ReceiveRequest>>) -> Answer<Self::ReceiveStream> {
        nothing()
    }

    async fn follow_evidence(
        &self,
        _: Request<wire::FollowEvidenceRequest>,
    ) -> Answer<Self::FollowEvidenceStream> {
        nothing()
    }

    async fn cosign(&self, _: Request<wire::CosignRequest>) -> Answer<wire::CosignAnswer> {
        nothing()
    }

    async fn get_consistency(
        &self,
        _: Request<wire::GetConsistencyRequest>,
    ) -> Answer<wire::GetConsistencyAnswer> {
        nothing()
    }
}

/// A running server with nothing behind it; it ends when dropped.
pub struct BareServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl BareServer {
    /// Starts it, with the broker's certificate, key and limits of HTTP/2.
    ///
    /// # Errors
    /// The broker's configuration cannot be read, or no port can be listened on.
    pub async fn start(town: &Town) -> Result<Self, Trouble> {
        let said = |error: &dyn std::fmt::Display| Trouble::new(format!("the bare server: {error}"));
        let config = Config::load(&town.network().broker_config()).map_err(|e| said(&e))?;
        let settings = tls::server_config(&config.tls).map_err(|e| said(&e))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, mut stopped) = watch::channel(false);
        let meters = Arc::new(Meters::default());
        let connections = tls::accept(listener, settings, &config.bounds, meters, stopped.clone());
        let service = BrokerServer::new(Bare).max_decoding_message_size(limits::MESSAGE_MAX_BYTES);
        tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024)
                .max_concurrent_streams(128)
                .add_service(service)
                .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
                    // A dropped sender ends it as well.
                    let _stopped = stopped.wait_for(|stop| *stop).await;
                });
            if let Err(error) = served.await {
                eprintln!("schakel-bench: the bare server ended: {error}");
            }
        });
        Ok(Self { address, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

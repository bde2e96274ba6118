//! Who gets in: TLS 1.3 with a client certificate of the network, a key of the current directory.

use std::sync::Arc;

use schakel_proto::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::packet::refusal;
use crate::peer::{Ground, agency, now};

#[tokio::test]
async fn the_key_exchange_is_hybrid_and_a_certificate_is_required() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let member = TlsConnector::from(Arc::new(ground.tls(Some("pz-rupel"))));
    let tcp = TcpStream::connect(broker.address()).await.unwrap();
    let tls = member.connect(ground.name(), tcp).await.unwrap();
    let connection = tls.get_ref().1;
    assert_eq!(
        connection.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    let group = connection
        .negotiated_key_exchange_group()
        .map(|group| group.name());
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));

    let stranger = TlsConnector::from(Arc::new(ground.tls(None)));
    let tcp = TcpStream::connect(broker.address()).await.unwrap();
    // In TLS 1.3 the client learns of the refusal with its first read.
    let mut buffer = [0; 1];
    let refused = match stranger.connect(ground.name(), tcp).await {
        Err(_) => true,
        Ok(mut tls) => {
            let written = tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            written.is_err() || tls.read_exact(&mut buffer).await.is_err()
        }
    };
    assert!(refused);
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn i03_a_key_that_the_directory_does_not_list_is_nobody() {
    let mut ground = Ground::new();
    // Its certificate is still the network's; the directory no longer lists its key.
    ground.network.remove_agency(&agency("ocmw-niel"), now()).unwrap();
    let broker = ground.broker().await;
    let mut member = ground.client(broker.address(), "pz-rupel").await;
    let answer = member
        .get_directory(wire::GetDirectoryRequest { known_version: 0 })
        .await
        .unwrap();
    assert!(answer.into_inner().directory.is_some());
    let mut former = ground.client(broker.address(), "ocmw-niel").await;
    let status = former
        .get_directory(wire::GetDirectoryRequest { known_version: 0 })
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert_eq!(refusal(&status).code, "UNKNOWN_IDENTITY");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn health_tells_ready_and_a_development_directory_is_refused_in_earnest() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut tcp = TcpStream::connect(broker.health_address()).await.unwrap();
    let request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\n"),
        "{answer}"
    );
    broker.stop().await.unwrap();

    let config = schakel_broker::config::Config::load(&ground.network.broker_config()).unwrap();
    schakel_broker::serve::check(&config, true).unwrap();
    let refused = schakel_broker::serve::check(&config, false).unwrap_err();
    assert!(
        refused.is_configuration() && refused.to_string().contains("DIRECTORY_DEVELOPMENT"),
        "{refused}"
    );
}

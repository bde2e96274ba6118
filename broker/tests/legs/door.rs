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

#[tokio::test]
async fn n08_who_says_nothing_or_something_else_is_not_kept() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    let mut buffer = [0; 64];
    // Silence at TCP.
    let mut silent = TcpStream::connect(broker.address()).await.unwrap();
    // Silence after the handshake.
    let member = TlsConnector::from(Arc::new(ground.tls(Some("pz-rupel"))));
    let tcp = TcpStream::connect(broker.address()).await.unwrap();
    let mut mute = member.connect(ground.name(), tcp).await.unwrap();
    // Another protocol inside TLS.
    let tcp = TcpStream::connect(broker.address()).await.unwrap();
    let mut other = member.connect(ground.name(), tcp).await.unwrap();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n")
        .await
        .unwrap();
    assert!(!matches!(other.read(&mut buffer).await, Ok(1..)));
    assert!(!matches!(silent.read(&mut buffer).await, Ok(1..)));
    assert!(!matches!(mute.read(&mut buffer).await, Ok(1..)));
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn n10_one_key_has_only_so_many_connections() {
    let ground = Ground::new();
    let file = ground.network.broker_config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}\n[limits]\nconnections_per_identity_max_count = 2\n"),
    )
    .unwrap();
    let broker = ground.broker().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = ground.client(broker.address(), "pz-rupel").await;
        client
            .get_directory(wire::GetDirectoryRequest::default())
            .await
            .unwrap();
        held.push(client);
    }
    let member = TlsConnector::from(Arc::new(ground.tls(Some("pz-rupel"))));
    let tcp = TcpStream::connect(broker.address()).await.unwrap();
    let mut third = member.connect(ground.name(), tcp).await.unwrap();
    // It may say its first words; it is never answered.
    let _written = third.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!matches!(third.read(&mut [0; 64]).await, Ok(1..)));
    // Another member is not held up; nor is the first one's other connection.
    let mut other = ground.client(broker.address(), "ocmw-boom").await;
    other
        .get_directory(wire::GetDirectoryRequest::default())
        .await
        .unwrap();
    held[0]
        .get_directory(wire::GetDirectoryRequest::default())
        .await
        .unwrap();
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn p01_a_newer_directory_comes_into_force_by_itself_and_an_older_never_again() {
    let mut ground = Ground::new();
    let older = std::fs::read(ground.network.directory_file()).unwrap();
    let broker = ground.broker().await;
    let mut leaving = ground.client(broker.address(), "ocmw-niel").await;
    leaving
        .get_directory(wire::GetDirectoryRequest::default())
        .await
        .unwrap();
    ground.network.remove_agency(&agency("ocmw-niel"), now()).unwrap();
    let mut member = ground.client(broker.address(), "pz-rupel").await;
    loop {
        let request = wire::GetDirectoryRequest { known_version: 1 };
        if member
            .get_directory(request)
            .await
            .unwrap()
            .into_inner()
            .directory
            .is_some()
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    // I01: a key that was taken out is nobody from then on, also on an open connection.
    let status = leaving
        .get_directory(wire::GetDirectoryRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refusal(&status).code, "UNKNOWN_IDENTITY");
    broker.stop().await.unwrap();

    std::fs::write(ground.network.directory_file(), older).unwrap();
    let config = schakel_broker::config::Config::load(&ground.network.broker_config()).unwrap();
    let clock = Arc::new(schakel_broker::clock::SystemClock);
    let Err(refused) = schakel_broker::serve::start(config, true, clock).await else {
        panic!("started with an older directory")
    };
    assert!(refused.to_string().contains("DIRECTORY_OLDER"), "{refused}");
}

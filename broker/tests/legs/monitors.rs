//! A monitor of a running broker that is held up for real: health names it, until it goes on.

use std::time::Duration;

use schakel_broker::serve::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::Ground;

/// What `/health/ready` answers.
async fn ready(broker: &Running) -> String {
    let mut stream = tokio::net::TcpStream::connect(broker.health_address())
        .await
        .unwrap();
    let ask = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn l14_a_monitor_that_hangs_is_missed_by_name_and_not_any_more_when_it_goes_on() {
    let ground = Ground::new();
    let broker = ground.broker().await;
    // Its next look at the operator's files waits for this.
    let held = broker.state().refreshing.lock().await;
    let mut answer = ready(&broker).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for _ in 0..600 {
        if answer.starts_with("HTTP/1.1 503") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer = ready(&broker).await;
    }
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("silent files "),
        "{answer}"
    );
    drop(held);
    for _ in 0..600 {
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer = ready(&broker).await;
    }
    assert!(answer.ends_with("ready\n"), "{answer}");
    broker.stop().await.unwrap();
}

//! Connections without end, with a certificate and without.

use schakel_tests::system::h2::Door;
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::told::{count, rounds};
use schakel_tests::system::wait;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::{HOSTILE, figure, memory_is_bounded, while_honest_is_served};

/// Opens `number` connections, `at_once` at a time, and keeps those that stay.
async fn connects(door: &Door, number: u64, at_once: usize) -> Vec<TlsStream<TcpStream>> {
    let mut kept = Vec::new();
    let mut opening = JoinSet::new();
    for n in 0..number {
        let door = door.clone();
        opening.spawn(async move { door.http().await });
        if opening.len() >= at_once || n + 1 == number {
            while let Some(opened) = opening.join_next().await {
                kept.extend(opened.unwrap().ok());
            }
        }
    }
    kept
}

#[test]
fn n10_a_certificate_has_so_many_connections_however_many_it_opens() {
    let town = Town::running(&[]);
    let number = rounds(400, 5_000);
    let (left, served) = runtime().block_on(while_honest_is_served(&town, async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        let kept = connects(&door, number, 32).await;
        wait::until("all the others to be closed", || {
            // Those that were let in and ask for nothing make room after ten seconds. On a slow machine more are under way than one address may have, and some do not end in time.
            let kinds = [
                "identity_full",
                "request_slow",
                "address_full",
                "handshake_slow",
                "handshake_failed",
            ];
            let closed: u64 = kinds.iter().map(|kind| figure(&town, kind)).sum();
            (closed >= number - 16).then_some(())
        });
        let left = town.figure("schakel_connections").unwrap();
        drop(kept);
        left
    }));
    assert!(
        left <= 17,
        "{left} connections: 16 of the flood and an honest one"
    );
    assert!(figure(&town, "identity_full") > 0, "the key's own places ran out");
    let peak = memory_is_bounded(&town);
    count(
        number,
        &format!(
            "connections with one certificate, {served} honest calls answered, broker at most {peak} MiB"
        ),
    );
}

#[test]
fn n10_without_a_certificate_an_address_and_all_together_have_so_many_handshakes() {
    let mut town = Town::rupel();
    town.limit("handshakes_max_count = 40\nhandshakes_per_address_max_count = 8\nhandshake_max_seconds = 2");
    town.start_broker();
    let served = runtime().block_on(async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        let (kept, served) = while_honest_is_served(&town, async {
            let mut kept: Vec<TcpStream> = Vec::new();
            for _ in 0..30 {
                kept.push(door.tcp().await.unwrap());
            }
            wait::until("all but eight of the address to be closed", || {
                (figure(&town, "address_full") >= 22).then_some(())
            });
            // All there are: newcomers wait until somebody's time is up, and get in.
            for n in 2..12 {
                for _ in 0..8 {
                    kept.push(door.from([127, 0, 1, n]).tcp().await.unwrap());
                }
            }
            let late = door.from([127, 0, 2, 1]).http().await;
            assert!(late.is_ok(), "a newcomer gets in when handshakes end");
            kept
        })
        .await;
        drop(kept);
        served
    });
    assert!(figure(&town, "handshake_slow") > 0);
    count(
        110,
        &format!("silent connections, {served} honest calls answered"),
    );
}

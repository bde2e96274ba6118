//! Slow at each stage, in requests, at monitors' and programs' doors.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use schakel_tests::system::h2::{
    DATA, Door, END_HEADERS, Ended, HEADERS, PING, PREFACE, begin, call, field, frame, message, until_ended,
};
use schakel_tests::system::network::{Town, agency};
use schakel_tests::system::office::Office;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::{count, rounds};
use schakel_tests::system::wait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::{
    HONEST, HOSTILE, LIMIT, ON_AND_ON, answered, code, figure, memory_is_bounded, while_honest_is_served,
};

/// One byte of `bytes` at a time, and then nothing.
fn drip(bytes: Vec<u8>) -> impl Fn(u32) -> Vec<u8> {
    move |n| bytes.get(n as usize).map(|byte| vec![*byte]).unwrap_or_default()
}

async fn dripped<S: AsyncRead + AsyncWrite>(stream: S, bytes: Vec<u8>) -> Option<Ended> {
    until_ended(
        stream,
        (ON_AND_ON, Duration::from_millis(100)),
        LIMIT,
        drip(bytes),
    )
    .await
}

/// The stages at which a peer can be slow.
const STAGES: [&str; 8] = [
    "silence at TCP",
    "a ClientHello by bytes",
    "silence after the handshake",
    "half a preface",
    "a preface and no request",
    "a header block by bytes",
    "a header block without an end",
    "a DATA frame by bytes",
];

async fn slow_at(stage: &str, door: Door) -> Option<Ended> {
    let silence = |_| Vec::new();
    let pace = (ON_AND_ON, Duration::from_millis(200));
    let long = [call("Submit"), field("x", &"x".repeat(4_000))].concat();
    match stage {
        "silence at TCP" => until_ended(door.tcp().await.unwrap(), pace, LIMIT, silence).await,
        "a ClientHello by bytes" => {
            let hello = [&[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3][..], &[7; 200]].concat();
            dripped(door.tcp().await.unwrap(), hello).await
        }
        "silence after the handshake" => until_ended(door.tls().await.unwrap(), pace, LIMIT, silence).await,
        "half a preface" => dripped(door.tls().await.unwrap(), PREFACE[..12].to_vec()).await,
        "a preface and no request" => {
            let pings = |_| frame(PING, 0, 0, &[7; 8]);
            until_ended(door.http().await.unwrap(), pace, LIMIT, pings).await
        }
        "a header block by bytes" => {
            dripped(door.http().await.unwrap(), frame(HEADERS, END_HEADERS, 1, &long)).await
        }
        "a header block without an end" => {
            let mut stream = door.http().await.unwrap();
            stream
                .write_all(&frame(HEADERS, 0, 1, &call("Submit")))
                .await
                .unwrap();
            until_ended(stream, pace, LIMIT, silence).await
        }
        "a DATA frame by bytes" => {
            let mut stream = door.http().await.unwrap();
            stream.write_all(&begin(1, "Submit")).await.unwrap();
            dripped(stream, frame(DATA, 0, 1, &message(&[7; 3_000]))).await
        }
        "pings that nobody answers" => {
            let mut stream = door.http().await.unwrap();
            stream.write_all(&begin(1, "Receive")).await.unwrap();
            until_ended(stream, pace, LIMIT, silence).await
        }
        other => panic!("no such stage: {other}"),
    }
}

#[test]
fn n08_who_is_slow_at_any_stage_is_closed_and_the_honest_are_served() {
    let mut town = Town::rupel();
    town.limit("handshake_max_seconds = 1\nheaders_max_seconds = 2\nbody_max_seconds = 3");
    town.start_broker();
    let per_stage = u8::try_from(rounds(4, 12)).unwrap();
    let (closed, served) = runtime().block_on(while_honest_is_served(&town, async {
        let mut slow = JoinSet::new();
        // A key has 16 places; each of these comes with another's.
        let members = ["ocmw-boom", "ocmw-niel", "caw-rupel", "pz-rupel-opvolgcel"];
        for n in 0..per_stage {
            let member = members[usize::from(n) % members.len()];
            for stage in STAGES {
                let door = Door::of(&town, member, [127, 0, 1, n]);
                slow.spawn(async move { (stage, slow_at(stage, door).await) });
            }
        }
        let mut closed = 0;
        while let Some(ended) = slow.join_next().await {
            let (stage, ended) = ended.unwrap();
            assert!(ended.is_some(), "{stage}: still open");
            closed += 1;
        }
        closed
    }));
    let each = u64::from(per_stage);
    let figure = |kind| figure(&town, kind);
    assert_eq!(figure("handshake_slow"), 4 * each);
    assert_eq!(figure("request_slow"), each);
    assert_eq!(figure("frame_slow"), 3 * each);
    let peak = memory_is_bounded(&town);
    count(
        closed,
        &format!("slow connections closed, {served} honest calls answered, broker at most {peak} MiB"),
    );
}

#[test]
fn n08_without_any_setting_the_limits_are_five_ten_and_thirty_seconds() {
    let town = Town::running(&[]);
    let stages = [
        "silence at TCP",
        "a preface and no request",
        "a header block by bytes",
        "pings that nobody answers",
    ];
    runtime().block_on(async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        let slow = stages.map(|stage| {
            let door = door.clone();
            async move {
                let began = std::time::Instant::now();
                assert!(slow_at(stage, door).await.is_some(), "{stage}: still open");
                began.elapsed()
            }
        });
        let took = futures_util::future::join_all(slow).await;
        // Not before its time: who takes four, nine or nineteen seconds is served.
        for (took, least) in took.into_iter().zip([4, 9, 9, 19]) {
            assert!(took >= Duration::from_secs(least), "{took:?}");
        }
    });
}

#[test]
fn n08_a_request_that_never_ends_is_ended() {
    let mut town = Town::rupel();
    town.limit("body_max_seconds = 1");
    town.start_broker();
    let ended = runtime().block_on(async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        // A call in one message of which nothing comes, one of which little comes at a time, a submission that pauses.
        let calls = [
            ("GetFacts", vec![]),
            ("SubmitStatement", message(&[7; 1_000])[..20].to_vec()),
            ("Submit", vec![]),
        ];
        let mut ended = Vec::new();
        for (method, some) in calls {
            let mut stream = door.http().await.unwrap();
            stream.write_all(&begin(1, method)).await.unwrap();
            if !some.is_empty() {
                stream.write_all(&frame(DATA, 0, 1, &some)).await.unwrap();
            }
            ended.push((method, answered(&mut stream, 1).await));
        }
        assert_eq!(
            figure(&town, "lost"),
            0,
            "requests are ended, not their connections"
        );
        // Longer than any statement: refused before it is held.
        let mut player = Player::of(&town, HOSTILE, StdRng::from_os_rng());
        let long = player.sign(vec![7; 100_000]);
        let refused = player.submit_statement(long).await.unwrap_err();
        assert_eq!(code(&refused).1, "FRAME_TOO_LONG", "{refused}");
        ended
    });
    for (method, ended) in ended {
        assert!(ended, "{method}: no end of the stream");
    }
}

#[test]
fn n08_slow_programs_do_not_keep_the_agents_own_api_from_answering() {
    let town = Town::running(&[HONEST]);
    let socket = town.network().agent_data(&agency(HONEST)).join("agent.sock");
    let office = Office::of(&town, HONEST);
    runtime().block_on(async {
        let mut slow = Vec::new();
        // More than there are places: those of a head that never ends, of a body that never comes.
        for n in 0..66 {
            let mut stream = UnixStream::connect(&socket).await.unwrap();
            let head = "POST /v1/recalls HTTP/1.1\r\nHost: agent\r\nContent-Length: 100\r\n";
            let end = if n % 8 > 0 { "" } else { "\r\n{" };
            stream.write_all(format!("{head}{end}").as_bytes()).await.unwrap();
            slow.push(stream);
        }
        assert!(office.ask("GET", "/v1/status", None)["agency"].is_string());
        for mut stream in slow.into_iter().take(64) {
            let ended = tokio::time::timeout(LIMIT, async {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {}
            });
            ended.await.expect("a slow program is closed");
        }
    });
}

#[test]
fn n08_slow_monitors_do_not_keep_health_from_being_told() {
    let town = Town::running(&[]);
    runtime().block_on(async {
        let mut slow = Vec::new();
        for _ in 0..40 {
            let mut stream = TcpStream::connect(town.health_address()).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.unwrap();
            slow.push(stream);
        }
        // As many as there are places for wait no longer than the slow ones live.
        wait::until("readiness", || {
            (town.health("/health/ready")? == 200).then_some(())
        });
        for mut stream in slow.into_iter().take(32) {
            let ended = tokio::time::timeout(LIMIT, async {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {}
            });
            ended.await.expect("a slow monitor is closed");
        }
    });
}

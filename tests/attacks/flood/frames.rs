//! Frames that no library sends, answers that nobody takes.

use std::time::Duration;

use rand::{SeedableRng, rngs::StdRng};
use schakel_proto::wire;
use schakel_tests::system::h2::{
    self, CONTINUATION, DATA, Door, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, begin, call, field, frame, message, until_ended,
};
use schakel_tests::system::network::Town;
use schakel_tests::system::peer::runtime;
use schakel_tests::system::player::Player;
use schakel_tests::system::told::count;
use schakel_tests::system::wait;
use tokio::io::AsyncWriteExt;

use super::{
    ENHANCE_YOUR_CALM, HONEST, HOSTILE, LIMIT, ON_AND_ON, answered, figure, memory_is_bounded,
    while_honest_is_served,
};

/// What is sent again and again, by its number.
type Again = fn(u32) -> Vec<u8>;

/// A flood of frames: what it is called, how it begins, what comes again and again, and what ends it.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    again: Again,
    /// How it is counted: one of these, whichever bound comes first.
    kinds: &'static [&'static str],
    /// The reason that HTTP/2 gives, where it is HTTP/2 that ends it.
    reason: Option<u32>,
}

/// So many at once: a flood does not wait for each to be written.
const AT_ONCE: u32 = 64;

fn many(n: u32, one: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..AT_ONCE).flat_map(|i| one(n * AT_ONCE + i)).collect()
}

/// Floods that HTTP/2 itself ends.
fn overdone() -> Vec<Flood> {
    let flood = |name, first, again| Flood {
        name,
        first,
        again,
        kinds: &["protocol", "request_flood"],
        reason: Some(ENHANCE_YOUR_CALM),
    };
    vec![
        flood("rapid reset (CVE-2023-44487)", vec![], |n| {
            many(n, |n| {
                let stream = 2 * n + 1;
                [
                    begin(stream, "Submit"),
                    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                ]
                .concat()
            })
        }),
        flood("MadeYouReset (CVE-2025-8671)", vec![], |n| {
            many(n, |n| {
                // A field of HTTP/1 is an error of the stream, so the broker resets it.
                let fields = [call("Submit"), field("connection", "close")].concat();
                frame(HEADERS, END_HEADERS, 2 * n + 1, &fields)
            })
        }),
        flood(
            "CONTINUATION without an end (RUSTSEC-2024-0332)",
            frame(HEADERS, 0, 1, &call("Submit")),
            |n| many(n, |_| frame(CONTINUATION, 0, 1, &field("x", "y"))),
        ),
        flood("empty CONTINUATION", frame(HEADERS, 0, 1, &call("Submit")), |n| {
            many(n, |_| frame(CONTINUATION, 0, 1, &[]))
        }),
        flood(
            "a header list of megabytes",
            frame(HEADERS, 0, 1, &call("Submit")),
            |_| frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(16_000))),
        ),
        flood(
            "a field remembered and repeated (HPACK bomb)",
            frame(
                HEADERS,
                0,
                1,
                &[call("Submit"), h2::remembered("x", &"y".repeat(3_900))].concat(),
            ),
            |_| frame(CONTINUATION, 0, 1, &[h2::AGAIN; 16_000]),
        ),
        flood("empty DATA (RUSTSEC-2026-0258)", begin(1, "Receive"), |n| {
            many(n, |_| frame(DATA, 0, 1, &[]))
        }),
    ]
}

/// Floods that ask for nothing.
fn asking_nothing() -> Vec<Flood> {
    let flood = |name, again| Flood {
        name,
        first: Vec::new(),
        again,
        kinds: &["frame_flood", "request_flood"],
        reason: None,
    };
    let again: [(&str, Again); 6] = [
        ("MadeYouReset by windows", |n| {
            many(n, |n| {
                // A window of more than 2^31 - 1 is an error of the stream too.
                let stream = 2 * n + 1;
                let wide = frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
                [begin(stream, "Submit"), wide].concat()
            })
        }),
        ("SETTINGS", |n| many(n, |_| frame(SETTINGS, 0, 0, &[]))),
        ("PING", |n| many(n, |_| frame(PING, 0, 0, &[7; 8]))),
        ("PRIORITY", |n| {
            many(n, |n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 1]))
        }),
        ("WINDOW_UPDATE", |n| {
            many(n, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))
        }),
        ("frames of no known kind", |n| many(n, |_| frame(77, 0, 0, b"?"))),
    ];
    again.map(|(name, again)| flood(name, again)).into()
}

#[test]
fn n09_floods_of_frames_end_their_connection_and_nothing_else() {
    let town = Town::running(&[]);
    let (report, served) = runtime().block_on(while_honest_is_served(&town, async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        let mut report = Vec::new();
        for flood in overdone().into_iter().chain(asking_nothing()) {
            let counted = || flood.kinds.iter().map(|kind| figure(&town, kind)).sum::<u64>();
            let before = counted();
            let mut stream = door.http().await.unwrap();
            stream.write_all(&flood.first).await.unwrap();
            let ended = until_ended(stream, (ON_AND_ON, Duration::ZERO), LIMIT, flood.again).await;
            let ended = ended.unwrap_or_else(|| panic!("{}: still open", flood.name));
            if let (Some(reason), Some(said)) = (flood.reason, ended.reason) {
                // A connection that breaks off under the flood may take its last word with it.
                assert_eq!(said, reason, "{}", flood.name);
            }
            wait::try_until(LIMIT, || (counted() > before).then_some(()))
                .unwrap_or_else(|| panic!("{}: not counted as {:?}", flood.name, flood.kinds));
            report.push(format!("{}: {ended:?}", flood.name));
        }
        report
    }));
    let peak = memory_is_bounded(&town);
    println!("{}", report.join("\n"));
    count(
        report.len() as u64,
        &format!("floods of frames ended, {served} honest calls answered, broker at most {peak} MiB"),
    );
}

#[test]
fn n09_too_many_header_fields_are_refused_and_resets_at_leisure_are_counted() {
    let town = Town::running(&[]);
    runtime().block_on(async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        // Above 16 KiB: this request is refused, the connection stays.
        let mut stream = door.http().await.unwrap();
        let fields = [
            call("GetDirectory"),
            field("x", &"y".repeat(8_000)),
            field("z", &"y".repeat(9_000)),
        ]
        .concat();
        let (head, rest) = fields.split_at(16_000);
        let block = [
            frame(HEADERS, END_STREAM, 1, head),
            frame(CONTINUATION, END_HEADERS, 1, rest),
        ]
        .concat();
        stream.write_all(&block).await.unwrap();
        assert!(answered(&mut stream, 1).await);
        stream.write_all(&begin(3, "Nothing")).await.unwrap();
        stream.write_all(&frame(DATA, END_STREAM, 3, &[])).await.unwrap();
        assert!(answered(&mut stream, 3).await);
        // Resets slower than what HTTP/2 itself looks at: begun requests cost, whatever becomes of them.
        let stream = door.http().await.unwrap();
        let one = |n: u32| {
            let stream = 2 * n + 1;
            [
                begin(stream, "Receive"),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat()
        };
        let ended = until_ended(stream, (ON_AND_ON, Duration::from_millis(2)), LIMIT, one).await;
        assert!(ended.is_some(), "still open");
    });
    let counted = || (figure(&town, "frame_flood") + figure(&town, "protocol") > 0).then_some(());
    wait::until("the count", counted);
}

#[test]
fn n09_an_answer_that_nobody_takes_is_not_kept() {
    // No window at all; and one byte of it, upon which HTTP/2 takes as much as it is given.
    for window in [0, 1] {
        not_taken(window);
    }
}

fn not_taken(window: u8) {
    let mut town = Town::rupel();
    // No more than a few answers of the directory's size at once.
    town.limit("memory_max_mebibytes = 1\nbody_max_seconds = 2");
    town.start_broker();
    runtime().block_on(async {
        let door = Door::of(&town, HOSTILE, [127, 0, 1, 1]);
        let mut stream = door.tls().await.unwrap();
        let none = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, window]);
        stream.write_all(&[PREFACE, &none].concat()).await.unwrap();
        let one = |n: u32| {
            let stream = 2 * n + 1;
            let ask = frame(DATA, END_STREAM, stream, &message(&[]));
            [begin(stream, "GetDirectory"), ask].concat()
        };
        let first: Vec<u8> = (0..100).flat_map(one).collect();
        stream.write_all(&first).await.unwrap();
        wait_refused(&town).await;
        // The others have shares of their own.
        let mut honest = Player::of(&town, HONEST, StdRng::from_os_rng());
        let request = wire::GetDirectoryRequest { known_version: 0 };
        honest
            .client
            .get_directory(request)
            .await
            .expect("the honest are served");
    });
}

/// Until the broker refused somebody for want of memory.
async fn wait_refused(town: &Town) {
    let refused = || {
        town.figure("schakel_refusals_total{what=\"request\",code=\"BUSY\"}")
            .filter(|n| *n > 0)
    };
    tokio::time::timeout(LIMIT, async {
        while refused().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("answers that are not taken count against their reader's share");
}

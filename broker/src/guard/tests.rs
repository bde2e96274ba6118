//! Each bound of the guard by itself, without a connection.

use schakel_proto::ids::Digest;

use super::*;

fn guard(per_minute: u64) -> Guard {
    let limits = Limits {
        headers: Duration::from_secs(10),
        body: Duration::from_secs(30),
        idle: Duration::from_secs(120),
    };
    let identity = TlsIdentity::from(Digest::of(b"key"));
    Guard::new(
        identity,
        Arc::new(Started::new(per_minute)),
        limits,
        Instant::now(),
    )
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let size = u32::try_from(length).unwrap().to_be_bytes();
    [
        &size[1..],
        &[kind, flags],
        &stream.to_be_bytes(),
        &vec![0; length],
    ]
    .concat()
}

fn due(guard: &Guard, since: Instant) -> Option<(u64, Closed)> {
    guard.due().map(|(until, kind)| ((until - since).as_secs(), kind))
}

#[tokio::test]
async fn n08_each_stage_has_its_time() {
    let mut guard = guard(60_000);
    let start = guard.idle_since.unwrap();
    assert_eq!(due(&guard, start), Some((10, Closed::RequestSlow)));
    // Settings and pings are no request.
    guard.received(&frame(4, 0, 0, 6), start + Duration::from_secs(5));
    assert_eq!(due(&guard, start), Some((10, Closed::RequestSlow)));
    // Headers that go on and on: the time runs from their first byte.
    let at = start + Duration::from_secs(6);
    guard.received(&frame(HEADERS, 0, 1, 3), at);
    assert_eq!(due(&guard, at), Some((10, Closed::FrameSlow)));
    guard.received(&frame(CONTINUATION, 0, 1, 3), at + Duration::from_secs(5));
    assert_eq!(due(&guard, at), Some((10, Closed::FrameSlow)));
    guard.received(
        &frame(CONTINUATION, END_HEADERS, 1, 3),
        at + Duration::from_secs(6),
    );
    assert_eq!(due(&guard, at), None, "an open request may take its time");
    let data = frame(DATA, 0, 1, 100);
    guard.received(&data[..50], at);
    assert_eq!(due(&guard, at), Some((30, Closed::FrameSlow)));
    guard.received(&data[50..], at);
    guard.sent(&frame(HEADERS, END_HEADERS, 1, 3), at);
    assert_eq!(due(&guard, at), None);
    let waiting = guard.answers().wait(at + Duration::from_secs(60));
    assert_eq!(due(&guard, at), Some((60, Closed::AnswerSlow)));
    guard.answers().taken(waiting);
    guard.writes(false, at);
    guard.writes(false, at + Duration::from_secs(9));
    assert_eq!(due(&guard, at), Some((30, Closed::AnswerSlow)));
    guard.writes(true, at);
    guard.sent(&frame(HEADERS, END_STREAM, 1, 3), at);
    assert_eq!(due(&guard, at), Some((120, Closed::Idle)));
}

#[tokio::test]
async fn who_is_late_is_told_by_the_timer() {
    let mut guard = guard(60_000);
    guard.limits.headers = Duration::from_millis(20);
    let late = std::future::poll_fn(|cx| guard.poll_late(cx)).await;
    assert_eq!(
        (late, guard.ended_by()),
        (Closed::RequestSlow, Some(Closed::RequestSlow))
    );
}

#[tokio::test]
async fn n09_frames_that_ask_for_nothing_are_counted_and_what_we_send_allows_more() {
    let now = Instant::now();
    for kind in [2, 4, 6, 8, 9, 0, 77] {
        let mut guard = guard(60_000);
        let sent = (0..2_000).take_while(|_| guard.received(&frame(kind, 4, 0, 0), now).is_none());
        assert_eq!(sent.count(), 1_000, "kind {kind}");
        assert_eq!(guard.ended_by(), Some(Closed::FrameFlood));
    }
    let mut resets = guard(60_000);
    let sent = (0..2_000).take_while(|_| resets.received(&frame(RST_STREAM, 0, 1, 4), now).is_none());
    assert_eq!(sent.count(), 200);
    let mut reader = guard(60_000);
    for _ in 0..5_000 {
        reader.sent(&frame(DATA, 0, 1, 1_024), now);
        assert_eq!(reader.received(&frame(8, 0, 0, 4), now), None);
    }
    // What carries something is bounded elsewhere.
    let mut writer = guard(60_000);
    for _ in 0..5_000 {
        assert_eq!(writer.received(&frame(DATA, 0, 1, 10), now), None);
    }
}

#[tokio::test]
async fn n09_requests_are_counted_when_they_begin_for_all_connections_of_a_key() {
    let now = Instant::now();
    let mut first = guard(600);
    let mut second = Guard::new(first.identity, Arc::clone(&first.started), first.limits, now);
    let request = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, 3);
    for n in 0..30 {
        assert_eq!(first.received(&request(n), now), None);
        assert_eq!(second.received(&request(n), now), None);
        first.sent(&frame(RST_STREAM, 0, 2 * n + 1, 4), now);
    }
    assert_eq!(second.received(&request(30), now), Some(Closed::RequestFlood));
    assert_eq!(first.received(&request(30), now + Duration::from_secs(1)), None);
    // Requests that are never answered, whatever the rate.
    let mut open = guard(6_000_000);
    let sent = (0..2_000).take_while(|n| open.received(&request(*n), now).is_none());
    assert_eq!(sent.count(), OPEN_MAX_COUNT);
}

#[tokio::test]
async fn a_goodbye_of_ours_ends_nothing_that_is_open() {
    let mut guard = guard(60_000);
    guard.received(&frame(HEADERS, END_HEADERS, 1, 3), Instant::now());
    let farewell = frame(GOAWAY, 0, 0, 8);
    guard.sent(&farewell, Instant::now());
    assert_eq!((guard.closed, guard.ended_by()), (None, None), "a stop");
    let calm = [&farewell[..16], &[0x0b]].concat();
    guard.sent(&calm, Instant::now());
    assert_eq!((guard.closed, guard.ended_by()), (None, Some(Closed::Protocol)));
}

//! What a refusal must leave: nothing in the store, one more in the counters, one leaf in the log.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use prost::Message;
use schakel_proto::{refusal, wire};

use super::network::Town;
use super::peer::Client;

/// Longest wait for the log to show what must be in it.
const LOG_LIMIT: Duration = Duration::from_secs(30);
/// Code of an empty submission, with which a look at the log ends.
pub const MARK: &str = "FRAMES_OUT_OF_ORDER";

/// How often each code was said.
pub type Counts = BTreeMap<String, u64>;

/// The broker's counters of refused packets, by code.
pub fn refused_submissions(town: &Town) -> Counts {
    let text = metrics(town);
    let line = |line: &str| {
        let (code, count) = line
            .strip_prefix("schakel_refusals_total{what=\"submission\",code=\"")?
            .split_once("\"} ")?;
        Some((code.to_owned(), count.parse().unwrap()))
    };
    text.lines().filter_map(line).collect()
}

/// What the broker's `/metrics` says.
pub fn metrics(town: &Town) -> String {
    let mut stream = TcpStream::connect(town.health_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// How often each of these codes stands here.
pub fn tally<'a>(codes: impl IntoIterator<Item = &'a String>) -> Counts {
    let mut counts = Counts::new();
    for code in codes {
        *counts.entry(code.clone()).or_default() += 1;
    }
    counts
}

/// The codes of all rejections of its packets that the log shows to a member, in their order. An empty submission
/// (one more refusal) ends the look: the log is in the order of the answers.
pub async fn rejection_leaves(client: &mut Client) -> Vec<String> {
    let refused = client.submit(tokio_stream::iter(Vec::new())).await.unwrap_err();
    assert_eq!(refusal::from_status(&refused).unwrap().code, MARK);
    let request = wire::FollowEvidenceRequest {
        after_index_plus_one: 0,
    };
    let mut frames = client.follow_evidence(request).await.unwrap().into_inner();
    let mut codes = Vec::new();
    loop {
        let frame = tokio::time::timeout(LOG_LIMIT, frames.message()).await;
        let frame = frame.expect("the mark in the log in time").unwrap().unwrap();
        let body = wire::EvidenceBody::decode(frame.evidence.unwrap().body).unwrap();
        if body.event != "SubmissionRejection" {
            continue;
        }
        if body.reason == MARK {
            return codes;
        }
        codes.push(body.reason);
    }
}

//! What a refusal must leave: nothing in the store, one more in the counters, one leaf in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use prost::Message;
use schakel_proto::wire;

use super::network::Town;
use super::peer::Client;

/// Longest wait for the log to show what must be in it.
const LOG_LIMIT: Duration = Duration::from_secs(30);

/// The broker's counters of refusals: `submission SIGNATURE_BAD` to how many.
pub fn refusals(town: &Town) -> BTreeMap<String, u64> {
    let text = page(town.health_address(), "/metrics");
    let line = |line: &str| {
        let (labels, count) = line.strip_prefix("schakel_refusals_total{what=\"")?.split_once("\"} ")?;
        Some((labels.replace("\",code=\"", " "), count.parse().unwrap()))
    };
    text.lines().filter_map(line).collect()
}

/// What was counted between two looks.
pub fn counted(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = after.iter().map(|(what, count)| {
        let former = before.get(what).copied().unwrap_or_default();
        (what.clone(), count - former)
    });
    more.filter(|(_, count)| *count > 0).collect()
}

fn page(address: SocketAddr, route: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {route} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    answer
}

/// The log as one member sees it, read onwards.
#[derive(Default)]
pub struct Rejections {
    next: u64,
}

impl Rejections {
    /// The codes of the rejections of submissions since the last look, once `count` are there; then no further one
    /// follows: the log is in order, and a mark is set behind them by `mark`.
    pub async fn take(&mut self, client: &mut Client, count: usize) -> Vec<String> {
        let request = wire::FollowEvidenceRequest {
            after_index_plus_one: self.next,
        };
        let mut frames = client.follow_evidence(request).await.unwrap().into_inner();
        let mut codes = Vec::new();
        while codes.len() < count {
            let frame = tokio::time::timeout(LOG_LIMIT, frames.message()).await;
            let Ok(frame) = frame else { break };
            let evidence = frame.unwrap().unwrap().evidence.unwrap();
            self.next = evidence.index + 1;
            let body = wire::EvidenceBody::decode(evidence.body).unwrap();
            if body.event == "SubmissionRejection" {
                assert!(body.packet_id.is_empty() || body.reason.starts_with("DENY"), "{body:?}");
                codes.push(body.reason);
            }
        }
        codes
    }
}

/// Names that occur twice.
pub fn twice(names: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| !seen.insert(*name)).cloned().collect()
}

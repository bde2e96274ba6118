//! What brokers tell each other through the database: each commit says which queues, checkpoints and rules it changed.
//! What is missed is looked for: a lost connection makes everything be looked at anew.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::broadcast;

use super::Base;
use super::connect::ears;
use crate::store::error::StoreError;
use crate::store::heard::Heard;
use crate::store::kv::{Batch, keys};

/// Words of one commit; of more, everything is said to have changed.
const WORDS_MAX_COUNT: usize = 64;
/// How long it may be quiet before the server is asked whether it is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pauses between attempts to listen again.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(3);

/// There are pending leaves: for sequencers only.
const LEAVES: &str = "leaves";

/// What a commit tells.
pub(super) fn payloads(batch: &Batch) -> Vec<String> {
    let words = Heard::of_batch(batch);
    let mut said: Vec<String> = if words.len() > WORDS_MAX_COUNT {
        vec![Heard::Everything.to_text()]
    } else {
        words.iter().map(Heard::to_text).collect()
    };
    // Each entry takes the next number.
    let leaves = |(key, change): (&Vec<u8>, &Option<Vec<u8>>)| change.is_some() && key == keys::NEXT_SEQUENCE;
    if batch.iter().any(leaves) {
        said.push(LEAVES.to_owned());
    }
    said
}

/// Listens until the store is gone, on a connection of its own that also shows that this broker lives.
pub(super) async fn listen(
    base: Weak<Base>,
    heard: broadcast::Sender<Heard>,
    first: tokio::sync::oneshot::Sender<()>,
) {
    let mut first = Some(first);
    let mut pause = AGAIN_MIN;
    while let Some(strong) = base.upgrade() {
        let (sender, mut receiver) = ears();
        let opened = open(&strong, sender).await;
        strong.reached(opened.is_ok());
        let timeline = strong.connector.timeline();
        drop(strong);
        match opened {
            Ok(client) => {
                pause = AGAIN_MIN;
                if let Some(first) = first.take() {
                    let _ = first.send(());
                }
                // What was said before is not repeated.
                tell(&base, &heard, &Heard::Everything.to_text());
                tell(&base, &heard, LEAVES);
                while let Some(payload) = next(&base, (&client, timeline), &mut receiver).await {
                    if let Some(payload) = payload {
                        tell(&base, &heard, &payload);
                    }
                }
                drop(client);
            }
            Err(why) => tracing::warn!(%why, "the database is not listened to"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// What is said next, nothing for a while (`Some(None)`), or nothing any more: the connection has ended, does not answer,
/// or leads to a server that was replaced since.
async fn next(
    base: &Weak<Base>,
    (client, timeline): (&tokio_postgres::Client, u32),
    receiver: &mut tokio::sync::mpsc::Receiver<String>,
) -> Option<Option<String>> {
    match tokio::time::timeout(LOOK_EVERY, receiver.recv()).await {
        Ok(payload) => payload.map(Some),
        Err(_) => {
            let answers = tokio::time::timeout(LOOK_EVERY, client.simple_query("SELECT 1")).await;
            let stands = base.upgrade()?.connector.timeline() == timeline;
            (stands && matches!(answers, Ok(Ok(_)))).then_some(None)
        }
    }
}

async fn open(
    base: &Arc<Base>,
    sender: tokio::sync::mpsc::Sender<String>,
) -> Result<tokio_postgres::Client, StoreError> {
    let client = base.connector.bare(Some(sender)).await?;
    let alive = "SELECT pg_advisory_lock($1, $2)";
    let taken = client.query_one(alive, &[&base.class, &base.owner]).await;
    taken.map_err(super::connect::away)?;
    let listen = format!("LISTEN {}", base.connector.options().schema);
    client
        .batch_execute(&listen)
        .await
        .map_err(super::connect::away)?;
    Ok(client)
}

fn tell(base: &Weak<Base>, heard: &broadcast::Sender<Heard>, payload: &str) {
    if payload == LEAVES {
        if let Some(ring) = base.upgrade().and_then(|base| base.ring.get().cloned()) {
            ring.notify_one();
        }
        return;
    }
    // Nobody may be listening yet.
    let _ = heard.send(Heard::parse(payload));
}

#[cfg(test)]
mod tests {
    use schakel_proto::ids::PacketId;
    use schakel_proto::party::AgencyId;
    use schakel_proto::time::Timestamp;

    use super::*;

    #[test]
    fn a_commit_says_what_it_changed_and_many_queues_are_everything() {
        let agency = |n: usize| AgencyId::new(&format!("caw-{n}")).unwrap();
        let queued = |n| {
            keys::queue(
                &agency(n),
                1,
                Timestamp::from_millis(5),
                &PacketId::from_bytes([1; 16]),
            )
        };
        let mut batch = Batch::from([
            (queued(1), Some(vec![])),
            (queued(2), None),
            (keys::NEXT_SEQUENCE.to_vec(), Some(vec![])),
            (keys::CHECKPOINT.to_vec(), Some(vec![])),
        ]);
        let mut said = payloads(&batch);
        said.sort();
        assert_eq!(said, ["leaves", "tree", "work caw-1"]);
        batch.extend((0..100).map(|n| (queued(n), Some(vec![]))));
        assert_eq!(payloads(&batch), ["everything", "leaves"]);
    }
}

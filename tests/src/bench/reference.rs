//! What the same machine gives at that moment without a broker: synced appends, verifications, the bare protocol.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use schakel_proto::directory::Directory;
use schakel_proto::limits;
use schakel_proto::openpgp::SigningKeys;
use schakel_proto::wire;
use tokio::sync::Semaphore;

use super::bare::BareServer;
use super::figures::rate;
use super::load::Ready;
use super::{SENDER, Trouble};
use crate::system::network::{Town, agency, now};
use crate::system::peer::{self, Client};

/// Messages of the bare stream are cut to this, as the parts of a submission are.
const MESSAGE_MAX_BYTES: u64 = limits::CHUNK_MAX_BYTES as u64;

/// Records a second that are appended to a file in `folder`, `group` records of `bytes` before each `fdatasync`.
///
/// # Errors
/// The file cannot be written.
pub fn appends(folder: &Path, (bytes, group): (u64, usize), time: Duration) -> Result<f64, Trouble> {
    let path = folder.join("appends");
    let mut file = std::fs::File::create(&path)?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_mul(group);
    let records: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        file.write_all(&records)?;
        file.sync_data()?;
        count += group;
    }
    let found = rate(count, began.elapsed());
    std::fs::remove_file(path)?;
    Ok(found)
}

/// The keys that verify the sender's manifests.
pub fn sender_keys(directory: &Directory) -> Vec<SigningKeys> {
    let sender = directory.agency(&agency(SENDER)).unwrap();
    let fingerprints = sender.certificates().map(|certificate| certificate.fingerprint());
    fingerprints
        .filter_map(|one| sender.signing_keys(&one).cloned())
        .collect()
}

/// Manifests a second whose signature one processor verifies. Nothing remembers a verified signature.
///
/// # Errors
/// One does not hold.
pub fn verifications(keys: &[SigningKeys], packets: &[Ready], time: Duration) -> Result<f64, Trouble> {
    let (began, mut count) = (Instant::now(), 0);
    let at = now();
    while began.elapsed() < time {
        for packet in packets {
            let signed = &packet.manifest;
            let held = keys
                .iter()
                .any(|keys| keys.verify(&signed.bytes, &signed.signature, at).is_ok());
            if !held {
                return Err(Trouble::new(format!(
                    "the manifest of {} does not verify",
                    packet.id
                )));
            }
            count += 1;
        }
    }
    Ok(rate(count, began.elapsed()))
}

/// Clients of the bare server, with the sender's identity.
pub fn bare_clients(town: &Town, server: &BareServer, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| peer::as_agent_at(town, &agency(SENDER), server.address()))
        .collect()
}

/// The same submissions a second to the bare server, `in_flight` at once.
///
/// # Errors
/// A call fails.
pub async fn bare_calls(clients: &[Client], packets: Vec<Ready>, in_flight: usize) -> Result<f64, Trouble> {
    let places = Arc::new(Semaphore::new(in_flight));
    let (began, count) = (Instant::now(), packets.len());
    let mut calls = tokio::task::JoinSet::new();
    for (number, packet) in packets.into_iter().enumerate() {
        let permit = Arc::clone(&places).acquire_owned().await;
        let permit = permit.map_err(|_| Trouble::new("the load ended"))?;
        let mut client = clients[number % clients.len()].clone();
        calls.spawn(async move {
            let answer = client.submit(tokio_stream::iter(packet.frames)).await;
            drop(permit);
            answer.map(drop)
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(|_| Trouble::new("a call to the bare server failed"))??;
    }
    Ok(rate(count, began.elapsed()))
}

/// Messages a second with `bytes` of content each, on one stream to the bare server.
///
/// # Errors
/// The call fails.
pub async fn bare_messages(client: &Client, bytes: u64, time: Duration) -> Result<f64, Trouble> {
    let chunk = wire::SubmitChunk {
        part_id: vec![1; 16].into(),
        data: vec![7; usize::try_from(bytes.min(MESSAGE_MAX_BYTES)).unwrap_or(1)].into(),
        ..Default::default()
    };
    let frame = wire::SubmitFrame {
        frame: Some(wire::submit_frame::Frame::Chunk(chunk)),
    };
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (began, counted) = (Instant::now(), Arc::clone(&count));
    let frames = futures_util::stream::repeat(frame)
        .take_while(move |_| std::future::ready(began.elapsed() < time))
        .inspect(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    client.clone().submit(frames).await?;
    Ok(rate(
        count.load(std::sync::atomic::Ordering::Relaxed),
        began.elapsed(),
    ))
}

//! The whole way of a few packets on the real store, one thing after the other: so that the n-th system call of a kind is
//! about the same one in each run, and each can be made to fail in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schakel_broker::log::entry::{DecisionDraft, EntryDraft};
use schakel_broker::log::sequencer::{LogHandle, LogState};
use schakel_broker::store::{
    AckOutcome, Acknowledged, Acknowledging, DecidedPart, HandOver, HandedOver, Lease, LeaseRequest,
    PartState, Stage, StoreError, Verdict,
};
use schakel_proto::evidence::Event;
use schakel_proto::ids::{DeliveryId, Digest, PacketId};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::network::{agency, now};
use super::{Place, Printed, accept, check_one, say};

/// Packets that go their way.
const PACKETS: usize = 3;
/// Longest wait for a checkpoint; the log may have stopped.
const INTEGRATED: Duration = Duration::from_secs(5);

/// One thread that runs and one that waits for the disk: the same calls in the same order each time. Nothing is waited for
/// but time and other threads, so that no descriptor is written to that is not a file's.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

/// Walks, and says `acked PACKET LEAF LENGTH`, `handed PACKET LEAF`, `settling PACKET`, `settled PACKET LEAF` and
/// `refused WHY` as it goes; `end` at the end.
///
/// # Errors
/// The store could not be opened.
pub async fn walk(folder: &Path, seed: u64) -> Result<(), StoreError> {
    let place = Place::open(folder).await?;
    let (sequencer, log) = place.sequencer().await?;
    say("open");
    let mut rng = StdRng::seed_from_u64(seed);
    for number in 0..PACKETS {
        let length = [300, 90_000, 20_000][number % 3];
        match accept(&place, length, &mut rng).await {
            Ok((packet, leaf)) => say(&format!("acked {packet} {leaf} {length}")),
            Err(error) => say(&format!("refused {error}")),
        }
        integrated(&place, &log).await;
        // What an earlier walk left is taken up first.
        if let Err(error) = deliver(&place, &mut rng).await {
            say(&format!("refused {error}"));
        }
        integrated(&place, &log).await;
    }
    sequencer.stop().await;
    place.store.close().await;
    say("end");
    Ok(())
}

/// Waits until nothing is pending any more: what comes next finds the log at rest.
async fn integrated(place: &Place, log: &LogHandle) {
    let began = tokio::time::Instant::now();
    while began.elapsed() < INTEGRATED {
        match log.state() {
            LogState::Running { .. } => {}
            LogState::Frozen { .. } | LogState::Stopped(_) => return,
        }
        match place.store.pending(1).await {
            Ok(pending) if pending.is_empty() => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(_) => return,
        }
    }
}

async fn deliver(place: &Place, rng: &mut StdRng) -> Result<(), StoreError> {
    let request = LeaseRequest {
        recipient: agency("ocmw-boom"),
        now: now(),
        lease_millis: 60_000,
        tokens: vec![DeliveryId::random(rng)],
    };
    for lease in place.store.lease(request).await? {
        let handing = hand_over(place, &lease, rng).await?;
        let packet = lease.packet.packet;
        let handed = place.store.hand_over(handing.clone()).await?;
        let HandedOver::Committed {
            leaf_hash: Some(leaf),
            ..
        } = handed
        else {
            say(&format!("refused {handed:?}"));
            continue;
        };
        say(&format!("handed {packet} {leaf}"));
        for part in &lease.packet.parts {
            let mut reader = place.store.content(packet, part.part, wire::Profile::V6).await?;
            while reader.next().await?.is_some() {}
        }
        say(&format!("settling {packet}"));
        let acknowledging = acknowledging(place, &handing, leaf, rng).await?;
        match place.store.acknowledge(acknowledging).await? {
            Acknowledged::Settled { leaf_hash } | Acknowledged::Repeated { leaf_hash } => {
                say(&format!("settled {packet} {leaf_hash}"));
            }
            Acknowledged::Unknown => say("refused an acknowledgement of nothing"),
        }
    }
    Ok(())
}

fn about(event: Event, packet: PacketId, at: Timestamp) -> EntryDraft {
    let (sender, recipient) = (agency("pz-rupel"), agency("ocmw-boom"));
    let mut draft = EntryDraft::new(event, at)
        .concerning(&sender, true)
        .concerning(&recipient, false);
    (draft.packet, draft.sender, draft.recipient) = (Some(packet), Some(sender), Some(recipient));
    draft
}

async fn hand_over(place: &Place, lease: &Lease, rng: &mut StdRng) -> Result<HandOver, StoreError> {
    let at = now();
    let facts = place.store.facts(lease.packet.case).await?;
    let decided = |state: &PartState| DecidedPart {
        part: state.part,
        verdict: Verdict::Deliver,
        reason: "ALLOW_TEST".to_owned(),
        obligations: Vec::new(),
    };
    let open = lease.parts.iter().filter(|state| !state.stage.is_final());
    let parts: Vec<DecidedPart> = open.map(decided).collect();
    let in_words = |part: &DecidedPart| wire::PartDecision {
        part_id: part.part.to_vec().into(),
        outcome: "deliver".to_owned(),
        reason: part.reason.clone(),
        ..Default::default()
    };
    let decision = wire::Decision {
        packet_id: lease.packet.packet.to_vec().into(),
        recipient: lease.recipient.to_string(),
        at_ms: at.millis(),
        bundle_digest: Digest::of(b"bundle").to_vec().into(),
        bundle_version: 1,
        directory_version: 1,
        parts: parts.iter().map(in_words).collect(),
        ..Default::default()
    };
    let mut draft = about(Event::ContentConsignment, lease.packet.packet, at);
    draft.decision = Some(DecisionDraft::split(decision));
    Ok(HandOver {
        token: lease.token,
        packet: lease.packet.packet,
        recipient: lease.recipient.clone(),
        facts_head: facts.head,
        facts_count: facts.count(),
        bundle_version: 1,
        directory_version: 1,
        parts,
        entry: Some(place.maker.make(draft, rng).await?),
        at,
    })
}

async fn acknowledging(
    place: &Place,
    handed: &HandOver,
    consignment: Digest,
    rng: &mut StdRng,
) -> Result<Acknowledging, StoreError> {
    let mut draft = about(Event::ContentHandover, handed.packet, now());
    let mut signature = vec![0; 150];
    rng.fill(signature.as_mut_slice());
    draft.attachment = Some(wire::Signed {
        bytes: vec![6; 300].into(),
        signature: signature.into(),
    });
    Ok(Acknowledging {
        packet: handed.packet,
        recipient: handed.recipient.clone(),
        consignment,
        outcome: AckOutcome::Received,
        reason: String::new(),
        obligation: String::new(),
        parts: handed.parts.iter().map(|part| part.part).collect(),
        entry: place.maker.make(draft, rng).await?,
        at: handed.at,
    })
}

/// What walks said, of one folder, in their order.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// What was accepted, and the checkpoints.
    pub printed: Printed,
    /// Packet and leaf of each hand-over.
    handed: BTreeMap<String, String>,
    /// Packets whose content may be gone.
    settling: BTreeSet<String>,
    /// Packet and leaf of each acknowledgement that was taken.
    settled: BTreeMap<String, String>,
    /// What was answered after the first refusal.
    pub after_refusal: u64,
    /// Whether the last walk came to its end.
    pub ended: bool,
}

impl Said {
    /// Adds what a walk printed; a last line without its end does not count.
    pub fn read(&mut self, text: &str) {
        self.printed.read(text);
        (self.after_refusal, self.ended) = (0, false);
        let mut refused = false;
        for line in text.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            let answered = ["acked", "handed", "settled"].contains(&words[0]);
            self.after_refusal += u64::from(refused && answered);
            match words.as_slice() {
                ["handed", packet, leaf] => {
                    drop(self.handed.insert((*packet).to_owned(), (*leaf).to_owned()))
                }
                ["settling", packet] => drop(self.settling.insert((*packet).to_owned())),
                ["settled", packet, leaf] => {
                    self.settled.insert((*packet).to_owned(), (*leaf).to_owned());
                }
                ["refused", ..] => refused = true,
                ["end"] => self.ended = true,
                _ => {}
            }
        }
    }

    /// How many answers there were.
    pub fn answers(&self) -> usize {
        self.printed.acked.len() + self.handed.len() + self.settled.len()
    }
}

/// Opens the store anew and checks everything that was said; one finding per loss. Then everything that waits is
/// delivered: what was settled does not come again.
///
/// # Errors
/// The store does not open, or does not serve.
pub async fn check(folder: &Path, said: &Said) -> Result<Vec<String>, StoreError> {
    let place = Place::open(folder).await?;
    let (sequencer, _log) = place.sequencer().await?;
    // What was pending is under a checkpoint then.
    sequencer.stop().await;
    let mut findings = Vec::new();
    for (packet, (leaf, length)) in &said.printed.acked {
        let gone = said.settling.contains(packet);
        let found = if gone {
            known(&place, packet, leaf).await
        } else {
            check_one(&*place.store, packet, leaf, *length).await
        };
        findings.extend(found.err().map(|lost| format!("{packet}: {lost}")));
    }
    for (packet, leaf) in said.handed.iter().chain(&said.settled) {
        let leaf: Digest = leaf.parse().unwrap();
        if place.store.index_of(leaf).await?.is_none() {
            findings.push(format!("{packet}: an answer's leaf is not in the log"));
        }
    }
    for packet in said.settled.keys() {
        let outcome = place.store.outcome(packet.parse().unwrap()).await?;
        let parts = outcome.map(|outcome| outcome.parts).unwrap_or_default();
        if parts.is_empty() || parts.iter().any(|part| part.stage != Stage::Received) {
            findings.push(format!("{packet}: its acknowledgement is gone"));
        }
    }
    findings.extend(once(&place).await?);
    place.store.close().await;
    Ok(findings)
}

async fn known(place: &Place, packet: &str, leaf: &str) -> Result<(), String> {
    let id: PacketId = packet.parse().unwrap();
    let stored = place.store.packet(id).await.map_err(|e| e.to_string())?;
    match stored {
        Some(stored) if stored.leaf_hash.to_string() == leaf => Ok(()),
        Some(stored) => Err(format!("its leaf is {}, not {leaf}", stored.leaf_hash)),
        None => Err("the packet is gone".to_owned()),
    }
}

/// Each packet was accepted once in the log, and is in the store.
async fn once(place: &Place) -> Result<Vec<String>, StoreError> {
    let (mut accepted, mut from) = (BTreeMap::<PacketId, u32>::new(), 0);
    loop {
        let entries = place.store.records(from, 500).await?;
        let Some(last) = entries.last() else { break };
        from = last.index + 1;
        for entry in &entries {
            let body = <wire::EvidenceBody as prost::Message>::decode(entry.body.clone()).unwrap();
            if body.event == "SubmissionAcceptance" {
                let packet = PacketId::try_from(body.packet_id.as_ref()).unwrap();
                *accepted.entry(packet).or_default() += 1;
            }
        }
    }
    let mut findings = Vec::new();
    for (packet, times) in accepted {
        if times != 1 {
            findings.push(format!("{packet} was accepted {times} times"));
        }
        if place.store.packet(packet).await?.is_none() {
            findings.push(format!("{packet} is in the log and not in the store"));
        }
    }
    Ok(findings)
}

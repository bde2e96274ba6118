//! A storm of writes on the broker's real store: packets accepted as fast as it takes them, each printed only once
//! the store has answered; and a check, after whatever happened to the disk, that everything printed is there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use schakel_broker::erasure::ErasureKeys;
use schakel_broker::log::entry::{EntryDraft, EntryMaker};
use schakel_broker::log::sequencer::{LogState, Sequencer};
use schakel_broker::store::sled::SledStore;
use schakel_broker::store::{
    Acceptance, Accepted, FollowUp, NewPart, NewRecipient, NewSealing, Store, StoreError,
};
use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, Digest, PacketId, PartId};
use schakel_proto::party::NetworkName;
use schakel_proto::tlog::checkpoint::LogSecret;
use schakel_proto::wire;

use super::network::{agency, now};

pub mod steps;

pub mod look;

const ORIGIN: &str = "storm.example/log";
/// Packets on their way at once.
pub const WRITERS: u64 = 8;
/// Refusals after which a writer gives up.
const REFUSALS_MAX_COUNT: u32 = 2_000;
/// Every so many packets a large part, which becomes a file.
const LARGE_EVERY: u64 = 5;

/// The store in `folder/data`, its erasure keys beside it.
struct Place {
    store: Arc<dyn Store>,
    maker: EntryMaker,
}

impl Place {
    async fn open(folder: &Path) -> Result<Self, StoreError> {
        let network = NetworkName::new("storm").unwrap();
        let keys = ErasureKeys::open(&folder.join("erasure"))?;
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&folder.join("data")).await?);
        Ok(Self {
            store,
            maker: EntryMaker::new(network, keys),
        })
    }

    async fn sequencer(&self) -> Result<(Sequencer, schakel_broker::log::sequencer::LogHandle), StoreError> {
        // The same key at each start: what is tested is the store, not the key's file.
        let secret = LogSecret::generate(ORIGIN, &mut StdRng::seed_from_u64(1)).unwrap();
        Sequencer::start(Arc::clone(&self.store), secret).await
    }
}

/// Content that can be made again from the packet's id.
fn content(packet: PacketId, length: usize) -> Vec<u8> {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(packet.as_bytes());
    let mut bytes = vec![0; length];
    StdRng::from_seed(seed).fill_bytes(&mut bytes);
    bytes
}

/// A line on standard output; if it cannot be written, nothing was said.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _said = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes until it is killed or refused. Prints `trying PACKET` before and `acked PACKET LEAF LENGTH` for each packet that the store
/// answered, `checkpoint SIZE` for each checkpoint, `refused WHY` when the store takes no more.
///
/// # Errors
/// The store could not be opened.
pub async fn write(folder: &Path, seed: u64) -> Result<(), StoreError> {
    let place = Arc::new(Place::open(folder).await?);
    let (_sequencer, log) = place.sequencer().await?;
    let mut watch = log.watch();
    tokio::spawn(async move {
        while watch.changed().await.is_ok() {
            if let LogState::Running { size } = *watch.borrow_and_update() {
                say(&format!("checkpoint {size}"));
            }
        }
    });
    say("open");
    let count = Arc::new(AtomicU64::new(0));
    let writer = |number| {
        let (place, count) = (Arc::clone(&place), Arc::clone(&count));
        async move {
            let mut rng = StdRng::seed_from_u64(seed ^ (number << 48));
            let mut refusals = 0;
            while refusals < REFUSALS_MAX_COUNT {
                let turn = count.fetch_add(1, Ordering::Relaxed);
                let large = turn.is_multiple_of(LARGE_EVERY);
                let length = if large {
                    rng.random_range(50_000..200_000)
                } else {
                    rng.random_range(100..4_000)
                };
                match accept(&place, length, &mut rng).await {
                    Ok((packet, leaf)) => say(&format!("acked {packet} {leaf} {length}")),
                    Err(error) => {
                        refusals += 1;
                        say(&format!("refused {error}"));
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                }
            }
        }
    };
    let tasks: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(writer(number))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    Ok(())
}

async fn accept(place: &Place, length: usize, rng: &mut StdRng) -> Result<(PacketId, Digest), StoreError> {
    let at = now();
    let (packet, case, part) = (PacketId::new(at, rng), CaseRef::random(rng), PartId::random(rng));
    say(&format!("trying {packet}"));
    let bytes = content(packet, length);
    let mut spool = place.store.spool(length as u64).await?;
    spool.write(&bytes).await?;
    let content = spool.finish(Digest::of(&bytes)).await?;
    let (sender, recipient) = (agency("pz-rupel"), agency("ocmw-boom"));
    let mut draft = EntryDraft::new(Event::SubmissionAcceptance, at).concerning(&sender, false);
    (draft.packet, draft.sender) = (Some(packet), Some(sender.clone()));
    let entry = place.maker.make(draft, rng).await?;
    let opening = wire::Opening {
        nonce: vec![1; 32].into(),
        descriptor: vec![2; 200].into(),
    };
    let manifest = [packet.as_bytes().as_slice(), &[3; 5_000]].concat();
    let acceptance = Acceptance {
        packet,
        manifest_digest: Digest::of(&manifest),
        case,
        sender,
        manifest: wire::Signed {
            bytes: manifest.into(),
            signature: vec![4; 150].into(),
        },
        accepted_at: at,
        expires: at.plus_millis(1_000_000),
        priority: 2,
        follow_up: FollowUp::default(),
        recipients: vec![NewRecipient {
            agency: recipient.clone(),
            opening: opening.clone(),
        }],
        parts: vec![NewPart {
            part,
            opening,
            recipients: vec![recipient.clone()],
            sealings: vec![NewSealing {
                profile: wire::Profile::V6,
                content,
            }],
        }],
        key_packets: vec![wire::KeyPacket {
            part_id: part.to_vec().into(),
            recipient: recipient.to_string(),
            packet: vec![5; 1_200].into(),
        }],
        entry,
    };
    match place.store.accept(acceptance).await? {
        Accepted::New(accepted) => Ok((packet, accepted.leaf_hash)),
        other => panic!("a new packet was answered as {other:?}"),
    }
}

/// What a writer printed.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// Packets that were on their way, whatever came of it.
    pub tried: Vec<PacketId>,
    /// Packet -> leaf and length of its content.
    pub acked: BTreeMap<String, (String, usize)>,
    /// Size of the newest checkpoint.
    pub checkpoint: u64,
    /// How often it was refused.
    pub refused: u64,
    /// Packets acknowledged after the first refusal.
    pub acked_after_refusal: u64,
}

impl Printed {
    /// Adds what was printed; a last line without its end does not count.
    pub fn read(&mut self, text: &str) {
        for line in text.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["acked", packet, leaf, length] => {
                    let value = ((*leaf).to_owned(), length.parse().unwrap());
                    self.acked.insert((*packet).to_owned(), value);
                    self.acked_after_refusal += u64::from(self.refused > 0);
                }
                ["trying", packet] => self.tried.push(packet.parse().unwrap()),
                ["checkpoint", size] => self.checkpoint = self.checkpoint.max(size.parse().unwrap()),
                ["refused", ..] => self.refused += 1,
                _ => {}
            }
        }
    }
}

/// Opens the store anew and checks everything that was printed: one finding per loss.
///
/// # Errors
/// The store does not open.
pub async fn check(folder: &Path, printed: &Printed) -> Result<Vec<String>, StoreError> {
    let place = Place::open(folder).await?;
    let mut findings = Vec::new();
    let size = place.store.latest_checkpoint().await?.map_or(0, |c| c.size);
    if size < printed.checkpoint {
        findings.push(format!(
            "checkpoint {} was signed, the store has {size}",
            printed.checkpoint
        ));
    }
    let (sequencer, _log) = place.sequencer().await?;
    sequencer.stop().await;
    for (packet, (leaf, length)) in &printed.acked {
        if let Err(lost) = check_one(&*place.store, packet, leaf, *length).await {
            findings.push(format!("{packet}: {lost}"));
        }
    }
    place.store.close().await;
    Ok(findings)
}

async fn check_one(store: &dyn Store, packet: &str, leaf: &str, length: usize) -> Result<(), String> {
    let said = |e: StoreError| e.to_string();
    let id: PacketId = packet.parse().unwrap();
    let stored = store
        .packet(id)
        .await
        .map_err(said)?
        .ok_or("the packet is gone")?;
    if stored.leaf_hash.to_string() != leaf {
        return Err(format!("its leaf is {}, not {leaf}", stored.leaf_hash));
    }
    if store.index_of(stored.leaf_hash).await.map_err(said)?.is_none() {
        return Err("its leaf is not in the log".to_owned());
    }
    let part = stored.parts.first().ok_or("its part is gone")?;
    let mut reader = store
        .content(id, part.part, wire::Profile::V6)
        .await
        .map_err(said)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await.map_err(said)? {
        bytes.extend_from_slice(&chunk);
    }
    if bytes == content(id, length) {
        Ok(())
    } else {
        Err("its content is another".to_owned())
    }
}

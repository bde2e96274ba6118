//! The inbox: one folder a hand-over. It appears whole, by one rename, with the content, the proof and
//! our signed answer in it; so a part is there exactly once or not at all, whatever stops us when.
//!
//! ```text
//! inbox/<packet>/<consignment>/state.json     what it is, what we answered
//! inbox/<packet>/<consignment>/<part>.pgp     session-key packet and encrypted data (sealed at rest)
//! inbox/<packet>/<consignment>/<part>.bin     the content (plain at rest), beside it header-<part>
//! inbox/<packet>/<consignment>/manifest.bin   the manifest and the sender's signature
//! inbox/<packet>/<consignment>/hand-over.bin  openings, key packets, evidence
//! inbox/<packet>/<consignment>/answer.bin     our signed acknowledgement, sent until it is settled
//! inbox/<packet>/<consignment>/evidence/      checked log entries about our answer and later words
//! spool/                                      what is coming in; emptied at start
//! quarantine/                                 what did not hold, with the reason
//! ```

pub mod accept;

pub mod blame;

pub mod keep;

pub mod marks;

pub mod open;

pub mod quarantine;

pub mod record;

pub mod spool;

pub mod verify;

mod writing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::limits;
use schakel_proto::wire;

use crate::config::AtRest;
use crate::disk::{self, Disk};
use crate::problem::{Kind, Problem};
use accept::Answering;
use marks::Marks;
use quarantine::QuarantineMax;
use record::{Answer, Delivery, ReceivedPart};
use spool::Incoming;

/// Log entries kept beside one hand-over: an answer, and a few words on each part.
const EVIDENCE_MAX_COUNT: usize = 512;

/// All hand-overs that were answered.
pub struct Inbox {
    disk: Disk,
    dir: PathBuf,
    spool: PathBuf,
    quarantine: PathBuf,
    quarantine_max: QuarantineMax,
    at_rest: AtRest,
    marks: Marks,
    deliveries: Mutex<BTreeMap<(PacketId, Digest), Arc<Delivery>>>,
}

/// Name of a hand-over's folder: the consignment's leaf hash in hexadecimal.
fn folder_name(consignment: &Digest) -> String {
    hex::encode(consignment.as_bytes())
}

impl Inbox {
    /// Opens the folders under `data_dir`: empties the spool, sweeps what was not finished, reads every
    /// state.
    pub fn open(
        disk: Disk,
        data_dir: &Path,
        at_rest: AtRest,
        quarantine_max: QuarantineMax,
    ) -> Result<Self, Problem> {
        let (dir, spool) = (data_dir.join("inbox"), data_dir.join("spool"));
        let quarantine = data_dir.join("quarantine");
        for folder in [&dir, &spool, &quarantine] {
            disk.make_dir(folder)?;
        }
        disk.sweep(&quarantine)?;
        let mut deliveries = BTreeMap::new();
        for packet in disk::list(&dir)? {
            disk.sweep(&packet)?;
            for folder in disk::list(&packet)? {
                disk.sweep(&folder)?;
                let delivery = read(&folder)?;
                deliveries.insert((delivery.packet, delivery.consignment), Arc::new(delivery));
            }
        }
        let marks = Marks::open(&disk, data_dir)?;
        let deliveries = Mutex::new(deliveries);
        let inbox = Self {
            disk,
            dir,
            spool,
            quarantine,
            quarantine_max,
            at_rest,
            marks,
            deliveries,
        };
        inbox.empty_spool()?;
        Ok(inbox)
    }

    /// Forgets everything that was coming in: it is offered again.
    pub fn empty_spool(&self) -> Result<(), Problem> {
        disk::list(&self.spool)?
            .iter()
            .try_for_each(|half| self.disk.remove_dir(half))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(PacketId, Digest), Arc<Delivery>>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All hand-overs, oldest packet first.
    pub fn all(&self) -> Vec<Arc<Delivery>> {
        self.lock().values().cloned().collect()
    }

    /// One hand-over.
    pub fn get(&self, packet: PacketId, consignment: Digest) -> Option<Arc<Delivery>> {
        self.lock().get(&(packet, consignment)).cloned()
    }

    /// The hand-overs of one packet.
    pub fn of_packet(&self, packet: PacketId) -> Vec<Arc<Delivery>> {
        self.all().into_iter().filter(|d| d.packet == packet).collect()
    }

    /// A received part and the hand-over it came with.
    pub fn part(&self, packet: PacketId, part: PartId) -> Option<(Arc<Delivery>, ReceivedPart)> {
        let received = self
            .of_packet(packet)
            .into_iter()
            .filter(|d| d.answer == Answer::Received);
        let mut copies = received.filter_map(|delivery| {
            let part = delivery.parts.iter().find(|p| p.part == part)?.clone();
            Some((delivery, part))
        });
        // Handed over again after it was destroyed, it is there twice.
        let first = copies.next()?;
        if first.1.deleted_ms.is_none() {
            return Some(first);
        }
        let kept = copies.find(|(_, copy)| copy.deleted_ms.is_none());
        Some(kept.unwrap_or(first))
    }

    /// The folder of a hand-over.
    pub fn folder(&self, packet: PacketId, consignment: &Digest) -> PathBuf {
        self.dir.join(packet.to_string()).join(folder_name(consignment))
    }

    /// Begins to take a delivery.
    pub fn begin(&self, offer: &wire::Offer) -> Result<Incoming, Problem> {
        Incoming::begin(&self.disk, &self.spool, offer)
    }

    /// Forgets a delivery that was given up.
    pub fn discard(&self, incoming: Incoming) -> Result<(), Problem> {
        incoming.discard(&self.disk)
    }

    /// Our answers that the broker has not settled, oldest first.
    pub fn open_answers(
        &self,
        answering: &Answering<'_>,
    ) -> Result<Vec<(Arc<Delivery>, wire::Signed)>, Problem> {
        let mut open: Vec<_> = self.all().into_iter().filter(|d| d.is_open()).collect();
        open.sort_by_key(|d| d.at_ms);
        open.into_iter()
            .map(|d| self.answer(&d, answering).map(|signed| (d, signed)))
            .collect()
    }

    /// Our signed answer to a hand-over; signed anew if it was signed with a key that is no longer ours, or
    /// while our clock was ahead: nobody would take it.
    pub fn answer(&self, delivery: &Delivery, answering: &Answering<'_>) -> Result<wire::Signed, Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        let path = folder.join("answer.bin");
        let signed: wire::Signed = self.read_message(&path)?;
        if answering.still_holds(&signed) {
            return Ok(signed);
        }
        tracing::info!(packet = %delivery.packet, "an answer is signed anew");
        let signed = answering.sign(delivery)?;
        self.disk.write(&path, &signed.encode_to_vec())?;
        Ok(signed)
    }

    /// The broker has settled our answer: it is not sent again.
    pub fn settled(&self, packet: PacketId, consignment: Digest, leaf: Digest) -> Result<(), Problem> {
        self.update(packet, consignment, |delivery| delivery.settled = Some(leaf))
    }

    /// Changes a hand-over's record: durable first, then seen. Nothing is written if nothing changes.
    fn update(
        &self,
        packet: PacketId,
        consignment: Digest,
        change: impl FnOnce(&mut Delivery),
    ) -> Result<(), Problem> {
        let mut deliveries = self.lock();
        let Some(delivery) = deliveries.get_mut(&(packet, consignment)) else {
            let sentence = "no such hand-over is in the inbox";
            return Err(Problem::new(Kind::NotFound, "HAND_OVER_UNKNOWN", sentence, "").at(packet));
        };
        let mut next = (**delivery).clone();
        change(&mut next);
        let path = self.folder(packet, &consignment).join("state.json");
        let bytes = disk::to_json(&next, &path)?;
        if bytes == disk::to_json(&**delivery, &path)? {
            return Ok(());
        }
        self.disk.write(&path, &bytes)?;
        *delivery = Arc::new(next);
        Ok(())
    }

    /// Lets a hand-over go that is answered for good, with its folder. Idempotent.
    pub fn forget(&self, packet: PacketId, consignment: Digest) -> Result<bool, Problem> {
        let mut deliveries = self.lock();
        let known = deliveries.get(&(packet, consignment));
        if known.is_none_or(|delivery| delivery.is_open()) {
            return Ok(false);
        }
        self.disk.forget_dir(&self.folder(packet, &consignment))?;
        deliveries.remove(&(packet, consignment));
        let of_it = self.dir.join(packet.to_string());
        if disk::list(&of_it)?.is_empty() {
            self.disk.remove_dir(&of_it)?;
        }
        Ok(true)
    }

    /// Keeps a checked log entry about what we said of a hand-over. Idempotent; no more than so many.
    pub fn keep_evidence(
        &self,
        (packet, consignment): (PacketId, Digest),
        index: u64,
        evidence: &wire::Evidence,
    ) -> Result<(), Problem> {
        let folder = self.folder(packet, &consignment);
        if self.get(packet, consignment).is_none() {
            return Ok(());
        }
        let folder = folder.join("evidence");
        self.disk.make_dir(&folder)?;
        let path = folder.join(format!("{index}.bin"));
        if path.is_file() || disk::list(&folder)?.len() >= EVIDENCE_MAX_COUNT {
            return Ok(());
        }
        self.disk.write(&path, &evidence.encode_to_vec())
    }

    /// The log entries that were kept beside a hand-over.
    pub fn kept_evidence(&self, delivery: &Delivery) -> Result<Vec<wire::Evidence>, Problem> {
        let folder = self
            .folder(delivery.packet, &delivery.consignment)
            .join("evidence");
        let kept = disk::list(&folder)?.into_iter();
        let kept = kept.filter(|path| disk::name_of(path).ends_with(".bin"));
        kept.map(|path| self.read_message(&path)).collect()
    }

    /// Our answer to a hand-over as it was signed last.
    pub fn signed_answer(&self, delivery: &Delivery) -> Result<wire::Signed, Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        self.read_message(&folder.join("answer.bin"))
    }

    fn read_message<M: Message + Default>(&self, path: &Path) -> Result<M, Problem> {
        let max = 2 * limits::MESSAGE_MAX_BYTES as u64;
        let bytes = disk::read(path, max)?.ok_or_else(|| Problem::damaged(path, "the file is missing"))?;
        M::decode(&*bytes).map_err(|e| Problem::damaged(path, e))
    }
}

fn read(folder: &Path) -> Result<Delivery, Problem> {
    let path = folder.join("state.json");
    disk::read_json(&path)?.ok_or_else(|| Problem::damaged(&path, "the hand-over's state is missing"))
}

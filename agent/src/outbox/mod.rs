//! The outbox: one folder a packet. It appears whole, by one rename, once everything in it is synced;
//! its state moves only by rewriting `state.json`; the sealed copy goes only when every recipient's
//! final outcome is proved.
//!
//! ```text
//! outbox/<packet>/state.json            where it stands
//! outbox/<packet>/head.bin              manifest and openings, as submitted
//! outbox/<packet>/key-packets.bin       session-key packets, as submitted
//! outbox/<packet>/<part>.v6|.v4         encrypted data, as submitted
//! outbox/<packet>/evidence/<index>.bin  checked log entries
//! outbox/<packet>/evidence/<index>.witness   which witnessed tree holds the entry, and the proof of it
//! outbox/<packet>/evidence/<size>.note       that tree's checkpoint, with the cosignatures
//! outbox/<packet>/recall.bin            a signed recall
//! ```

pub mod plan;
pub mod record;

pub mod seal;

pub mod submit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use schakel_proto::ids::PacketId;
use schakel_proto::limits;
use schakel_proto::tlog::checkpoint::NOTE_MAX_BYTES;
use schakel_proto::wire;

use crate::disk::{self, Disk};
use crate::problem::{Kind, Problem};
use record::{PartState, Record, State};

/// Bounds of the outbox.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most packets not yet settled.
    pub packets_max_count: usize,
    /// Most bytes of sealed parts not yet settled.
    pub sealed_max_bytes: u64,
}

/// All packets that this agency sent, as far as they are remembered.
pub struct Outbox {
    disk: Disk,
    dir: PathBuf,
    bounds: Bounds,
    records: Mutex<BTreeMap<PacketId, Arc<Record>>>,
}

impl Outbox {
    /// Opens the folder: sweeps what was not finished, reads every state, and ends a replacement that
    /// a crash left half-way.
    pub fn open(disk: Disk, dir: PathBuf, bounds: Bounds) -> Result<Self, Problem> {
        disk.make_dir(&dir)?;
        let swept = disk.sweep(&dir)?;
        if swept > 0 {
            tracing::info!(swept, "removed packets that were not sealed completely");
        }
        let mut records = BTreeMap::new();
        for path in disk::list(&dir)? {
            disk.sweep(&path)?;
            let state = path.join("state.json");
            let record: Record = disk::read_json(&state)?
                .ok_or_else(|| Problem::damaged(&state, "the packet's state is missing"))?;
            records.insert(record.packet, Arc::new(record));
        }
        let outbox = Self {
            disk,
            dir,
            bounds,
            records: Mutex::new(records),
        };
        outbox.end_replacements()?;
        outbox.drop_settled_copies()?;
        Ok(outbox)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PacketId, Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_replacements(&self) -> Result<(), Problem> {
        let olds: Vec<_> = self.all().iter().filter_map(|new| new.replaces).collect();
        let known = olds.iter().filter(|old| self.get(old).is_some());
        known
            .map(|old| self.end_replacement(old))
            .try_for_each(|done| done.map(|_| ()))
    }

    fn drop_settled_copies(&self) -> Result<(), Problem> {
        for record in self
            .all()
            .iter()
            .filter(|r| r.state.is_final() && r.sealed_bytes > 0)
        {
            self.drop_copy(record)?;
        }
        Ok(())
    }

    /// The folder of a packet.
    pub fn folder(&self, packet: PacketId) -> PathBuf {
        self.dir.join(packet.to_string())
    }

    /// All packets, oldest first.
    pub fn all(&self) -> Vec<Arc<Record>> {
        self.lock().values().cloned().collect()
    }

    /// One packet.
    pub fn get(&self, packet: &PacketId) -> Option<Arc<Record>> {
        self.lock().get(packet).cloned()
    }

    /// One packet, or the problem that there is none.
    pub fn known(&self, packet: &PacketId) -> Result<Arc<Record>, Problem> {
        self.get(packet).ok_or_else(|| {
            let remedy = "See `schakel-agent status` for the packets that this agency sent.";
            Problem::new(
                Kind::NotFound,
                "PACKET_UNKNOWN",
                "this agency sent no such packet",
                remedy,
            )
            .at(packet)
        })
    }

    /// Whether `bytes` more of sealed parts fit.
    pub fn check_room(&self, bytes: u64) -> Result<(), Problem> {
        let records = self.lock();
        let open = records.values().filter(|r| !r.state.is_final());
        let (count, used) = open.fold((0, 0), |(n, sum), r| (n + 1, sum + r.sealed_bytes));
        let full = count >= self.bounds.packets_max_count
            || used.saturating_add(bytes) > self.bounds.sealed_max_bytes;
        if !full {
            return Ok(());
        }
        let sentence = format!("the outbox holds {count} unsettled packets with {used} bytes");
        let remedy = "Wait until packets are settled, or raise [outbox] in agent.toml.";
        Err(Problem::new(Kind::Later, "OUTBOX_FULL", sentence, remedy))
    }

    /// Takes a packet whose folder is complete and synced: it appears by this one rename.
    fn commit(&self, folder: &std::path::Path, record: Record) -> Result<(), Problem> {
        self.disk.appear(folder, &self.folder(record.packet))?;
        self.lock().insert(record.packet, Arc::new(record));
        Ok(())
    }

    /// Changes a packet's state: durable first, then seen. Nothing is written if nothing changes.
    pub fn update(
        &self,
        packet: &PacketId,
        change: impl FnOnce(&mut Record),
    ) -> Result<Arc<Record>, Problem> {
        let mut records = self.lock();
        let Some(current) = records.get(packet).cloned() else {
            drop(records);
            return self.known(packet);
        };
        let mut next = (*current).clone();
        change(&mut next);
        let path = self.folder(*packet).join("state.json");
        let bytes = disk::to_json(&next, &path)?;
        if bytes == disk::to_json(&*current, &path)? {
            return Ok(current);
        }
        self.disk.write(&path, &bytes)?;
        let next = Arc::new(next);
        records.insert(*packet, Arc::clone(&next));
        Ok(next)
    }

    /// The broker has the packet.
    pub fn accepted(&self, packet: &PacketId, answer: record::Accepted) -> Result<Arc<Record>, Problem> {
        self.update(packet, |record| {
            if record.state == State::Sealed {
                record.state = State::Accepted;
            }
            record.accepted.get_or_insert(answer);
        })
    }

    /// The packet is refused for good: its sealed copy goes. Not if the broker has it after all.
    pub fn refused(&self, packet: &PacketId, problem: Problem) -> Result<(), Problem> {
        self.end_unsent(packet, |record| {
            for outcome in record.outcomes.iter_mut().filter(|outcome| !outcome.own) {
                let reason = problem
                    .recipients
                    .iter()
                    .find(|r| r.recipient == outcome.recipient.as_str());
                outcome.state = PartState::Denied;
                outcome.reason = reason.map_or(&problem.code, |r| &r.reason).clone();
                outcome.obligations = reason.map(|r| r.obligations.clone()).unwrap_or_default();
            }
            record.state = State::Refused;
            record.refusal = Some(problem);
        })
        .map(|_| ())
    }

    /// Ends a packet that the broker does not have; one that it has goes on.
    fn end_unsent(
        &self,
        packet: &PacketId,
        change: impl FnOnce(&mut Record),
    ) -> Result<Arc<Record>, Problem> {
        let record = self.update(packet, |record| {
            if record.state == State::Sealed {
                change(record);
            }
        })?;
        if record.state.is_final() {
            self.drop_copy(&record)?;
        }
        Ok(record)
    }

    /// Ends a replacement that failed half-way: if a packet was sealed anew in the place of this one, this one
    /// is not sent any more. Whether it was so.
    pub fn end_replacement(&self, old: &PacketId) -> Result<bool, Problem> {
        let new = self.lock().values().find(|r| r.replaces == Some(*old)).cloned();
        match new {
            None => Ok(false),
            Some(new) => self.replaced(*old, new.packet).map(|()| true),
        }
    }

    /// The packet was sealed anew as `new`, which is durable already.
    pub fn replaced(&self, old: PacketId, new: PacketId) -> Result<(), Problem> {
        self.end_unsent(&old, |record| {
            record.state = State::Replaced;
            record.replaced_by = Some(new);
        })
        .map(|_| ())
    }

    /// The packet was taken back before the broker had it.
    pub fn recalled_here(&self, packet: &PacketId, recall: record::Recalled) -> Result<Arc<Record>, Problem> {
        self.end_unsent(packet, |record| {
            record.state = State::Recalled;
            for outcome in record.outcomes.iter_mut().filter(|outcome| !outcome.own) {
                outcome.state = PartState::Recalled;
                outcome.since_ms = recall.made_ms;
            }
            record.recall = Some(recall);
        })
    }

    /// Keeps a checked log entry beside the packet. Idempotent.
    pub fn keep_evidence(
        &self,
        packet: &PacketId,
        index: u64,
        evidence: &wire::Evidence,
    ) -> Result<(), Problem> {
        let dir = self.folder(*packet).join("evidence");
        self.disk.make_dir(&dir)?;
        let path = dir.join(format!("{index}.bin"));
        if path.is_file() {
            Ok(())
        } else {
            self.disk.write(&path, &evidence.encode_to_vec())
        }
    }

    /// A log entry that was kept.
    pub fn evidence(&self, packet: &PacketId, index: u64) -> Result<Option<wire::Evidence>, Problem> {
        self.read_message(packet, &format!("evidence/{index}.bin"))
    }

    /// All log entries that were kept of a packet.
    pub fn kept_evidence(&self, packet: &PacketId) -> Result<Vec<wire::Evidence>, Problem> {
        let mut kept = Vec::new();
        for path in disk::list(&self.folder(*packet).join("evidence"))? {
            let name = disk::name_of(&path);
            if name.ends_with(".bin") {
                kept.extend(self.read_message(packet, &format!("evidence/{name}"))?);
            }
        }
        Ok(kept)
    }

    /// The sealed parts that are still here.
    pub fn sealed_parts(&self, packet: &PacketId) -> Result<Vec<PathBuf>, Problem> {
        let mut files = disk::list(&self.folder(*packet))?;
        files.retain(|path| {
            [".v6", ".v4"]
                .iter()
                .any(|end| disk::name_of(path).ends_with(end))
        });
        Ok(files)
    }

    /// Keeps the proof that a kept log entry is witnessed, and the cosigned note once for all entries of the packet.
    pub fn keep_witness(
        &self,
        packet: &PacketId,
        index: u64,
        proof: wire::WitnessProof,
    ) -> Result<(), Problem> {
        let dir = self.folder(*packet).join("evidence");
        let note = dir.join(format!("{}.note", proof.size));
        if !note.is_file() {
            self.disk.write(&note, &proof.checkpoint)?;
        }
        let apart = wire::WitnessProof {
            checkpoint: bytes::Bytes::new(),
            ..proof
        };
        self.disk
            .write(&dir.join(format!("{index}.witness")), &apart.encode_to_vec())
    }

    /// The proof that a kept log entry is witnessed, with the cosigned note; none: it is provisional.
    pub fn witness(&self, packet: &PacketId, index: u64) -> Result<Option<wire::WitnessProof>, Problem> {
        let name = format!("evidence/{index}.witness");
        let Some(proof) = self.read_message::<wire::WitnessProof>(packet, &name)? else {
            return Ok(None);
        };
        let path = self.folder(*packet).join(format!("evidence/{}.note", proof.size));
        let note = disk::read(&path, NOTE_MAX_BYTES as u64)?;
        let note = note.ok_or_else(|| Problem::damaged(&path, "the cosigned note is missing"))?;
        Ok(Some(wire::WitnessProof {
            checkpoint: note.into(),
            ..proof
        }))
    }

    /// Settles the packet if everything about it is proved; then the sealed copy goes.
    pub fn settle_if_proved(&self, packet: &PacketId) -> Result<bool, Problem> {
        let record = self.update(packet, |record| {
            if record.state == State::Accepted && record.is_proved_final() {
                record.state = State::Settled;
            }
        })?;
        if record.state == State::Settled {
            self.drop_copy(&record)?;
        }
        Ok(record.state == State::Settled)
    }

    /// Removes the sealed parts and key packets of a packet; manifest, state and evidence stay.
    fn drop_copy(&self, record: &Record) -> Result<(), Problem> {
        let folder = self.folder(record.packet);
        for path in disk::list(&folder)? {
            let name = disk::name_of(&path);
            let sealed = name.ends_with(".v6") || name.ends_with(".v4") || name == "key-packets.bin";
            if sealed {
                self.disk.remove_file(&path)?;
            }
        }
        self.update(&record.packet, |record| record.sealed_bytes = 0)
            .map(|_| ())
    }

    /// Lets a packet go of which nothing can change any more, with its folder. Idempotent.
    pub fn forget(&self, packet: &PacketId) -> Result<bool, Problem> {
        let mut records = self.lock();
        if !records.get(packet).is_some_and(|record| record.state.is_final()) {
            return Ok(false);
        }
        self.disk.forget_dir(&self.folder(*packet))?;
        records.remove(packet);
        Ok(true)
    }

    /// A signed recall, if there is one.
    pub fn recall(&self, packet: &PacketId) -> Result<Option<wire::Signed>, Problem> {
        self.read_message(packet, "recall.bin")
    }

    /// Keeps a signed recall until the broker answered it.
    pub fn keep_recall(
        &self,
        packet: &PacketId,
        signed: &wire::Signed,
        recall: record::Recalled,
    ) -> Result<Arc<Record>, Problem> {
        self.disk
            .write(&self.folder(*packet).join("recall.bin"), &signed.encode_to_vec())?;
        self.update(packet, |record| record.recall = Some(recall))
    }

    /// The head as it was sealed.
    pub fn head(&self, packet: &PacketId) -> Result<wire::SubmitHead, Problem> {
        let head = self.read_message(packet, "head.bin")?;
        head.ok_or_else(|| Problem::damaged(&self.folder(*packet), "head.bin is missing"))
    }

    /// The key packets as they were sealed.
    pub fn key_packets(&self, packet: &PacketId) -> Result<wire::SubmitKeyPackets, Problem> {
        let packets = self.read_message(packet, "key-packets.bin")?;
        packets.ok_or_else(|| Problem::damaged(&self.folder(*packet), "key-packets.bin is missing"))
    }

    fn read_message<M: Message + Default>(
        &self,
        packet: &PacketId,
        name: &str,
    ) -> Result<Option<M>, Problem> {
        let path = self.folder(*packet).join(name);
        let max = 8 * limits::MESSAGE_MAX_BYTES as u64;
        match disk::read(&path, max)? {
            None => Ok(None),
            Some(bytes) => M::decode(&*bytes)
                .map(Some)
                .map_err(|e| Problem::damaged(&path, e)),
        }
    }
}

//! Making a pack: everything this agency holds that proves what became of one packet, sent or received.

mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use schakel_proto::evidence::Body;
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::{NOTE_MAX_BYTES, SignedCheckpoint};
use schakel_proto::tlog::shards::{Opens, Shards};
use schakel_proto::tlog::text::{InclusionText, hashes_to_text};
use schakel_proto::wire;
use serde::{Deserialize, Serialize};

use super::history::{self, History};
use super::names;
use super::writing::Writing;
use crate::agent::{Agent, blocking};
use crate::disk;
use crate::inbox::open::{Context, check_target};
use crate::inbox::record::{Answer, Delivery, ReceivedPart};
use crate::obligations;
use crate::problem::{Kind, Problem};
use crate::request::EvidenceRequest;

/// The form of pack that is written and read.
pub const FORMAT: u32 = 1;
/// Longest file that the operator puts beside the checkpoint.
const STAMP_MAX_BYTES: u64 = 64 * 1024;

/// What a pack says of itself. Nothing is proved by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The form: 1.
    pub format: u32,
    /// The network.
    pub network: String,
    /// The packet.
    pub packet: PacketId,
    /// The agency that made the pack.
    pub agency: AgencyId,
    /// When, by its clock, in milliseconds since 1970.
    pub made_ms: i64,
    /// Contents and ciphertexts that are still there are in it.
    pub with_content: bool,
}

/// What became of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exported {
    /// The packet.
    pub packet: PacketId,
    /// The file.
    pub out: PathBuf,
    /// Files in it.
    pub members: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Log entries in it.
    pub entries: usize,
    /// Checkpoints without proof that the newest extends them: the broker was not asked.
    pub unproved: usize,
    /// Parts whose content stays here, because an obligation binds it and nobody named it.
    #[serde(default)]
    pub bound: Vec<PartId>,
}

/// Everything but the history.
#[derive(Default)]
struct Gathered {
    manifest: wire::Signed,
    recipients: Vec<wire::Opening>,
    parts: Vec<wire::Opening>,
    entries: BTreeMap<u64, wire::Evidence>,
    answers: Vec<(Digest, wire::Signed)>,
    contents: Vec<(Arc<Delivery>, ReceivedPart)>,
    bound: Vec<PartId>,
    sealed: Vec<PathBuf>,
    versions: BTreeSet<u64>,
    stamp: Option<(Vec<u8>, Vec<u8>)>,
    witnessed: Option<Vec<u8>>,
}

impl Gathered {
    /// Leaves out the contents that an obligation binds to where they are, but those that were named.
    fn leave_bound(&mut self, with_bound: &[PartId]) -> Result<(), Problem> {
        let here = |named: &&PartId| self.contents.iter().any(|(_, part)| part.part == **named);
        if let Some(absent) = with_bound.iter().find(|named| !here(named)) {
            let sentence = "there is no content of such a part of this packet";
            let remedy = "See `schakel-agent inbox list`.";
            return Err(Problem::new(Kind::NotFound, "NOT_IN_INBOX", sentence, remedy).at(absent));
        }
        let stays = |part: &ReceivedPart| {
            let binds = obligations::not_onward(&part.obligations).is_some()
                || obligations::is_masked(&part.obligations);
            binds && !with_bound.contains(&part.part)
        };
        let bound = self.contents.iter().filter(|(_, part)| stays(part));
        self.bound = bound.map(|(_, part)| part.part).collect();
        self.contents.retain(|(_, part)| !stays(part));
        Ok(())
    }
}

impl Agent {
    /// Writes the evidence of a packet to a new file.
    ///
    /// # Errors
    /// No such packet, no room, or the broker cannot prove one history behind it.
    pub async fn export_evidence(self: &Arc<Self>, request: EvidenceRequest) -> Result<Exported, Problem> {
        check_target(&request.out)?;
        let agent = Arc::clone(self);
        let (packet, with_bound) = (request.packet, request.with_bound.clone());
        let gathered = blocking(move || agent.gather(packet, &with_bound)).await?;
        let view = self.network.view()?;
        let checkpoints = self.checkpoints(&gathered, view.shards())?;
        let history = if request.offline {
            history::known(&checkpoints)
        } else {
            Some(history::asked(self, view.shards(), &checkpoints).await?)
        };
        let agent = Arc::clone(self);
        let smaller = |newest: u64| checkpoints.keys().filter(|size| **size < newest).count();
        let unproved = history
            .as_ref()
            .map_or(0, |h| smaller(h.newest.size()) - h.proofs.len());
        let exported = blocking(move || agent.write_pack(&request, &gathered, history.as_ref())).await?;
        self.changed();
        Ok(Exported { unproved, ..exported })
    }

    fn gather(&self, packet: PacketId, with_bound: &[PartId]) -> Result<Gathered, Problem> {
        let mut gathered = match self.outbox.get(&packet) {
            Some(_) => self.of_sent(packet)?,
            None => self.of_received(packet)?,
        };
        gathered.leave_bound(with_bound)?;
        let entries = gathered.entries.len();
        if entries > names::ENTRIES_MAX_COUNT {
            let sentence = format!("there are {entries} log entries of this packet");
            return Err(Problem::new(Kind::Local, "PACK_TOO_LARGE", sentence, "").at(packet));
        }
        let audit = self.config.data_dir.join("audit");
        let note = disk::read(&audit.join("stamped.note"), NOTE_MAX_BYTES as u64)?;
        gathered.witnessed = match self.witness.newest.note() {
            Some(note) => Some(note),
            None => self.kept_witnessed(packet, &gathered)?,
        };
        gathered.stamp = note.zip(disk::read(&audit.join("stamped.tsr"), STAMP_MAX_BYTES)?);
        Ok(gathered)
    }

    /// The largest checkpoint that is kept beside what we sent because enough witnesses cosigned it.
    fn kept_witnessed(&self, packet: PacketId, gathered: &Gathered) -> Result<Option<Vec<u8>>, Problem> {
        let mut largest = None;
        if self.outbox.get(&packet).is_some() {
            for index in gathered.entries.keys() {
                largest = largest.max(
                    self.outbox
                        .witness(&packet, *index)?
                        .map(|p| (p.size, p.checkpoint)),
                );
            }
        }
        Ok(largest.map(|(_, note)| note.to_vec()))
    }

    fn of_sent(&self, packet: PacketId) -> Result<Gathered, Problem> {
        let head = self.outbox.head(&packet)?;
        let kept = self.outbox.kept_evidence(&packet)?;
        Ok(Gathered {
            manifest: head.manifest.unwrap_or_default(),
            recipients: head.recipients,
            parts: head.parts,
            entries: kept.into_iter().map(|one| (one.index, one)).collect(),
            sealed: self.outbox.sealed_parts(&packet)?,
            ..Gathered::default()
        })
    }

    fn of_received(&self, packet: PacketId) -> Result<Gathered, Problem> {
        let deliveries = self.inbox.of_packet(packet);
        if deliveries.is_empty() {
            let remedy = "See `schakel-agent status` and `schakel-agent inbox list`.";
            let sentence = "this agency neither sent nor received such a packet";
            return Err(Problem::new(Kind::NotFound, "PACKET_UNKNOWN", sentence, remedy).at(packet));
        }
        let mut gathered = Gathered::default();
        for delivery in deliveries {
            let (manifest, hand_over) = self.inbox.proofs(&delivery)?;
            gathered.manifest = manifest;
            gathered.recipients.extend(hand_over.recipient);
            gathered
                .parts
                .extend(hand_over.parts.into_iter().filter_map(|part| part.part));
            let kept = self.inbox.kept_evidence(&delivery)?;
            let entries = hand_over
                .submission
                .into_iter()
                .chain(hand_over.consignment)
                .chain(kept);
            for entry in entries {
                gathered.entries.entry(entry.index).or_insert(entry);
            }
            let answer = self.inbox.signed_answer(&delivery)?;
            gathered.answers.push((delivery.consignment, answer));
            gathered.versions.insert(delivery.directory_version);
            if delivery.answer == Answer::Received {
                for part in delivery.parts.iter().filter(|part| part.deleted_ms.is_none()) {
                    if self.is_proved(&delivery, part)? {
                        gathered.contents.push((Arc::clone(&delivery), part.clone()));
                    }
                }
            }
        }
        Ok(gathered)
    }

    /// Whether a content can be held against its commitment: the sealed header that is part of it is here.
    fn is_proved(&self, delivery: &Delivery, part: &ReceivedPart) -> Result<bool, Problem> {
        if part.key_packet_bytes > 0 || self.inbox.kept_header(delivery, part)?.is_some() {
            return Ok(true);
        }
        tracing::warn!(part = %part.part, "its sealed header was not kept: its content cannot be proved, and is left out");
        Ok(false)
    }

    fn write_pack(
        &self,
        request: &EvidenceRequest,
        gathered: &Gathered,
        history: Option<&History>,
    ) -> Result<Exported, Problem> {
        let now = self.clock.now();
        let made_seconds = u64::try_from(now.seconds()).unwrap_or(0);
        let mut writing = Writing::begin(&self.disk, &request.out, made_seconds)?;
        let done = self
            .fill(&mut writing, request, gathered, history)
            .and_then(|()| writing.finish());
        let (members, bytes) = match done {
            Ok(done) => done,
            Err(problem) => {
                writing.give_up();
                return Err(problem);
            }
        };
        if !request.without_content {
            for (delivery, part) in &gathered.contents {
                self.inbox.taken(delivery, part.part, now)?;
            }
        }
        Ok(Exported {
            packet: request.packet,
            out: request.out.clone(),
            members,
            bytes,
            entries: gathered.entries.len(),
            unproved: 0,
            bound: gathered.bound.clone(),
        })
    }

    fn fill(
        &self,
        writing: &mut Writing<'_>,
        request: &EvidenceRequest,
        gathered: &Gathered,
        history: Option<&History>,
    ) -> Result<(), Problem> {
        let description = Description {
            format: FORMAT,
            network: self.network.name().to_string(),
            packet: request.packet,
            agency: self.network.agency().clone(),
            made_ms: self.clock.now().millis(),
            with_content: !request.without_content,
        };
        writing.add(names::DESCRIPTION, &disk::to_json(&description, &request.out)?)?;
        add_head(writing, gathered)?;
        self.add_directories(writing, gathered)?;
        for (index, entry) in &gathered.entries {
            add_entry(writing, *index, entry)?;
        }
        for (consignment, answer) in &gathered.answers {
            writing.add(&names::answer(consignment, "bin"), &answer.bytes)?;
            writing.add(&names::answer(consignment, "sig"), &answer.signature)?;
        }
        if let Some(history) = history {
            writing.add(names::CHECKPOINT, history.newest.note())?;
            for (size, proof) in &history.proofs {
                writing.add(&names::consistency(*size), hashes_to_text(proof).as_bytes())?;
            }
        }
        if let Some(note) = &gathered.witnessed {
            writing.add(names::WITNESSED, note)?;
        }
        if let Some((note, token)) = &gathered.stamp {
            writing.add(names::STAMPED, note)?;
            writing.add(names::STAMP, token)?;
        }
        if request.without_content {
            return Ok(());
        }
        for (delivery, part) in &gathered.contents {
            self.add_content(writing, delivery, part)?;
        }
        let mut sealed = gathered.sealed.iter();
        sealed.try_for_each(|path| writing.add_file(&format!("sealed/{}", disk::name_of(path)), path))
    }

    fn add_content(
        &self,
        writing: &mut Writing<'_>,
        delivery: &Delivery,
        part: &ReceivedPart,
    ) -> Result<(), Problem> {
        let at = Timestamp::from_millis(delivery.at_ms);
        let directory = self.network.directory_at(delivery.directory_version, at)?;
        let context = Context {
            network: self.network.name(),
            agency: self.network.agency(),
            directory: &directory,
            keys: &self.keyring,
        };
        let name = names::part(&part.part, "content.bin");
        let target = PathBuf::from(&name);
        let opened = writing.stream(&name, part.length, |member| {
            self.inbox
                .content_into(delivery, part, (member, &target), &context)
        })?;
        let framed = match opened {
            Some(opened) => Some(opened.framed_header),
            None => self.inbox.kept_header(delivery, part)?,
        };
        let gone = || Problem::damaged(Path::new(&name), "the sealed header is missing");
        let framed = framed.ok_or_else(gone)?;
        writing.add(&names::part(&part.part, "sealed-header.bin"), &framed)?;
        let header = wire::SealedHeader::decode(framed.get(4..).unwrap_or_default());
        let salt = header.map(|header| header.salt).unwrap_or_default();
        writing.add(&names::part(&part.part, "salt.bin"), &salt)
    }
}

fn add_head(writing: &mut Writing<'_>, gathered: &Gathered) -> Result<(), Problem> {
    writing.add(names::MANIFEST, &gathered.manifest.bytes)?;
    writing.add(names::MANIFEST_SIGNATURE, &gathered.manifest.signature)?;
    let joined = |opening: &wire::Opening| [&*opening.nonce, &*opening.descriptor].concat();
    for opening in &gathered.recipients {
        let said = wire::RecipientDescriptor::decode(&*opening.descriptor).unwrap_or_default();
        if let Ok(agency) = AgencyId::new(&said.agency) {
            writing.add(&names::recipient(&agency), &joined(opening))?;
        }
    }
    for opening in &gathered.parts {
        let said = wire::PartDescriptor::decode(&*opening.descriptor).unwrap_or_default();
        if let Ok(part) = PartId::try_from(&*said.part_id) {
            writing.add(&names::part_opening(&part), &joined(opening))?;
        }
    }
    Ok(())
}

fn add_entry(writing: &mut Writing<'_>, index: u64, entry: &wire::Evidence) -> Result<(), Problem> {
    let path: Result<Vec<_>, _> = entry
        .inclusion
        .iter()
        .map(|hash| Digest::try_from(&**hash))
        .collect();
    let proof = InclusionText {
        index,
        path: path.map_err(|e| Problem::distrust("EVIDENCE_WRONG", e.to_string()))?,
        note: entry.checkpoint.to_vec(),
    };
    writing.add(&names::entry(index, "proof.tlog-proof"), &proof.to_text())?;
    writing.add(&names::entry(index, "leaf.bin"), &entry.leaf)?;
    writing.add(&names::entry(index, "salt.bin"), &entry.salt)?;
    writing.add(&names::entry(index, "body.bin"), &entry.body)?;
    for (name, opening) in [("shown.bin", &entry.shown), ("hidden.bin", &entry.hidden)] {
        if let Some(opening) = opening {
            let joined = [&*opening.nonce, &*opening.descriptor].concat();
            writing.add(&names::entry(index, name), &joined)?;
        }
    }
    if let Some(signed) = &entry.attachment {
        writing.add(&names::entry(index, "attachment.bin"), &signed.bytes)?;
        writing.add(&names::entry(index, "attachment.sig"), &signed.signature)?;
    }
    Ok(())
}

impl Agent {
    /// Every checkpoint that something in the pack rests on and that is of the log of now, by size.
    fn checkpoints(
        &self,
        gathered: &Gathered,
        shards: &Shards,
    ) -> Result<BTreeMap<u64, SignedCheckpoint>, Problem> {
        let mut found = BTreeMap::new();
        let entries = gathered.entries.values();
        let entries = entries.map(|entry| {
            (
                &*entry.checkpoint,
                Body::parse(&entry.body, self.network.name()).ok(),
            )
        });
        let stamped = gathered.stamp.iter().map(|(note, _)| note);
        let apart = stamped
            .chain(&gathered.witnessed)
            .map(|note| (note.as_slice(), None));
        for (note, body) in entries.chain(apart) {
            match shards.open(note) {
                Ok(checkpoint) => drop(found.insert(checkpoint.size(), checkpoint)),
                Err(error) => {
                    // Of a log that was closed since: its key stands in the directory of its time.
                    let former = body
                        .map(|body| self.network.directories_of(body.at))
                        .unwrap_or_default();
                    let known = former
                        .iter()
                        .any(|d| SignedCheckpoint::open(note, d.log().key()).is_ok());
                    if !known {
                        let sentence = format!("a checkpoint that was kept: {error}");
                        return Err(Problem::distrust("EVIDENCE_WRONG", sentence));
                    }
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests say what fails by panicking")]

    use schakel_proto::ids::CaseRef;
    use serde_json::json;

    use super::*;
    use crate::clock::randomness;

    #[test]
    fn a_content_that_an_obligation_binds_stays_here_unless_it_is_named() {
        let rng = &mut randomness();
        let id = |n: u8| Digest::of(&[n]);
        let part = |obligation: &str, part: PartId| -> ReceivedPart {
            let part = json!({
                "part": part, "subjects": [], "length": 1, "file": "x", "key_packet_bytes": 1,
                "reason": "OK", "obligations": ["log-access", obligation],
            });
            serde_json::from_value(part).unwrap()
        };
        let delivery = json!({
            "format": 1, "packet": PacketId::new(Timestamp::from_millis(1), rng), "consignment": id(1),
            "manifest_digest": id(2), "answer": "received", "reason": "", "at_ms": 1,
            "directory_version": 1, "sender": "a", "case": CaseRef::random(rng), "parts": [],
            "again": [], "superseded": false,
        });
        let delivery: Arc<Delivery> = Arc::new(serde_json::from_value(delivery).unwrap());
        let binding = [
            "no-forward",
            "no-onward-sharing",
            "existence-flag-only",
            "mask-in-shared-dossier",
        ];
        let bound = binding.map(|obligation| (obligation, PartId::random(rng)));
        let (free, absent) = (PartId::random(rng), PartId::random(rng));
        let gathered = || {
            let all = bound.into_iter().chain([("purpose-bound", free)]);
            Gathered {
                contents: all.map(|(o, id)| (Arc::clone(&delivery), part(o, id))).collect(),
                ..Gathered::default()
            }
        };
        let ids = |gathered: &Gathered| gathered.contents.iter().map(|c| c.1.part).collect::<Vec<_>>();
        let mut without = gathered();
        without.leave_bound(&[]).unwrap();
        assert_eq!(
            (ids(&without), without.bound),
            (vec![free], bound.map(|one| one.1).to_vec())
        );
        let mut with = gathered();
        with.leave_bound(&[bound[1].1]).unwrap();
        assert_eq!((ids(&with), with.bound.len()), (vec![bound[1].1, free], 3));
        assert_eq!(
            gathered().leave_bound(&[absent]).unwrap_err().code,
            "NOT_IN_INBOX"
        );
    }
}

//! Taking a delivery that was verified, or refusing one that is unsound: content, proof and signed answer
//! are made durable together and appear by one rename.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use schakel_proto::evidence::PartDecision;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::limits;
use schakel_proto::packet::open::{OpenedPart, open_part};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::marks::Digesting;
use super::record::{Answer, Delivery, Later, Names, ReceivedPart};
use super::spool::Incoming;
use super::verify::{ProvedDelivery, VerifiedDelivery, VerifiedPart};
use super::writing::Writing;
use super::{Inbox, folder_name};
use crate::config::AtRest;
use crate::disk::{self, UNFINISHED};
use crate::keyring::Keyring;
use crate::obligations::not_onward;
use crate::problem::{Problem, printable};
use crate::request::SubjectRequest;

/// The type that an acknowledgement names first.
const ACKNOWLEDGEMENT_TYPE: &str = "schakel.v1.Acknowledgement";
/// Longest reason code in an acknowledgement.
const REASON_MAX_CHARS: usize = 48;

/// What an answer needs beside the delivery.
pub struct Answering<'a> {
    /// The network's name.
    pub network: &'a str,
    /// Our agency's id.
    pub agency: &'a str,
    /// Our keys.
    pub keyring: &'a Keyring,
    /// Last checkpoint seen.
    pub checkpoint: Option<wire::CheckpointSeen>,
    /// The moment.
    pub now: Timestamp,
}

impl Answering<'_> {
    /// What we say later of one part of a hand-over, signed now.
    pub fn sign_later(
        &self,
        delivery: &Delivery,
        part: PartId,
        later: &Later,
    ) -> Result<wire::Signed, Problem> {
        let said = wire::Acknowledgement {
            outcome: later.kind.as_str().to_owned(),
            reason: String::new(),
            part_ids: vec![part.to_vec().into()],
            obligation: later.obligation.clone(),
            done_ms: later.done_ms.min(self.now.millis()),
            ..acknowledgement(delivery, self)
        };
        self.keyring.sign(said.encode_to_vec(), self.now)
    }

    /// Our answer to a hand-over, signed now.
    pub(super) fn sign(&self, delivery: &Delivery) -> Result<wire::Signed, Problem> {
        let answer = acknowledgement(delivery, self).encode_to_vec();
        self.keyring.sign(answer, self.now)
    }

    /// Whether an answer signed before is one that the others take: by our current key, not from the future.
    pub(super) fn still_holds(&self, signed: &wire::Signed) -> bool {
        let Ok(said) = wire::Acknowledgement::decode(&*signed.bytes) else {
            return false;
        };
        let keys = self.keyring.secret().certificate().signing_keys_at(self.now);
        *said.recipient_key == *self.keyring.fingerprint().as_bytes()
            && said.made_ms <= self.now.plus_millis(limits::CLOCK_SKEW_MAX_MILLIS).millis()
            && keys.is_ok_and(|keys| keys.verify(&signed.bytes, &signed.signature, self.now).is_ok())
    }
}

/// The folder in which a hand-over is made ready.
struct Making {
    folder: PathBuf,
}

impl Inbox {
    /// Stores a verified delivery and signs that we have it. Idempotent: the same hand-over again gives
    /// the answer given before, and a part that is there already is not stored twice.
    pub fn accept(
        &self,
        incoming: Incoming,
        hand_over: &wire::HandOver,
        verified: &VerifiedDelivery,
        decided_again: Option<bool>,
        answering: &Answering<'_>,
    ) -> Result<Arc<Delivery>, Problem> {
        let proved = verified.proved();
        let consignment = proved.consignment_leaf();
        if let Some(delivery) = self.get(proved.packet(), consignment) {
            self.discard(incoming)?;
            return Ok(delivery);
        }
        let making = self.make(proved)?;
        let delivery = self.describe(verified, decided_again);
        let kept = self.fill(&making, verified, delivery, answering);
        let kept = kept.and_then(|d| self.finish(&making, &incoming, hand_over, d, answering));
        if kept.is_err() {
            self.give_up(&making);
        }
        let delivery = kept?;
        self.discard(incoming)?;
        Ok(delivery)
    }

    /// Stores the parts that are not there already, and notes all of them.
    fn fill(
        &self,
        making: &Making,
        verified: &VerifiedDelivery,
        mut delivery: Delivery,
        answering: &Answering<'_>,
    ) -> Result<Delivery, Problem> {
        for part in verified.parts() {
            let there = self.part(delivery.packet, part.id);
            // What was destroyed since and is handed over again, by a newer decision, is stored again.
            if let Some((held, received)) = there.filter(|(_, copy)| copy.deleted_ms.is_none()) {
                self.bind_too(&held, &received, verified, part, answering)?;
                delivery.again.push(part.id);
            } else {
                let stored = self.store(making, verified, part, answering)?;
                delivery.parts.push(self.received(verified, part, stored));
            }
        }
        Ok(delivery)
    }

    /// Removes what was begun, so that it takes no room: the next attempt and the next start would remove it, too.
    fn give_up(&self, making: &Making) {
        if let Err(problem) = self.disk.remove_dir(&making.folder) {
            tracing::warn!(code = problem.code, "an unfinished delivery could not be removed");
        }
    }

    /// Signs that we refuse a delivery, and keeps what came in quarantine.
    pub fn refuse(
        &self,
        incoming: Incoming,
        hand_over: &wire::HandOver,
        proved: &ProvedDelivery,
        problem: &Problem,
        answering: &Answering<'_>,
    ) -> Result<Arc<Delivery>, Problem> {
        if let Some(delivery) = self.get(proved.packet(), proved.consignment_leaf()) {
            self.discard(incoming)?;
            return Ok(delivery);
        }
        let making = self.make(proved)?;
        let mut delivery = base(proved);
        delivery.answer = Answer::Refused;
        delivery.reason = problem.code.chars().take(REASON_MAX_CHARS).collect();
        delivery.again = proved.part_ids();
        let kept = self.finish(&making, &incoming, hand_over, delivery, answering);
        if kept.is_err() {
            self.give_up(&making);
        }
        let delivery = kept?;
        self.quarantine(incoming, Some(hand_over), problem, answering.now)?;
        Ok(delivery)
    }

    fn make(&self, proved: &ProvedDelivery) -> Result<Making, Problem> {
        let packet = self.dir.join(proved.packet().to_string());
        self.disk.make_dir(&packet)?;
        let name = folder_name(&proved.consignment_leaf());
        let folder = packet.join(format!("{UNFINISHED}{name}"));
        if folder.is_dir() {
            self.disk.remove_dir(&folder)?;
        }
        self.disk.make_dir(&folder)?;
        Ok(Making { folder })
    }

    fn describe(&self, verified: &VerifiedDelivery, decided_again: Option<bool>) -> Delivery {
        let manifest = verified.handed().manifest();
        let mut delivery = base(verified.proved());
        delivery.purpose = Some(manifest.purpose.clone());
        delivery.basis = Some(manifest.legal_basis.basis.clone());
        delivery.urgency = Some(manifest.urgency.clone());
        delivery.decided_again = decided_again;
        delivery.key = Some(verified.handed().recipient().key().clone());
        delivery
    }

    /// A part that is there already is bound by the newer decision too. Before the answer: whatever stops in
    /// between, nothing is answered that does not bind.
    fn bind_too(
        &self,
        held: &Delivery,
        received: &ReceivedPart,
        verified: &VerifiedDelivery,
        part: &VerifiedPart,
        answering: &Answering<'_>,
    ) -> Result<(), Problem> {
        let mut new = obligations(verified, part);
        new.retain(|one| !received.obligations.contains(one));
        if new.is_empty() {
            return Ok(());
        }
        let unmarked = received.mark.is_none() && not_onward(&new).is_some();
        let mark = unmarked
            .then(|| self.content(verified, part, answering, (&mut io::sink(), &part.ciphertext)))
            .transpose()?;
        self.update(held.packet, held.consignment, |held| {
            if let Some(kept) = held.parts.iter_mut().find(|one| one.part == part.id) {
                kept.mark = kept.mark.or(mark.as_ref().map(|(_, mark)| *mark));
                new.retain(|one| !kept.obligations.contains(one));
                kept.obligations.append(&mut new);
            }
        })
    }

    /// Opens a part's content into `to`, which is `path`; gives what the seal says, and the mark of the content.
    fn content(
        &self,
        verified: &VerifiedDelivery,
        part: &VerifiedPart,
        answering: &Answering<'_>,
        (to, path): (&mut dyn Write, &Path),
    ) -> Result<(OpenedPart, Digest), Problem> {
        let mut open = || Ok(Box::new(File::open(&part.ciphertext)?) as _);
        let keys = answering.keyring.opening(verified.handed().recipient().key());
        let mut writing = Writing::new(to);
        let mut digest = Digesting::new(&mut writing);
        let opened = open_part(
            verified.handed(),
            &part.id,
            &part.key_packet,
            &mut open,
            keys,
            &mut digest,
        );
        let digest = digest.finish();
        let opened = opened.map_err(|e| writing.problem(&e, path))?;
        Ok((opened, self.marks.of(&digest)))
    }

    /// Writes one part; gives the names inside the seal if they may be kept in the open, and the mark of a
    /// content that must not be sent on.
    fn store(
        &self,
        making: &Making,
        verified: &VerifiedDelivery,
        part: &VerifiedPart,
        answering: &Answering<'_>,
    ) -> Result<(Option<Names>, Option<Digest>), Problem> {
        let bound = not_onward(&obligations(verified, part)).is_some();
        let path = making.folder.join(file_name(&part.id, self.at_rest));
        let file = self.disk.create(&path)?;
        let failed = |e: io::Error| Problem::io(&e, &path);
        let mut out = BufWriter::with_capacity(limits::CHUNK_MAX_BYTES, &file);
        let stored = match self.at_rest {
            AtRest::Sealed => {
                out.write_all(&part.key_packet).map_err(failed)?;
                let mut ciphertext = File::open(&part.ciphertext).map_err(failed)?;
                io::copy(&mut ciphertext, &mut out).map_err(failed)?;
                let opened = bound
                    .then(|| self.content(verified, part, answering, (&mut io::sink(), &part.ciphertext)));
                (None, opened.transpose()?.map(|(_, mark)| mark))
            }
            AtRest::Plain => {
                let (opened, mark) = self.content(verified, part, answering, (&mut out, &path))?;
                // With the salt in it the content can be proved later to be what the sender committed to.
                let header = making.folder.join(header_name(&part.id));
                self.disk.write(&header, &opened.framed_header)?;
                (Some(names(&opened)), bound.then_some(mark))
            }
        };
        out.flush().map_err(failed)?;
        drop(out);
        self.disk.sync_file(&file, &path)?;
        Ok(stored)
    }

    fn received(
        &self,
        verified: &VerifiedDelivery,
        part: &VerifiedPart,
        (names, mark): (Option<Names>, Option<Digest>),
    ) -> ReceivedPart {
        let decided = decided(verified, part);
        let described = verified.handed().part(&part.id);
        let subject = |s: &schakel_proto::packet::descriptor::Subject| SubjectRequest {
            role: s.role.clone(),
            age_class: s.age_class.clone(),
            subject: s.subject_ref,
        };
        ReceivedPart {
            part: part.id,
            category: described.map(|d| d.category.clone()),
            subjects: described
                .map(|d| d.subjects.iter().map(subject).collect())
                .unwrap_or_default(),
            secrecy: described.map(|d| d.source_secrecy.clone()),
            length: part.opened.content_length,
            file: file_name(&part.id, self.at_rest),
            key_packet_bytes: match self.at_rest {
                AtRest::Sealed => part.key_packet.len() as u64,
                AtRest::Plain => 0,
            },
            reason: decided.map(|d| d.reason.clone()).unwrap_or_default(),
            obligations: obligations(verified, part),
            names,
            mark,
            deleted_ms: None,
            ended: None,
            later: Vec::new(),
        }
    }

    /// Writes proof, answer and state, and lets the whole folder appear.
    fn finish(
        &self,
        making: &Making,
        incoming: &Incoming,
        hand_over: &wire::HandOver,
        delivery: Delivery,
        answering: &Answering<'_>,
    ) -> Result<Arc<Delivery>, Problem> {
        let write = |name: &str, bytes: Vec<u8>| self.disk.write(&making.folder.join(name), &bytes);
        write("manifest.bin", incoming.manifest().encode_to_vec())?;
        write("hand-over.bin", hand_over.encode_to_vec())?;
        write("answer.bin", answering.sign(&delivery)?.encode_to_vec())?;
        let path = making.folder.join("state.json");
        self.disk.write(&path, &disk::to_json(&delivery, &path)?)?;
        let (packet, consignment) = (delivery.packet, delivery.consignment);
        self.disk
            .appear(&making.folder, &self.folder(packet, &consignment))?;
        let delivery = Arc::new(delivery);
        self.lock().insert((packet, consignment), Arc::clone(&delivery));
        self.supersede(&delivery)?;
        Ok(delivery)
    }

    /// Answers to earlier hand-overs of the same parts are not sent any more: the broker has given those
    /// up, or it would not have handed over again.
    fn supersede(&self, newer: &Delivery) -> Result<(), Problem> {
        let covered: Vec<_> = newer.part_ids().collect();
        for older in self.of_packet(newer.packet) {
            let other = older.consignment != newer.consignment;
            if other && older.is_open() && older.part_ids().all(|p| covered.contains(&p)) {
                self.update(older.packet, older.consignment, |d| d.superseded = true)?;
            }
        }
        Ok(())
    }
}

fn decided<'a>(verified: &'a VerifiedDelivery, part: &VerifiedPart) -> Option<&'a PartDecision> {
    let decided = verified.proved().decision().parts();
    decided.iter().find(|d| d.part == part.id)
}

fn obligations(verified: &VerifiedDelivery, part: &VerifiedPart) -> Vec<String> {
    decided(verified, part)
        .map(|d| d.obligations.clone())
        .unwrap_or_default()
}

fn base(proved: &ProvedDelivery) -> Delivery {
    Delivery {
        format: 1,
        packet: proved.packet(),
        consignment: proved.consignment_leaf(),
        manifest_digest: proved.manifest_digest(),
        answer: Answer::Received,
        reason: String::new(),
        at_ms: proved.at().millis(),
        directory_version: proved.directory_version(),
        sender: proved.sender().clone(),
        case: proved.case(),
        purpose: None,
        basis: None,
        urgency: None,
        decided_ms: proved.decision().at().millis(),
        facts_count: proved.decision().facts_count(),
        decided_again: None,
        parts: Vec::new(),
        again: Vec::new(),
        settled: None,
        superseded: false,
        key: None,
        key_revoked: false,
    }
}

/// Name of a part's file: from its id, never from what the sender calls it.
fn file_name(part: &PartId, at_rest: AtRest) -> String {
    match at_rest {
        AtRest::Sealed => format!("{part}.pgp"),
        AtRest::Plain => format!("{part}.bin"),
    }
}

/// Name of the file with the sealed header of a part whose content lies open.
pub(super) fn header_name(part: &PartId) -> String {
    format!("header-{part}")
}

/// The names inside the seal, made fit for showing.
pub(super) fn names(opened: &OpenedPart) -> Names {
    let fit = |text: &str| printable(text, limits::SEALED_NAME_MAX_BYTES).replace(['/', '\\'], "_");
    Names {
        file_name: fit(&opened.file_name),
        title: printable(&opened.title, limits::SEALED_NAME_MAX_BYTES),
        media_type: printable(&opened.media_type, limits::SEALED_NAME_MAX_BYTES),
    }
}

fn acknowledgement(delivery: &Delivery, answering: &Answering<'_>) -> wire::Acknowledgement {
    let id = |d: Digest| bytes::Bytes::copy_from_slice(d.as_bytes());
    wire::Acknowledgement {
        r#type: ACKNOWLEDGEMENT_TYPE.to_owned(),
        network: answering.network.to_owned(),
        packet_id: delivery.packet.to_vec().into(),
        recipient: answering.agency.to_owned(),
        recipient_key: answering.keyring.fingerprint().to_vec().into(),
        manifest_digest: id(delivery.manifest_digest),
        consignment_leaf: id(delivery.consignment),
        outcome: delivery.answer.as_str().to_owned(),
        reason: delivery.reason.clone(),
        part_ids: delivery.part_ids().map(|p| p.to_vec().into()).collect(),
        made_ms: answering.now.millis(),
        checkpoint_seen: answering.checkpoint.clone(),
        obligation: String::new(),
        done_ms: 0,
    }
}

//! Keeping what was received: destroyed when an obligation says so, and every word that we say of it later
//! kept beside it until the log has it. The order makes a stop harmless: first the content goes, then the
//! record says so; a sweep after a stop does both again.

use std::sync::Arc;

use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::time::Timestamp;

use super::Inbox;
use super::record::{Answer, Delivery, Ended, Kind, Later, ReceivedPart};
use crate::obligations::{self, Meaning};
use crate::problem::{self, Problem};

/// A later word that the log does not have yet.
pub struct Open {
    /// The hand-over that the part came with.
    pub delivery: Arc<Delivery>,
    /// The part.
    pub part: PartId,
    /// The word.
    pub later: Later,
}

impl Inbox {
    /// Destroys what is due, at most `max_count` parts; the packets and parts that went. What is due is destroyed
    /// though another cannot be: the first problem is given at the end.
    pub fn destroy_due(&self, now: Timestamp, max_count: usize) -> Result<Vec<(PacketId, PartId)>, Problem> {
        let mut due = Vec::new();
        for delivery in self.all().iter().filter(|d| d.answer == Answer::Received) {
            let of_it = delivery.parts.iter().filter_map(|part| {
                let (at, obligation) = obligations::end_of(delivery, part)?;
                (at <= now).then_some((part, obligation))
            });
            due.extend(of_it.map(|(part, obligation)| (Arc::clone(delivery), part.clone(), obligation)));
            if due.len() >= max_count {
                break;
            }
        }
        let (mut gone, mut failed) = (Vec::new(), None);
        for (delivery, part, obligation) in due.into_iter().take(max_count) {
            match self.destroy(&delivery, &part, &obligation, now) {
                Ok(()) => gone.push((delivery.packet, part.part)),
                Err(problem) => failed = failed.or(Some(problem)),
            }
        }
        failed.map_or(Ok(gone), Err)
    }

    fn destroy(
        &self,
        delivery: &Delivery,
        part: &ReceivedPart,
        obligation: &str,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let folder = self.folder(delivery.packet, &delivery.consignment);
        self.disk.remove_file(&folder.join(&part.file))?;
        self.update_part(delivery, part.part, |part| {
            part.names = None;
            part.deleted_ms.get_or_insert(now.millis());
            say(part, Kind::Fulfilled, obligation, now);
        })
    }

    /// The agency's people have taken a part: its sender is told.
    pub fn taken(&self, delivery: &Delivery, part: PartId, now: Timestamp) -> Result<(), Problem> {
        self.update_part(delivery, part, |part| say(part, Kind::Taken, "", now))
    }

    /// The agency's people say that they carried out an obligation.
    ///
    /// # Errors
    /// No such part, an obligation that does not bind it, or one that the agent sees to itself.
    pub fn fulfilled(
        &self,
        packet: PacketId,
        part: PartId,
        obligation: &str,
        now: Timestamp,
    ) -> Result<Arc<Delivery>, Problem> {
        let (delivery, received) = self.part(packet, part).ok_or_else(|| unknown(part))?;
        let duties = obligations::duties(&delivery, &received);
        let refuse = |code, sentence: &str, remedy| {
            Err(Problem::new(problem::Kind::Refused, code, sentence, remedy).at(part))
        };
        let Some(duty) = duties.iter().find(|duty| duty.obligation == obligation) else {
            let remedy = "See `schakel-agent inbox list` for what binds it.";
            return refuse("OBLIGATION_UNKNOWN", "no such obligation binds this part", remedy);
        };
        let meaning = Meaning::of(&duty.obligation, Timestamp::from_millis(delivery.at_ms));
        if meaning != Meaning::ForPeople {
            let sentence = "the agent sees to this obligation itself";
            return refuse("OBLIGATION_OF_AGENT", sentence, "There is nothing to be done.");
        }
        self.update_part(&delivery, part, |part| {
            say(part, Kind::Fulfilled, obligation, now)
        })?;
        Ok(self
            .get(delivery.packet, delivery.consignment)
            .unwrap_or(delivery))
    }

    /// Notes why the ground of a part has ended, and whether its measure was lifted; or that it has a ground again.
    /// What was known before stays as it was.
    pub fn note_ground(
        &self,
        delivery: &Delivery,
        part: PartId,
        (reason, lifted): (Option<&str>, bool),
        now: Timestamp,
    ) -> Result<(), Problem> {
        self.update_part(delivery, part, |part| {
            let before = part.ended.as_ref().map(|ended| ended.reason.as_str());
            if part.deleted_ms.is_none() && before != reason {
                part.ended = reason.map(|reason| Ended {
                    reason: reason.to_owned(),
                    since_ms: now.millis(),
                    obligation: obligations::that_follows(lifted, part),
                });
            }
        })
    }

    /// What we say later and the log does not have yet. Nothing of a hand-over whose answer it does not have.
    pub fn open_later(&self) -> Vec<Open> {
        let all = self.all();
        let settled = |delivery: &Delivery| {
            let of_packet = all.iter().filter(|d| d.packet == delivery.packet);
            delivery.settled.is_some() || (delivery.superseded && { of_packet }.any(|d| d.settled.is_some()))
        };
        let mut open = Vec::new();
        for delivery in all.iter().filter(|d| d.answer == Answer::Received && settled(d)) {
            for part in &delivery.parts {
                let words = part.later.iter().filter(|later| later.settled.is_none());
                open.extend(words.map(|later| Open {
                    delivery: Arc::clone(delivery),
                    part: part.part,
                    later: later.clone(),
                }));
            }
        }
        open
    }

    /// The log has a later word: it is not said again.
    pub fn later_settled(
        &self,
        (packet, consignment): (PacketId, Digest),
        part: PartId,
        (kind, obligation): (Kind, &str),
        leaf: Digest,
    ) -> Result<(), Problem> {
        let Some(delivery) = self.get(packet, consignment) else {
            return Ok(());
        };
        self.update_part(&delivery, part, |part| {
            let words = part.later.iter_mut();
            let mut meant = words.filter(|said| said.kind == kind && said.obligation == obligation);
            if let Some(said) = meant.next() {
                said.settled.get_or_insert(leaf);
            }
        })
    }

    /// Changes one part's record; nothing is written if nothing changes.
    fn update_part(
        &self,
        delivery: &Delivery,
        part: PartId,
        change: impl FnOnce(&mut ReceivedPart),
    ) -> Result<(), Problem> {
        self.update(delivery.packet, delivery.consignment, |delivery| {
            if let Some(part) = delivery.parts.iter_mut().find(|one| one.part == part) {
                change(part);
            }
        })
    }
}

/// Says it once.
fn say(part: &mut ReceivedPart, kind: Kind, obligation: &str, now: Timestamp) {
    if part.later(kind, obligation).is_none() {
        part.later.push(Later {
            kind,
            obligation: obligation.to_owned(),
            done_ms: now.millis(),
            settled: None,
        });
    }
}

/// There is no such part.
pub fn unknown(part: PartId) -> Problem {
    let remedy = "See `schakel-agent inbox list`.";
    let sentence = "no such part is in the inbox";
    Problem::new(problem::Kind::NotFound, "PART_UNKNOWN", sentence, remedy).at(part)
}

//! Keeping what was received: destroyed when an obligation says so, and every word that we say of it later
//! kept beside it until the log has it. The order makes a stop harmless: first the content goes, then the
//! record says so; a sweep after a stop does both again.

use std::sync::Arc;

use schakel_proto::evidence::MISLABELLED;
use schakel_proto::ids::{Digest, PacketId, PartId};
use schakel_proto::time::Timestamp;

use super::Inbox;
use super::accept::header_name;
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
        }
        let (mut gone, mut failed) = (Vec::new(), None);
        for (delivery, part, obligation) in due {
            if gone.len() >= max_count {
                break;
            }
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
        // What was set aside of the packet before it was accepted holds the same sealed content.
        self.forget_quarantined(delivery.packet)?;
        let folder = self.folder(delivery.packet, &delivery.consignment);
        self.disk.remove_file(&folder.join(&part.file))?;
        if part.key_packet_bytes == 0 {
            self.disk.remove_file(&folder.join(header_name(&part.part)))?;
        }
        self.update_part(delivery, part.part, |part| {
            part.names = None;
            part.deleted_ms.get_or_insert(now.millis());
            say(part, Kind::Fulfilled, obligation, now);
            // What another obligation would have ended later is gone as well.
            let received = Timestamp::from_millis(delivery.at_ms);
            let ends = |one: &&String| matches!(Meaning::of(one, received), Meaning::DestroyAt(_));
            let others: Vec<String> = part.obligations.iter().filter(ends).cloned().collect();
            others.iter().for_each(|one| say(part, Kind::Fulfilled, one, now));
        })
    }

    /// The agency's people have taken a part: its sender is told.
    pub fn taken(&self, delivery: &Delivery, part: PartId, now: Timestamp) -> Result<(), Problem> {
        self.update_part(delivery, part, |part| say(part, Kind::Taken, "", now))
    }

    /// The agency's people say that they carried out an obligation; or, in its place, that the part is not what
    /// its label says.
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
        if obligation == MISLABELLED {
            return self.said(&delivery, part, obligation, now);
        }
        let Some(duty) = duties.iter().find(|duty| duty.obligation == obligation) else {
            let remedy = "See `schakel-agent inbox list` for what binds it.";
            return refuse("OBLIGATION_UNKNOWN", "no such obligation binds this part", remedy);
        };
        let meaning = Meaning::of(&duty.obligation, Timestamp::from_millis(delivery.at_ms));
        if meaning != Meaning::ForPeople {
            let sentence = "the agent sees to this obligation itself";
            return refuse("OBLIGATION_OF_AGENT", sentence, "There is nothing to be done.");
        }
        self.said(&delivery, part, obligation, now)
    }

    fn said(
        &self,
        delivery: &Arc<Delivery>,
        part: PartId,
        obligation: &str,
        now: Timestamp,
    ) -> Result<Arc<Delivery>, Problem> {
        self.update_part(delivery, part, |part| say(part, Kind::Fulfilled, obligation, now))?;
        let kept = self.get(delivery.packet, delivery.consignment);
        Ok(kept.unwrap_or_else(|| Arc::clone(delivery)))
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
            let follows = obligations::that_follows(lifted, part);
            let before = part.ended.as_ref();
            let same = before.map(|ended| (ended.reason.as_str(), ended.obligation.as_str()))
                == reason.map(|reason| (reason, follows.as_str()));
            if part.deleted_ms.is_none() && !same {
                part.ended = reason.map(|reason| Ended {
                    reason: reason.to_owned(),
                    since_ms: now.millis(),
                    obligation: follows,
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
    Problem::new(problem::Kind::NotFound, "NOT_IN_INBOX", sentence, remedy).at(part)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schakel_proto::ids::CaseRef;
    use schakel_proto::party::AgencyId;

    use super::*;
    use crate::clock::randomness;
    use crate::config::AtRest;
    use crate::disk::{self, Disk};
    use crate::inbox::quarantine::QuarantineMax;

    const END: Timestamp = Timestamp::from_millis(1_795_278_600_000);
    const EXPIRES: &str = "expire-at:2026-11-21T16:30:00.000Z";

    fn inbox(disk: Disk, data: &Path) -> Result<Inbox, Problem> {
        Inbox::open(disk, data, AtRest::Sealed, QuarantineMax::default())
    }

    /// A hand-over on disk, with one part for each list of obligations.
    fn put(data: &Path, obligations: &[&[&str]]) -> Delivery {
        let rng = &mut randomness();
        let part = |bound: &&[&str]| {
            let part = PartId::random(rng);
            ReceivedPart {
                part,
                category: None,
                subjects: Vec::new(),
                secrecy: None,
                length: 3,
                file: format!("{part}.pgp"),
                key_packet_bytes: 1,
                reason: "OK_HOUSE_BAN".to_owned(),
                obligations: bound.iter().map(|one| (*one).to_owned()).collect(),
                names: None,
                mark: None,
                deleted_ms: None,
                ended: None,
                later: Vec::new(),
            }
        };
        let parts: Vec<_> = obligations.iter().map(part).collect();
        let packet = PacketId::new(END, &mut randomness());
        let delivery = Delivery {
            format: 1,
            packet,
            consignment: Digest::of(packet.as_bytes()),
            manifest_digest: Digest::of(b"manifest"),
            answer: Answer::Received,
            reason: String::new(),
            at_ms: END.plus_millis(-86_400_000).millis(),
            directory_version: 1,
            sender: AgencyId::new("parket-antwerpen").unwrap(),
            case: CaseRef::random(&mut randomness()),
            purpose: None,
            basis: None,
            urgency: None,
            decided_ms: 0,
            facts_count: 0,
            decided_again: None,
            parts,
            again: Vec::new(),
            settled: Some(Digest::of(b"settled")),
            superseded: false,
            key: None,
            key_revoked: false,
        };
        let inbox = inbox(Disk::default(), data).unwrap();
        let folder = inbox.folder(packet, &delivery.consignment);
        std::fs::create_dir_all(&folder).unwrap();
        for part in &delivery.parts {
            std::fs::write(folder.join(&part.file), b"abc").unwrap();
        }
        let state = folder.join("state.json");
        std::fs::write(&state, disk::to_json(&delivery, &state).unwrap()).unwrap();
        delivery
    }

    fn there(inbox: &Inbox, delivery: &Delivery) -> Vec<bool> {
        let folder = inbox.folder(delivery.packet, &delivery.consignment);
        delivery
            .parts
            .iter()
            .map(|part| folder.join(&part.file).exists())
            .collect()
    }

    #[test]
    fn d14_what_is_due_is_destroyed_once_whatever_stops_us_and_nothing_before() {
        let mut stops = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            let delivery = put(data.path(), &[&[EXPIRES], &["log-access"], &["delete-after:1d"]]);
            let early = inbox(Disk::default(), data.path()).unwrap();
            assert!(early.destroy_due(END.plus_millis(-1), 8).unwrap().is_empty());
            assert_eq!(there(&early, &delivery), [true; 3]);
            drop(early);
            let stopping = inbox(Disk::stopping_after(stops), data.path());
            let done = stopping.and_then(|inbox| inbox.destroy_due(END, 8)).is_ok();
            // After a restart no record says that something is gone that is there.
            let again = inbox(Disk::default(), data.path()).unwrap();
            let kept = again.all().remove(0);
            for (part, there) in kept.parts.iter().zip(there(&again, &delivery)) {
                assert!(part.deleted_ms.is_none() || !there, "stopped after {stops}");
            }
            again.destroy_due(END.plus_millis(5), 8).unwrap();
            assert_eq!(
                there(&again, &delivery),
                [false, true, false],
                "stopped after {stops}"
            );
            assert!(again.destroy_due(END.plus_millis(9), 8).unwrap().is_empty());
            let said: Vec<_> = again
                .open_later()
                .into_iter()
                .map(|open| open.later.obligation)
                .collect();
            assert_eq!(said, [EXPIRES, "delete-after:1d"], "stopped after {stops}");
            if done {
                break;
            }
            stops += 1;
        }
        assert!(stops >= 4, "every removal and every record is a step: {stops}");
    }

    #[test]
    fn one_look_is_bounded_and_the_next_takes_the_rest() {
        let data = tempfile::tempdir().unwrap();
        let delivery = put(data.path(), &[&[EXPIRES], &[EXPIRES], &[EXPIRES]]);
        let inbox = inbox(Disk::default(), data.path()).unwrap();
        assert_eq!(inbox.destroy_due(END, 2).unwrap().len(), 2);
        assert_eq!(inbox.destroy_due(END, 2).unwrap().len(), 1);
        assert_eq!(there(&inbox, &delivery), [false; 3]);
    }

    #[test]
    fn a_ground_that_ends_binds_until_it_is_there_again_and_a_lifted_measure_expires_at_once() {
        let data = tempfile::tempdir().unwrap();
        let delivery = put(data.path(), &[&[EXPIRES]]);
        let part = delivery.parts[0].part;
        let inbox = inbox(Disk::default(), data.path()).unwrap();
        let before = END.plus_millis(-3_600_000);
        let ended = || inbox.all()[0].parts[0].ended.clone();
        let closed = (Some("DENY_CASE_CLOSED"), false);
        inbox.note_ground(&delivery, part, closed, before).unwrap();
        inbox
            .note_ground(&delivery, part, closed, before.plus_millis(7))
            .unwrap();
        let known = ended().unwrap();
        assert_eq!(
            (known.since_ms, known.obligation.as_str()),
            (before.millis(), "no-further-use"),
            "known since the first time"
        );
        assert!(inbox.destroy_due(before, 8).unwrap().is_empty());
        inbox.note_ground(&delivery, part, (None, false), before).unwrap();
        assert_eq!(ended(), None);
        let lifted = (Some("DENY_BASIS_EXPIRED"), true);
        inbox.note_ground(&delivery, part, lifted, before).unwrap();
        assert_eq!(ended().unwrap().obligation, EXPIRES);
        assert_eq!(inbox.destroy_due(before, 8).unwrap(), [(delivery.packet, part)]);
        inbox.note_ground(&delivery, part, (None, false), END).unwrap();
        assert!(ended().is_some(), "of what is gone the record stays as it was");
    }

    #[test]
    fn people_say_what_they_did_once_and_not_what_is_the_agents() {
        let data = tempfile::tempdir().unwrap();
        let delivery = put(data.path(), &[&[EXPIRES, "notify-dpo"]]);
        let (packet, part) = (delivery.packet, delivery.parts[0].part);
        let inbox = inbox(Disk::default(), data.path()).unwrap();
        let code = |obligation| inbox.fulfilled(packet, part, obligation, END).unwrap_err().code;
        assert_eq!(code(EXPIRES), "OBLIGATION_OF_AGENT");
        assert_eq!(
            code("no-further-use"),
            "OBLIGATION_UNKNOWN",
            "its ground has not ended"
        );
        for _ in 0..2 {
            inbox.fulfilled(packet, part, "notify-dpo", END).unwrap();
        }
        assert_eq!(inbox.open_later().len(), 1);
        let leaf = Digest::of(b"leaf");
        let of = (packet, delivery.consignment);
        inbox
            .later_settled(of, part, (Kind::Fulfilled, "notify-dpo"), leaf)
            .unwrap();
        assert!(inbox.open_later().is_empty());
    }
}

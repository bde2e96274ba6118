//! What the operator looks up stands in the log itself: one entry for each act, with who asked (a Unix user), and
//! never what was found. At most so many an hour: who asks for more waits. How many got none for want of room on the disk
//! is told by the next.

use std::sync::{Mutex, PoisonError};

use schakel_proto::evidence::Event;
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;

use super::{Ask, Desk};
use crate::clock::seeded_rng;
use crate::log::entry::EntryDraft;
use crate::redact::{Code, safe};
use crate::store::StoreError;

/// Entries of this kind in an hour.
const PER_HOUR_MAX_COUNT: u32 = 240;
const HOUR_MILLIS: i64 = 3_600_000;
/// Reason of an entry that only says how many acts got none.
const LEFT_OUT: &str = "left-out";
const LIST: &str = "list";
const EXPORT: &str = "export";
const ERASE: &str = "erase";

/// An act: its code, and the case or packet that it names, if it names one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    code: &'static str,
    case: Option<CaseRef>,
    packet: Option<PacketId>,
}

impl Act {
    pub(super) fn of(ask: &Ask) -> Self {
        let act = |code| Self {
            code,
            case: None,
            packet: None,
        };
        match ask {
            Ask::Replay => act("replay"),
            Ask::Overdue => act("overdue"),
            Ask::Verify => act("verify"),
            Ask::Shards => act("shards"),
            Ask::Freeze { .. } => act("freeze"),
            Ask::Thaw => act("thaw"),
            Ask::Check => act("check"),
            Ask::Backup { .. } => act("backup"),
            Ask::Confirm { .. } => act("confirm"),
            Ask::Stats { filter } => Self {
                case: filter.case(),
                packet: filter.packet(),
                ..act("stats")
            },
            Ask::Disclosures { case, .. } => Self {
                case: case.parse().ok(),
                ..act("disclosures")
            },
            Ask::Entries { filter, export, .. } => Self {
                case: filter.case(),
                packet: filter.packet(),
                ..act(if *export { EXPORT } else { LIST })
            },
            Ask::Erase { case } => Self {
                case: case.parse().ok(),
                ..act(ERASE)
            },
            Ask::Show { packet } => Self {
                packet: packet.parse().ok(),
                ..act("show")
            },
        }
    }
}

/// Something that is done with the store of a stopped broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its rows are rewritten.
    Compact,
    /// Everything in it goes into another store.
    Move,
    /// It gets what this program needs.
    Migrate,
}

impl Act {
    pub(super) fn of_deed(deed: Deed) -> Self {
        let code = match deed {
            Deed::Compact => "compact",
            Deed::Move => "move",
            Deed::Migrate => "migrate",
        };
        Self {
            code,
            case: None,
            packet: None,
        }
    }

    /// Whether its answer comes in pages: the questions for the next ones are no acts of their own.
    pub(super) fn has_pages(&self) -> bool {
        matches!(self.code, LIST | EXPORT)
    }
}

#[derive(Debug, Default)]
struct Hour {
    began: Option<Timestamp>,
    written: u32,
    left_out: u64,
}

/// How many acts got an entry in this hour, and how many did not.
#[derive(Debug, Default)]
pub(super) struct Acts(Mutex<Hour>);

impl Acts {
    /// Whether one more gets an entry: then how many before it got none.
    ///
    /// # Errors
    /// Not in this hour; after how many milliseconds.
    fn enter(&self, now: Timestamp) -> Result<u64, u64> {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |began: Timestamp| !(0..HOUR_MILLIS).contains(&now.millis_since(began));
        let began = hour.began.filter(|began| !over(*began)).unwrap_or(now);
        if hour.began != Some(began) {
            (hour.began, hour.written) = (Some(began), 0);
        }
        if hour.written < PER_HOUR_MAX_COUNT {
            hour.written += 1;
            return Ok(std::mem::take(&mut hour.left_out));
        }
        Err((HOUR_MILLIS - now.millis_since(began)).unsigned_abs())
    }

    /// Nothing was written of an act that [`Acts::enter`] let in: `count` acts are to be told by the next.
    fn missed(&self, count: u64) {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hour.written = hour.written.saturating_sub(1);
        hour.left_out = hour.left_out.saturating_add(count);
    }

    fn owed(&self) -> u64 {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut hour.left_out)
    }
}

impl Desk {
    /// Puts an act into the log before it is answered. On a full disk it is answered all the same, counted, and an
    /// alarm: that is when an operator must be able to look.
    ///
    /// # Errors
    /// There were too many in this hour, or it could not be recorded: it is not answered.
    pub(super) async fn record(&self, actor: &str, act: &Act) -> Result<(), Refusal> {
        let now = self.clock.now();
        let left_out = self.acts.enter(now).map_err(|wait| {
            let sentence = format!("The operator asked {PER_HOUR_MAX_COUNT} times within an hour: each question is logged");
            let remedy = "Wait as long as retry_after_ms says, or stop the loop that asks; `log ls --follow` is one question.";
            Refusal::new(Fault::Exhausted, "ACTS_TOO_MANY", sentence, remedy).retry_after(wait)
        })?;
        let draft = EntryDraft {
            reason: act.code.to_owned(),
            actor: actor.to_owned(),
            left_out,
            ..EntryDraft::new(Event::AdminAct, now)
        };
        let draft = self.about(draft, act).await?;
        self.write(draft, left_out.saturating_add(1)).await
    }

    /// The case or packet that the act names, if the broker knows it: no search term that means nothing here is kept.
    async fn about(&self, mut draft: EntryDraft, act: &Act) -> Result<EntryDraft, Refusal> {
        // What is erased is not named by the entry that says who erased it.
        if act.code == ERASE {
            return Ok(draft);
        }
        let mut case = act.case;
        if let Some(packet) = act.packet {
            match self.store.packet(packet).await {
                Ok(Some(known)) => {
                    draft.packet = Some(packet);
                    case = Some(known.case);
                }
                // What is damaged must be looked at: it is, and not named.
                Ok(None) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(case) = case
            && self.keys.is_there(Some(case))
        {
            draft.case = Some(case);
        }
        // An erased case stays erased: no packet of it is named again.
        if draft.case.is_none() {
            draft.packet = None;
        }
        Ok(draft)
    }

    async fn write(&self, draft: EntryDraft, count: u64) -> Result<(), Refusal> {
        let made = self.entries.make(draft, &mut seeded_rng()).await;
        let recorded = match made {
            Ok(entry) => self.store.record(entry).await.map(drop),
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => Ok(()),
            Err(StoreError::Full) => {
                self.acts.missed(count);
                tracing::error!(count, "alarm: the operator's act could not be logged: no room");
                Ok(())
            }
            Err(error) => {
                self.acts.missed(count);
                Err(error.into())
            }
        }
    }

    /// Says in the log how many acts got no entry of their own, before the broker stops and forgets it.
    pub async fn settle(&self) {
        let left_out = self.acts.owed();
        if left_out == 0 {
            return;
        }
        let draft = EntryDraft {
            reason: LEFT_OUT.to_owned(),
            left_out,
            ..EntryDraft::new(Event::AdminAct, self.clock.now())
        };
        if let Err(refusal) = self.write(draft, left_out).await {
            let code = safe(Code(&refusal));
            tracing::error!(code, left_out, "acts of the operator could not be logged");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_does_not_flood_the_log_and_waits() {
        let acts = Acts::default();
        let at = Timestamp::from_millis;
        let written = (0..1000).filter(|n| acts.enter(at(*n)).is_ok()).count();
        assert_eq!(written, 240);
        assert_eq!(acts.enter(at(1000)), Err(3_599_000), "and no answer before then");
        acts.missed(3);
        assert!(
            acts.enter(at(1000)).is_ok(),
            "without room nothing was written: one may look"
        );
        acts.missed(3);
        assert_eq!(acts.enter(at(HOUR_MILLIS)), Ok(3), "the next one says it");
        assert_eq!(acts.enter(at(HOUR_MILLIS)), Ok(0));
        acts.missed(2);
        assert_eq!((acts.owed(), acts.owed()), (2, 0));
        assert_eq!(
            acts.enter(at(5)),
            Ok(0),
            "a clock that jumps back locks nobody out"
        );
    }
}

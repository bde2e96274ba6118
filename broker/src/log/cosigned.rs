//! What witnesses cosign. All of them must sign one and the same checkpoint, while the log grows: so one is held up to
//! them, the candidate, until enough have signed it or it has waited long enough; then comes the newest. It stands in
//! the store with their lines, the same for every broker on it, and after a restart. What is held here is what the
//! store had when it was looked at last: every line was checked, whoever put it there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use schakel_proto::directory::Directory;
use schakel_proto::limits;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::SignedCheckpoint;
use schakel_proto::tlog::cosignature::{Cosignature, CosignatureError, with_lines};
use schakel_proto::tlog::shards::Opens;
use schakel_proto::wire;

use crate::intake::rates::Rates;
use crate::store::{HeldUp, NewCandidate, Store, StoredCheckpoint};

/// How long a candidate waits for its witnesses while the log has grown beyond it, in milliseconds. By as much may the
/// clock of another broker that held it up be ahead.
const CANDIDATE_LIFE_MILLIS: i64 = 60_000;
/// Shortest time between two cosignatures of one witness, in milliseconds.
const COSIGN_EVERY_MILLIS: i64 = 2_000;
/// How often it is tried to hold up another while other brokers do.
const TRIES_MAX_COUNT: usize = 4;

/// A checkpoint with the cosignatures that it has so far.
struct Candidate {
    checkpoint: SignedCheckpoint,
    since: Timestamp,
    lines: BTreeMap<AgencyId, Cosignature>,
    witnessed: bool,
}

impl Candidate {
    /// Whether the newest checkpoint takes its place: enough witnesses signed it, or it has waited long enough. A clock
    /// that was set far back says nothing about how long, and holds nothing up.
    fn is_over(&self, newest_size: u64, now: Timestamp) -> bool {
        let waits = -CANDIDATE_LIFE_MILLIS..=CANDIDATE_LIFE_MILLIS;
        let waited = !waits.contains(&now.millis_since(self.since));
        newest_size > self.checkpoint.size() && (self.witnessed || waited)
    }

    fn note(&self) -> Vec<u8> {
        let lines = self.lines.values().map(|one| one.line.as_str());
        with_lines(self.checkpoint.note(), lines)
    }

    /// As the store has it; what was checked `before` need not be checked again. None: it is not of this log, as the
    /// directory has it.
    fn of(stored: &HeldUp, directory: &Directory, before: Option<&Self>) -> Option<Self> {
        let log = directory.log();
        let checkpoint = log.shards().open(&stored.note).ok()?;
        if checkpoint.size() != stored.size {
            return None;
        }
        let before = before.filter(|one| one.checkpoint.note() == checkpoint.note());
        let mut lines = BTreeMap::new();
        for (agency, line) in &stored.lines {
            let known = before.and_then(|one| one.lines.get(agency));
            let known = known.filter(|one| one.line == *line).cloned();
            let key = log.watch().key_for(agency, checkpoint.origin());
            let checked = known.or_else(|| key?.check(line, &checkpoint).ok());
            lines.extend(checked.map(|line| (agency.clone(), line)));
        }
        let mut candidate = Self {
            checkpoint,
            since: stored.since,
            lines,
            witnessed: false,
        };
        candidate.witnessed = match before {
            Some(before) if before.lines == candidate.lines => before.witnessed,
            _ => {
                let opened = log.shards().open(&candidate.note());
                let standing = opened.ok().and_then(|opened| log.watch().standing(&opened).ok());
                standing.is_some_and(|standing| standing.is_witnessed())
            }
        };
        Some(candidate)
    }
}

#[derive(Default)]
struct Inner {
    candidate: Option<Candidate>,
    /// The newest that enough witnesses signed, when the candidate is a newer one.
    witnessed: Option<Candidate>,
    /// What the store holds up, whether it can be used or not: its size, and how many lines it has.
    stored: Option<(u64, usize)>,
}

impl Inner {
    fn all(&self) -> impl Iterator<Item = &Candidate> {
        self.candidate.iter().chain(&self.witnessed)
    }

    /// What the store has now.
    fn take_up(&mut self, stored: &[HeldUp], directory: &Directory) {
        let known = |one: &HeldUp| self.all().find(|known| known.checkpoint.size() == one.size);
        let mut newest = stored.iter().rev();
        let (last, before) = (newest.next(), newest.next());
        let candidate = last.and_then(|one| Candidate::of(one, directory, known(one)));
        let witnessed = before.and_then(|one| Candidate::of(one, directory, known(one)));
        *self = Self {
            candidate,
            witnessed: witnessed.filter(|one| one.witnessed),
            stored: last.map(|one| (one.size, one.lines.len())),
        };
    }
}

/// The cosignatures of this log.
pub struct Cosigned {
    inner: Mutex<Inner>,
    /// Held while the store is looked at: what was read first is taken up first.
    looking: tokio::sync::Mutex<()>,
    rates: Rates,
}

impl Default for Cosigned {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            rates: Rates::new(1, COSIGN_EVERY_MILLIS),
        }
    }
}

impl Cosigned {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The note of the log's newest checkpoint, with the cosignatures that it had when the store was looked at last.
    pub fn dress(&self, newest: &StoredCheckpoint) -> Bytes {
        let inner = self.lock();
        let same = inner
            .all()
            .filter(|one| one.checkpoint.size() == newest.size && one.checkpoint.root() == newest.root)
            .max_by_key(|one| one.lines.len());
        same.map_or_else(|| newest.note.clone(), |one| one.note().into())
    }

    /// Takes up what the store has.
    ///
    /// # Errors
    /// It does not answer, or what it has is damaged.
    pub async fn look(&self, store: &dyn Store, directory: &Directory) -> Result<(), Refusal> {
        let _one_at_a_time = self.looking.lock().await;
        let stored = store.held_up().await?;
        self.lock().take_up(&stored, directory);
        Ok(())
    }

    /// What witnesses are to cosign now, and the newest that enough of them did. `newest` is the log's newest checkpoint.
    ///
    /// # Errors
    /// The store's checkpoint is not the log's, or the store does not answer.
    pub async fn held_up(
        &self,
        store: &dyn Store,
        newest: Option<&StoredCheckpoint>,
        (directory, now): (&Directory, Timestamp),
    ) -> Result<wire::CosignAnswer, Refusal> {
        let Some(newest) = newest else {
            return Ok(wire::CosignAnswer::default());
        };
        for _ in 0..TRIES_MAX_COUNT {
            self.look(store, directory).await?;
            let Some(next) = self.next(newest, now) else { break };
            directory.log().shards().open(&newest.note).map_err(|_| {
                let sentence = "The log's newest checkpoint is not signed by the log's key";
                let remedy = "Tell the broker's operator.";
                Refusal::new(Fault::Internal, "LOG_KEY", sentence, remedy)
            })?;
            // Another broker may have been faster: then that one's is held up.
            if store.hold_up(next).await? {
                self.look(store, directory).await?;
                break;
            }
        }
        let inner = self.lock();
        let current = inner.candidate.as_ref();
        let witnessed = current.filter(|one| one.witnessed).or(inner.witnessed.as_ref());
        let note = |one: &Candidate| Bytes::from(one.note());
        Ok(wire::CosignAnswer {
            candidate: current.map(note).unwrap_or_default(),
            witnessed: witnessed.map(note).unwrap_or_default(),
        })
    }

    /// The newest checkpoint in the place of what is held up, if its time is over.
    fn next(&self, newest: &StoredCheckpoint, now: Timestamp) -> Option<NewCandidate> {
        let inner = self.lock();
        let over = inner.candidate.as_ref().map(|one| one.is_over(newest.size, now));
        if !over.unwrap_or(true) || inner.stored.is_some_and(|(size, _)| size >= newest.size) {
            return None;
        }
        let witnessed = inner.all().find(|one| one.witnessed);
        Some(NewCandidate {
            size: newest.size,
            note: newest.note.clone(),
            since: now,
            instead_of: inner.stored,
            keep: witnessed.map(|one| one.checkpoint.size()),
        })
    }

    /// Takes a cosignature of what is held up.
    ///
    /// # Errors
    /// The agency is no witness, signs too often, or what it signed does not hold; or the store does not answer.
    pub async fn take(
        &self,
        store: &dyn Store,
        (agency, request): (&AgencyId, &wire::CosignRequest),
        (directory, now): (&Directory, Timestamp),
    ) -> Result<(), Refusal> {
        if directory.log().watch().key(agency).is_none() {
            let sentence = "The directory lists no witness key of this agency";
            let remedy = "Remove witness_key from agent.toml, or have the network's authority list the key.";
            return Err(Refusal::new(Fault::Forbidden, "NOT_A_WITNESS", sentence, remedy));
        }
        self.rates.take(agency, now).map_err(|wait| {
            let sentence = "This witness cosigns more often than one needs to";
            let remedy = "Wait as long as retry_after_ms says, then try again.";
            Refusal::new(Fault::Exhausted, "TOO_FAST", sentence, remedy).retry_after(wait)
        })?;
        self.look(store, directory).await?;
        let cosignature = self.check(agency, request, (directory, now))?;
        let line = cosignature.line;
        if !store.keep_cosignature(request.size, agency, line).await? {
            return Err(other());
        }
        self.look(store, directory).await
    }

    fn check(
        &self,
        agency: &AgencyId,
        request: &wire::CosignRequest,
        (directory, now): (&Directory, Timestamp),
    ) -> Result<Cosignature, Refusal> {
        let text = std::str::from_utf8(&request.cosignature).unwrap_or_default();
        let inner = self.lock();
        let known = inner.all().find(|one| one.checkpoint.size() == request.size);
        let checkpoint = &known.ok_or_else(other)?.checkpoint;
        let key = directory.log().watch().key_for(agency, checkpoint.origin());
        let checked = key
            .ok_or(CosignatureError::Key)
            .and_then(|key| key.check(text, checkpoint));
        let cosignature = checked.map_err(|error| {
            let remedy = "Cosign the checkpoint as it was given, with the key that the directory lists.";
            Refusal::new(Fault::Invalid, "COSIGNATURE_WRONG", error.to_string(), remedy).at("cosignature")
        })?;
        let made = i64::try_from(cosignature.seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000);
        if now.millis().saturating_sub(made).saturating_abs() > limits::CLOCK_SKEW_MAX_MILLIS {
            let sentence = "The cosignature is dated far from now";
            let remedy = "Set the clock of the witness' machine.";
            return Err(Refusal::new(Fault::Invalid, "COSIGNATURE_TIME", sentence, remedy).at("cosignature"));
        }
        Ok(cosignature)
    }
}

fn other() -> Refusal {
    let sentence = "This checkpoint is not the one that witnesses cosign now";
    let remedy = "Ask again which one is, prove that it continues what you saw, and cosign that.";
    Refusal::new(Fault::Precondition, "COSIGN_OTHER", sentence, remedy).at("size")
}

#[cfg(test)]
mod tests;

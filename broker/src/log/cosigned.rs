//! What witnesses cosign. All of them must sign one and the same checkpoint, while the log grows: so one is held up to
//! them, the candidate, until enough have signed it or it has waited long enough; then comes the newest. Kept in memory:
//! a restart loses cosignatures and the witnesses sign again, nothing else rests on them here.

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
use crate::store::StoredCheckpoint;

/// How long a candidate waits for its witnesses while the log has grown beyond it, in milliseconds.
const CANDIDATE_LIFE_MILLIS: i64 = 60_000;
/// Shortest time between two cosignatures of one witness, in milliseconds.
const COSIGN_EVERY_MILLIS: i64 = 2_000;

/// A checkpoint with the cosignatures that it has so far.
struct Candidate {
    checkpoint: SignedCheckpoint,
    since: Timestamp,
    lines: BTreeMap<AgencyId, Cosignature>,
    witnessed: bool,
}

impl Candidate {
    /// Whether the newest checkpoint takes its place: enough witnesses signed it, or it has waited long enough. A clock
    /// that was set back says nothing about how long, and holds nothing up.
    fn is_over(&self, newest_size: u64, now: Timestamp) -> bool {
        let waited = !(0..=CANDIDATE_LIFE_MILLIS).contains(&now.millis_since(self.since));
        newest_size > self.checkpoint.size() && (self.witnessed || waited)
    }

    fn note(&self) -> Vec<u8> {
        let lines = self.lines.values().map(|one| one.line.as_str());
        with_lines(self.checkpoint.note(), lines)
    }
}

#[derive(Default)]
struct Inner {
    candidate: Option<Candidate>,
    /// The newest that enough witnesses signed, when the candidate is a newer one.
    witnessed: Option<Candidate>,
}

/// The cosignatures of this log, as far as they are known since the start.
pub struct Cosigned {
    inner: Mutex<Inner>,
    rates: Rates,
}

impl Default for Cosigned {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            rates: Rates::new(1, COSIGN_EVERY_MILLIS),
        }
    }
}

impl Cosigned {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The note of the log's newest checkpoint, with the cosignatures that it has.
    pub fn dress(&self, newest: &StoredCheckpoint) -> Bytes {
        let inner = self.lock();
        let known = inner.candidate.iter().chain(&inner.witnessed);
        let same = known
            .filter(|one| one.checkpoint.size() == newest.size && one.checkpoint.root() == newest.root)
            .max_by_key(|one| one.lines.len());
        same.map_or_else(|| newest.note.clone(), |one| one.note().into())
    }

    /// What witnesses are to cosign now, and the newest that enough of them did. `newest` is the log's newest checkpoint.
    ///
    /// # Errors
    /// The store's checkpoint is not the log's.
    pub fn held_up(
        &self,
        newest: Option<&StoredCheckpoint>,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<wire::CosignAnswer, Refusal> {
        let Some(newest) = newest else {
            return Ok(wire::CosignAnswer::default());
        };
        let mut inner = self.lock();
        let candidate = inner.candidate.as_ref();
        let over = candidate.is_none_or(|one| one.is_over(newest.size, now));
        if over {
            let checkpoint = directory.log().shards().open(&newest.note).map_err(|_| {
                let sentence = "The log's newest checkpoint is not signed by the log's key";
                Refusal::new(
                    Fault::Internal,
                    "LOG_KEY",
                    sentence,
                    "Tell the broker's operator.",
                )
            })?;
            let next = Candidate {
                checkpoint,
                since: now,
                lines: BTreeMap::new(),
                witnessed: false,
            };
            let former = inner.candidate.replace(next);
            if let Some(former) = former.filter(|one| one.witnessed) {
                inner.witnessed = Some(former);
            }
        }
        let current = inner.candidate.as_ref();
        let witnessed = current.filter(|one| one.witnessed).or(inner.witnessed.as_ref());
        let note = |one: &Candidate| Bytes::from(one.note());
        Ok(wire::CosignAnswer {
            candidate: current.map(note).unwrap_or_default(),
            witnessed: witnessed.map(note).unwrap_or_default(),
        })
    }

    /// Takes a cosignature of what was held up.
    ///
    /// # Errors
    /// The agency is no witness, signs too often, or what it signed does not hold.
    pub fn take(
        &self,
        agency: &AgencyId,
        request: &wire::CosignRequest,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let watch = directory.log().watch();
        let listed = watch.key(agency).is_some();
        if !listed {
            let sentence = "The directory lists no witness key of this agency";
            let remedy = "Remove witness_key from agent.toml, or have the network's authority list the key.";
            return Err(Refusal::new(Fault::Forbidden, "NOT_A_WITNESS", sentence, remedy));
        };
        self.rates.take(agency, now).map_err(|wait| {
            let sentence = "This witness cosigns more often than one needs to";
            let remedy = "Wait as long as retry_after_ms says, then try again.";
            Refusal::new(Fault::Exhausted, "TOO_FAST", sentence, remedy).retry_after(wait)
        })?;
        let text = std::str::from_utf8(&request.cosignature).unwrap_or_default();
        let mut inner = self.lock();
        let Inner { candidate, witnessed } = &mut *inner;
        let mut known = candidate.iter_mut().chain(witnessed);
        let Some(one) = known.find(|one| one.checkpoint.size() == request.size) else {
            let sentence = "This checkpoint is not the one that witnesses cosign now";
            let remedy = "Ask again which one is, prove that it continues what you saw, and cosign that.";
            return Err(Refusal::new(Fault::Precondition, "COSIGN_OTHER", sentence, remedy).at("size"));
        };
        let key = watch.key_for(agency, one.checkpoint.origin());
        let checked = key
            .ok_or(CosignatureError::Key)
            .and_then(|key| key.check(text, &one.checkpoint));
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
        one.lines.insert(agency.clone(), cosignature);
        let opened = directory.log().shards().open(&one.note());
        let standing = opened.ok().and_then(|opened| watch.standing(&opened).ok());
        one.witnessed |= standing.is_some_and(|standing| standing.is_witnessed());
        Ok(())
    }
}

#[cfg(test)]
mod tests;

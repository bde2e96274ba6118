//! What every call shares: the clock, the store and its log, the directory and the rules in force, the
//! bounds. Nothing here changes in the middle of a call: a call takes what it needs once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schakel_proto::evidence::Event;
use schakel_proto::ids::{DeliveryId, Digest};
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use tokio::sync::{Notify, watch};

use crate::auditors::Audits;
use crate::beats::Beats;
use crate::bundle::RulesInForce;
use crate::clock::{Clock, seeded_rng};
use crate::config::{Bounds, Retention};
use crate::directory::Directories;
use crate::intake::held::Held;
use crate::intake::rates::Intake;
use crate::intake::rejection::Rejections;
use crate::intake::turns::Turns;
use crate::log::cosigned::Cosigned;
use crate::log::entry::{EntryDraft, EntryMaker};
use crate::log::publish::Evidences;
use crate::log::sequencer::LogHandle;
use crate::log::shards;
use crate::meters::Meters;
use crate::overdue::Gauges;
use crate::overdue::settings::Settings;
use crate::seen;
use crate::store::{NewEntry, Store, StoreError};

/// Shared by all calls, as `Arc<State>`.
pub struct State {
    /// The network served.
    pub network: NetworkName,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Everything durable.
    pub store: Arc<dyn Store>,
    /// Makes log entries.
    pub entries: EntryMaker,
    /// Shows log entries.
    pub evidences: Evidences,
    /// Waits for checkpoints.
    pub log: LogHandle,
    /// The key's file, and what was said of the log's shard.
    pub shard: shards::Watch,
    /// What witnesses cosigned.
    pub cosigned: Cosigned,
    /// The directory in force.
    pub directories: Directories,
    /// The rules in force.
    pub rules: RulesInForce,
    /// The operator's bounds.
    pub bounds: Bounds,
    /// How fast and how many submissions, statements and recalls of one agency.
    pub submissions: Intake,
    /// Whose submission is checked next.
    pub turns: Turns,
    /// What senders may say that they saw of the log.
    pub seen: seen::Known,
    /// How fast and how many calls of one agency that only read.
    pub reads: Intake,
    /// How many rejections of one agency are logged.
    pub rejections: Rejections,
    /// Memory for what agencies are sending or being sent.
    pub held: Held,
    /// What auditors read.
    pub audits: Audits,
    /// What was closed, throttled and refused.
    pub meters: Arc<Meters>,
    /// Wakes the streams of recipients.
    pub bells: Bells,
    /// What a person must look at, counted.
    pub alarms: Alarms,
    /// From when on something is overdue.
    pub overdue: Settings,
    /// How much is overdue.
    pub gauges: Arc<Gauges>,
    /// For how long what is kept.
    pub retention: Retention,
    /// Whether what runs beside the calls still runs.
    pub beats: Arc<Beats>,
    /// Held while the operator's files are looked at.
    pub refreshing: tokio::sync::Mutex<()>,
    /// Becomes true when the broker is to stop.
    pub stop: watch::Receiver<bool>,
}

impl State {
    /// Makes a log entry.
    ///
    /// # Errors
    /// The erasure key of its case cannot be read or made.
    pub async fn entry(&self, draft: EntryDraft) -> Result<NewEntry, Refusal> {
        Ok(self.entries.make(draft, &mut seeded_rng()).await?)
    }

    /// The note of the newest checkpoint, with the cosignatures that it has; none: the log is empty.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn newest_note(&self) -> Result<Option<bytes::Bytes>, StoreError> {
        let newest = self.store.latest_checkpoint().await?;
        Ok(newest.map(|newest| self.cosigned.dress(&newest)))
    }

    /// Fresh lease tokens.
    pub fn tokens(&self, count: usize) -> Vec<DeliveryId> {
        let mut rng = seeded_rng();
        (0..count).map(|_| DeliveryId::random(&mut rng)).collect()
    }
}

/// The beginning of every entry about a packet.
pub fn about(event: Event, at: Timestamp, manifest: &ManifestFields, digest: Digest) -> EntryDraft {
    EntryDraft {
        case: Some(manifest.case_ref),
        packet: Some(manifest.packet_id),
        manifest_digest: Some(digest),
        sender: Some(manifest.sender.clone()),
        ..EntryDraft::new(event, at)
    }
}

/// One bell per recipient: rung when something may wait for it.
#[derive(Default)]
pub struct Bells {
    bells: Mutex<HashMap<AgencyId, Arc<Notify>>>,
    hurried: Mutex<HashMap<AgencyId, Arc<AtomicU64>>>,
}

impl Bells {
    /// The bell of `agency`; a ring while nobody listens is kept for the next listener.
    pub fn of(&self, agency: &AgencyId) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(bells.entry(agency.clone()).or_default())
    }

    /// Rings for `agency`: something cannot wait, not even behind what was leased already.
    pub fn hurry(&self, agency: &AgencyId) {
        self.hurried(agency).fetch_add(1, Ordering::SeqCst);
        self.ring(agency);
    }

    /// Counts what could not wait for `agency`.
    pub fn hurried(&self, agency: &AgencyId) -> Arc<AtomicU64> {
        let mut hurried = self.hurried.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hurried.entry(agency.clone()).or_default())
    }

    /// Rings for everybody that a stream was ever open for, or somebody rang for.
    pub fn hurry_all(&self) {
        let agencies: Vec<AgencyId> = {
            let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
            bells.keys().cloned().collect()
        };
        agencies.iter().for_each(|agency| self.hurry(agency));
    }

    /// Rings for `agency`.
    pub fn ring(&self, agency: &AgencyId) {
        self.of(agency).notify_one();
    }
}

/// Counts what a person must look at, by its code, since the start.
#[derive(Default)]
pub struct Alarms(Mutex<BTreeMap<&'static str, u64>>);

impl Alarms {
    /// How often each kind is told before only every doubling of its count is.
    const TOLD_MAX_COUNT: u64 = 64;

    /// Counts one; gives how many there are of this code by now.
    pub fn raise(&self, code: &'static str) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(code).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// How many there were of this code.
    pub fn count(&self, code: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(code).copied().unwrap_or_default()
    }

    /// How many there were of each code.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(code, count)| (*code, *count)).collect()
    }

    /// How many there were of all codes.
    pub fn total(&self) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().sum()
    }

    /// Whether the one with this count gets a line in the log: a member that repeats itself must not be able
    /// to fill the disk with lines.
    pub fn is_told(count: u64) -> bool {
        count <= Self::TOLD_MAX_COUNT || count.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_all_counted_and_not_all_told() {
        let alarms = Alarms::default();
        let told = (0..10_000)
            .filter(|_| Alarms::is_told(alarms.raise("SIGNATURE_BAD")))
            .count();
        assert_eq!(
            (alarms.count("SIGNATURE_BAD"), alarms.count("OTHER")),
            (10_000, 0)
        );
        assert!((64..80).contains(&told), "{told}");
    }

    #[tokio::test]
    async fn a_ring_is_kept_for_the_next_listener_and_is_the_agencys_own() {
        let bells = Bells::default();
        let (pz, caw) = (
            AgencyId::new("pz-rupel").unwrap(),
            AgencyId::new("caw-rupel").unwrap(),
        );
        bells.ring(&pz);
        bells.of(&pz).notified().await;
        let caws = bells.of(&caw);
        let heard = tokio::select! {
            biased;
            () = caws.notified() => true,
            () = std::future::ready(()) => false,
        };
        assert!(!heard);
    }
}

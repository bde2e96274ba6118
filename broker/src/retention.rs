//! Retention: what has been kept for as long as its kind is kept goes, a bounded number in each round, each with an entry
//! that says how many. Payload goes long before (`store`: when nobody waits for it); evidence stays: leaves, the tree, and
//! every proof of what is still kept.
//!
//! What goes does not come back, so a round waits while the time cannot be believed: the directory must be fresh at the
//! moment that the clock shows.

use schakel_proto::evidence::Event;
use schakel_proto::ids::PacketId;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;

use crate::beats::Monitor;
use crate::log::entry::EntryDraft;
use crate::redact::{Code, safe};
use crate::state::{Alarms, State};
use crate::store::forget::FORGOTTEN_MAX_COUNT;
use crate::store::{Forgetting, Forgot};

mod cases;

/// Rows of packets, and entries, that are looked at in one round.
const LOOKED_AT_MAX_COUNT: usize = 1_024;
/// Pages of one kind that go in one round.
const PAGES_MAX_COUNT: usize = 16;

/// How far the rounds have come. It is not durable: a broker that starts begins at the first.
#[derive(Debug, Default)]
pub struct Place {
    cases: cases::Place,
    packet: Option<PacketId>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Cases whose erasure key was destroyed.
    pub cases: u64,
    /// Packets of which only a trace is left.
    pub packets: u64,
    /// Entries of which only the leaf is left.
    pub entries: u64,
    /// There is more to look at; the next round goes on with it.
    pub more: bool,
}

/// One round.
///
/// # Errors
/// The store cannot be read or could not commit; what was done stays done.
pub async fn sweep(state: &State, place: &mut Place) -> Result<Swept, Refusal> {
    let now = state.clock.now();
    let mut swept = Swept::default();
    if let Err(error) = state.directories.current().fresh(now) {
        let count = state.alarms.raise("RETENTION_WAITS");
        if Alarms::is_told(count) {
            tracing::error!(%error, count, "alarm: retention waits: the directory is not of the day that this clock shows");
        }
        return Ok(swept);
    }
    acts(state, now, &mut swept).await?;
    packets(state, now, &mut place.packet, &mut swept).await?;
    cases::sweep(state, now, &mut place.cases, &mut swept).await?;
    state.meters.went(swept);
    if swept.cases + swept.packets + swept.entries > 0 {
        let Swept {
            cases,
            packets,
            entries,
            ..
        } = swept;
        tracing::info!(cases, packets, entries, "what had been kept for its time went");
    }
    Ok(swept)
}

/// Acts that were logged long enough ago, in the order of the log.
async fn acts(state: &State, now: Timestamp, swept: &mut Swept) -> Result<(), Refusal> {
    let before = now.years_before(state.retention.act_years);
    for _ in 0..PAGES_MAX_COUNT {
        state.beats.beat(Monitor::Retention);
        let acts = state.store.acts(before, LOOKED_AT_MAX_COUNT).await?;
        if acts.looked_at == acts.from {
            return Ok(());
        }
        swept.entries += go(state, Forgetting::Acts(acts)).await?;
    }
    swept.more = true;
    Ok(())
}

/// Packets that ended long enough ago, from where the last round came to.
async fn packets(
    state: &State,
    now: Timestamp,
    after: &mut Option<PacketId>,
    swept: &mut Swept,
) -> Result<(), Refusal> {
    let kept = &state.retention;
    let emergency = now.years_before(kept.emergency_years.max(kept.packet_years));
    let before = now.years_before(kept.packet_years);
    state.beats.beat(Monitor::Retention);
    let page = state.store.ended(before, *after, LOOKED_AT_MAX_COUNT).await?;
    let due = page
        .found
        .iter()
        .filter(|one| !one.emergency || one.ended < emergency);
    let due: Vec<PacketId> = due.map(|one| one.packet).collect();
    for some in due.chunks(FORGOTTEN_MAX_COUNT) {
        state.beats.beat(Monitor::Retention);
        swept.packets += go(state, Forgetting::Packets(some.to_vec())).await?;
    }
    *after = page.next;
    swept.more |= page.next.is_some();
    Ok(())
}

/// Lets a page go, with its entry; how many went. A page that is not what it was any more is looked at again with the
/// next round.
async fn go(state: &State, forgetting: Forgetting) -> Result<u64, Refusal> {
    let count = forgetting.count();
    let mut entry = None;
    if count > 0 {
        let draft = EntryDraft {
            reason: forgetting.as_str().to_owned(),
            left_out: count,
            ..EntryDraft::new(Event::RecordsErased, state.clock.now())
        };
        entry = Some(state.entry(draft).await?);
    }
    match state.store.forget(forgetting, entry).await? {
        Forgot::Done { .. } => Ok(count),
        Forgot::Changed => Ok(0),
    }
}

/// A case that cannot be looked at keeps no other; it is tried again with the next pass.
fn passed_over(state: &State, refusal: Refusal) -> Result<(), Refusal> {
    if refusal.retry_after_millis > 0 {
        return Err(refusal);
    }
    let count = state.alarms.raise(refusal.code);
    if Alarms::is_told(count) {
        let code = safe(Code(&refusal));
        tracing::error!(
            code,
            count,
            "alarm: whether the retention of a case has ended cannot be told"
        );
    }
    Ok(())
}

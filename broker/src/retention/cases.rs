//! Cases whose last retention date has passed: their erasure key is destroyed, then their records go.

use std::collections::BTreeSet;

use schakel_policy::asking;
use schakel_proto::evidence::Event;
use schakel_proto::ids::CaseRef;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;
use schakel_proto::statement::{FactChain, StatementBody};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::{PAGES_MAX_COUNT, Swept, go, passed_over};
use crate::beats::Monitor;
use crate::config::Retention;
use crate::facts::stored;
use crate::log::entry::EntryDraft;
use crate::state::State;
use crate::store::{Filed, Forgetting, PAGE_MAX_COUNT};

/// Cases looked at in one round.
const CASES_MAX_COUNT: usize = 64;
/// What was erased by hand goes a day after its key: until then the last words of agents about it still come, and are set
/// aside.
const BY_HAND_MILLIS: i64 = 24 * 3_600_000;
/// Entries of a case read at once.
const PAGE: usize = 256;

/// Which case comes next; and which were said to be erased since the start.
#[derive(Debug, Default)]
pub(super) struct Place {
    after: Option<CaseRef>,
    told: BTreeSet<CaseRef>,
}

/// Looks at the next cases.
pub(super) async fn sweep(
    state: &State,
    now: Timestamp,
    place: &mut Place,
    swept: &mut Swept,
) -> Result<(), Refusal> {
    let page = state.store.cases(place.after, CASES_MAX_COUNT).await?;
    for case in page.found {
        state.beats.beat(Monitor::Retention);
        match one(state, now, case, place, swept).await {
            Ok(true) => {}
            // Its records go on going with the next round.
            Ok(false) => {
                swept.more = true;
                return Ok(());
            }
            Err(refusal) => passed_over(state, refusal)?,
        }
        place.after = Some(case);
    }
    place.after = page.next;
    swept.more |= page.next.is_some();
    Ok(())
}

/// Looks at one case; false: there is more of it to let go.
async fn one(
    state: &State,
    now: Timestamp,
    case: CaseRef,
    place: &mut Place,
    swept: &mut Swept,
) -> Result<bool, Refusal> {
    let keys = state.entries.keys();
    let chain = stored(state.store.as_ref(), case).await?;
    if let Some(erased) = keys.erased_at(case)? {
        // What went on before goes on.
        if chain.count() > 0 && now.millis_since(erased) < BY_HAND_MILLIS {
            return Ok(true);
        }
    } else {
        if !is_over(state, now, &chain).await? {
            return Ok(true);
        }
        // Of several brokers one says it and does it.
        let Some(_claim) = keys.claim(case).await? else {
            return Ok(true);
        };
        // The entry first: whenever this is broken off, no key is gone of which nothing was said.
        if place.told.insert(case) {
            tell(state, &chain).await?;
        }
        keys.destroy(case).await?;
        swept.cases += 1;
    }
    let_go(state, case, swept).await
}

/// Whether the last retention date of a case has passed.
async fn is_over(state: &State, now: Timestamp, chain: &FactChain) -> Result<bool, Refusal> {
    let kept = &state.retention;
    let turn = chain.facts().iter().rev().find(|fact| {
        let body = fact.statement().map(|statement| statement.body());
        matches!(
            body,
            Some(StatementBody::CaseClosed | StatementBody::CaseReopened)
        )
    });
    let closed = turn.filter(|fact| {
        let body = fact.statement().map(|statement| statement.body());
        matches!(body, Some(StatementBody::CaseClosed))
    });
    let (from, years) = match closed {
        Some(closed) => (Some(closed.accepted()), kept.case_years),
        None => (
            chain.facts().last().map(|fact| fact.accepted()),
            kept.idle_case_years,
        ),
    };
    // Most cases are young: their entries need not be gone through.
    if from.is_some_and(|from| !Retention::is_over(from, years, now)) {
        return Ok(false);
    }
    let seen = survey(state, chain.case_ref()).await?;
    let idle = closed.is_some()
        || seen
            .last
            .is_some_and(|last| Retention::is_over(last, kept.idle_case_years, now));
    let calm = seen
        .emergency
        .is_none_or(|last| Retention::is_over(last, kept.emergency_years, now));
    Ok(idle && calm && !seen.is_busy)
}

/// What a case's entries and packets say.
#[derive(Default)]
struct Seen {
    /// The last thing that happened.
    last: Option<Timestamp>,
    /// The last packet that broke the glass.
    emergency: Option<Timestamp>,
    /// A packet is on its way.
    is_busy: bool,
}

async fn survey(state: &State, case: CaseRef) -> Result<Seen, Refusal> {
    let (mut seen, mut after) = (Seen::default(), None);
    loop {
        state.beats.beat(Monitor::Retention);
        let page = state.store.filed(Filed::Case(case), after, PAGE).await?;
        for entry in page.found {
            let leaf: wire::Leaf = prost::Message::decode(&*entry.leaf).unwrap_or_default();
            seen.last = seen.last.max(Some(Timestamp::from_millis(leaf.at_ms)));
            let body: wire::EvidenceBody = prost::Message::decode(&*entry.body).unwrap_or_default();
            if body.event == Event::SubmissionAcceptance.as_str()
                && let Ok(packet) = (&*body.packet_id).try_into()
                && let Some(stored) = state.store.packet(packet).await?
            {
                let outcome = state.store.outcome(packet).await?;
                // One that was taken back may still be with a recipient that has not answered.
                let parts = outcome.iter().flat_map(|outcome| &outcome.parts);
                seen.is_busy |= parts.into_iter().any(|part| !part.stage.is_final());
                if ManifestFields::parse(&stored.manifest.bytes).is_ok_and(|one| one.break_glass.is_some()) {
                    seen.emergency = seen.emergency.max(Some(stored.accepted_at));
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(seen),
        }
    }
}

/// Says to those on the roster that the key of a case goes, and not of which.
async fn tell(state: &State, chain: &FactChain) -> Result<(), Refusal> {
    let directory = state.directories.current();
    let case = asking::case_state(chain, &directory);
    let roster = case.iter().flat_map(|case| &case.participants);
    let roster: BTreeSet<AgencyId> = roster.filter_map(|one| AgencyId::new(&one.id).ok()).collect();
    let draft = EntryDraft::new(Event::KeyDestroyed, state.clock.now());
    let tell = |draft: EntryDraft, agency| draft.concerning(agency, false);
    let entry = state.entry(roster.iter().fold(draft, tell)).await?;
    state.store.record(entry).await?;
    Ok(())
}

/// The records of an erased case go, page by page; false: there are more.
async fn let_go(state: &State, case: CaseRef, swept: &mut Swept) -> Result<bool, Refusal> {
    // An entry on its way into the tree has no place yet in the file of its case.
    let pending = state.store.filed(Filed::Pending, None, PAGE_MAX_COUNT).await?;
    if pending.next.is_some() || pending.found.iter().any(|entry| entry.case == Some(case)) {
        return Ok(true);
    }
    for _ in 0..PAGES_MAX_COUNT {
        state.beats.beat(Monitor::Retention);
        let entries = state.store.of_case(case).await?;
        if entries.is_empty() {
            return Ok(true);
        }
        swept.entries += go(state, Forgetting::Case { case, entries }).await?;
    }
    Ok(false)
}

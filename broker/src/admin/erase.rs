//! Erasure of a case: its key is destroyed, and with it what its leaves mean. The log stays whole and says that a key was
//! destroyed, never which.

use schakel_policy::asking;
use schakel_proto::evidence::Event;
use schakel_proto::ids::CaseRef;
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::statement::FactChain;
use serde_json::{Value, json};

use super::{Desk, malformed};
use crate::clock::seeded_rng;
use crate::facts::to_wire;
use crate::log::entry::EntryDraft;
use crate::store::Outcome;

/// Packets read at once.
const PAGE: usize = 256;

/// Erases a closed case of which nothing is on its way. Who did it stands in the act's entry before.
pub(super) async fn erase(desk: &Desk, case: &str) -> Result<Value, Refusal> {
    let case: CaseRef = case.parse().map_err(|_| malformed("case"))?;
    let roster = closed(desk, case).await?;
    let waiting = on_their_way(desk, case).await?;
    if waiting > 0 {
        let sentence = format!("{waiting} packets of this case are still on their way");
        let remedy = "Wait until they are acknowledged or expire, or have their senders recall them.";
        return Err(Refusal::new(Fault::Precondition, "CASE_BUSY", sentence, remedy).at("case"));
    }
    desk.keys.destroy(case).await?;
    let draft = EntryDraft::new(Event::KeyDestroyed, desk.clock.now());
    let tell = |draft: EntryDraft, agency| draft.concerning(agency, false);
    let entry = desk
        .entries
        .make(roster.iter().fold(draft, tell), &mut seeded_rng())
        .await?;
    let leaf = desk.store.record(entry).await?;
    let shown_to: Vec<&str> = roster.iter().map(AgencyId::as_str).collect();
    Ok(json!({ "case": case.to_string(), "leaf": leaf.to_string(), "shown_to": shown_to }))
}

/// The roster of a case that is closed, or of which no statement was ever accepted.
async fn closed(desk: &Desk, case: CaseRef) -> Result<Vec<AgencyId>, Refusal> {
    let chain = FactChain::check(&to_wire(case, desk.store.facts(case).await?))?;
    let (directory, _) = (desk.view)();
    let Some(state) = asking::case_state(&chain, &directory) else {
        if desk.keys.is_there(Some(case)) || desk.keys.is_erased(case)? {
            return Ok(Vec::new());
        }
        let sentence = "The broker knows no such case";
        let remedy = "Copy the reference as the agency's case file shows it.";
        return Err(Refusal::new(Fault::NotFound, "CASE_UNKNOWN", sentence, remedy).at("case"));
    };
    if state.status != "closed" {
        let sentence = "This case is not closed";
        let remedy = "Whoever coordinates it closes it first.";
        return Err(Refusal::new(Fault::Precondition, "CASE_OPEN", sentence, remedy).at("case"));
    }
    let ids = state.participants.iter().map(|one| AgencyId::new(&one.id));
    let mut roster: Vec<AgencyId> = ids.filter_map(Result::ok).collect();
    roster.sort();
    roster.dedup();
    Ok(roster)
}

/// How many packets of a case may still change.
async fn on_their_way(desk: &Desk, case: CaseRef) -> Result<u64, Refusal> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = desk.store.packets_of(case, after, PAGE).await?;
        for packet in page.found {
            let outcome = desk.store.outcome(packet).await?;
            // One that was taken back may still be with a recipient that has not answered.
            let open = |outcome: Outcome| outcome.parts.iter().any(|part| !part.stage.is_final());
            count += u64::from(outcome.is_some_and(open));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(count),
        }
    }
}

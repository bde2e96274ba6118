//! The log in figures: entries for each event, reason, agency and day; how long it is, and how old its newest entry.

use std::collections::BTreeMap;

use schakel_proto::evidence::Body;
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use serde_json::{Value, json};

use super::filter::{Filter, Seen};
use super::rows::{self, Row};
use super::{Desk, Told};
use crate::store::{Filed, PAGE_MAX_COUNT, StoreError};

/// Entries read at once.
const PAGE: usize = 256;
/// Entries between two words on how far it is.
const TOLD_EVERY: u64 = 65_536;
/// Most different reasons, agencies or days that are told apart; the others are one.
const KINDS_MAX_COUNT: usize = 4_096;
const OTHERS: &str = "(others)";
/// Most places of damage that are named.
const DAMAGED_MAX_COUNT: usize = 64;

#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, name: &str) {
        let room = self.0.len() < KINDS_MAX_COUNT || self.0.contains_key(name);
        let name = if room { name } else { OTHERS };
        *self.0.entry(name.to_owned()).or_default() += 1;
    }
}

#[derive(Default)]
struct Stats {
    entries: u64,
    unreadable: u64,
    /// Entries of which only the leaf is left.
    erased: u64,
    /// What cannot be read, by name.
    damaged: Vec<String>,
    events: Counts,
    reasons: Counts,
    agencies: Counts,
    days: Counts,
    newest: Option<Timestamp>,
}

impl Stats {
    fn unreadable(&mut self, index: u64) {
        self.unreadable += 1;
        self.damaged(format!("entry {index}"));
    }

    fn damaged(&mut self, what: String) {
        if self.damaged.len() < DAMAGED_MAX_COUNT {
            self.damaged.push(what);
        }
    }

    fn add(&mut self, body: &Body) {
        self.entries += 1;
        self.events.add(body.event.as_str());
        if !body.reason.is_empty() {
            self.reasons.add(&body.reason);
        }
        let own = [&body.sender, &body.recipient].into_iter().flatten();
        let mut own: Vec<&str> = own.map(|agency| agency.as_str()).collect();
        own.dedup();
        own.into_iter().for_each(|agency| self.agencies.add(agency));
        self.days.add(body.at.to_string().get(..10).unwrap_or(OTHERS));
        self.newest = self.newest.max(Some(body.at));
    }
}

/// Counts.
pub(super) async fn count(desk: &Desk, filter: &Filter, told: &Told) -> Result<Value, Refusal> {
    let wanted = filter.wanted()?;
    let (store, now) = (desk.store.as_ref(), desk.clock.now());
    let newest = store.latest_checkpoint().await?;
    let size = newest.as_ref().map_or(0, |newest| newest.size);
    let mut stats = Stats::default();
    let (mut after, mut looked_at) = (None, 0_u64);
    loop {
        let (page, next) = rows::after(store, wanted.filed, after, (PAGE, size)).await?;
        for row in &page {
            looked_at += 1;
            if looked_at.is_multiple_of(TOLD_EVERY) {
                told.say(json!({ "done": looked_at, "of": size }));
            }
            let (index, seen) = match row {
                Row::Entry(entry) => (entry.index, wanted.takes(entry, &desk.network)),
                Row::Unreadable(index) => (*index, Some(Seen::Unreadable)),
            };
            match seen {
                Some(Seen::Body(body)) => stats.add(&body),
                Some(Seen::Erased(_)) => stats.erased += 1,
                Some(Seen::Unreadable) => stats.unreadable(index),
                None => {}
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let (cases, erased) = cases(desk, &mut stats).await?;
    let last = last(desk, size).await?;
    let pending = match store.pending(PAGE_MAX_COUNT).await {
        Ok(pending) => pending.len().into(),
        Err(StoreError::Corrupt(what)) => {
            stats.damaged(what.to_string());
            Value::Null
        }
        Err(error) => return Err(error.into()),
    };
    let age = |at: Timestamp| now.millis_since(at).div_euclid(1000);
    Ok(json!({
        "entries": stats.entries, "unreadable": stats.unreadable, "damaged": stats.damaged, "erased": stats.erased,
        "events": stats.events.0, "reasons": stats.reasons.0,
        "agencies": stats.agencies.0, "days": stats.days.0,
        "size": size,
        "root": newest.map_or(Value::Null, |newest| newest.root.to_string().into()),
        "newest_at": last.as_ref().map_or(Value::Null, |body| body.at.to_string().into()),
        "newest_age_seconds": last.map_or(Value::Null, |body| age(body.at).into()),
        "pending": pending,
        "cases": cases, "erased_cases": erased,
    }))
}

/// The newest entry, if it can be read.
async fn last(desk: &Desk, size: u64) -> Result<Option<Body>, Refusal> {
    let Some(last) = size.checked_sub(1) else {
        return Ok(None);
    };
    let place = (last.checked_sub(1), (1, size));
    let (rows, _) = rows::after(desk.store.as_ref(), Filed::All, place.0, place.1).await?;
    Ok(rows.first().and_then(|row| match row {
        Row::Entry(entry) => Body::parse(&entry.body, &desk.network).ok(),
        Row::Unreadable(_) => None,
    }))
}

/// Cases that have entries, and those whose erasure key is gone; up to a row that cannot be read.
async fn cases(desk: &Desk, stats: &mut Stats) -> Result<(u64, u64), Refusal> {
    let (mut all, mut erased, mut after) = (0, 0, None);
    loop {
        let page = match desk.store.cases(after, PAGE).await {
            Err(StoreError::Corrupt(what)) => {
                stats.damaged(what.to_string());
                return Ok((all, erased));
            }
            page => page?,
        };
        for case in &page.found {
            all += 1;
            erased += u64::from(!desk.keys.is_there(Some(*case)));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((all, erased)),
        }
    }
}

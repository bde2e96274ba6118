//! What should have happened by now: safety parts unread, families without contact, emergencies not reviewed.
//! Computed from metadata only, by the broker's clock.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use schakel_policy::asking;
use schakel_proto::directory::Directory;
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::refusal::Refusal;
use schakel_proto::time::Timestamp;
use serde_json::{Value, json};

use crate::decide::stored_head;
use crate::redact::{Code, safe};
use crate::state::State;
use crate::store::{LastContact, OpenDelivery, PAGE_MAX_COUNT, PartState, Stage, Store};
use settings::Settings;

pub mod settings;

/// Most rows of one kind that are looked at, and most items told, in one look.
const LOOKED_AT_MAX_COUNT: usize = 10 * PAGE_MAX_COUNT;

/// What is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A safety part waits for its recipient, or is not acknowledged.
    Unread,
    /// Nobody was in contact about a case for too long.
    Revisit,
    /// An emergency delivery is not reviewed.
    Review,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unread, Self::Revisit, Self::Review];

    /// Its name in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Revisit => "revisit",
            Self::Review => "review",
        }
    }
}

/// One thing that is overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// What.
    pub kind: Kind,
    /// The case.
    pub case: CaseRef,
    /// The packet that waits, that was the last contact, or that broke the glass.
    pub packet: PacketId,
    /// Since when.
    pub since: Timestamp,
    /// When it was due.
    pub due: Timestamp,
}

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    items: BTreeSet<Item>,
    /// Emergency deliveries that wait for their review, in time or not.
    emergencies: u64,
    /// There was more than one look takes in.
    cut: bool,
}

/// What is overdue at `now`.
///
/// # Errors
/// The store cannot be read.
pub async fn look(
    store: &dyn Store,
    settings: &Settings,
    (directory, now): (&Directory, Timestamp),
) -> Result<Overdue, Refusal> {
    let mut found = Overdue::default();
    unread(store, settings, now, &mut found).await?;
    revisits(store, settings, (directory, now), &mut found).await?;
    reviews(store, now, &mut found).await?;
    Ok(found)
}

async fn unread(
    store: &dyn Store,
    settings: &Settings,
    now: Timestamp,
    found: &mut Overdue,
) -> Result<(), Refusal> {
    let Some(shortest) = settings.shortest_unread_millis() else {
        return Ok(());
    };
    let (mut after, mut looked_at) = (None, 0);
    loop {
        let page = store
            .deliveries(now.plus_millis(-shortest), after, PAGE_MAX_COUNT)
            .await?;
        for delivery in &page.found {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX_COUNT {
                found.cut = true;
                return Ok(());
            }
            match unread_item(store, settings, now, delivery).await {
                Ok(item) => found.items.extend(item),
                Err(refusal) => passed_over(refusal, "a delivery")?,
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// What ails one item must not hide the others: an alarm, unless the store as a whole cannot be read now.
fn passed_over(refusal: Refusal, what: &str) -> Result<(), Refusal> {
    if refusal.retry_after_millis > 0 {
        return Err(refusal);
    }
    tracing::error!(
        code = safe(Code(&refusal)),
        what,
        "alarm: whether it is overdue cannot be told"
    );
    Ok(())
}

/// The part of a delivery that was due first, if one is overdue.
async fn unread_item(
    store: &dyn Store,
    settings: &Settings,
    now: Timestamp,
    delivery: &OpenDelivery,
) -> Result<Option<Item>, Refusal> {
    let found = (
        store.packet(delivery.packet).await?,
        store.outcome(delivery.packet).await?,
    );
    let (Some(packet), Some(outcome)) = found else {
        return Ok(None);
    };
    let head = stored_head(&packet)?;
    // A part that is held waits for a fact, not for its reader.
    let waits = |state: &&PartState| {
        state.recipient == delivery.recipient && matches!(state.stage, Stage::Pending | Stage::HandedOver)
    };
    let item = |state: &PartState| {
        let category = &head.part(&state.part)?.descriptor().category;
        let due = state
            .since
            .plus_millis(settings.unread_millis(category.as_str())?);
        (due < now).then_some(Item {
            kind: Kind::Unread,
            case: packet.case,
            packet: packet.packet,
            since: state.since,
            due,
        })
    };
    let waiting = outcome.parts.iter().filter(waits);
    Ok(waiting.filter_map(item).min_by_key(|item| item.due))
}

async fn revisits(
    store: &dyn Store,
    settings: &Settings,
    (directory, now): (&Directory, Timestamp),
    found: &mut Overdue,
) -> Result<(), Refusal> {
    let (mut after, mut looked_at) = (None, 0);
    loop {
        let page = store.contacts(after, PAGE_MAX_COUNT).await?;
        for contact in &page.found {
            let due = contact.at.plus_millis(settings.revisit_millis());
            if due >= now {
                continue;
            }
            match is_followed(store, contact, (directory, now)).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(refusal) => {
                    passed_over(refusal, "a case")?;
                    continue;
                }
            }
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX_COUNT {
                found.cut = true;
                return Ok(());
            }
            found.items.insert(Item {
                kind: Kind::Revisit,
                case: contact.case,
                packet: contact.packet,
                since: contact.at,
                due,
            });
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Whether the case is open, and somebody is on its roster to be in contact.
async fn is_followed(
    store: &dyn Store,
    contact: &LastContact,
    (directory, now): (&Directory, Timestamp),
) -> Result<bool, Refusal> {
    let chain = crate::facts::stored(store, contact.case).await?;
    let Some(case) = asking::case_state(&chain, directory) else {
        return Ok(false);
    };
    let active = case
        .participants
        .iter()
        .any(|one| one.status == "active" && one.until.is_none_or(|until| until > now));
    Ok(active && !["closed", "archived"].contains(&case.status.as_str()))
}

async fn reviews(store: &dyn Store, now: Timestamp, found: &mut Overdue) -> Result<(), Refusal> {
    let mut after = None;
    loop {
        let page = store.reviews(after, PAGE_MAX_COUNT).await?;
        for open in &page.found {
            found.emergencies += 1;
            if open.due >= now {
                continue;
            }
            if found.items.len() >= 3 * LOOKED_AT_MAX_COUNT {
                found.cut = true;
                continue;
            }
            found.items.insert(Item {
                kind: Kind::Review,
                case: open.case,
                packet: open.packet,
                since: open.since,
                due: open.due,
            });
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

impl Overdue {
    /// The items, by kind and case.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// How many of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        let count = self.items.iter().filter(|item| item.kind == kind).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let item = |item: &Item| {
            json!({
                "kind": item.kind.as_str(), "case": item.case.to_string(), "packet": item.packet.to_string(),
                "since_ms": item.since.millis(), "due_ms": item.due.millis(),
            })
        };
        let counts: serde_json::Map<String, Value> = Kind::ALL
            .iter()
            .map(|kind| (kind.as_str().to_owned(), json!(self.count(*kind))))
            .collect();
        json!({
            "overdue": self.items.iter().map(item).collect::<Vec<_>>(),
            "counts": counts,
            "emergencies": { "unreviewed": self.emergencies },
            "complete": !self.cut,
        })
    }
}

/// What the monitor last found, for `/metrics`.
#[derive(Debug, Default)]
pub struct Gauges {
    overdue: [AtomicU64; 3],
    emergencies: AtomicU64,
}

impl Gauges {
    fn set(&self, found: &Overdue) {
        for (gauge, kind) in self.overdue.iter().zip(Kind::ALL) {
            gauge.store(found.count(kind), Ordering::Relaxed);
        }
        self.emergencies.store(found.emergencies, Ordering::Relaxed);
    }

    /// As Prometheus reads it. No label says whom or which case it is about.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# HELP schakel_overdue What should have happened by now.\n# TYPE schakel_overdue gauge\n",
        );
        for (gauge, kind) in self.overdue.iter().zip(Kind::ALL) {
            let (kind, count) = (kind.as_str(), gauge.load(Ordering::Relaxed));
            text.push_str(&format!("schakel_overdue{{kind=\"{kind}\"}} {count}\n"));
        }
        let emergencies = self.emergencies.load(Ordering::Relaxed);
        text.push_str(&format!(
            "# HELP schakel_emergencies_unreviewed Emergency deliveries that wait for their review.\n\
             # TYPE schakel_emergencies_unreviewed gauge\nschakel_emergencies_unreviewed {emergencies}\n"
        ));
        text
    }
}

/// Looks, sets the gauges, and raises an alarm for each item that was not there at the last look.
pub async fn watch(state: &State, told: &mut BTreeSet<Item>) {
    let directory = state.directories.current();
    let about = (directory.as_ref(), state.clock.now());
    let found = match look(state.store.as_ref(), &state.overdue, about).await {
        Ok(found) => found,
        Err(refusal) => {
            tracing::error!(code = safe(Code(&refusal)), "what is overdue could not be found");
            return;
        }
    };
    for item in found.items.difference(told) {
        let kind = item.kind.as_str();
        let due_ms = item.due.millis();
        tracing::warn!(kind, packet = safe(item.packet), due_ms, "alarm: overdue");
    }
    if found.cut {
        tracing::error!("alarm: more is open than one look goes through; what is overdue may be more");
    }
    state.gauges.set(&found);
    *told = found.items;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_say_how_many_and_not_who() {
        let mut found = Overdue {
            emergencies: 3,
            ..Overdue::default()
        };
        for (kind, number) in [(Kind::Unread, 1), (Kind::Unread, 2), (Kind::Review, 1)] {
            found.items.insert(Item {
                kind,
                case: CaseRef::from_bytes([number; 16]),
                packet: PacketId::from_bytes([number; 16]),
                since: Timestamp::from_millis(0),
                due: Timestamp::from_millis(1),
            });
        }
        let gauges = Gauges::default();
        gauges.set(&found);
        let text = gauges.to_text();
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "schakel_overdue{kind=\"unread\"} 2",
                "schakel_overdue{kind=\"revisit\"} 0",
                "schakel_overdue{kind=\"review\"} 1",
                "schakel_emergencies_unreviewed 3",
            ]
        );
        let json = found.to_json();
        assert_eq!(
            json["counts"],
            serde_json::json!({ "unread": 2, "revisit": 0, "review": 1 })
        );
        assert_eq!(
            (json["overdue"].as_array().unwrap().len(), &json["complete"]),
            (3, &true.into())
        );
    }
}

//! What a decision binds us to, and who sees to it. The agent carries out what it can: it destroys a part at
//! its end, does not send it on, masks its names. The others are shown, and the agency's people see to them.

use schakel_proto::evidence::NO_FURTHER_USE;
use schakel_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::inbox::record::{Delivery, Kind, ReceivedPart};

const HOUR_MILLIS: i64 = 3_600_000;

/// What the agent makes of one obligation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The part is destroyed at this moment.
    DestroyAt(Timestamp),
    /// The content goes to nobody but the agency it came from.
    NotOnward,
    /// Names inside the seal are not shown in lists.
    Masked,
    /// Only people can see to it.
    ForPeople,
}

impl Meaning {
    /// Of one obligation of a part that was received then. A moment or period that cannot be read is for people.
    pub fn of(obligation: &str, received: Timestamp) -> Self {
        let (name, value) = obligation.split_once(':').unwrap_or((obligation, ""));
        let end = match name {
            "expire-at" => moment(value),
            "delete-after" => period_millis(value).map(|millis| received.plus_millis(millis)),
            "no-forward" | "no-onward-sharing" => return Self::NotOnward,
            "mask-in-shared-dossier" | "existence-flag-only" => return Self::Masked,
            _ => None,
        };
        end.map_or(Self::ForPeople, Self::DestroyAt)
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    let at = text.parse::<jiff::Timestamp>().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// `72h` or `14d`.
fn period_millis(text: &str) -> Option<i64> {
    let (number, unit) = (text.get(..text.len().checked_sub(1)?)?, text.chars().last()?);
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        _ => return None,
    };
    let number = number.parse::<u32>().ok()?;
    i64::from(number).checked_mul(hours * HOUR_MILLIS)
}

/// Who sees to an obligation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The agent, by itself.
    Agent,
    /// The agency's people.
    People,
}

/// One obligation of a part as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duty {
    /// As the decision says it.
    pub obligation: String,
    /// Who sees to it.
    pub by: By,
    /// When it is due, in milliseconds since 1970; none: as long as the part is kept.
    pub due_ms: Option<i64>,
    /// When it was carried out, in milliseconds since 1970; none: not yet, or it never ends.
    pub done_ms: Option<i64>,
    /// The log has that it was carried out.
    pub logged: bool,
}

/// Every obligation of a part, with what follows if its ground has ended.
pub fn duties(delivery: &Delivery, part: &ReceivedPart) -> Vec<Duty> {
    let received = Timestamp::from_millis(delivery.at_ms);
    let one = |obligation: &String| {
        let said = part.later(Kind::Fulfilled, obligation);
        let meaning = Meaning::of(obligation, received);
        Duty {
            by: if meaning == Meaning::ForPeople {
                By::People
            } else {
                By::Agent
            },
            due_ms: match meaning {
                Meaning::DestroyAt(at) => Some(due_of(part, obligation, at).millis()),
                _ => None,
            },
            done_ms: said.map(|said| said.done_ms),
            logged: said.is_some_and(|said| said.settled.is_some()),
            obligation: obligation.clone(),
        }
    };
    let mut all: Vec<Duty> = part.obligations.iter().map(one).collect();
    let follows = part.ended.as_ref().map(|ended| &ended.obligation);
    all.extend(follows.filter(|o| !part.obligations.contains(o)).map(one));
    all
}

/// When an end that an obligation names is due: at once if the ground of the part has ended before.
fn due_of(part: &ReceivedPart, obligation: &str, at: Timestamp) -> Timestamp {
    let ended = part.ended.as_ref().filter(|ended| ended.obligation == obligation);
    ended.map_or(at, |ended| at.min(Timestamp::from_millis(ended.since_ms)))
}

/// The obligation by which a part is destroyed first, and when; none: it is kept, or is gone.
pub fn end_of(delivery: &Delivery, part: &ReceivedPart) -> Option<(Timestamp, String)> {
    if part.deleted_ms.is_some() {
        return None;
    }
    let received = Timestamp::from_millis(delivery.at_ms);
    let ends = part
        .obligations
        .iter()
        .filter_map(|one| match Meaning::of(one, received) {
            Meaning::DestroyAt(at) => Some((due_of(part, one, at), one.clone())),
            _ => None,
        });
    ends.min()
}

/// The obligation that forbids to send the content on, if there is one.
pub fn not_onward(obligations: &[String]) -> Option<&String> {
    let forbids = |one: &&String| Meaning::of(one, Timestamp::from_millis(0)) == Meaning::NotOnward;
    obligations.iter().find(forbids)
}

/// Whether the names inside the seal are masked in lists.
pub fn is_masked(obligations: &[String]) -> bool {
    let masks = |one: &String| Meaning::of(one, Timestamp::from_millis(0)) == Meaning::Masked;
    obligations.iter().any(masks)
}

/// What follows when the ground of a part has ended: the copy of a measure that was lifted expires at once;
/// everything else is not used any more.
pub fn that_follows(lifted: bool, part: &ReceivedPart) -> String {
    let expires = |one: &&String| one.starts_with("expire-at:");
    let copy = part.obligations.iter().find(expires).filter(|_| lifted);
    copy.cloned().unwrap_or_else(|| NO_FURTHER_USE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_795_278_600_000);

    #[test]
    fn an_end_is_read_and_what_cannot_be_read_is_for_people() {
        let of = |text| Meaning::of(text, AT);
        assert_eq!(of("expire-at:2026-11-21T16:30:00.000Z"), Meaning::DestroyAt(AT));
        assert_eq!(of("expire-at:2026-11-21T17:30:00+01:00"), Meaning::DestroyAt(AT));
        assert_eq!(
            of("delete-after:2h"),
            Meaning::DestroyAt(AT.plus_millis(7_200_000))
        );
        assert_eq!(
            of("delete-after:1d"),
            Meaning::DestroyAt(AT.plus_millis(86_400_000))
        );
        for odd in [
            "expire-at:",
            "expire-at:soon",
            "delete-after:",
            "delete-after:d",
            "delete-after:-1d",
            "delete-after:9é",
        ] {
            assert_eq!(of(odd), Meaning::ForPeople, "{odd}");
        }
        assert_eq!(of("no-forward"), Meaning::NotOnward);
        assert_eq!(of("mask-in-shared-dossier"), Meaning::Masked);
        assert_eq!(of("notify-dpo"), Meaning::ForPeople);
    }
}

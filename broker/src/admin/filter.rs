//! Which entries of the log are meant.

use prost::Message;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::{CaseRef, PacketId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;
use serde::{Deserialize, Serialize};

use super::malformed;
use crate::store::{Filed, FiledEntry};

/// Longest text of a filter, in bytes.
const TEXT_MAX_BYTES: usize = 128;

/// What is asked for; what is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Of this case.
    pub case: Option<String>,
    /// About this packet.
    pub packet: Option<String>,
    /// Sent by, meant for, or shown to this agency.
    pub agency: Option<String>,
    /// Of this event, with or without `schakel:`.
    pub event: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Not before, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Before, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// The same, understood.
pub(super) struct Wanted {
    pub(super) filed: Filed,
    case: Option<CaseRef>,
    packet: Option<PacketId>,
    agency: Option<AgencyId>,
    event: Option<Event>,
    reason: Option<String>,
    since_ms: i64,
    until_ms: i64,
}

impl Filter {
    /// The case, if one is named and is a reference.
    pub(super) fn case(&self) -> Option<CaseRef> {
        self.case.as_ref()?.parse().ok()
    }

    /// The packet, if one is named and is an id.
    pub(super) fn packet(&self) -> Option<PacketId> {
        self.packet.as_ref()?.parse().ok()
    }

    /// Parses every term.
    pub(super) fn wanted(&self) -> Result<Wanted, Refusal> {
        let texts = [&self.case, &self.packet, &self.agency, &self.event, &self.reason];
        if texts
            .into_iter()
            .flatten()
            .any(|text| text.len() > TEXT_MAX_BYTES)
        {
            return Err(malformed("filter"));
        }
        let case = self.case.as_deref().map(str::parse).transpose();
        let packet = self.packet.as_deref().map(str::parse).transpose();
        let (case, packet): (Option<CaseRef>, Option<PacketId>) = (
            case.map_err(|_| malformed("case"))?,
            packet.map_err(|_| malformed("packet"))?,
        );
        let agency = self.agency.as_deref().map(AgencyId::new).transpose();
        let filed = match (packet, case) {
            (Some(packet), _) => Filed::Packet(packet),
            (None, Some(case)) => Filed::Case(case),
            (None, None) => Filed::All,
        };
        Ok(Wanted {
            filed,
            case,
            packet,
            agency: agency.map_err(|_| malformed("agency"))?,
            event: self.event.as_deref().map(event).transpose()?,
            reason: self.reason.clone(),
            since_ms: self.since_ms.unwrap_or(i64::MIN),
            until_ms: self.until_ms.unwrap_or(i64::MAX),
        })
    }
}

fn event(name: &str) -> Result<Event, Refusal> {
    let own = format!("schakel:{name}");
    Event::parse(name).or_else(|| Event::parse(&own)).ok_or_else(|| {
        let names: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
        let sentence = format!("There is no such event; there are: {}", names.join(", "));
        let remedy = "Ask for one of them; `schakel:` may be left out.";
        Refusal::new(Fault::Invalid, "EVENT_UNKNOWN", sentence, remedy).at("event")
    })
}

impl Wanted {
    /// Whether an entry is meant. One that cannot be read is: damage is never hidden by a filter.
    pub(super) fn takes(&self, entry: &FiledEntry, network: &NetworkName) -> Option<Seen> {
        if entry.body.is_empty() {
            return self.takes_erased(entry);
        }
        let Ok(body) = Body::parse(&entry.body, network) else {
            return Some(Seen::Unreadable);
        };
        let at = body.at.millis();
        let of_agency = |agency: &AgencyId| {
            body.sender.as_ref() == Some(agency)
                || body.recipient.as_ref() == Some(agency)
                || entry.concerns.iter().any(|concern| concern.agency == *agency)
        };
        let meant = self.case.is_none_or(|case| body.case == Some(case))
            && self.packet.is_none_or(|packet| body.packet == Some(packet))
            && self.agency.as_ref().is_none_or(of_agency)
            && self.event.is_none_or(|event| body.event == event)
            && self.reason.as_ref().is_none_or(|reason| body.reason == *reason)
            && (self.since_ms..self.until_ms).contains(&at);
        meant.then(|| Seen::Body(Box::new(body)))
    }

    /// An entry that went says only when: it is meant if nothing else is asked for.
    fn takes_erased(&self, entry: &FiledEntry) -> Option<Seen> {
        let Ok(leaf) = wire::Leaf::decode(&*entry.leaf) else {
            return Some(Seen::Unreadable);
        };
        let asked = self.filed != Filed::All || self.agency.is_some() || self.event.is_some();
        let meant = !asked && self.reason.is_none() && (self.since_ms..self.until_ms).contains(&leaf.at_ms);
        meant.then(|| Seen::Erased(Timestamp::from_millis(leaf.at_ms)))
    }
}

/// An entry that is meant.
pub(super) enum Seen {
    /// What it says.
    Body(Box<Body>),
    /// Its retention had ended: only when it was made is left.
    Erased(Timestamp),
    /// Its body does not parse.
    Unreadable,
}

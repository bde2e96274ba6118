//! The way of a packet, walked again from its entries: what each part's state must be.

use std::collections::BTreeMap;

use prost::Message;
use schakel_proto::evidence::{Body, Event};
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::party::{AgencyId, NetworkName};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use super::super::super::delivery::{DecidedPart, Verdict};
use super::super::super::error::StoreError;
use super::super::super::filed::FiledEntry;
use super::super::super::kv::rows::{PacketRow, PartRow};
use super::super::super::packet::{PartState, Stage};
use super::super::{ACCEPTED, EXPIRED, RECALLED, SETTLED, agency, hand_over, id};
use super::{must, wrong};

/// The outcome of a part that waits for consent.
const HOLD: &str = "hold-for-consent";

/// The last decision for a recipient.
pub(super) struct Decided {
    pub(super) leaf: Digest,
    pub(super) delivers: bool,
    /// Whether a part was held.
    pub(super) held: bool,
    pub(super) decision: wire::Decision,
}

/// How a part was held when that ended otherwise than by a decision.
pub(super) struct LastHeld {
    /// The decision that held it, as far as the log has one.
    pub(super) leaf: Option<Digest>,
    /// Whether what ended it has a reason of its own.
    pub(super) other_reason: bool,
}

/// A part for a recipient.
type Place = (AgencyId, PartId);

/// Where a packet must stand, as far as its entries were walked.
pub(in super::super::super) struct Way {
    /// As its row says it.
    pub(super) stage: u32,
    /// Each part for each recipient.
    pub(super) states: BTreeMap<Place, PartState>,
    /// What was held until it was recalled, expired, or came after all.
    pub(super) last_held: BTreeMap<Place, LastHeld>,
    /// The last decisions.
    pub(super) decided: BTreeMap<AgencyId, Decided>,
    /// What ended it.
    pub(super) ended: Vec<(Event, Digest)>,
}

impl Way {
    /// Before the first entry.
    pub(super) fn begin(row: &PacketRow, parts: &[(PartId, PartRow)]) -> Result<Self, StoreError> {
        let mut states = BTreeMap::new();
        for (part, of) in parts {
            for recipient in &of.recipients {
                let recipient = agency(recipient)?;
                let state = PartState {
                    recipient: recipient.clone(),
                    part: *part,
                    stage: Stage::Pending,
                    reason: String::new(),
                    obligations: Vec::new(),
                    since: Timestamp::from_millis(row.accepted_ms),
                    possibly_disclosed: false,
                    leaf_hash: None,
                };
                let before = states.insert((recipient, *part), state);
                must(before.is_none(), "names a recipient of a part twice")?;
            }
        }
        Ok(Self {
            stage: ACCEPTED,
            states,
            last_held: BTreeMap::new(),
            decided: BTreeMap::new(),
            ended: Vec::new(),
        })
    }

    /// The next entry.
    pub(super) fn walk(&mut self, network: &NetworkName, entry: &FiledEntry) -> Result<(), StoreError> {
        let body = Body::parse(&entry.body, network).map_err(|error| wrong(&error.to_string()))?;
        self.step(entry, &body)?;
        self.settle();
        Ok(())
    }

    /// The parts of a recipient.
    pub(super) fn of(&self, recipient: &AgencyId) -> impl Iterator<Item = &PartState> {
        let first = (recipient.clone(), PartId::from_bytes([0; 16]));
        let mine = self.states.range(first..);
        mine.map(|(_, state)| state)
            .take_while(move |state| state.recipient == *recipient)
    }

    pub(super) fn settle(&mut self) {
        if self.stage == ACCEPTED && self.states.values().all(|state| state.stage.is_final()) {
            self.stage = SETTLED;
        }
    }

    fn step(&mut self, entry: &FiledEntry, body: &Body) -> Result<(), StoreError> {
        match body.event {
            Event::ContentConsignment | Event::ContentWithheld => self.decide(entry, body),
            Event::ContentHandover if body.reason == "received" => self.said(entry, body, Stage::Received),
            Event::ContentHandoverFailure => self.said(entry, body, Stage::Refused),
            Event::Recalled => {
                self.end(entry, body, |stage| matches!(stage, Stage::Pending | Stage::Held));
                self.stage = RECALLED;
                Ok(())
            }
            Event::Expired => {
                self.end(entry, body, |stage| !stage.is_final());
                self.stage = EXPIRED;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn decide(&mut self, entry: &FiledEntry, body: &Body) -> Result<(), StoreError> {
        let recipient = body
            .recipient
            .clone()
            .ok_or_else(|| wrong("is decided for nobody"))?;
        let (mut last, mut held) = (None, false);
        for opening in [&entry.shown, &entry.hidden].into_iter().flatten() {
            let decision = wire::Decision::decode(&*opening.descriptor);
            let decision = decision.map_err(|_| wrong("has a decision that does not decode"))?;
            held |= decision.parts.iter().any(|part| part.outcome == HOLD);
            for part in &decision.parts {
                self.decide_part(&recipient, part, (body.at, entry.leaf_hash))?;
            }
            last = last.or(Some(decision));
        }
        let decision = last.ok_or_else(|| wrong("has a decision that cannot be opened"))?;
        let decided = Decided {
            leaf: entry.leaf_hash,
            delivers: body.event == Event::ContentConsignment,
            held,
            decision,
        };
        self.decided.insert(recipient, decided);
        Ok(())
    }

    fn decide_part(
        &mut self,
        recipient: &AgencyId,
        part: &wire::PartDecision,
        (at, leaf): (Timestamp, Digest),
    ) -> Result<(), StoreError> {
        let id: PartId = id(&part.part_id)?;
        let verdict = match part.outcome.as_str() {
            "deliver" => Verdict::Deliver,
            HOLD => Verdict::Hold,
            _ => Verdict::Withhold,
        };
        let decided = DecidedPart {
            part: id,
            verdict,
            reason: part.reason.clone(),
            obligations: part.obligations.clone(),
        };
        let state = self.states.get_mut(&(recipient.clone(), id));
        let state = state.ok_or_else(|| wrong("is decided for a part that the recipient does not have"))?;
        if !state.stage.is_final() {
            hand_over::decide(state, &decided, at, Some(leaf));
        }
        Ok(())
    }

    /// What the recipient's agent said first of a part stands.
    fn said(&mut self, entry: &FiledEntry, body: &Body, stage: Stage) -> Result<(), StoreError> {
        let said = entry
            .attachment
            .as_ref()
            .ok_or_else(|| wrong("is acknowledged by nothing"))?;
        let said = wire::Acknowledgement::decode(&*said.bytes);
        let said = said.map_err(|_| wrong("is acknowledged by nothing"))?;
        let Some(recipient) = &body.recipient else {
            return Err(wrong("is acknowledged by nobody"));
        };
        for part in &said.part_ids {
            let place = (recipient.clone(), id(part)?);
            let Some(state) = self.states.get_mut(&place) else {
                continue;
            };
            if matches!(state.stage, Stage::Received | Stage::Refused) {
                continue;
            }
            held_until(&mut self.last_held, (&place, state), stage == Stage::Refused);
            state.stage = stage;
            state.since = body.at;
            state.leaf_hash = Some(entry.leaf_hash);
            if stage == Stage::Refused {
                state.reason.clone_from(&body.reason);
            }
        }
        Ok(())
    }

    fn end(&mut self, entry: &FiledEntry, body: &Body, open: impl Fn(Stage) -> bool) {
        let stage = if body.event == Event::Recalled {
            Stage::Recalled
        } else {
            Stage::Expired
        };
        for (place, state) in self.states.iter_mut().filter(|(_, state)| open(state.stage)) {
            held_until(&mut self.last_held, (place, state), stage == Stage::Recalled);
            state.stage = stage;
            state.since = body.at;
            state.leaf_hash = Some(entry.leaf_hash);
            if stage == Stage::Recalled {
                state.reason.clone_from(&body.reason);
            }
        }
        self.ended.push((body.event, entry.leaf_hash));
    }
}

/// A part is about to stand elsewhere.
fn held_until(
    last_held: &mut BTreeMap<Place, LastHeld>,
    (place, state): (&Place, &PartState),
    other_reason: bool,
) {
    if let Some(before) = last_held.get_mut(place) {
        before.other_reason |= other_reason;
    } else if state.stage == Stage::Held {
        let last = LastHeld {
            leaf: state.leaf_hash,
            other_reason,
        };
        last_held.insert(place.clone(), last);
    }
}

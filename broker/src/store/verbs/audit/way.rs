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
use super::wrong;

/// The last decision for a recipient.
pub(super) struct Decided {
    pub(super) leaf: Digest,
    pub(super) delivers: bool,
    pub(super) decision: wire::Decision,
}

/// Where a packet must stand.
pub(super) struct Way {
    /// As its row says it.
    pub(super) stage: u32,
    /// Each part for each recipient.
    pub(super) states: Vec<PartState>,
    /// The last decisions.
    pub(super) decided: BTreeMap<AgencyId, Decided>,
    /// What ended it.
    pub(super) ended: Vec<(Event, Digest)>,
}

/// Walks the whole way.
pub(super) fn walk(
    network: &NetworkName,
    (row, parts): (&PacketRow, &[(PartId, PartRow)]),
    entries: &[FiledEntry],
) -> Result<Way, StoreError> {
    let mut way = Way {
        stage: ACCEPTED,
        states: Vec::new(),
        decided: BTreeMap::new(),
        ended: Vec::new(),
    };
    for (part, of) in parts {
        for recipient in &of.recipients {
            way.states.push(PartState {
                recipient: agency(recipient)?,
                part: *part,
                stage: Stage::Pending,
                reason: String::new(),
                obligations: Vec::new(),
                since: Timestamp::from_millis(row.accepted_ms),
                possibly_disclosed: false,
                leaf_hash: None,
            });
        }
    }
    for entry in entries {
        let body = Body::parse(&entry.body, network).map_err(|error| wrong(&error.to_string()))?;
        way.step(entry, &body)?;
        way.settle();
    }
    way.settle();
    Ok(way)
}

impl Way {
    fn settle(&mut self) {
        if self.stage == ACCEPTED && self.states.iter().all(|state| state.stage.is_final()) {
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
        let mut last = None;
        for opening in [&entry.shown, &entry.hidden].into_iter().flatten() {
            let decision = wire::Decision::decode(&*opening.descriptor);
            let decision = decision.map_err(|_| wrong("has a decision that does not decode"))?;
            for part in &decision.parts {
                self.decide_part(&recipient, part, (body.at, entry.leaf_hash))?;
            }
            last = last.or(Some(decision));
        }
        let decision = last.ok_or_else(|| wrong("has a decision that cannot be opened"))?;
        let decided = Decided {
            leaf: entry.leaf_hash,
            delivers: body.event == Event::ContentConsignment,
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
            "hold-for-consent" => Verdict::Hold,
            _ => Verdict::Withhold,
        };
        let decided = DecidedPart {
            part: id,
            verdict,
            reason: part.reason.clone(),
            obligations: part.obligations.clone(),
        };
        let mut mine = self.states.iter_mut();
        let state = mine.find(|state| state.recipient == *recipient && state.part == id);
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
        for state in &mut self.states {
            let meant = Some(&state.recipient) == body.recipient.as_ref()
                && said
                    .part_ids
                    .iter()
                    .any(|part| *part == state.part.as_bytes()[..]);
            if !meant || matches!(state.stage, Stage::Received | Stage::Refused) {
                continue;
            }
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
        for state in self.states.iter_mut().filter(|state| open(state.stage)) {
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

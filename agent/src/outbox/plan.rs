//! The sending agent decides first: before anything is sealed, its own policy engine says of each part and
//! recipient whether it may go, may wait, or may not. What may not is sealed to nobody, so that no lying
//! broker can let it through.

use std::collections::{BTreeMap, BTreeSet};

use schakel_policy::asking::{self, Moment};
use schakel_policy::engine::Engine;
use schakel_policy::explain::Supposed;
use schakel_policy::question::ReceiveQuestion;
use schakel_policy::ruling::{Outcome as Ruled, Ruling};
use schakel_proto::directory::Directory;
use schakel_proto::ids::{Digest, PartId};
use schakel_proto::packet::descriptor::PartFields;
use schakel_proto::packet::manifest::ManifestFields;
use schakel_proto::party::AgencyId;
use schakel_proto::statement::FactChain;

use super::record::{Outcome, PartState, Record};
use crate::problem::{Kind, Problem, RecipientProblem};
use crate::request::{PartRequest, SendRequest, SubjectRequest};

/// What the own decision rests on.
pub struct Own<'a> {
    /// The rules.
    pub engine: &'a Engine,
    /// The facts of the case, as far as they are shown to us.
    pub facts: FactChain,
    /// The broker answered just now. If not, a refusal may rest on facts that have changed since.
    pub fresh: bool,
}

/// What is sealed for whom, and what is not and why.
pub struct Plan {
    /// Part (by its place in the request) and recipient: what is not sealed, as the record keeps it.
    refused: BTreeMap<(usize, AgencyId), Outcome>,
    recipients: Vec<AgencyId>,
    per_part: Vec<Vec<AgencyId>>,
    problems: Vec<RecipientProblem>,
}

impl Plan {
    /// Asks the rules.
    ///
    /// # Errors
    /// Something is refused on facts that the broker could not be asked for.
    pub fn make(
        own: &Own<'_>,
        directory: &Directory,
        request: &SendRequest,
        manifest: &ManifestFields,
        ids: &[PartId],
    ) -> Result<Self, Problem> {
        let case = asking::case_or_unopened(&own.facts, directory, &manifest.sender);
        let fields: Vec<_> = ids.iter().zip(&request.parts).map(fields).collect();
        let half_seen = own.facts.facts().iter().any(|fact| fact.statement().is_none());
        let mut plan = Self {
            refused: BTreeMap::new(),
            recipients: Vec::new(),
            per_part: vec![Vec::new(); ids.len()],
            problems: Vec::new(),
        };
        for recipient in &request.to {
            let concerned =
                |(_, part): &(usize, &PartRequest)| part.recipients(&request.to).contains(recipient);
            let places: Vec<usize> = request
                .parts
                .iter()
                .enumerate()
                .filter(concerned)
                .map(|(n, _)| n)
                .collect();
            let parts: Vec<&PartFields> = places.iter().filter_map(|n| fields.get(*n)).collect();
            let moment = (Moment::Admission, manifest.created);
            let questions =
                asking::receive_questions(manifest, &parts, recipient, (directory, &case), moment);
            let ruling = own.engine.packet(&questions);
            for (((place, part), question), ruling) in
                places.iter().zip(&parts).zip(&questions).zip(ruling.parts())
            {
                // Decided before sealing it stays decided; what a statement that is not shown to us may allow waits.
                let ruling = if half_seen && may_wait(own.engine, question, ruling) {
                    None
                } else {
                    Some(ruling)
                };
                plan.note(*place, part, recipient, ruling, manifest);
            }
        }
        plan.recipients = request
            .to
            .iter()
            .filter(|one| plan.per_part.iter().any(|of| of.contains(one)))
            .cloned()
            .collect();
        if !own.fresh && !plan.refused.is_empty() {
            let sentence =
                "the rules refuse this on the facts last seen, and the broker cannot be asked for newer ones";
            let problem = Problem::new(
                Kind::Later,
                "FACTS_UNKNOWN",
                sentence,
                "Send it again when the broker is reached.",
            );
            return Err(problem.at(request.case));
        }
        Ok(plan)
    }

    fn note(
        &mut self,
        place: usize,
        part: &PartFields,
        recipient: &AgencyId,
        ruling: Option<&Ruling>,
        manifest: &ManifestFields,
    ) {
        let refused = ruling.and_then(|ruling| match ruling.outcome() {
            Ruled::Deliver | Ruled::HoldForConsent => None,
            Ruled::Withhold => Some((ruling, PartState::Withheld)),
            Ruled::DenyPacket => Some((ruling, PartState::Denied)),
        });
        let Some((ruling, state)) = refused else {
            if let Some(of) = self.per_part.get_mut(place) {
                of.push(recipient.clone());
            }
            return;
        };
        let obligations: Vec<String> = ruling.obligations().iter().cloned().collect();
        if !self
            .problems
            .iter()
            .any(|one| one.recipient == recipient.as_str())
        {
            self.problems.push(RecipientProblem {
                recipient: recipient.to_string(),
                reason: ruling.reason().to_owned(),
                obligations: obligations.clone(),
            });
        }
        let about = (part.part_id, part.category.clone());
        let outcome = Outcome {
            state,
            reason: ruling.reason().to_owned(),
            obligations,
            own: true,
            ..Outcome::pending(recipient.clone(), about, manifest.created)
        };
        self.refused.insert((place, recipient.clone()), outcome);
    }

    /// What was not sealed the first time is not sealed now: nobody asked for the file that lies there today.
    pub fn as_before(&mut self, before: &Record, request: &SendRequest, ids: &[PartId]) {
        for (place, (old, id)) in before.parts.iter().zip(ids).enumerate() {
            let kept = before
                .outcomes
                .iter()
                .filter(|outcome| outcome.part == old.part && outcome.own);
            for outcome in kept.filter(|outcome| request.to.contains(&outcome.recipient)) {
                if let Some(of) = self.per_part.get_mut(place) {
                    of.retain(|one| *one != outcome.recipient);
                }
                let key = (place, outcome.recipient.clone());
                self.refused.entry(key).or_insert_with(|| Outcome {
                    part: *id,
                    ..outcome.clone()
                });
            }
        }
        self.recipients
            .retain(|one| self.per_part.iter().any(|of| of.contains(one)));
    }

    /// The recipients that something is sealed for.
    pub fn recipients(&self) -> &[AgencyId] {
        &self.recipients
    }

    /// For whom a part is sealed.
    pub fn of_part(&self, place: usize) -> &[AgencyId] {
        self.per_part.get(place).map_or(&[], Vec::as_slice)
    }

    /// The outcome of a part that is not sealed for this recipient.
    pub fn refused(&self, place: usize, recipient: &AgencyId) -> Option<&Outcome> {
        self.refused.get(&(place, recipient.clone()))
    }

    /// The packet as a whole is refused, if nothing is sealed for anybody.
    pub fn refusal(&self) -> Option<Problem> {
        self.recipients.is_empty().then(|| Problem {
            recipients: self.problems.clone().into_boxed_slice(),
            ..Problem::new(
                Kind::Refused,
                "DENIED",
                "our own rules let nothing of this packet go to any recipient; nothing was sealed",
                "Each recipient's reason code says what stands in the way; change that, then send anew.",
            )
        })
    }

    /// Reason codes of what is not sealed, for the log.
    pub fn reasons(&self) -> BTreeSet<&str> {
        self.refused
            .values()
            .map(|outcome| outcome.reason.as_str())
            .collect()
    }
}

/// Whether a consent or a release that is not shown to us may let it go after all: then the broker decides.
fn may_wait(engine: &Engine, question: &ReceiveQuestion, ruling: &Ruling) -> bool {
    let supposed = |one: Supposed| engine.receive(&one.suppose(question)).delivers();
    ruling.outcome() == Ruled::Withhold && (supposed(Supposed::Consent) || supposed(Supposed::Release))
}

/// A part as the rules are asked about it; what only sealing gives is not there yet, and no rule reads it.
fn fields((id, part): (&PartId, &PartRequest)) -> PartFields {
    PartFields {
        part_id: *id,
        category: part.category.clone(),
        subjects: part.subjects.iter().map(SubjectRequest::described).collect(),
        source_secrecy: part.secrecy.clone(),
        release_ref: part.release,
        measure_ref: part.measure,
        relevant: part.relevant,
        pseudonymous: part.pseudonymous,
        commitment: Digest::from_bytes([0; 32]),
        sealings: Vec::new(),
    }
}

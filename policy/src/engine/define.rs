//! Facts that have a definition of their own in the policies: "active on the roster" and "in force".

use cedar_policy::{Entities, EntityUid};
use schakel_proto::time::Timestamp;

use super::kept::Key;
use super::narrow::Fixed;
use super::receiving::{self, Receiving};
use super::request::{self, Derived, Pairs, Unfit};
use super::slice::Place;
use super::{Action, Engine};
use crate::facts::{CaseState, Measure, Participant};

const ACTIVE: Action = (5, "active");
const IN_FORCE: Action = (6, "in_force");

impl Engine {
    /// Facts that have a definition of their own in the policies.
    pub(super) fn derive(&self, asked: &Receiving<'_>) -> Result<Derived, Unfit> {
        let (question, case) = (asked.question, &*asked.question.case);
        let (sender, recipient) = (&asked.sender, &asked.principal);
        let mut measures_in_force = Vec::new();
        for measure in &case.measures {
            if self.in_force(measure, sender, question.now)? {
                measures_in_force.push(measure.kind.clone());
            }
        }
        let measure_in_force = match &question.part.measure {
            Some(measure) => self.in_force(measure, sender, question.now)?,
            None => true,
        };
        Ok(Derived {
            sender_active: self.seated(case, &question.sender.id, sender, question.now)?,
            recipient_active: self.seated(case, &question.recipient.id, recipient, question.now)?,
            measure_in_force,
            measures_in_force,
        })
    }

    /// The definition "active on the roster".
    pub(super) fn active(&self, case: &CaseState, agency: &str, now: Timestamp) -> Result<bool, Unfit> {
        let principal = self.compiled.vocabulary.agency_uid(agency)?;
        self.seated(case, agency, &principal, now)
    }

    /// Whether one of an agency's entries is active.
    fn seated(&self, case: &CaseState, id: &str, agency: &EntityUid, now: Timestamp) -> Result<bool, Unfit> {
        for entry in case.entries(id) {
            if self.seat(entry, agency, now)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn seat(&self, entry: &Participant, agency: &EntityUid, now: Timestamp) -> Result<bool, Unfit> {
        let vocabulary = &self.compiled.vocabulary;
        vocabulary.listed("RosterStatus", &entry.status)?;
        let key = receiving::seat(vocabulary, entry);
        let fixed = || receiving::seat_fixed(vocabulary, entry);
        self.define(ACTIVE, "Case", agency, (key, fixed), || {
            vocabulary.entry(entry, now)
        })
    }

    /// The definition "in force".
    fn in_force(&self, measure: &Measure, principal: &EntityUid, now: Timestamp) -> Result<bool, Unfit> {
        let place = (receiving::measure(measure), || receiving::measure_fixed(measure));
        self.define(IN_FORCE, "Measure", principal, place, || {
            request::measure_facts(measure, now)
        })
    }

    fn define(
        &self,
        (number, action): Action,
        kind: &str,
        principal: &EntityUid,
        (key, fixed): (Key, impl FnOnce() -> Fixed),
        pairs: impl FnOnce() -> Result<Pairs, Unfit>,
    ) -> Result<bool, Unfit> {
        let vocabulary = &self.compiled.vocabulary;
        let own = self.compiled.index.names(principal).then_some(principal);
        let resource = vocabulary.resource(kind)?;
        let place = || -> Result<Place, Unfit> {
            Ok(Place {
                action: vocabulary.action(action)?,
                principal: own.cloned().into_iter().collect(),
                resource: vec![resource.clone()],
            })
        };
        let nobody = Entities::empty();
        if !self.sliced {
            let answer = self.ask(
                &place()?,
                None,
                principal.clone(),
                resource.clone(),
                pairs()?,
                &nobody,
            )?;
            return Ok(answer.allowed);
        }
        let key = Key {
            action: number,
            own: own.map(|uid| uid.id().unescaped().into()),
            ..key
        };
        let cut = self.compiled.index.cut(&key, || Ok((place()?, fixed())))?;
        if let Some(settled) = &cut.settled {
            return Ok(settled.allowed);
        }
        let request = self.unchecked(action, principal, &resource, pairs()?)?;
        let decided = cut.decide(request, &nobody, false);
        decided.map(|(allowed, _)| allowed).map_err(Unfit::Defect)
    }
}

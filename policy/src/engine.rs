//! Puts questions to the policies and reads the answers. This folder is the only one that names Cedar.
//! Nothing of the domain is decided here: a defect, an unknown value or a policy that errors is a denial.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Decision, Effect, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};
use schakel_proto::time::Timestamp;

use crate::bundle::{Bundle, BundleError};
use crate::consent::{self, Finding};
use crate::facts::{CaseState, Measure};
use crate::question::{InspectQuestion, ReceiveQuestion, StateQuestion};
use crate::ruling::{Hint, Outcome, PacketRuling, Permission, Ruling};

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod permission;
pub(crate) mod request;
pub(crate) mod rule;
pub(crate) mod slice;
#[cfg(feature = "tools")]
pub(crate) mod symbolic;
pub(crate) mod vocabulary;

use compile::Compiled;
use request::{Derived, Pairs, Receiving, Unfit};
use rule::Rule;
use slice::Place;

/// Reason of a denial for a value that the vocabulary does not know.
pub const UNKNOWN_VALUE: &str = "DENY_UNKNOWN_VALUE";
/// Reason of a denial because a policy or the engine failed; an alarm goes with it.
pub const POLICY_ERROR: &str = "DENY_POLICY_ERROR";
/// Reason of a denial because the bundle is not in force at the moment decided for.
pub const NOT_IN_FORCE: &str = "DENY_BUNDLE_NOT_IN_FORCE";
/// Reason of a refusal that no rule determined.
pub const NO_RULE: &str = "WITHHOLD_NO_RULE";

/// Reasons that the engine itself gives; bundles must have a text for them.
pub const ENGINE_REASONS: [&str; 4] = [UNKNOWN_VALUE, POLICY_ERROR, NOT_IN_FORCE, NO_RULE];

/// Obligations of a denial that no policy was asked about.
const ON_DENIAL: [&str; 2] = ["log-denial", "tell-sender-reason"];

/// One bundle, ready to decide. Shared between threads as `Arc<Engine>`; a new bundle is a new engine.
#[derive(Debug)]
pub struct Engine {
    bundle: Bundle,
    compiled: Arc<Compiled>,
    authorizer: Authorizer,
    /// Whether requests see only their slice of the policies.
    sliced: bool,
}

/// What one evaluation said.
struct Answer<'a> {
    allowed: bool,
    /// Determining rules, the deciding one first.
    rules: Vec<&'a Rule>,
}

impl Engine {
    /// Takes a bundle that has been loaded, and so validated, and runs its own cases: a bundle that fails one
    /// of them is refused.
    pub fn new(bundle: &Bundle) -> Result<Self, BundleError> {
        let engine = Self::untested(bundle);
        for (file, cases) in bundle.cases() {
            for (line, case) in cases {
                let ruling = engine.receive(&case.given);
                if let Some(difference) = case.difference(&ruling) {
                    let sentence = format!("the bundle fails its own case {}: {difference}", case.id);
                    return Err(BundleError::new("BUNDLE_CASES", &sentence, file, *line));
                }
            }
        }
        Ok(engine)
    }

    /// The same without running the bundle's own cases: for the officer's tools, which report failures one by one.
    pub fn untested(bundle: &Bundle) -> Self {
        Self {
            bundle: bundle.clone(),
            compiled: bundle.compiled(),
            authorizer: Authorizer::new(),
            sliced: true,
        }
    }

    /// The same handing every policy to the authorizer, for comparison with slicing.
    #[must_use]
    pub fn unsliced(mut self) -> Self {
        self.sliced = false;
        self
    }

    /// The bundle that decides.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Decides one part for one recipient: all steps of domain.md 6.5. Does not look at the bundle's validity.
    pub fn receive(&self, question: &ReceiveQuestion) -> Ruling {
        self.try_receive(question).unwrap_or_else(denial)
    }

    /// How many policies the evaluation of this question is given; `None`: it is denied before any is asked.
    /// For measurements: it must not grow with policies about other agencies, roles, categories or bases.
    pub fn considered(&self, question: &ReceiveQuestion) -> Option<usize> {
        let asked = self.compiled.vocabulary.receiving(question).ok()?;
        let slice = self
            .compiled
            .index
            .slice(&asked.place, Some(&asked.principal))
            .ok()?;
        Some(if self.sliced {
            slice.num_of_policies()
        } else {
            self.compiled.all.num_of_policies()
        })
    }

    /// Decides all parts of a packet for one recipient. A packet-level refusal of any part (steps 1 to 6), or a
    /// bundle outside its validity (`DENY_BUNDLE_NOT_IN_FORCE`), refuses the packet for this recipient.
    /// At admission `roster_version_seen` is what the packet says; at hand-over it is `None`.
    pub fn packet(&self, parts: &[ReceiveQuestion]) -> PacketRuling {
        let rulings: Vec<Ruling> = parts
            .iter()
            .map(|part| {
                if self.bundle.in_force_at(part.now) {
                    self.receive(part)
                } else {
                    plain_denial(NOT_IN_FORCE, Vec::new())
                }
            })
            .collect();
        let first = rulings
            .iter()
            .filter(|r| r.outcome == Outcome::DenyPacket)
            .min_by_key(|r| self.order(r));
        let Some(denied) = first.cloned() else {
            return PacketRuling {
                denied: None,
                parts: rulings,
            };
        };
        PacketRuling {
            parts: vec![denied.clone(); rulings.len()],
            denied: Some(denied),
        }
    }

    /// The packet-level steps (1 to 6) only: the refusal for this recipient, if there is one.
    pub fn admit(&self, parts: &[ReceiveQuestion]) -> Result<(), Ruling> {
        self.packet(parts).denied.map_or(Ok(()), Err)
    }

    /// Whether an agency may make a statement.
    pub fn state(&self, question: &StateQuestion) -> Permission {
        permission::state(self, question)
    }

    /// Whether an agency may see a case's facts.
    pub fn inspect(&self, question: &InspectQuestion) -> Permission {
        permission::inspect(self, question)
    }

    fn order(&self, ruling: &Ruling) -> Option<rule::Step> {
        self.compiled.rules.get(ruling.policies.first()?)?.step
    }

    fn try_receive(&self, question: &ReceiveQuestion) -> Result<Ruling, Unfit> {
        let vocabulary = &self.compiled.vocabulary;
        let asked = vocabulary.receiving(question)?;
        let finding = consent::check(question);
        let mut derived = self.derive(question, &asked.sender, finding)?;
        let facts = vocabulary.facts(question, &asked.sender, &derived)?;
        let answer = self.ask_part(&asked, facts.clone())?;
        if answer.allowed {
            return self.ruled(question, &asked, facts, Outcome::Deliver, &answer, None);
        }
        if let Some(decisive) = answer.rules.first() {
            let outcome = decisive.outcome.unwrap_or(Outcome::DenyPacket);
            return self.ruled(question, &asked, facts, outcome, &answer, None);
        }
        if finding != Finding::Valid {
            derived.finding = Finding::Valid.as_str();
            let supposed = self.ask_part(&asked, vocabulary.facts(question, &asked.sender, &derived)?)?;
            if supposed.allowed {
                let outcome = if finding.is_a_no() {
                    Outcome::Withhold
                } else {
                    Outcome::HoldForConsent
                };
                return self.ruled(question, &asked, facts, outcome, &supposed, Some(finding));
            }
        }
        self.ruled(question, &asked, facts, Outcome::Withhold, &answer, None)
    }

    /// Facts that have a definition of their own in the policies.
    fn derive(
        &self,
        question: &ReceiveQuestion,
        sender: &EntityUid,
        finding: Finding,
    ) -> Result<Derived, Unfit> {
        let case = &*question.case;
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
            sender_active: self.active(case, &question.sender.id, question.now)?,
            recipient_active: self.active(case, &question.recipient.id, question.now)?,
            measure_in_force,
            measures_in_force,
            finding: finding.as_str(),
        })
    }

    /// The definition "active on the roster".
    fn active(&self, case: &CaseState, agency: &str, now: Timestamp) -> Result<bool, Unfit> {
        let vocabulary = &self.compiled.vocabulary;
        let Some(entry) = case.participant(agency) else {
            return Ok(false);
        };
        let principal = vocabulary.agency_uid(agency)?;
        self.define("active", "Case", principal, vocabulary.entry(entry, now)?)
    }

    /// The definition "in force".
    fn in_force(&self, measure: &Measure, principal: &EntityUid, now: Timestamp) -> Result<bool, Unfit> {
        let mut pairs: Pairs = vec![
            ("now".to_owned(), request::moment(now)),
            ("status".to_owned(), request::string(&measure.status)),
        ];
        if let Some(end) = &measure.valid_until {
            pairs.push(("until".to_owned(), request::moment(end.at)));
        }
        self.define("in_force", "Measure", principal.clone(), pairs)
    }

    fn define(&self, action: &str, kind: &str, principal: EntityUid, pairs: Pairs) -> Result<bool, Unfit> {
        let vocabulary = &self.compiled.vocabulary;
        let place = Place {
            action: vocabulary.action(action)?,
            principal: vec![],
            resource: vec![],
        };
        let resource = vocabulary.resource(kind)?;
        Ok(self
            .ask(&place, None, principal, resource, pairs, &Entities::empty())?
            .allowed)
    }

    fn ask_part(&self, asked: &Receiving, facts: Pairs) -> Result<Answer<'_>, Unfit> {
        let (principal, part) = (asked.principal.clone(), asked.part.clone());
        self.ask(
            &asked.place,
            Some(&asked.principal),
            principal,
            part,
            facts,
            &asked.entities,
        )
    }

    /// One evaluation. An error of any policy is a defect, whatever the decision.
    fn ask(
        &self,
        place: &Place,
        own: Option<&EntityUid>,
        principal: EntityUid,
        resource: EntityUid,
        pairs: Pairs,
        entities: &Entities,
    ) -> Result<Answer<'_>, Unfit> {
        let context = request::context(pairs)?;
        let request = Request::new(
            principal,
            place.action.clone(),
            resource,
            context,
            Some(&self.compiled.schema),
        )
        .map_err(|error| Unfit::Defect(error.to_string()))?;
        let slice: Arc<PolicySet>;
        let policies = if self.sliced {
            slice = self.compiled.index.slice(place, own).map_err(Unfit::Defect)?;
            &*slice
        } else {
            &self.compiled.all
        };
        let response = self.authorizer.is_authorized(&request, policies, entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(Unfit::Defect(error.to_string()));
        }
        let mut rules = Vec::new();
        for id in response.diagnostics().reason() {
            let id: &str = id.as_ref();
            rules.push(
                self.compiled
                    .rules
                    .get(id)
                    .ok_or_else(|| Unfit::Defect(format!("no rule {id}")))?,
            );
        }
        rules.sort_by(|a, b| (a.step, &a.id).cmp(&(b.step, &b.id)));
        Ok(Answer {
            allowed: response.decision() == Decision::Allow,
            rules,
        })
    }

    /// The ruling, with the obligations that follow from it.
    fn ruled(
        &self,
        question: &ReceiveQuestion,
        asked: &Receiving,
        facts: Pairs,
        outcome: Outcome,
        answer: &Answer<'_>,
        finding: Option<Finding>,
    ) -> Result<Ruling, Unfit> {
        let decisive = answer.rules.first().copied();
        let reason = match (finding, decisive) {
            (Some(finding), _) => finding.as_str(),
            (None, Some(rule)) => rule.reason_for(&question.part.category, &question.legal_basis),
            (None, None) => NO_RULE,
        };
        let (action, own) = match outcome {
            Outcome::Deliver => ("delivered", decisive),
            Outcome::HoldForConsent => ("held", None),
            Outcome::Withhold | Outcome::DenyPacket => {
                ("refused", decisive.filter(|r| r.effect == Effect::Forbid))
            }
        };
        let pairs = vec![
            ("reason".to_owned(), request::string(reason)),
            ("facts".to_owned(), request::record(facts)?),
        ];
        let place = Place {
            action: self.compiled.vocabulary.action(action)?,
            ..asked.place.clone()
        };
        let (principal, part) = (asked.principal.clone(), asked.part.clone());
        let follows = self.ask(
            &place,
            Some(&asked.principal),
            principal,
            part,
            pairs,
            &asked.entities,
        )?;
        let obligations = own
            .into_iter()
            .chain(follows.rules)
            .flat_map(|rule| &rule.obligations);
        Ok(Ruling {
            outcome,
            reason: reason.to_owned(),
            obligations: obligations.map(|text| filled(text, question)).collect(),
            policies: answer.rules.iter().map(|rule| rule.id.clone()).collect(),
            hint: finding.filter(|f| !f.is_a_no()).map(|_| Hint::Consent),
            alarms: Vec::new(),
        })
    }
}

/// An obligation with the values it names.
fn filled(text: &str, question: &ReceiveQuestion) -> String {
    let end = question
        .part
        .measure
        .as_ref()
        .and_then(|m| m.valid_until.as_ref());
    text.replace("{measure_end}", end.map_or("", |moment| moment.text.as_str()))
}

fn denial(unfit: Unfit) -> Ruling {
    match unfit {
        Unfit::Unknown(kind) => Ruling {
            policies: vec![format!("schema:{kind}")],
            ..plain_denial(UNKNOWN_VALUE, Vec::new())
        },
        Unfit::Defect(what) => plain_denial(POLICY_ERROR, vec![what]),
    }
}

fn plain_denial(reason: &str, alarms: Vec<String>) -> Ruling {
    Ruling {
        outcome: Outcome::DenyPacket,
        reason: reason.to_owned(),
        obligations: ON_DENIAL.iter().map(|o| (*o).to_owned()).collect::<BTreeSet<_>>(),
        policies: Vec::new(),
        hint: None,
        alarms,
    }
}

/// A boolean fact.
pub(crate) fn fact(key: &str, value: bool) -> (String, RestrictedExpression) {
    (key.to_owned(), request::boolean(value))
}

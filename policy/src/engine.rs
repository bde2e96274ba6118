//! Puts questions to the policies and reads the answers. This folder is the only one that names Cedar.
//! Nothing of the domain is decided here: a defect, an unknown value or a policy that errors is a denial.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Decision, Effect, Entities, EntityUid, PolicySet, Request};
use cedar_policy_core::ast;

use crate::bundle::{Bundle, BundleError};
use crate::case::statement;
use crate::consent::{self, Finding};
use crate::question::{InspectQuestion, ReceiveQuestion, StateQuestion};
use crate::ruling::{Hint, Outcome, PacketRuling, Permission, Ruling};

pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod cut;
mod define;
mod few;
pub(crate) mod fit;
mod kept;
pub mod mutate;
pub(crate) mod narrow;
pub(crate) mod permission;
mod reach;
pub(crate) mod receiving;
pub(crate) mod request;
pub(crate) mod rule;
mod scripts;
pub(crate) mod slice;
pub(crate) mod suppose;
#[cfg(feature = "tools")]
pub(crate) mod symbolic;
pub(crate) mod vocabulary;

pub use cut::evaluated;

use compile::Compiled;
use cut::{Cut, Reads};
use few::Few;
use kept::Key;
use receiving::Receiving;
use request::{Derived, Pairs, Unfit};
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

/// An action with its number in keys of places.
type Action = (u8, &'static str);

const RECEIVE: Action = (1, "receive");
const DELIVERED: Action = (2, "delivered");
const HELD: Action = (3, "held");
const REFUSED: Action = (4, "refused");

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
        for (line, case) in bundle.statement_cases() {
            if let Some(difference) = case.difference(&engine) {
                let sentence = format!("the bundle fails its own case {}: {difference}", case.id);
                return Err(BundleError::new(
                    "BUNDLE_CASES",
                    &sentence,
                    statement::FILE,
                    *line,
                ));
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

    /// The same by the long way, for comparison: every policy as it is written is handed to the authorizer, with all
    /// facts, and Cedar validates each request against the schema.
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
        if !self.sliced {
            return Some(self.compiled.all.num_of_policies());
        }
        Some(self.cut(&asked, RECEIVE).ok()?.len())
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
        let derived = self.derive(&asked)?;
        vocabulary.known_facts(question)?;
        let answer = self.ask_at(&asked, RECEIVE, (&derived, finding), None, false)?;
        let ruled = |outcome, answer: &Answer<'_>, because| {
            self.ruled(&asked, &derived, finding, outcome, answer, because)
        };
        if answer.allowed {
            return ruled(Outcome::Deliver, &answer, None);
        }
        if let Some(decisive) = answer.rules.first() {
            return ruled(decisive.outcome.unwrap_or(Outcome::DenyPacket), &answer, None);
        }
        if finding != Finding::Valid {
            let supposed = self.ask_at(&asked, RECEIVE, (&derived, Finding::Valid), None, false)?;
            if supposed.allowed {
                let outcome = if finding.is_a_no() {
                    Outcome::Withhold
                } else {
                    Outcome::HoldForConsent
                };
                return ruled(outcome, &supposed, Some(finding));
            }
        }
        ruled(Outcome::Withhold, &answer, None)
    }

    /// The slice for a question's place.
    fn cut(&self, asked: &Receiving<'_>, (number, action): Action) -> Result<Arc<Cut>, Unfit> {
        let named = self.compiled.index.names(&asked.principal);
        let key = Key {
            action: number,
            own: named.then(|| asked.question.recipient.id.as_str().into()),
            ..asked.key.clone()
        };
        self.compiled.index.cut(&key, || {
            let mut place = asked.place(action)?;
            let fixed = asked.fixed(&place, number != RECEIVE.0);
            place.principal.extend(named.then(|| asked.principal.clone()));
            place.resource.push(asked.part.clone());
            Ok((place, fixed))
        })
    }

    /// One evaluation at a question's place; with a reason, of what follows from it. The slice says which facts it
    /// reads; those of few values are put into it, and of the rest those are made that it still reads.
    fn ask_at(
        &self,
        asked: &Receiving<'_>,
        action: Action,
        (derived, finding): (&Derived, Finding),
        reason: Option<&str>,
        briefly: bool,
    ) -> Result<Answer<'_>, Unfit> {
        let (principal, part) = (&asked.principal, &asked.part);
        let vocabulary = &self.compiled.vocabulary;
        let pairs = |reads| -> Result<Pairs, Unfit> {
            let facts = vocabulary.facts(asked, derived, finding.as_str(), reads)?;
            Ok(match reason {
                Some(reason) => vec![
                    ("reason", request::string(reason)),
                    ("facts", request::record(facts)),
                ],
                None => facts,
            })
        };
        if !self.sliced {
            let (place, pairs) = (asked.place(action.1)?, pairs(Reads::ALL)?);
            let (principal, part) = (principal.clone(), part.clone());
            return self.ask(&place, None, principal, part, pairs, asked.entities()?);
        }
        let mut cut = self.cut(asked, action)?;
        if cut.settled.is_none() && !(briefly && cut.refused) {
            let index = &self.compiled.index;
            let few = Few::new(asked, (vocabulary, &index.words), (derived, finding), cut.reads);
            cut = index.inner(&cut, few, vocabulary)?;
        }
        if let Some(settled) = &cut.settled {
            return self.answer(settled.allowed, settled.ids.iter().map(String::as_str));
        }
        if briefly && cut.refused {
            return self.answer(false, std::iter::empty());
        }
        let request = self.unchecked(action.1, principal, part, pairs(cut.reads)?)?;
        let decided = cut.decide(request, asked.looked_at(cut.reads)?, briefly);
        let (allowed, ids) = decided.map_err(Unfit::Defect)?;
        self.answer(allowed, ids.into_iter())
    }

    /// A request of a form that was validated when the bundle was loaded (`fit`): of its facts, some.
    fn unchecked(
        &self,
        action: &str,
        principal: &EntityUid,
        resource: &EntityUid,
        pairs: Pairs,
    ) -> Result<ast::Request, Unfit> {
        let known = |uid: EntityUid| ast::EntityUIDEntry::known(uid.into(), None);
        Ok(ast::Request::new_unchecked(
            known(principal.clone()),
            known(self.compiled.vocabulary.action(action)?),
            known(resource.clone()),
            Some(ast::Context::Value(request::map(pairs))),
        ))
    }

    /// One evaluation by the long way: the request is validated against the schema.
    fn ask(
        &self,
        place: &Place,
        own: Option<&EntityUid>,
        principal: EntityUid,
        resource: EntityUid,
        pairs: Pairs,
        entities: &Entities,
    ) -> Result<Answer<'_>, Unfit> {
        let context: Context = request::context(pairs);
        let request = Request::new(
            principal,
            place.action.clone(),
            resource,
            context,
            Some(&self.compiled.schema),
        )
        .map_err(|error| Unfit::Defect(error.to_string()))?;
        if self.sliced {
            let slice = self.compiled.index.slice(place, own).map_err(Unfit::Defect)?;
            self.evaluate(&request, &slice, entities)
        } else {
            self.evaluate(&request, &self.compiled.all, entities)
        }
    }

    /// An error of any policy is a defect, whatever the decision.
    fn evaluate(
        &self,
        request: &Request,
        policies: &PolicySet,
        entities: &Entities,
    ) -> Result<Answer<'_>, Unfit> {
        let response = self.authorizer.is_authorized(request, policies, entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(Unfit::Defect(error.to_string()));
        }
        let ids = response.diagnostics().reason().map(AsRef::<str>::as_ref);
        self.answer(response.decision() == Decision::Allow, ids)
    }

    fn answer<'i>(&self, allowed: bool, ids: impl Iterator<Item = &'i str>) -> Result<Answer<'_>, Unfit> {
        let mut rules = Vec::new();
        for id in ids {
            let rule = self.compiled.rules.get(id);
            rules.push(rule.ok_or_else(|| Unfit::Defect(format!("no rule {id}")))?);
        }
        rules.sort_by(|a, b| (a.step, &a.id).cmp(&(b.step, &b.id)));
        Ok(Answer { allowed, rules })
    }

    /// The ruling, with the obligations that follow from it.
    fn ruled(
        &self,
        asked: &Receiving<'_>,
        derived: &Derived,
        finding: Finding,
        outcome: Outcome,
        answer: &Answer<'_>,
        because: Option<Finding>,
    ) -> Result<Ruling, Unfit> {
        let question = asked.question;
        let decisive = answer.rules.first().copied();
        let reason = match (because, decisive) {
            (Some(finding), _) => finding.as_str(),
            (None, Some(rule)) => rule.reason_for(&question.part.category, &question.legal_basis),
            (None, None) => NO_RULE,
        };
        let (action, own) = match outcome {
            Outcome::Deliver => (DELIVERED, decisive),
            Outcome::HoldForConsent => (HELD, None),
            Outcome::Withhold | Outcome::DenyPacket => {
                (REFUSED, decisive.filter(|r| r.effect == Effect::Forbid))
            }
        };
        let follows = self.ask_at(asked, action, (derived, finding), Some(reason), false)?;
        let obligations = own
            .into_iter()
            .chain(follows.rules)
            .flat_map(|rule| &rule.obligations);
        Ok(Ruling {
            outcome,
            reason: reason.to_owned(),
            obligations: obligations.map(|text| filled(text, question)).collect(),
            policies: answer.rules.iter().map(|rule| rule.id.clone()).collect(),
            hint: because.filter(|f| !f.is_a_no()).map(|_| Hint::Consent),
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
pub(crate) fn fact(key: &'static str, value: bool) -> (&'static str, cedar_policy_core::ast::Value) {
    (key, request::boolean(value))
}

//! Questions about *all* requests that the engine can make, put to Cedar's symbolic compiler and an SMT
//! solver. What holds of every such request is assumed (`assumptions`); what a solver finds is brought back
//! as facts that a case can be made from (`model`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::{Authorizer, Decision, Policy, PolicySet, Request, RequestEnv, Schema};
use cedar_policy_symcc::CompiledPolicySet;

use crate::consent;
use crate::engine::Engine;
use crate::engine::compile::Compiled;
use crate::engine::cut::Reads;
use crate::engine::request;
use crate::matrix::Verdict;
use crate::question::ReceiveQuestion;

mod assumptions;
mod known;
mod model;
mod program;
mod reach;
mod solver;

pub(crate) use model::{Agency, Model};
pub use solver::SolverError;
pub(crate) use solver::{Found, NoAnswer};

use solver::Solver;

/// The action that decides whether a part is delivered.
pub(crate) const RECEIVE: &str = "receive";

/// Every request there is.
const ALL: &str = "permit (principal, action, resource);";

/// One bundle's policies about one action.
struct About {
    env: RequestEnv,
    policies: Vec<Policy>,
    whole: CompiledPolicySet,
    /// `forbid` unless the request is one that the engine makes.
    assumed: Policy,
}

/// One bundle, ready to be asked about.
pub(crate) struct Subject {
    compiled: Arc<Compiled>,
    about: BTreeMap<String, About>,
}

/// Requests that must not be allowed.
pub(crate) struct Region {
    pub(crate) action: String,
    policies: Vec<Policy>,
}

/// An invariant's text: annotations, and a region for each policy.
pub(crate) struct Text {
    pub(crate) annotations: BTreeMap<String, String>,
    policies: PolicySet,
}

fn unsayable(why: String) -> NoAnswer {
    NoAnswer::Unsayable(why)
}

impl Subject {
    /// Compiles these actions of a bundle; every one if none is named.
    pub(crate) fn new(compiled: Arc<Compiled>, actions: &[&str]) -> Result<Self, NoAnswer> {
        let mut about = BTreeMap::new();
        for env in compiled.schema.request_envs() {
            let action = env.action().id().unescaped().to_owned();
            if !actions.is_empty() && !actions.contains(&action.as_str()) {
                continue;
            }
            let policies = program::policies(&compiled, &action).map_err(unsayable)?;
            let set = program::set(policies.iter().cloned()).map_err(unsayable)?;
            let condition = assumptions::well_formed(&action, &compiled.vocabulary);
            let one = About {
                whole: solver::compiled(&set, &env, &compiled.schema)?,
                assumed: program::only_if("assumed", &condition).map_err(unsayable)?,
                policies,
                env,
            };
            about.insert(action, one);
        }
        Ok(Self { compiled, about })
    }

    fn about(&self, action: &str) -> Result<&About, NoAnswer> {
        let about = self.about.get(action);
        about.ok_or_else(|| unsayable(format!("the schema has no action {action}")))
    }

    /// The actions.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &str> {
        self.about.keys().map(String::as_str)
    }

    /// The regions of an invariant in this bundle: a template stands for every cell `never` of its matrix.
    pub(crate) fn regions(&self, text: &Text) -> Result<Vec<Region>, NoAnswer> {
        let never = self
            .compiled
            .matrix
            .cells
            .iter()
            .flat_map(|(category, row)| row.iter().map(move |(role, cell)| (category, role, cell)))
            .filter(|(.., cell)| cell.verdict == Verdict::Never)
            .filter_map(|(category, role, _)| {
                let vocabulary = &self.compiled.vocabulary;
                Some((
                    vocabulary.uid("Role", role)?.clone(),
                    vocabulary.uid("Category", category)?.clone(),
                ))
            });
        let policies = program::instances(&text.policies, never).map_err(unsayable)?;
        let mut regions: BTreeMap<String, Vec<Policy>> = BTreeMap::new();
        for policy in policies {
            let action = program::action_of(&policy).ok_or_else(|| unsayable("no action".to_owned()))?;
            regions
                .entry(action.id().unescaped().to_owned())
                .or_default()
                .push(policy);
        }
        let region = |(action, policies)| Region { action, policies };
        Ok(regions.into_iter().map(region).collect())
    }

    /// Rules that read an attribute which the engine does not give, with that attribute.
    pub(crate) fn not_given(&self, schema: &str) -> Result<Vec<(String, String)>, NoAnswer> {
        let entities = reach::entities_of(schema).map_err(unsayable)?;
        let mut found = Vec::new();
        for (action, about) in &self.about {
            for policy in &about.policies {
                let read = reach::not_given(policy, action, &entities);
                found.extend(read.map(|read| (policy.id().to_string(), read)));
            }
        }
        Ok(found)
    }

    fn compile(&self, action: &str, policies: Vec<Policy>) -> Result<CompiledPolicySet, NoAnswer> {
        let about = self.about(action)?;
        let set = program::set(policies).map_err(unsayable)?;
        solver::compiled(&set, &about.env, &self.compiled.schema)
    }

    /// The region's requests that the engine can make; with `more`, those of which this holds too.
    fn region(&self, region: &Region, more: &[String]) -> Result<CompiledPolicySet, NoAnswer> {
        let mut policies = region.policies.clone();
        policies.push(self.about(&region.action)?.assumed.clone());
        if !more.is_empty() {
            let condition = assumptions::conjunction(more);
            policies.push(program::only_if("readable", &condition).map_err(unsayable)?);
        }
        self.compile(&region.action, policies)
    }
}

impl Text {
    /// Parses an invariant's file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let policies: PolicySet = text.parse().map_err(|error| format!("{error}"))?;
        let statics = policies
            .policies()
            .map(|p| p.annotations().map(own).collect::<BTreeMap<_, _>>());
        let templates = policies.templates().map(|t| t.annotations().map(own).collect());
        let mut annotations: BTreeMap<String, String> = BTreeMap::new();
        for one in statics.chain(templates) {
            annotations.extend(one);
        }
        Ok(Self {
            annotations,
            policies,
        })
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// What is asked about: the requests that both allow, or that only the first allows.
#[derive(Clone, Copy)]
enum Ask {
    Both,
    Beyond,
}

/// A solver that answered two questions with known answers.
pub(crate) struct Prover {
    solver: Solver,
}

impl Prover {
    /// Starts the solver and tests it.
    pub(crate) fn start(program: OsString, limit: Duration) -> Result<Self, SolverError> {
        let mut solver = Solver::new(program, limit)?;
        known::test(&mut solver)?;
        Ok(Self { solver })
    }

    fn ask(
        &mut self,
        ask: Ask,
        a: &CompiledPolicySet,
        b: &CompiledPolicySet,
    ) -> Result<Found<Model>, NoAnswer> {
        let found = match ask {
            Ask::Both => self.solver.both(a, b),
            Ask::Beyond => self.solver.beyond(a, b),
        };
        found.map(read)
    }

    /// A request of the region that the bundle allows; one that a person reads easily if there is one.
    pub(crate) fn allowed(&mut self, subject: &Subject, region: &Region) -> Result<Found<Model>, NoAnswer> {
        let whole = &subject.about(&region.action)?.whole;
        if let Some(facts) = assumptions::facts_of(&region.action) {
            let readable = subject.region(region, &assumptions::readable(facts))?;
            if let Ok(found @ Found::Request(_)) = self.ask(Ask::Both, whole, &readable) {
                return Ok(found);
            }
        }
        self.ask(Ask::Both, whole, &subject.region(region, &[])?)
    }

    /// A request that the new bundle delivers and the old one does not. Both must speak of the same agencies
    /// and parts.
    pub(crate) fn widened(&mut self, old: &Subject, new: &Subject) -> Result<Found<Model>, NoAnswer> {
        let (before, after) = (old.about(RECEIVE)?, new.about(RECEIVE)?);
        let before = new.compile(RECEIVE, before.policies.clone())?;
        let readable = assumptions::readable("context");
        for more in [readable.as_slice(), &[]] {
            let region = Region {
                action: RECEIVE.to_owned(),
                policies: after.policies.clone(),
            };
            let found = self.ask(Ask::Beyond, &new.region(&region, more)?, &before);
            if more.is_empty() || matches!(found, Ok(Found::Request(_))) {
                return found;
            }
        }
        Ok(Found::Nothing)
    }

    /// A policy of the action that errs on a request the engine can make, with that request.
    pub(crate) fn errors(
        &mut self,
        subject: &Subject,
        action: &str,
    ) -> Result<Option<(String, Found<Model>)>, NoAnswer> {
        let about = subject.about(action)?;
        let condition = assumptions::well_formed(action, &subject.compiled.vocabulary);
        for policy in &about.policies {
            // Most never err on any request at all; that is a far easier question.
            let plain = solver::compiled_one(policy, &about.env, &subject.compiled.schema)?;
            if matches!(self.solver.error(&plain), Ok(Found::Nothing)) {
                continue;
            }
            let mut found = self.error_under(subject, action, policy, &condition)?;
            if matches!(found, Found::Nothing) {
                continue;
            }
            if let Some(facts) = assumptions::facts_of(action) {
                let readable = assumptions::conjunction(&assumptions::readable(facts));
                let both = format!("({condition}) && ({readable})");
                if let Ok(better @ Found::Request(_)) = self.error_under(subject, action, policy, &both) {
                    found = better;
                }
            }
            return Ok(Some((policy.id().to_string(), found)));
        }
        Ok(None)
    }

    fn error_under(
        &mut self,
        subject: &Subject,
        action: &str,
        policy: &Policy,
        condition: &str,
    ) -> Result<Found<Model>, NoAnswer> {
        let policy = program::under(policy, condition).map_err(unsayable)?;
        let compiled = solver::compiled_one(&policy, &subject.about(action)?.env, &subject.compiled.schema)?;
        self.solver.error(&compiled).map(read)
    }

    /// Policies of the action that no request the engine can make ever matches; only these are looked at.
    pub(crate) fn dead(
        &mut self,
        subject: &Subject,
        action: &str,
        suspects: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, NoAnswer> {
        let about = subject.about(action)?;
        let every = program::parse("all", ALL).map_err(unsayable)?;
        let made = subject.compile(action, vec![every, about.assumed.clone()])?;
        let mut dead = Vec::new();
        for policy in about.policies.iter().filter(|p| suspects(p.id().as_ref())) {
            let permit = program::permitting(policy).map_err(unsayable)?;
            let matched = subject.compile(action, vec![permit])?;
            if self.solver.apart(&matched, &made)? {
                dead.push(policy.id().to_string());
            }
        }
        Ok(dead)
    }
}

/// What was found as plain facts.
fn read(found: Found<cedar_policy_symcc::Env>) -> Found<Model> {
    match found {
        Found::Nothing => Found::Nothing,
        Found::Unreadable(why) => Found::Unreadable(why),
        Found::Request(env) => match Model::of(&env) {
            Ok(model) => Found::Request(Box::new(model)),
            Err(why) => Found::Unreadable(format!("{why}\n{env}")),
        },
    }
}

/// Whether the engine's own request for this question is in the region, `None` if the engine denies before it
/// asks any policy. The region is taken without its assumptions: the engine's request is what they are about.
pub(crate) fn concerns(engine: &Engine, region: &Region, question: &ReceiveQuestion) -> Option<bool> {
    let set = program::set(region.policies.iter().cloned()).ok()?;
    concrete(engine, &set, question)
}

/// What is assumed of every request, and the policies as the solver gets them, to be looked at on concrete ones.
pub(crate) struct Assumption {
    assumed: PolicySet,
    policies: PolicySet,
}

impl Assumption {
    pub(crate) fn new(engine: &Engine) -> Result<Self, String> {
        let condition = assumptions::well_formed(RECEIVE, &engine.compiled.vocabulary);
        let assumed = program::only_if("assumed", &condition)?;
        Ok(Self {
            assumed: program::set([program::parse("all", ALL)?, assumed])?,
            policies: program::set(program::policies(&engine.compiled, RECEIVE)?)?,
        })
    }

    /// Whether it holds of the engine's own request for this question.
    pub(crate) fn holds(&self, engine: &Engine, question: &ReceiveQuestion) -> Option<bool> {
        concrete(engine, &self.assumed, question)
    }

    /// Whether the policies as the solver gets them allow the engine's own request for this question.
    pub(crate) fn allows(&self, engine: &Engine, question: &ReceiveQuestion) -> Option<bool> {
        concrete(engine, &self.policies, question)
    }
}

/// Asks a policy set what the engine would ask its own.
fn concrete(engine: &Engine, set: &PolicySet, question: &ReceiveQuestion) -> Option<bool> {
    let vocabulary = &engine.compiled.vocabulary;
    let asked = vocabulary.receiving(question).ok()?;
    vocabulary.known_facts(question).ok()?;
    let derived = engine.derive(&asked).ok()?;
    let finding = consent::check(question).as_str();
    let facts = vocabulary.facts(&asked, &derived, finding, Reads::ALL).ok()?;
    let schema: &Schema = &engine.compiled.schema;
    let request = Request::new(
        asked.principal.clone(),
        vocabulary.action(RECEIVE).ok()?,
        asked.part.clone(),
        request::context(facts),
        Some(schema),
    );
    let entities = asked.entities().ok()?;
    let response = Authorizer::new().is_authorized(&request.ok()?, set, entities);
    let sound = response.diagnostics().errors().next().is_none();
    sound.then(|| response.decision() == Decision::Allow)
}

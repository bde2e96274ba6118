//! Slices cut to one place: the policies that can match there, narrowed by what is fixed there, and which facts
//! they still read. Made at the first request of a place and kept, in a bounded number.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::Policy;
use cedar_policy::pst::{
    self, ActionConstraint, BinaryOp, Clause, Effect, Expr, StaticPolicy, Template, Var,
};
use cedar_policy_core::ast;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use super::few::Few;
use super::narrow::{condition, constant, path};

/// Most narrowings of one slice kept.
const INNER_MAX: usize = 1 << 8;

/// The facts, in the order of their bits.
pub(crate) const FACTS: [&str; 24] = [
    "now",
    "sender",
    "sender_active",
    "recipient_active",
    "recipient_flagged",
    "purpose",
    "urgency",
    "roster_version",
    "roster_version_seen",
    "case_status",
    "region",
    "subjects",
    "secrecy",
    "release",
    "measure_in_force",
    "measure_ends",
    "measures_in_force",
    "relevant",
    "pseudonymous",
    "consultation",
    "mandate",
    "break_glass",
    "report",
    "consent",
];

/// What evaluation of a slice looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    facts: u32,
    /// Attributes of the principal.
    pub(crate) principal: bool,
    /// Attributes or ancestors of any other entity.
    pub(crate) entities: bool,
}

impl Reads {
    /// Everything.
    pub(crate) const ALL: Self = Self {
        facts: u32::MAX,
        principal: true,
        entities: true,
    };

    /// Whether this fact is looked at.
    pub(crate) fn fact(self, name: &str) -> bool {
        let bit = FACTS.iter().position(|fact| *fact == name);
        bit.is_none_or(|bit| self.facts & (1 << bit) != 0)
    }

    fn add(&mut self, path: &[&str], nested: bool) {
        let fact = match path.split_first() {
            Some((&"facts", rest)) if nested => rest,
            Some(_) if nested => return, // the reason, which is always there
            _ => path,
        };
        let Some((name, rest)) = fact.split_first() else {
            self.facts = u32::MAX;
            return;
        };
        // A name that is no fact is never in the context: it cannot be found there, whatever else is.
        if let Some(bit) = FACTS.iter().position(|known| known == name) {
            self.facts |= 1 << bit;
        }
        self.entities |= rest.len() > 1 || (*name == "sender" && !rest.is_empty());
    }

    fn attribute(&mut self, of: &Expr, nested: bool) {
        if matches!(of, Expr::Var(Var::Principal)) {
            self.principal = true;
        } else {
            self.entities = true;
            self.look(of, nested);
        }
    }

    fn look(&mut self, expr: &Expr, nested: bool) {
        match expr {
            Expr::Var(Var::Context) => self.facts = u32::MAX,
            Expr::Var(_) | Expr::Literal(_) => {}
            Expr::UnaryOp { expr, .. } | Expr::Like { expr, .. } => self.look(expr, nested),
            Expr::BinaryOp { op, left, right } => {
                self.entities |= matches!(op, BinaryOp::In | BinaryOp::GetTag | BinaryOp::HasTag);
                self.look(left, nested);
                self.look(right, nested);
            }
            Expr::GetAttr { expr: of, .. } => match path(expr) {
                Some(path) => self.add(&path, nested),
                None => self.attribute(of, nested),
            },
            Expr::HasAttr { expr: of, attrs } => match path(of) {
                Some(mut path) => {
                    path.extend(attrs.iter().map(|a| a.as_str()));
                    self.add(&path, nested);
                }
                None => self.attribute(of, nested),
            },
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                self.look(cond, nested);
                self.look(then_expr, nested);
                self.look(else_expr, nested);
            }
            Expr::Set(members) => members.iter().for_each(|one| self.look(one, nested)),
            // Forms that nobody has thought of read everything.
            _ => *self = Self::ALL,
        }
    }
}

/// A policy as slices take it.
#[derive(Debug)]
pub(crate) struct Source {
    id: String,
    effect: cedar_policy::Effect,
    condition: Arc<Expr>,
}

impl Source {
    /// Its whole condition.
    pub(crate) fn condition(&self) -> &Arc<Expr> {
        &self.condition
    }

    /// Its policy's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// From a policy of the bundle.
    pub(crate) fn new(policy: &Policy) -> Result<Self, pst::PstConstructionError> {
        Ok(Self {
            id: policy.id().to_string(),
            effect: policy.effect(),
            condition: condition(&policy.to_pst()?)?,
        })
    }
}

/// The answer of a slice whose policies all hold whatever the facts are.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) allowed: bool,
    /// Ids of the determining policies.
    pub(crate) ids: Vec<String>,
}

/// A policy with what is left of its condition.
#[derive(Debug)]
struct Narrowed {
    id: String,
    effect: cedar_policy::Effect,
    /// `None`: it holds whatever the facts are.
    condition: Option<ast::Expr>,
}

thread_local! {
    static EVALUATED: Cell<u64> = const { Cell::new(0) };
}

fn counted<T>(answer: T) -> T {
    EVALUATED.set(EVALUATED.get().wrapping_add(1));
    answer
}

/// How many conditions of policies this thread has had evaluated in slices: for measurements.
pub fn evaluated() -> u64 {
    EVALUATED.get()
}

/// The policies of one place.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Those that forbid come first, and of them those without a condition.
    policies: Vec<Narrowed>,
    /// One that forbids has no condition.
    pub(crate) refused: bool,
    pub(crate) reads: Reads,
    pub(crate) settled: Option<Settled>,
    /// What they were made of, to be narrowed further.
    pub(crate) sources: Vec<Narrow>,
    pub(crate) nested: bool,
    /// Narrowed further, as it was asked for; `None`: it stays as it is.
    inner: RwLock<BTreeMap<Few, Option<Arc<Cut>>>>,
}

/// A policy with its narrowed condition.
pub(crate) type Narrow = (Arc<Source>, Arc<Expr>);

impl Cut {
    /// Collects. An error means that a policy could not be taken along, and must deny.
    pub(crate) fn new(sources: Vec<Narrow>, nested: bool) -> Result<Self, String> {
        let mut policies = Vec::with_capacity(sources.len());
        let mut reads = Reads::default();
        for (source, expr) in &sources {
            reads.look(expr, nested);
            let policy = rebuilt(source, expr)
                .map_err(|error| format!("policy {} cannot be sliced: {error}", source.id))?;
            let policy: &ast::Policy = policy.as_ref();
            policies.push(Narrowed {
                id: source.id.clone(),
                effect: source.effect,
                condition: policy.non_scope_constraints().cloned(),
            });
        }
        policies.sort_by_key(|policy| {
            let permits = policy.effect == cedar_policy::Effect::Permit;
            (permits, policy.condition.is_some())
        });
        let refused = policies
            .iter()
            .any(|policy| policy.effect == cedar_policy::Effect::Forbid && policy.condition.is_none());
        let settled = policies
            .iter()
            .all(|policy| policy.condition.is_none())
            .then(|| settled(&sources));
        Ok(Self {
            policies,
            refused,
            reads,
            settled,
            sources,
            nested,
            inner: RwLock::default(),
        })
    }

    /// The same slice narrowed by these facts, if it was asked for before.
    pub(crate) fn inner(self: &Arc<Self>, few: &Few) -> Option<Arc<Self>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let narrowed = inner.get(few)?.as_ref();
        Some(Arc::clone(narrowed.unwrap_or(self)))
    }

    /// Keeps it for the next who asks.
    pub(crate) fn keep(self: &Arc<Self>, few: Few, cut: &Arc<Self>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.len() >= INNER_MAX {
            inner.clear();
        }
        // It never holds itself: nothing would end it then.
        let narrowed = (!Arc::ptr_eq(self, cut)).then(|| Arc::clone(cut));
        inner.insert(few, narrowed);
    }

    /// How many policies there are.
    pub(crate) fn len(&self) -> usize {
        self.policies.len()
    }

    /// What Cedar's authorizer would say: no forbid holds and a permit does; of the policies that hold, those of
    /// the effect decided for. A policy that errors is an error, whatever the others say. With `briefly` the first
    /// forbid that holds ends it: who asks only whether it is allowed has the answer then.
    pub(crate) fn decide(
        &self,
        request: ast::Request,
        entities: &cedar_policy::Entities,
        briefly: bool,
    ) -> Result<(bool, Vec<&str>), String> {
        let evaluator = Evaluator::new(request, entities.as_ref(), Extensions::all_available());
        let slots = ast::SlotEnv::new();
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        for policy in &self.policies {
            let holds = match &policy.condition {
                None => true,
                Some(condition) => match counted(evaluator.interpret(condition, &slots)) {
                    Ok(value) => match value.value_kind() {
                        ast::ValueKind::Lit(ast::Literal::Bool(holds)) => *holds,
                        _ => return Err(format!("policy `{}`: the condition is no truth value", policy.id)),
                    },
                    Err(error) => return Err(format!("policy `{}`: {error}", policy.id)),
                },
            };
            if holds && policy.effect == cedar_policy::Effect::Forbid {
                forbids.push(policy.id.as_str());
                if briefly {
                    break;
                }
            } else if holds {
                permits.push(policy.id.as_str());
            }
        }
        if forbids.is_empty() {
            Ok((!permits.is_empty(), permits))
        } else {
            Ok((false, forbids))
        }
    }
}

fn settled(narrowed: &[Narrow]) -> Settled {
    let ids = |effect| -> Vec<String> {
        let of = narrowed.iter().filter(|(source, _)| source.effect == effect);
        of.map(|(source, _)| source.id.clone()).collect()
    };
    let (permits, forbids) = (
        ids(cedar_policy::Effect::Permit),
        ids(cedar_policy::Effect::Forbid),
    );
    Settled {
        allowed: forbids.is_empty() && !permits.is_empty(),
        ids: if forbids.is_empty() { permits } else { forbids },
    }
}

fn rebuilt(source: &Source, expr: &Arc<Expr>) -> Result<Policy, pst::PstConstructionError> {
    let effect = match source.effect {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid,
    };
    let clause = (constant(expr) != Some(true)).then(|| Clause::When(Arc::clone(expr)));
    let template = Template::new(
        source.id.as_str(),
        effect,
        pst::PrincipalConstraint::Any,
        ActionConstraint::Any,
        pst::ResourceConstraint::Any,
    )
    .try_with_clauses(clause)?;
    Policy::from_pst(pst::Policy::Static(StaticPolicy::try_from(template)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a rule with this condition reads.
    fn reads(condition: &str) -> Reads {
        let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
        let source = Source::new(&Policy::parse(None, text).unwrap()).unwrap();
        let mut reads = Reads::default();
        reads.look(&source.condition, false);
        reads
    }

    #[test]
    fn what_a_condition_looks_at_is_made() {
        for (condition, facts, principal, entities) in [
            ("context.relevant", &["relevant"][..], false, false),
            ("context has release", &["release"], false, false),
            // Asked whether it is there, and of nothing in it: the record itself must be there.
            (
                "context.consultation has valid_until",
                &["consultation"],
                false,
                false,
            ),
            (
                "context.case_status == CaseStatus::\"open\"",
                &["case_status"],
                false,
                false,
            ),
            ("principal.role == \"vk\"", &[], true, false),
            ("principal has region", &[], true, false),
            ("context.sender.side == Side::\"mixed\"", &["sender"], false, true),
            ("context.sender has region", &["sender"], false, true),
            ("resource in List::\"child_report\"", &[], false, true),
            ("[context.purpose].contains(\"x\")", &["purpose"], false, false),
            (
                "if context.relevant then context.pseudonymous else true",
                &["relevant", "pseudonymous"],
                false,
                false,
            ),
        ] {
            let got = reads(condition);
            for fact in FACTS {
                assert_eq!(got.fact(fact), facts.contains(&fact), "{condition}: {fact}");
            }
            assert_eq!(
                (got.principal, got.entities),
                (principal, entities),
                "{condition}"
            );
        }
        assert_eq!(
            reads("context == {relevant: true}").facts,
            u32::MAX,
            "the whole context"
        );
    }
}

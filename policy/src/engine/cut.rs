//! Slices cut to one place: the policies that can match there, narrowed by what is fixed there, and which facts
//! they still read. Made at the first request of a place and kept, in a bounded number.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::Policy;
use cedar_policy::pst::{
    self, ActionConstraint, BinaryOp, Clause, Effect, Expr, StaticPolicy, Template, Var,
};
use cedar_policy_core::ast;
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use schakel_proto::ids::Digest;

use super::narrow::{Fixed, condition, constant, path};

/// Most places kept; then all are forgotten and made again as they are asked for.
const PLACES_MAX: usize = 1 << 17;
/// Most different slices kept; most places share theirs.
const SLICES_MAX: usize = 1 << 12;

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
}

impl Cut {
    /// Narrows and collects. An error means that a policy could not be taken along, and must deny.
    fn new(narrowed: &[(&Source, Arc<Expr>)], nested: bool) -> Result<Self, String> {
        let mut policies = Vec::with_capacity(narrowed.len());
        let mut reads = Reads::default();
        for (source, expr) in narrowed {
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
            .then(|| settled(narrowed));
        Ok(Self {
            policies,
            refused,
            reads,
            settled,
        })
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

fn settled(narrowed: &[(&Source, Arc<Expr>)]) -> Settled {
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

/// Which place a request is at, in small numbers: two requests with the same key have the same fixed facts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) action: u8,
    pub(crate) sender: u16,
    pub(crate) principal: u16,
    pub(crate) side: u16,
    pub(crate) category: u16,
    pub(crate) basis: u16,
    /// Of the case, or of a seat.
    pub(crate) status: u16,
    pub(crate) secrecy: u16,
    /// Optional facts that are there.
    pub(crate) optional: u8,
    /// The agency itself, where policies name it.
    pub(crate) own: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Kept {
    places: HashMap<Key, Arc<Cut>>,
    slices: HashMap<Digest, Arc<Cut>>,
}

/// Cut slices by place, and each content once.
#[derive(Debug, Default)]
pub(crate) struct Cuts(RwLock<Kept>);

impl Cuts {
    /// The slice of a place, if it was asked for before.
    pub(crate) fn kept(&self, key: &Key) -> Option<Arc<Cut>> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.places.get(key).cloned()
    }

    /// Makes and keeps the slice of a place.
    pub(crate) fn make(&self, key: &Key, fixed: &Fixed, sources: &[&Source]) -> Result<Arc<Cut>, String> {
        let narrowed: Vec<(&Source, Arc<Expr>)> = sources
            .iter()
            .map(|source| (*source, fixed.narrow(&source.condition)))
            .filter(|(_, expr)| constant(expr) != Some(false))
            .collect();
        let digest = content(&narrowed, fixed.nested);
        let known = {
            let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
            kept.slices.get(&digest).cloned()
        };
        let cut = match known {
            Some(cut) => cut,
            None => Arc::new(Cut::new(&narrowed, fixed.nested)?),
        };
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let full = kept.slices.len() >= SLICES_MAX && !kept.slices.contains_key(&digest);
        if full || kept.places.len() >= PLACES_MAX {
            *kept = Kept::default();
        }
        kept.slices.insert(digest, Arc::clone(&cut));
        kept.places.insert(key.clone(), Arc::clone(&cut));
        Ok(cut)
    }
}

/// What a slice holds, as a digest: slices of the same content are one.
fn content(narrowed: &[(&Source, Arc<Expr>)], nested: bool) -> Digest {
    let mut text = format!("{nested}\n");
    for (source, expr) in narrowed {
        text.push_str(&format!("{}\0{expr:?}\n", source.id));
    }
    Digest::of(text.as_bytes())
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

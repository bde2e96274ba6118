//! Narrowing: what all requests of one place have in common (roles, category, basis, which facts there are) is
//! put into a policy's condition once, so that only the rest is evaluated each time. Cedar evaluates what is
//! left; nothing is dropped that could fail when evaluated. That a narrowed slice decides as the whole bundle
//! does is a property test (`tests/policy/properties.rs`).

use std::sync::Arc;

use cedar_policy::EntityUid;
use cedar_policy::pst::{BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, Policy};
use cedar_policy::pst::{PrincipalConstraint, PstConstructionError, ResourceConstraint, UnaryOp, Var};

/// Largest set whose members are compared one by one.
const UNROLLED_MAX: usize = 24;

/// What an entity is in, as far as the kinds named go: of these, everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kin {
    /// Kinds of ancestors that are known completely.
    pub(crate) kinds: &'static [&'static str],
    /// The ancestors of these kinds.
    pub(crate) ancestors: Vec<EntityUid>,
}

impl Kin {
    /// Whether the entity is in this one; `None`: not known beforehand.
    fn is_in(&self, uid: &EntityUID) -> Option<bool> {
        let name = &uid.ty.0;
        if !name.namespace.is_empty() || !self.kinds.contains(&name.id.as_str()) {
            return None;
        }
        let same = |one: &EntityUid| {
            one.type_name().basename() == name.id.as_str() && one.id().unescaped() == uid.eid.as_str()
        };
        Some(self.ancestors.iter().any(same))
    }
}

/// What every request of a place has in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fixed {
    pub(crate) principal: Kin,
    pub(crate) resource: Kin,
    pub(crate) sender: Kin,
    /// Attributes of the principal.
    pub(crate) attributes: Vec<(&'static str, Literal)>,
    /// Facts with one value; what is in a record is named with its record: `consent.finding`.
    pub(crate) values: Vec<(&'static str, Literal)>,
    /// Facts that are one set of literals.
    pub(crate) sets: Vec<(&'static str, Vec<Literal>)>,
    /// Two facts, and whether they are the same.
    pub(crate) same: Option<(&'static str, &'static str, bool)>,
    /// Optional facts, and whether they are there.
    pub(crate) optional: Vec<(&'static str, bool)>,
    /// The facts stand in the context's `facts` instead of in the context.
    pub(crate) nested: bool,
}

/// The condition of a policy as one expression: scope (action aside) and clauses.
pub(crate) fn condition(policy: &Policy) -> Result<Arc<Expr>, PstConstructionError> {
    let body = match policy {
        Policy::Static(policy) => policy.body().clone(),
        Policy::Linked(policy) => policy.into_static_policy()?.body().clone(),
    };
    let entity = |of: &EntityOrSlot| {
        Arc::new(match of {
            EntityOrSlot::Entity(uid) => Expr::Literal(Literal::EntityUID(uid.clone())),
            EntityOrSlot::Slot(slot) => Expr::Slot(*slot),
        })
    };
    let relation = |var: Var, op: BinaryOp, of: &EntityOrSlot| Expr::BinaryOp {
        op,
        left: Arc::new(Expr::Var(var)),
        right: entity(of),
    };
    let is = |var: Var, kind: &cedar_policy::pst::EntityType, of: Option<&EntityOrSlot>| Expr::Is {
        expr: Arc::new(Expr::Var(var)),
        entity_type: kind.clone(),
        in_expr: of.map(entity),
    };
    let mut parts = Vec::new();
    match &body.principal {
        PrincipalConstraint::Any => {}
        PrincipalConstraint::Eq(of) => parts.push(relation(Var::Principal, BinaryOp::Eq, of)),
        PrincipalConstraint::In(of) => parts.push(relation(Var::Principal, BinaryOp::In, of)),
        PrincipalConstraint::Is(kind) => parts.push(is(Var::Principal, kind, None)),
        PrincipalConstraint::IsIn(kind, of) => parts.push(is(Var::Principal, kind, Some(of))),
    }
    match &body.resource {
        ResourceConstraint::Any => {}
        ResourceConstraint::Eq(of) => parts.push(relation(Var::Resource, BinaryOp::Eq, of)),
        ResourceConstraint::In(of) => parts.push(relation(Var::Resource, BinaryOp::In, of)),
        ResourceConstraint::Is(kind) => parts.push(is(Var::Resource, kind, None)),
        ResourceConstraint::IsIn(kind, of) => parts.push(is(Var::Resource, kind, Some(of))),
    }
    let mut all: Vec<Arc<Expr>> = parts.into_iter().map(Arc::new).collect();
    for clause in body.clauses() {
        all.push(match clause {
            Clause::When(expr) => Arc::clone(expr),
            Clause::Unless(expr) => not(Arc::clone(expr)),
        });
    }
    // Associated to the right, so that a false scope ends the evaluation at once.
    let mut whole = truth(true);
    for expr in all.into_iter().rev() {
        whole = and(expr, whole);
    }
    Ok(whole)
}

fn truth(value: bool) -> Arc<Expr> {
    Arc::new(Expr::Literal(Literal::Bool(value)))
}

/// The value of a condition that has become a constant.
pub(crate) fn constant(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(Literal::Bool(value)) => Some(*value),
        _ => None,
    }
}

fn not(expr: Arc<Expr>) -> Arc<Expr> {
    match constant(&expr) {
        Some(value) => truth(!value),
        None => Arc::new(Expr::UnaryOp {
            op: UnaryOp::Not,
            expr,
        }),
    }
}

fn and(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    match (constant(&left), constant(&right)) {
        (Some(true), _) => right,
        (Some(false), _) | (_, Some(true)) => left,
        (None, Some(false)) if total(&left) => right,
        _ => binary(BinaryOp::And, left, right),
    }
}

fn or(left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    match (constant(&left), constant(&right)) {
        (Some(false), _) => right,
        (Some(true), _) | (_, Some(false)) => left,
        (None, Some(true)) if total(&left) => right,
        _ => binary(BinaryOp::Or, left, right),
    }
}

fn binary(op: BinaryOp, left: Arc<Expr>, right: Arc<Expr>) -> Arc<Expr> {
    Arc::new(Expr::BinaryOp { op, left, right })
}

/// The attributes by which an expression is reached from the context, the outermost last.
pub(crate) fn path(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Var(Var::Context) => Some(Vec::new()),
        Expr::GetAttr { expr, attr } => {
            let mut path = path(expr)?;
            path.push(attr.as_str());
            Some(path)
        }
        _ => None,
    }
}

/// Records among the facts whose attributes are no entities of their own, or an entity that is always known.
const RECORDS: [&str; 7] = [
    "release",
    "consultation",
    "mandate",
    "break_glass",
    "report",
    "consent",
    "sender",
];

/// Whether evaluation cannot fail, given that the policy passed the strict validation: no arithmetic, no
/// function, no attribute of an entity that may be unknown. What says no is kept and evaluated.
fn total(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(_) | Expr::Var(_) => true,
        Expr::UnaryOp { op, expr } => matches!(op, UnaryOp::Not | UnaryOp::IsEmpty) && total(expr),
        Expr::BinaryOp { op, left, right } => {
            let safe = matches!(
                op,
                BinaryOp::And
                    | BinaryOp::Or
                    | BinaryOp::Eq
                    | BinaryOp::NotEq
                    | BinaryOp::Less
                    | BinaryOp::LessEq
                    | BinaryOp::Greater
                    | BinaryOp::GreaterEq
                    | BinaryOp::In
                    | BinaryOp::Contains
                    | BinaryOp::ContainsAll
                    | BinaryOp::ContainsAny
            );
            safe && total(left) && total(right)
        }
        // Of the principal too: definitions are asked without entities. Where its side is fixed it is a literal by now.
        Expr::GetAttr { .. } => match path(expr).as_deref() {
            Some([_]) => true,
            Some(["facts", _]) => true,
            Some([record, _] | ["facts", record, _]) => RECORDS.contains(record),
            _ => false,
        },
        Expr::HasAttr { expr, attrs } => attrs.len() == 1 && total(expr),
        Expr::Like { expr, .. } => total(expr),
        Expr::IfThenElse {
            cond,
            then_expr,
            else_expr,
        } => total(cond) && total(then_expr) && total(else_expr),
        Expr::Set(members) => members.iter().all(|one| total(one)),
        _ => false,
    }
}

impl Fixed {
    /// The condition with everything fixed put in.
    pub(crate) fn narrow(&self, expr: &Arc<Expr>) -> Arc<Expr> {
        match &**expr {
            Expr::UnaryOp {
                op: UnaryOp::Not,
                expr,
            } => not(self.narrow(expr)),
            Expr::UnaryOp { op, expr } => Arc::new(Expr::UnaryOp {
                op: *op,
                expr: self.narrow(expr),
            }),
            Expr::BinaryOp { op, left, right } => self.operation(*op, left, right),
            Expr::GetAttr { expr: of, attr } => self.value(expr).unwrap_or_else(|| {
                Arc::new(Expr::GetAttr {
                    expr: self.narrow(of),
                    attr: attr.clone(),
                })
            }),
            Expr::HasAttr { expr: of, attrs } => match self.has(of, attrs.iter().map(|a| a.as_str())) {
                Some(there) => truth(there),
                None => Arc::new(Expr::HasAttr {
                    expr: self.narrow(of),
                    attrs: attrs.clone(),
                }),
            },
            Expr::Like { expr, pattern } => Arc::new(Expr::Like {
                expr: self.narrow(expr),
                pattern: pattern.clone(),
            }),
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                let cond = self.narrow(cond);
                match constant(&cond) {
                    Some(true) => self.narrow(then_expr),
                    Some(false) => self.narrow(else_expr),
                    None => Arc::new(Expr::IfThenElse {
                        cond,
                        then_expr: self.narrow(then_expr),
                        else_expr: self.narrow(else_expr),
                    }),
                }
            }
            Expr::Set(members) => Arc::new(Expr::Set(members.iter().map(|one| self.narrow(one)).collect())),
            _ => Arc::clone(expr),
        }
    }

    fn operation(&self, op: BinaryOp, left: &Arc<Expr>, right: &Arc<Expr>) -> Arc<Expr> {
        match op {
            // The right side is looked at only where it would be evaluated.
            BinaryOp::And => match self.narrow(left) {
                left if constant(&left) == Some(false) => left,
                left => and(left, self.narrow(right)),
            },
            BinaryOp::Or => match self.narrow(left) {
                left if constant(&left) == Some(true) => left,
                left => or(left, self.narrow(right)),
            },
            BinaryOp::In => match self.is_in(left, right) {
                Some(known) => truth(known),
                None => binary(op, self.narrow(left), self.narrow(right)),
            },
            BinaryOp::Eq | BinaryOp::NotEq => {
                let (left, right) = (self.narrow(left), self.narrow(right));
                let same = match (&*left, &*right) {
                    (Expr::Literal(a), Expr::Literal(b)) => Some(a == b),
                    (a, b) => self.same(a, b),
                };
                match same {
                    Some(same) => truth(same == (op == BinaryOp::Eq)),
                    None => binary(op, left, right),
                }
            }
            BinaryOp::Contains => self.contains(left, right),
            _ => binary(op, self.narrow(left), self.narrow(right)),
        }
    }

    /// A set of literals is not built anew for each request: its members are compared one by one.
    fn contains(&self, left: &Arc<Expr>, right: &Arc<Expr>) -> Arc<Expr> {
        let (left, right) = (self.narrow(left), self.narrow(right));
        let Expr::Set(members) = &*left else {
            return binary(BinaryOp::Contains, left, right);
        };
        let literal = |one: &Arc<Expr>| matches!(**one, Expr::Literal(_));
        // Only what is as small as a name is written out for each member: else nested sets would multiply.
        let plain = matches!(*right, Expr::Literal(_) | Expr::Var(_)) || path(&right).is_some();
        if members.len() > UNROLLED_MAX || !members.iter().all(literal) || !plain || !total(&right) {
            return binary(BinaryOp::Contains, left, right);
        }
        let mut any = truth(false);
        for member in members.iter().rev() {
            let same = match (&**member, &*right) {
                (Expr::Literal(a), Expr::Literal(b)) => truth(a == b),
                _ => binary(BinaryOp::Eq, Arc::clone(&right), Arc::clone(member)),
            };
            any = or(same, any);
        }
        any
    }

    fn kin(&self, expr: &Expr) -> Option<&Kin> {
        match expr {
            Expr::Var(Var::Principal) => Some(&self.principal),
            Expr::Var(Var::Resource) => Some(&self.resource),
            _ if self.fact(expr)? == ["sender"] => Some(&self.sender),
            _ => None,
        }
    }

    fn is_in(&self, left: &Expr, right: &Expr) -> Option<bool> {
        let kin = self.kin(left)?;
        let one = |expr: &Expr| match expr {
            Expr::Literal(Literal::EntityUID(uid)) => kin.is_in(uid),
            _ => None,
        };
        match right {
            Expr::Set(members) => members
                .iter()
                .map(|member| one(member))
                .try_fold(false, |any, known| Some(any | known?)),
            other => one(other),
        }
    }

    /// The path of a fact.
    fn fact<'e>(&self, expr: &'e Expr) -> Option<Vec<&'e str>> {
        let mut path = path(expr)?;
        if self.nested {
            if path.first() != Some(&"facts") {
                return None;
            }
            path.remove(0);
        }
        Some(path)
    }

    fn value(&self, expr: &Expr) -> Option<Arc<Expr>> {
        let literal = |of: &[(&str, Literal)], name: &str| {
            let found = of.iter().find(|(key, _)| *key == name)?;
            Some(Arc::new(Expr::Literal(found.1.clone())))
        };
        if let Expr::GetAttr { expr, attr } = expr
            && matches!(**expr, Expr::Var(Var::Principal))
        {
            return literal(&self.attributes, attr.as_str());
        }
        match self.fact(expr)?.as_slice() {
            [name] => literal(&self.values, name).or_else(|| self.set(name)),
            [record, name] => literal(&self.values, &format!("{record}.{name}")),
            _ => None,
        }
    }

    fn set(&self, name: &str) -> Option<Arc<Expr>> {
        let (_, members) = self.sets.iter().find(|(key, _)| *key == name)?;
        let members = members.iter().map(|one| Arc::new(Expr::Literal(one.clone())));
        Some(Arc::new(Expr::Set(members.collect())))
    }

    /// Whether two facts are the same, where that is fixed.
    fn same(&self, left: &Expr, right: &Expr) -> Option<bool> {
        let (one, other, same) = self.same?;
        let (left, right) = (self.fact(left)?, self.fact(right)?);
        let both = (left == [one] && right == [other]) || (left == [other] && right == [one]);
        both.then_some(same)
    }

    fn has<'e>(&self, of: &'e Expr, attrs: impl Iterator<Item = &'e str>) -> Option<bool> {
        let mut path = path(of)?;
        path.extend(attrs);
        let path = if self.nested {
            path.strip_prefix(&["facts"])?
        } else {
            path.as_slice()
        };
        let (name, rest) = path.split_first()?;
        let there = self.optional.iter().find(|(key, _)| key == name)?.1;
        (rest.is_empty() || !there).then_some(there)
    }
}

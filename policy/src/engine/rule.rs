//! One policy of a bundle as the engine reads it: its annotations, and the scope that slicing goes by.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint, Template,
};

use crate::ruling::Outcome;

/// Order of evaluation: decimal, `8.13` before `8.2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step(u64);

impl Step {
    const FRACTION: u64 = 1_000_000;

    /// From its text: digits, and up to six more after a point.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |t: &str| !t.is_empty() && t.len() <= 6 && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return None;
        }
        let fraction = format!("{fraction:0<6}").parse::<u64>().ok()?;
        Some(Self(whole.parse::<u64>().ok()? * Self::FRACTION + fraction))
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / Self::FRACTION, self.0 % Self::FRACTION)
    }
}

/// What a policy's scope asks of principal or resource: nothing, or one entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Any.
    Any,
    /// Is or is in this entity.
    In(EntityUid),
    /// A form that slicing does not know.
    Other,
}

/// A policy or template with what its annotations say.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) effect: Effect,
    pub(crate) actions: Vec<EntityUid>,
    pub(crate) principal: Scope,
    pub(crate) resource: Scope,
    pub(crate) template: bool,
    pub(crate) step: Option<Step>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reason: String,
    /// Reasons by the suffix of `@reason_…`: a category or a basis.
    pub(crate) reasons: BTreeMap<String, String>,
    pub(crate) obligations: Vec<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Its text.
    pub(crate) text: String,
}

impl Rule {
    fn new(annotations: BTreeMap<String, String>, effect: Effect, file: &str, line: usize) -> Self {
        let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
        let reasons = annotations
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("reason_")?.to_owned(), value.clone())))
            .collect();
        Self {
            id: text("id"),
            file: file.to_owned(),
            line,
            effect,
            actions: Vec::new(),
            principal: Scope::Any,
            resource: Scope::Any,
            template: false,
            step: Step::parse(&text("step")),
            outcome: Outcome::parse(&text("outcome")),
            reason: text("reason"),
            reasons,
            obligations: text("obligation").split_whitespace().map(str::to_owned).collect(),
            annotations,
            text: String::new(),
        }
    }

    /// From a static policy.
    pub(crate) fn of_policy(policy: &Policy, file: &str, line: usize) -> Self {
        let annotations = policy
            .annotations()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let mut rule = Self::new(annotations, policy.effect(), file, line);
        rule.actions = actions(policy.action_constraint());
        rule.principal = principal_scope(policy);
        rule.resource = resource_scope(policy);
        rule.text = policy.to_string();
        rule
    }

    /// From a template.
    pub(crate) fn of_template(template: &Template, file: &str, line: usize) -> Self {
        let annotations = template
            .annotations()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let mut rule = Self::new(annotations, template.effect(), file, line);
        rule.actions = actions(template.action_constraint());
        rule.template = true;
        rule.text = template.to_string();
        rule
    }

    /// The reason code for a part of this category on this basis.
    pub(crate) fn reason_for(&self, category: &str, basis: &str) -> &str {
        self.reasons
            .get(category)
            .or_else(|| self.reasons.get(basis))
            .unwrap_or(&self.reason)
    }

    /// Every reason code it may give.
    pub(crate) fn all_reasons(&self) -> impl Iterator<Item = &String> {
        self.reasons
            .values()
            .chain(Some(&self.reason).filter(|r| !r.is_empty()))
    }
}

fn actions(constraint: ActionConstraint) -> Vec<EntityUid> {
    match constraint {
        ActionConstraint::Any => Vec::new(),
        ActionConstraint::In(all) => {
            let each: std::collections::BTreeSet<EntityUid> = all.into_iter().collect();
            each.into_iter().collect()
        }
        ActionConstraint::Eq(one) => vec![one],
    }
}

fn principal_scope(policy: &Policy) -> Scope {
    match policy.principal_constraint() {
        PrincipalConstraint::Any => Scope::Any,
        PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => Scope::In(uid),
        PrincipalConstraint::Is(_) | PrincipalConstraint::IsIn(..) => Scope::Other,
    }
}

fn resource_scope(policy: &Policy) -> Scope {
    match policy.resource_constraint() {
        ResourceConstraint::Any => Scope::Any,
        ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) => Scope::In(uid),
        ResourceConstraint::Is(_) | ResourceConstraint::IsIn(..) => Scope::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_decimal() {
        let step = |t: &str| Step::parse(t).unwrap();
        assert!(step("8.13") < step("8.2") && step("9") < step("10.1") && step("1") == step("1.0"));
        for bad in ["", ".", "1.", ".1", "1.1.1", "x", "-1", "1.1234567"] {
            assert_eq!(Step::parse(bad), None, "{bad}");
        }
    }
}

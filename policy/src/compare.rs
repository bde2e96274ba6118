//! Two bundles side by side: which cells and rules changed, and which questions come out differently.

use std::collections::BTreeSet;

use crate::bundle::Bundle;
use crate::engine::Engine;
use crate::question::ReceiveQuestion;
use crate::ruling::Ruling;

/// A cell that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellChange {
    /// Category.
    pub category: String,
    /// Recipient role.
    pub role: String,
    /// Verdict before; empty: there was no such cell.
    pub before: &'static str,
    /// Verdict after; empty: there is no such cell any more.
    pub after: &'static str,
}

/// A rule that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleChange {
    /// Only in the new bundle.
    Added(String),
    /// Only in the old bundle.
    Removed(String),
    /// In both, and not the same text.
    Changed(String),
}

/// A question that comes out differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    /// Ruling of the old bundle.
    pub before: Ruling,
    /// Ruling of the new bundle.
    pub after: Ruling,
}

/// Cells whose verdict is not the same.
pub fn cells(old: &Bundle, new: &Bundle) -> Vec<CellChange> {
    let all = |bundle: &Bundle| -> BTreeSet<(String, String)> {
        let rows = &bundle.matrix().cells;
        rows.iter()
            .flat_map(|(c, row)| row.keys().map(|r| (c.clone(), r.clone())))
            .collect()
    };
    let verdict = |bundle: &Bundle, category: &str, role: &str| {
        bundle
            .matrix()
            .cells
            .get(category)
            .and_then(|row| row.get(role))
            .map_or("", |cell| cell.verdict.as_str())
    };
    let mut changes = Vec::new();
    for (category, role) in all(old).union(&all(new)) {
        let (before, after) = (verdict(old, category, role), verdict(new, category, role));
        if before != after {
            changes.push(CellChange {
                category: category.clone(),
                role: role.clone(),
                before,
                after,
            });
        }
    }
    changes
}

/// Rules (cells aside) that are not the same in both.
pub fn rules(old: &Bundle, new: &Bundle) -> Vec<RuleChange> {
    let (before, after) = (old.rule_texts(), new.rule_texts());
    let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |id: &String| match (before.get(id), after.get(id)) {
        (None, Some(_)) => Some(RuleChange::Added(id.clone())),
        (Some(_), None) => Some(RuleChange::Removed(id.clone())),
        (a, b) if a != b => Some(RuleChange::Changed(id.clone())),
        _ => None,
    };
    ids.into_iter().filter_map(change).collect()
}

/// What changes for one question: outcome, reason or obligations. The rules that determined it may change
/// without anybody noticing, and are not looked at.
pub fn outcome(old: &Engine, new: &Engine, question: &ReceiveQuestion) -> Option<OutcomeChange> {
    let (before, after) = (old.receive(question), new.receive(question));
    let same = before.outcome() == after.outcome()
        && before.reason() == after.reason()
        && before.obligations() == after.obligations();
    (!same).then_some(OutcomeChange { before, after })
}

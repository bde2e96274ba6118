//! What the schema cannot say of policies: annotations, translations, grounds, ties.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, EntityUid};

use crate::bundle::BundleError;
use crate::consent::Finding;
use crate::engine::ENGINE_REASONS;
use crate::engine::compile::Compiled;
use crate::engine::rule::{Rule, Scope};
use crate::matrix::Verdict;
use crate::ruling::Outcome;
use crate::texts::{LANGUAGES, Needed, Texts};

/// Actions whose policies give the outcome of a part.
const RECEIVE: &str = "receive";
const INSPECT: &str = "inspect";
/// Actions whose policies add obligations.
const AFTER: [&str; 3] = ["delivered", "held", "refused"];
/// Actions that only define a word.
const DEFINITIONS: [&str; 2] = ["active", "in_force"];

/// Everything wrong with annotations, texts and order of a bundle's policies.
pub(crate) fn findings(compiled: &Compiled, texts: &Texts) -> Vec<BundleError> {
    let mut rules: Vec<&Rule> = compiled.rules.values().collect();
    rules.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
    let own = |rule: &&&Rule| !rule.id.starts_with("matrix:");
    let mut found: Vec<BundleError> = rules
        .iter()
        .filter(own)
        .flat_map(|rule| annotations(rule, compiled, texts))
        .collect();
    let mut reasons: BTreeSet<String> = rules.iter().flat_map(|r| r.all_reasons()).cloned().collect();
    reasons.extend(ENGINE_REASONS.iter().map(|r| (*r).to_owned()));
    let consents = Finding::ALL.iter().filter(|f| **f != Finding::Valid);
    reasons.extend(consents.map(|f| f.as_str().to_owned()));
    let obligations = rules.iter().flat_map(|r| r.obligations.iter().cloned()).collect();
    let outcomes = [
        Outcome::Deliver,
        Outcome::Withhold,
        Outcome::HoldForConsent,
        Outcome::DenyPacket,
    ];
    found.extend(texts.findings(&Needed {
        reasons: &reasons,
        obligations: &obligations,
        outcomes: &outcomes.map(Outcome::as_str),
        verdicts: &Verdict::ALL.map(Verdict::as_str),
        roles: compiled.vocabulary.members("Role"),
        categories: compiled.vocabulary.members("Category"),
    }));
    found.extend(ties(&rules));
    found
}

fn say(rule: &Rule, sentence: &str) -> BundleError {
    BundleError::new(
        "BUNDLE_ANNOTATION",
        &format!("{}: {sentence}", rule.id),
        &rule.file,
        rule.line,
    )
}

fn acts_on(rule: &Rule, actions: &[&str]) -> bool {
    rule.actions
        .iter()
        .any(|uid| actions.contains(&uid.id().unescaped()))
}

/// Whether the rule is about what is asked: one action, or several statements.
fn actions(rule: &Rule) -> Vec<BundleError> {
    let mut found = Vec::new();
    let statements = |uid: &EntityUid| uid.id().unescaped().starts_with("state_");
    if rule.actions.len() != 1 && (rule.actions.is_empty() || !rule.actions.iter().all(statements)) {
        found.push(say(
            rule,
            "the policy must name exactly one action (action == Action::\"…\"), or several statements",
        ));
    }
    let asked = |uid: &EntityUid| {
        let id = uid.id().unescaped();
        let known = [RECEIVE, INSPECT].contains(&id) || AFTER.contains(&id) || DEFINITIONS.contains(&id);
        known || statements(uid)
    };
    if !rule.actions.iter().all(asked) {
        found.push(say(
            rule,
            "the action is none that is ever asked: the rule would never hold",
        ));
    }
    found
}

fn annotations(rule: &Rule, compiled: &Compiled, texts: &Texts) -> Vec<BundleError> {
    let mut found = Vec::new();
    found.extend(actions(rule));
    if rule.principal == Scope::Other || rule.resource == Scope::Other {
        found.push(say(
            rule,
            "the scope must be a plain `principal`, `resource`, or `in` or `==` one entity",
        ));
    }
    for key in rule.annotations.keys().filter(|key| !known(key, compiled)) {
        found.push(say(rule, &format!("unknown annotation @{key}")));
    }
    let needed: &[&str] = if acts_on(rule, &[RECEIVE]) {
        &["step", "outcome", "reason", "legal"]
    } else if acts_on(rule, &AFTER) {
        &["obligation", "legal"]
    } else if acts_on(rule, &DEFINITIONS) {
        &["legal"]
    } else {
        &["step", "reason", "legal"]
    };
    for key in needed
        .iter()
        .filter(|key| rule.annotations.get(**key).is_none_or(|v| v.trim().is_empty()))
    {
        found.push(say(rule, &format!("@{key} is missing")));
    }
    for language in LANGUAGES {
        if rule.annotations.get(language).is_none_or(|v| v.trim().is_empty()) {
            let sentence = format!("{}: no sentence @{language}", rule.id);
            found.push(BundleError::new(
                "BUNDLE_TRANSLATION",
                &sentence,
                &rule.file,
                rule.line,
            ));
        }
    }
    if rule.annotations.contains_key("step") && rule.step.is_none() {
        found.push(say(rule, "@step is not a decimal number such as 8.1"));
    }
    if let Some(key) = rule.annotations.get("legal").filter(|key| !texts.knows(key)) {
        found.push(say(rule, &format!("the ground {key} is not in references.toml")));
    }
    if acts_on(rule, &[RECEIVE]) {
        let fits = match rule.effect {
            Effect::Permit => rule.outcome == Some(Outcome::Deliver),
            Effect::Forbid => matches!(rule.outcome, Some(Outcome::Withhold | Outcome::DenyPacket)),
        };
        if !fits {
            found.push(say(
                rule,
                "@outcome must be deliver on a permit, withhold or deny-packet on a forbid",
            ));
        }
    } else if acts_on(rule, &AFTER) && rule.effect == Effect::Forbid {
        found.push(say(rule, "an obligation is a permit"));
    }
    found
}

fn known(key: &str, compiled: &Compiled) -> bool {
    let plain = [
        "id",
        "step",
        "outcome",
        "reason",
        "obligation",
        "legal",
        "nl",
        "fr",
        "en",
        "de",
    ];
    plain.contains(&key)
        || key.strip_prefix("reason_").is_some_and(|of| {
            let listed = |kind: &str| compiled.vocabulary.members(kind).iter().any(|m| m == of);
            listed("Basis") || listed("Category")
        })
}

/// Two rules of one action and effect at the same step whose scopes can meet, and that say different things.
fn ties(rules: &[&Rule]) -> Vec<BundleError> {
    let mut by_step: BTreeMap<(String, bool, String), Vec<&Rule>> = BTreeMap::new();
    for rule in rules
        .iter()
        .filter(|r| !acts_on(r, &AFTER) && !acts_on(r, &DEFINITIONS))
    {
        let Some(step) = rule.step else { continue };
        for action in &rule.actions {
            let key = (
                action.to_string(),
                rule.effect == Effect::Permit,
                format!("{step:?}"),
            );
            by_step.entry(key).or_default().push(rule);
        }
    }
    let mut found = Vec::new();
    for group in by_step.values() {
        // Cells of one verdict all say the same: most groups, and all large ones, hold nothing to compare.
        if group
            .iter()
            .all(|rule| group.first().is_none_or(|first| !differ(first, rule)))
        {
            continue;
        }
        for (n, a) in group.iter().enumerate() {
            for b in group.iter().skip(n + 1).filter(|b| meet(a, b) && differ(a, b)) {
                let sentence = format!("{} and {} can both decide at the same step: a tie", a.id, b.id);
                found.push(BundleError::new("BUNDLE_TIE", &sentence, &b.file, b.line));
            }
        }
    }
    found
}

fn differ(a: &Rule, b: &Rule) -> bool {
    (a.outcome, &a.reason, &a.reasons, &a.obligations) != (b.outcome, &b.reason, &b.reasons, &b.obligations)
}

fn meet(a: &Rule, b: &Rule) -> bool {
    scopes_meet(&a.principal, &b.principal) && scopes_meet(&a.resource, &b.resource)
}

/// A request is in exactly one role, category and basis: two different ones of the same kind never meet.
fn scopes_meet(a: &Scope, b: &Scope) -> bool {
    match (a, b) {
        (Scope::In(a), Scope::In(b)) if a.type_name() == b.type_name() && a != b => {
            !["Role", "Category", "Basis", "Agency"].contains(&a.type_name().basename())
        }
        _ => true,
    }
}

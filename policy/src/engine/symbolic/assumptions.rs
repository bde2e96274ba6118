//! What holds of every request that the engine makes, as a Cedar condition made from the bundle's own
//! vocabulary and matrix. Without it a proof would have to hold for agencies of two roles and parts of no
//! category too, and counterexamples would be requests that nobody can make.

use crate::consent::Finding;
use crate::engine::vocabulary::Vocabulary;

/// First and last moment that the engine asks about: it denies earlier what it cannot write as RFC 3339.
const MOMENTS: (&str, &str) = ("0001-01-01T00:00:00.000Z", "9999-12-30T22:00:00.999Z");

/// Actions about a part, and where their context holds the facts.
pub(super) fn facts_of(action: &str) -> Option<&'static str> {
    match action {
        "receive" => Some("context"),
        "delivered" | "held" | "refused" => Some("context.facts"),
        _ => None,
    }
}

/// The condition for requests of an action.
pub(crate) fn well_formed(action: &str, vocabulary: &Vocabulary) -> String {
    let mut all = Vec::new();
    match (facts_of(action), action) {
        (Some(facts), _) => {
            agency(&mut all, "principal", vocabulary);
            agency(&mut all, &format!("{facts}.sender"), vocabulary);
            part(&mut all, vocabulary);
            pair(&mut all, facts);
            consent(&mut all, facts, vocabulary);
            numbers(&mut all, facts);
            all.push(within(&format!("{facts}.now")));
            moments(&mut all, facts, MOMENTS);
        }
        (None, "active" | "in_force") => {
            for key in ["now", "from", "until"] {
                if action == "in_force" && key == "from" {
                    continue;
                }
                let path = format!("context.{key}");
                all.push(if key == "now" {
                    within(&path)
                } else {
                    optional("context", key, &within(&path))
                });
            }
        }
        _ => agency(&mut all, "principal", vocabulary),
    }
    conjunction(&all)
}

/// All of them, as a balanced tree: a chain of a hundred would nest a hundred deep.
pub(super) fn conjunction(all: &[String]) -> String {
    match all {
        [] => "true".to_owned(),
        [one] => one.clone(),
        _ => {
            let (left, right) = all.split_at(all.len() / 2);
            format!("({} && {})", conjunction(left), conjunction(right))
        }
    }
}

/// What a counterexample should be like so that a person reads it easily; never part of a proof.
pub(super) fn readable(facts: &str) -> Vec<String> {
    let (first, last) = ("2026-06-01T00:00:00Z", "2026-12-31T00:00:00Z");
    let mut all = vec![
        format!("principal != {facts}.sender && principal.code != \"\" && {facts}.sender.code != \"\""),
        format!("{facts}.consent.count <= 3 && {facts}.roster_version <= 9"),
        between(&format!("{facts}.now"), first, last),
    ];
    moments(&mut all, facts, (first, last));
    let chars = format!("{facts}.break_glass.justification_chars <= 200");
    all.push(optional(facts, "break_glass", &chars));
    all
}

/// That a text is one of these.
fn one_of(path: &str, names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("{n:?}")).collect();
    format!("[{}].contains({path})", quoted.join(", "))
}

/// That an entity is in one of these.
fn in_one_of(variable: &str, kind: &str, names: &[String]) -> String {
    let uids: Vec<String> = names.iter().map(|name| format!("{kind}::{name:?}")).collect();
    format!("{variable} in [{}]", uids.join(", "))
}

/// That the left side holds exactly where the right side, for these names, does.
fn exactly(inside: &str, names: &[String], where_one_of: impl Fn(&[String]) -> String) -> String {
    if names.is_empty() {
        format!("!({inside})")
    } else {
        format!("(({inside}) == ({}))", where_one_of(names))
    }
}

fn optional(record: &str, key: &str, holds: &str) -> String {
    format!("(if {record} has {key} then {holds} else true)")
}

fn within(path: &str) -> String {
    between(path, MOMENTS.0, MOMENTS.1)
}

fn between(path: &str, first: &str, last: &str) -> String {
    format!("({path} >= datetime(\"{first}\") && {path} <= datetime(\"{last}\"))")
}

/// Exactly one role, the circles of that role and no other, and its code in `role`.
fn agency(all: &mut Vec<String>, path: &str, vocabulary: &Vocabulary) {
    let roles = vocabulary.members("Role");
    let code = format!("{path}.role");
    all.push(one_of(&code, roles));
    for role in roles {
        all.push(format!("(({path} in Role::{role:?}) == ({code} == {role:?}))"));
    }
    for circle in vocabulary.members("Circle") {
        let uid = vocabulary.uid("Circle", circle);
        let of = |role: &&String| {
            let parents = vocabulary.role_parents(role).unwrap_or(&[]);
            uid.is_some_and(|uid| parents.contains(uid))
        };
        let members: Vec<String> = roles.iter().filter(of).cloned().collect();
        let inside = format!("{path} in Circle::{circle:?}");
        all.push(exactly(&inside, &members, |names| one_of(&code, names)));
    }
}

/// Exactly one category, its lists and no other, exactly one basis.
fn part(all: &mut Vec<String>, vocabulary: &Vocabulary) {
    for kind in ["Category", "Basis"] {
        let names = vocabulary.members(kind);
        all.push(in_one_of("resource", kind, names));
        for (n, name) in names.iter().enumerate() {
            let later = names.get(n + 1..).unwrap_or(&[]);
            if !later.is_empty() {
                let another = in_one_of("resource", kind, later);
                all.push(format!("!(resource in {kind}::{name:?} && ({another}))"));
            }
        }
    }
    let categories = vocabulary.members("Category");
    for list in vocabulary.members("List") {
        let uid = vocabulary.uid("List", list);
        let on = |category: &&String| {
            let parents = vocabulary.category_parents(category).unwrap_or(&[]);
            uid.is_some_and(|uid| parents.contains(uid))
        };
        let members: Vec<String> = categories.iter().filter(on).cloned().collect();
        let inside = format!("resource in List::{list:?}");
        all.push(exactly(&inside, &members, |names| {
            in_one_of("resource", "Category", names)
        }));
    }
}

/// An agency is told from another by its code, and is on the roster or not, whichever side it is on.
fn pair(all: &mut Vec<String>, facts: &str) {
    all.push(format!(
        "(if principal == {facts}.sender then {facts}.sender_active == {facts}.recipient_active \
         else principal.code != {facts}.sender.code)"
    ));
}

/// What the consent check (`consent.rs`) can find: nothing is wrong with a person's consent where the part is about
/// nobody, and what only the wall between child abuse centre and youth court asks is not asked elsewhere.
fn consent(all: &mut Vec<String>, facts: &str, vocabulary: &Vocabulary) {
    let words =
        |findings: &[Finding]| -> Vec<String> { findings.iter().map(|f| f.as_str().to_owned()).collect() };
    let finding = format!("{facts}.consent.finding");
    let missing = Finding::Missing.as_str();
    all.push(one_of(&finding, &words(&Finding::ALL)));
    all.push(format!(
        "(({facts}.consent.count == 0) == ({finding} == {missing:?}))"
    ));
    let of_a_person = [
        Finding::WrongPerson,
        Finding::GuardianConflict,
        Finding::MinorCosign,
        Finding::ParentsCosign,
        Finding::Form,
        Finding::Scope,
        Finding::Incomplete,
    ];
    let persons = vocabulary.members("SubjectRole").iter();
    let about: Vec<String> = persons
        .filter(|role| *role != "professional")
        .map(|role| format!("{facts}.subjects.contains(SubjectRole::{role:?})"))
        .collect();
    all.push(format!(
        "(!({}) || {})",
        one_of(&finding, &words(&of_a_person)),
        about.join(" || ")
    ));
    let youth = one_of(&finding, &words(&[Finding::ParentsCosign, Finding::Form]));
    all.push(format!(
        "(!({youth}) || ({facts}.sender.role == \"vk\" && principal.role == \"youth_court\"))"
    ));
}

fn numbers(all: &mut Vec<String>, facts: &str) {
    all.push(format!(
        "{facts}.consent.count >= 0 && {facts}.roster_version >= 0"
    ));
    all.push(optional(
        facts,
        "roster_version_seen",
        &format!("{facts}.roster_version_seen >= 0"),
    ));
    all.push(optional(facts, "region", &format!("{facts}.region != \"\"")));
    let chars = format!("{facts}.break_glass.justification_chars");
    let bounded = format!("({chars} >= 0 && {chars} <= {})", u32::MAX);
    all.push(optional(facts, "break_glass", &bounded));
}

/// The moments that a fact may hold.
fn moments(all: &mut Vec<String>, facts: &str, (first, last): (&str, &str)) {
    for (record, key) in [
        ("consultation", "valid_until"),
        ("mandate", "until"),
        ("break_glass", "review_by"),
    ] {
        let inner = optional(
            &format!("{facts}.{record}"),
            key,
            &between(&format!("{facts}.{record}.{key}"), first, last),
        );
        all.push(optional(facts, record, &inner));
    }
}

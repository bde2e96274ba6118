//! A bundle's policies in the form that the symbolic compiler takes: one action each, no templates.
//! A template with its links becomes one policy whose condition lists the cells: the same requests match.

use std::collections::BTreeMap;

use cedar_policy::{EntityUid, Policy, PolicyId, PolicySet, SlotId, Template};
use serde_json::{Value, json};

use crate::engine::compile::Compiled;

/// Why a policy could not be brought into that form.
pub(super) type Lost = String;

/// The name of the action that a policy is about.
pub(super) fn action_of(policy: &Policy) -> Option<EntityUid> {
    match policy.action_constraint() {
        cedar_policy::ActionConstraint::Eq(uid) => Some(uid),
        _ => None,
    }
}

fn entity(uid: &EntityUid) -> Value {
    let (kind, id) = (uid.type_name().to_string(), uid.id().unescaped());
    json!({ "Value": { "__entity": { "type": kind, "id": id } } })
}

fn inside(variable: &str, uid: &EntityUid) -> Value {
    json!({ "in": { "left": { "Var": variable }, "right": entity(uid) } })
}

fn joined(operator: &str, left: Value, right: Value) -> Value {
    json!({ operator: { "left": left, "right": right } })
}

/// Every policy of the bundle about this action, without templates.
pub(super) fn policies(compiled: &Compiled, action: &str) -> Result<Vec<Policy>, Lost> {
    let about = |policy: &Policy| action_of(policy).is_some_and(|uid| uid.id().unescaped() == action);
    let mut all: Vec<Policy> = compiled
        .all
        .policies()
        .filter(|policy| policy.is_static() && about(policy))
        .cloned()
        .collect();
    for template in compiled.all.templates() {
        let links = compiled
            .all
            .policies()
            .filter(|policy| policy.template_id() == Some(template.id()) && about(policy));
        let cells = links.filter_map(|link| {
            let values = link.template_links()?;
            let (role, category) = (
                values.get(&SlotId::principal())?,
                values.get(&SlotId::resource())?,
            );
            Some((role.clone(), category.clone()))
        });
        all.extend(instance(template, cells)?);
    }
    all.sort_by(|a, b| a.id().cmp(b.id()));
    all.iter().map(spelt_out).collect()
}

/// The policies of a set; each template stands for all of these cells.
pub(super) fn instances(
    set: &PolicySet,
    cells: impl Iterator<Item = (EntityUid, EntityUid)> + Clone,
) -> Result<Vec<Policy>, Lost> {
    let mut all: Vec<Policy> = set.policies().cloned().collect();
    for template in set.templates() {
        all.extend(instance(template, cells.clone())?);
    }
    all.iter().map(spelt_out).collect()
}

/// A template for all of its cells at once; nothing if there is none.
fn instance(
    template: &Template,
    linked: impl Iterator<Item = (EntityUid, EntityUid)>,
) -> Result<Option<Policy>, Lost> {
    let Some(cells) = cells(linked) else {
        return Ok(None);
    };
    let mut json = template.to_json().map_err(|error| error.to_string())?;
    for scope in ["principal", "resource"] {
        if let Some(slot) = json.get_mut(scope) {
            *slot = json!({ "op": "All" });
        }
    }
    let json = prefixed(json, vec![json!({ "kind": "when", "body": cells })])?;
    of_json(template.id().clone(), json).map(Some)
}

/// The same policy with lists written as alternatives, which solvers find far easier than sets.
fn spelt_out(policy: &Policy) -> Result<Policy, Lost> {
    let mut json = policy.to_json().map_err(|error| error.to_string())?;
    if let Some(conditions) = json.get_mut("conditions") {
        *conditions = alternatives(conditions.take());
    }
    of_json(policy.id().clone(), json)
}

/// `x in [a, b]` is `x in a || x in b`; `[a, b].contains(x)` is `x == a || x == b`.
fn alternatives(json: Value) -> Value {
    let (operator, x, members) = match &json {
        Value::Object(one) if one.len() == 1 => {
            let (operator, x, list) = match (one.get("in"), one.get("contains")) {
                (Some(of), _) => ("in", of.get("left"), of.pointer("/right/Set")),
                (_, Some(of)) => ("==", of.get("right"), of.pointer("/left/Set")),
                _ => ("", None, None),
            };
            (operator, x.cloned(), list.and_then(Value::as_array).cloned())
        }
        _ => ("", None, None),
    };
    if let (Some(x), Some(members)) = (x, members.filter(|m| !m.is_empty())) {
        let x = alternatives(x);
        let each = members
            .into_iter()
            .map(|member| joined(operator, x.clone(), alternatives(member)));
        return balanced("||", &each.collect::<Vec<_>>());
    }
    match json {
        Value::Object(pairs) => pairs
            .into_iter()
            .map(|(key, value)| (key, alternatives(value)))
            .collect(),
        Value::Array(all) => all.into_iter().map(alternatives).collect(),
        other => other,
    }
}

/// All joined by one operator, as a balanced tree.
fn balanced(operator: &str, all: &[Value]) -> Value {
    match all {
        [] => json!({ "Value": operator == "&&" }),
        [one] => one.clone(),
        _ => {
            let (left, right) = all.split_at(all.len() / 2);
            joined(operator, balanced(operator, left), balanced(operator, right))
        }
    }
}

/// `principal in R1 && (resource in C1 || resource in C2) || principal in R2 && …`
fn cells(linked: impl Iterator<Item = (EntityUid, EntityUid)>) -> Option<Value> {
    let mut rows: BTreeMap<String, (EntityUid, Vec<Value>)> = BTreeMap::new();
    for (role, category) in linked {
        let row = rows.entry(role.to_string()).or_insert_with(|| (role, Vec::new()));
        row.1.push(inside("resource", &category));
    }
    let row = |(role, categories): (EntityUid, Vec<Value>)| {
        joined("&&", inside("principal", &role), balanced("||", &categories))
    };
    let rows: Vec<Value> = rows.into_values().map(row).collect();
    (!rows.is_empty()).then(|| balanced("||", &rows))
}

/// The policy with more conditions before its own.
fn prefixed(mut json: Value, mut conditions: Vec<Value>) -> Result<Value, Lost> {
    let own = json
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .ok_or("a policy without conditions")?;
    conditions.append(own);
    *own = conditions;
    Ok(json)
}

fn of_json(id: PolicyId, json: Value) -> Result<Policy, Lost> {
    Policy::from_json(Some(id), json).map_err(|error| error.to_string())
}

/// The policy, for requests of which `condition` holds. The condition is looked at first: where it does not
/// hold, nothing else of the policy is evaluated, so that it cannot err.
pub(super) fn under(policy: &Policy, condition: &str) -> Result<Policy, Lost> {
    let json = policy.to_json().map_err(|error| error.to_string())?;
    let condition = parse(
        "under",
        &format!("permit (principal, action, resource) when {{ {condition} }};"),
    )?;
    let condition = condition.to_json().map_err(|error| error.to_string())?;
    let conditions = condition.get("conditions").and_then(Value::as_array).cloned();
    of_json(
        policy.id().clone(),
        prefixed(json, conditions.unwrap_or_default())?,
    )
}

/// The same policy as a permit, whichever it is.
pub(super) fn permitting(policy: &Policy) -> Result<Policy, Lost> {
    let mut json = policy.to_json().map_err(|error| error.to_string())?;
    if let Some(effect) = json.get_mut("effect") {
        *effect = json!("permit");
    }
    of_json(policy.id().clone(), json)
}

/// One set.
pub(super) fn set(policies: impl IntoIterator<Item = Policy>) -> Result<PolicySet, Lost> {
    PolicySet::from_policies(policies).map_err(|error| error.to_string())
}

/// A policy from text: `forbid … unless { condition }`.
pub(super) fn only_if(id: &str, condition: &str) -> Result<Policy, Lost> {
    parse(
        id,
        &format!("forbid (principal, action, resource) unless {{ {condition} }};"),
    )
}

/// A policy from text.
pub(super) fn parse(id: &str, text: &str) -> Result<Policy, Lost> {
    let policy = Policy::parse(Some(PolicyId::new(id)), text).map_err(|error| format!("{id}: {error:?}"))?;
    spelt_out(&policy)
}

//! Attributes that a rule reads and the engine does not give. To the symbolic compiler every agency that a request
//! names has its attributes; the engine describes sender and recipient only. Reading another one errs.

use std::collections::BTreeSet;

use cedar_policy::{Policy, SchemaFragment};
use serde_json::Value;

use super::assumptions::facts_of;

/// What the engine says of an agency.
const GIVEN: [&str; 4] = ["code", "role", "side", "region"];

/// Names of attributes that hold an entity, in a schema.
pub(super) fn entities_of(schema: &str) -> Result<BTreeSet<String>, String> {
    let (fragment, _) = SchemaFragment::from_cedarschema_str(schema).map_err(|error| error.to_string())?;
    let json = fragment.to_json_value().map_err(|error| error.to_string())?;
    let kinds: BTreeSet<&String> = json
        .pointer("//entityTypes")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|kinds| kinds.keys())
        .collect();
    let mut found = BTreeSet::new();
    collect(&json, &kinds, &mut found);
    Ok(found)
}

fn collect(json: &Value, kinds: &BTreeSet<&String>, found: &mut BTreeSet<String>) {
    let Some(object) = json.as_object() else { return };
    let attributes = object.get("attributes").and_then(Value::as_object);
    for (name, kind) in attributes.into_iter().flatten() {
        let of = kind.get("name").and_then(Value::as_str);
        if of.is_some_and(|of| kinds.iter().any(|kind| *kind == of)) {
            found.insert(name.clone());
        }
    }
    object.values().for_each(|value| collect(value, kinds, found));
}

/// The first attribute the policy reads that the engine does not give.
pub(super) fn not_given(policy: &Policy, action: &str, entities: &BTreeSet<String>) -> Option<String> {
    let json = policy.to_json().ok()?;
    unread(&json, action, entities)
}

fn unread(json: &Value, action: &str, entities: &BTreeSet<String>) -> Option<String> {
    if let Some(access) = json.get(".").and_then(Value::as_object) {
        let attribute = access.get("attr").and_then(Value::as_str).unwrap_or("");
        let of = access.get("left").map_or_else(Vec::new, path);
        let read = format!("{}.{attribute}", of.join("."));
        let last = of.last().copied().unwrap_or("");
        let agency = match (of.as_slice(), facts_of(action)) {
            (["context"], _) => None,
            (["principal"], _) => Some(!matches!(action, "active" | "in_force")),
            ([_, .., _], facts) if entities.contains(last) => {
                Some(facts.is_some_and(|facts| of.join(".") == format!("{facts}.sender")))
            }
            (["context", ..], _) => None,
            _ => Some(false),
        };
        if agency.is_some_and(|described| !described || !GIVEN.contains(&attribute)) {
            return Some(read);
        }
    }
    match json {
        Value::Object(pairs) => pairs.values().find_map(|value| unread(value, action, entities)),
        Value::Array(all) => all.iter().find_map(|value| unread(value, action, entities)),
        _ => None,
    }
}

/// `context.mandate.holder` as its names; nothing if it is no such path.
fn path(json: &Value) -> Vec<&str> {
    if let Some(variable) = json.get("Var").and_then(Value::as_str) {
        return vec![variable];
    }
    let access = json.get(".").and_then(Value::as_object);
    let parts = access.and_then(|a| Some((a.get("left")?, a.get("attr")?.as_str()?)));
    let Some((left, attribute)) = parts else {
        return Vec::new();
    };
    let mut names = path(left);
    if !names.is_empty() {
        names.push(attribute);
    }
    names
}

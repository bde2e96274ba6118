//! A request that the solver found, as plain facts.

use cedar_policy::{Entities, EntityUid, EvalResult};
use cedar_policy_symcc::Env;
use serde_json::{Map, Value};

/// An agency of the found request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agency {
    /// The entity's id; the policies tell agencies apart by it.
    pub(crate) uid: String,
    pub(crate) code: String,
    pub(crate) role: String,
    pub(crate) side: String,
    pub(crate) region: Option<String>,
}

/// A found request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) recipient: Agency,
    pub(crate) sender: Agency,
    pub(crate) category: String,
    pub(crate) basis: String,
    /// The context: entities by their id, moments as milliseconds.
    pub(crate) context: Map<String, Value>,
    /// As Cedar prints it.
    pub(crate) symbolic: String,
}

impl Model {
    /// Reads it back.
    pub(crate) fn of(env: &Env) -> Result<Self, String> {
        let request = &env.request;
        let principal = request.principal().ok_or("no principal")?;
        let context = request.context().ok_or("no context")?;
        // `now` is among the facts.
        let beside = ["status", "from", "until", "facts", "reason"];
        let keys = beside.into_iter().chain(crate::engine::cut::FACTS);
        let mut read = Map::new();
        for key in keys {
            if let Some(value) = context.get(key) {
                read.insert(key.to_owned(), plain(&value)?);
            }
        }
        // Obligations are asked about with the facts one level down.
        if let Some(Value::Object(facts)) = read.get("facts").cloned() {
            read.extend(facts);
        }
        let (category, basis) = request
            .resource()
            .map(|part| place(&env.entities, part))
            .unwrap_or_default();
        let sender = read.get("sender").and_then(Value::as_str).unwrap_or("");
        let sender_uid = EntityUid::from_type_name_and_id(
            principal.type_name().clone(),
            cedar_policy::EntityId::new(sender),
        );
        Ok(Self {
            recipient: agency(&env.entities, principal),
            sender: agency(&env.entities, &sender_uid),
            category,
            basis,
            context: read,
            symbolic: format!("{request_line}\n{context}", request_line = line(env)),
        })
    }
}

/// Who asks for what, without the entities that the request does not name.
fn line(env: &Env) -> String {
    let request = &env.request;
    let name = |uid: Option<&EntityUid>| uid.map_or_else(|| "?".to_owned(), ToString::to_string);
    let described = [request.principal(), request.resource()]
        .into_iter()
        .flatten()
        .map(|uid| {
            let above: Vec<String> = env
                .entities
                .ancestors(uid)
                .into_iter()
                .flatten()
                .map(ToString::to_string)
                .collect();
            format!("{uid} in [{}]", above.join(", "))
        });
    let described: Vec<String> = described.collect();
    format!("{} {}", name(request.action()), described.join(", "))
}

fn agency(entities: &Entities, uid: &EntityUid) -> Agency {
    let text = |key: &str| match entities.get(uid).and_then(|entity| entity.attr(key)) {
        Some(Ok(EvalResult::String(text))) => Some(text),
        Some(Ok(EvalResult::EntityUid(uid))) => Some(uid.id().unescaped().to_owned()),
        _ => None,
    };
    Agency {
        uid: uid.id().unescaped().to_owned(),
        code: text("code").unwrap_or_default(),
        role: text("role").unwrap_or_default(),
        side: text("side").unwrap_or_default(),
        region: text("region"),
    }
}

/// Category and basis of a part.
fn place(entities: &Entities, part: &EntityUid) -> (String, String) {
    let above = |kind: &str| {
        let mut all = entities.ancestors(part).into_iter().flatten();
        let found = all.find(|uid| uid.type_name().basename() == kind);
        found
            .map(|uid| uid.id().unescaped().to_owned())
            .unwrap_or_default()
    };
    (above("Category"), above("Basis"))
}

fn plain(value: &EvalResult) -> Result<Value, String> {
    Ok(match value {
        EvalResult::Bool(value) => Value::from(*value),
        EvalResult::Long(value) => Value::from(*value),
        EvalResult::String(value) => Value::from(value.clone()),
        EvalResult::EntityUid(uid) => Value::from(uid.id().unescaped()),
        EvalResult::Set(set) => set.iter().map(plain).collect::<Result<Vec<_>, _>>()?.into(),
        EvalResult::Record(record) => {
            let pairs = record.iter().map(|(key, value)| Ok((key.clone(), plain(value)?)));
            Value::Object(pairs.collect::<Result<Map<_, _>, String>>()?)
        }
        EvalResult::ExtensionValue(text) => Value::from(millis(text).ok_or_else(|| format!("{text}?"))?),
    })
}

/// `datetime("1970-01-01").offset(duration("-2ms"))`
fn millis(text: &str) -> Option<i64> {
    let Some((_, offset)) = text.split_once("duration(\"") else {
        return (text == "datetime(\"1970-01-01\")").then_some(0);
    };
    let begins_at_zero = text.starts_with("datetime(\"1970-01-01\")");
    offset
        .split_once("ms\")")
        .filter(|_| begins_at_zero)?
        .0
        .parse()
        .ok()
}

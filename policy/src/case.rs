//! The case format: a question as JSON, the ruling expected of it, and why. One case a line.
//! Attributes that the format does not know end up in `ReceiveQuestion::unknown`, and so in a denial.

use std::collections::BTreeSet;
use std::sync::Arc;

use schakel_proto::time::Timestamp;
use serde_json::Value;

use crate::facts::{CaseState, Consultation, Mandate, Measure, Participant, Stated};
use crate::question::{
    BreakGlass, Consent, Moment, Part, Party, ReceiveQuestion, Release, Report, Scope, Subject,
};
use crate::ruling::{Outcome, Ruling};

pub mod statement;

/// A decision case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its id, e.g. `PC-001`.
    pub id: String,
    /// The question.
    pub given: ReceiveQuestion,
    /// The ruling expected; `None` in a case that only asks.
    pub expect: Option<Expected>,
    /// Why, in a sentence.
    pub why: String,
}

/// The ruling a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Outcome.
    pub outcome: Outcome,
    /// Reason code.
    pub reason: String,
    /// Obligations, as a set.
    pub obligations: BTreeSet<String>,
}

/// Why a line is no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaseError(String);

impl Case {
    /// Parses one line.
    pub fn parse(line: &str) -> Result<Self, CaseError> {
        let json: Value =
            serde_json::from_str(line).map_err(|error| CaseError(format!("not JSON: {error}")))?;
        let given = json
            .get("given")
            .ok_or_else(|| CaseError("no `given`".to_owned()))?;
        let expect = json.get("expect").map(expected).transpose()?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        Ok(Self {
            id: text("id"),
            given: question(given)?,
            expect,
            why: text("why"),
        })
    }

    /// Parses a file: line number and case for each line that is not empty; the error names the line.
    pub fn parse_file(text: &str) -> Result<Vec<(usize, Self)>, (usize, CaseError)> {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(n, line)| {
                Self::parse(line)
                    .map(|case| (n + 1, case))
                    .map_err(|e| (n + 1, e))
            })
            .collect()
    }

    /// In what the ruling differs from the one expected; `None`: in nothing.
    pub fn difference(&self, ruling: &Ruling) -> Option<String> {
        let expect = self.expect.as_ref()?;
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        let same = expect.outcome == ruling.outcome()
            && expect.reason == ruling.reason()
            && expect.obligations == *ruling.obligations();
        (!same).then(|| {
            format!(
                "expected {} {} [{}], got {} {} [{}] by {}",
                expect.outcome,
                expect.reason,
                list(&expect.obligations),
                ruling.outcome(),
                ruling.reason(),
                list(ruling.obligations()),
                if ruling.policies().is_empty() {
                    "no policy".to_owned()
                } else {
                    ruling.policies().join(", ")
                },
            )
        })
    }
}

fn expected(json: &Value) -> Result<Expected, CaseError> {
    let word = json.get("decision").and_then(Value::as_str).unwrap_or("");
    let outcome = Outcome::parse(word).ok_or_else(|| CaseError(format!("unknown decision {word:?}")))?;
    let reason = json
        .get("reason_code")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let obligations = json
        .get("obligations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    Ok(Expected {
        outcome,
        reason,
        obligations: obligations
            .filter_map(|o| o.as_str().map(str::to_owned))
            .collect(),
    })
}

/// Reads one JSON object attribute by attribute and keeps what was not asked for.
struct Object<'a> {
    path: String,
    json: Option<&'a serde_json::Map<String, Value>>,
    asked: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    fn new(path: &str, json: &'a Value, unknown: &mut Vec<String>) -> Self {
        if json.as_object().is_none() {
            unknown.push(format!("{path} is not an object"));
        }
        Self {
            path: path.to_owned(),
            json: json.as_object(),
            asked: BTreeSet::new(),
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.insert(key);
        self.json?.get(key).filter(|value| !value.is_null())
    }

    /// An attribute of one type; another type is unknown.
    fn typed<T>(
        &mut self,
        key: &'static str,
        unknown: &mut Vec<String>,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let typed = read(value);
        if typed.is_none() {
            unknown.push(format!("{}.{key}", self.path));
        }
        typed
    }

    fn text(&mut self, key: &'static str, unknown: &mut Vec<String>) -> String {
        self.typed(key, unknown, Value::as_str).unwrap_or("").to_owned()
    }

    fn optional(&mut self, key: &'static str, unknown: &mut Vec<String>) -> Option<String> {
        self.typed(key, unknown, Value::as_str).map(str::to_owned)
    }

    fn flag(&mut self, key: &'static str, unknown: &mut Vec<String>) -> Option<bool> {
        self.typed(key, unknown, Value::as_bool)
    }

    /// A list of texts; one text stands for a list of one.
    fn texts(&mut self, key: &'static str, unknown: &mut Vec<String>) -> Vec<String> {
        let read = |value: &Value| match value {
            Value::String(one) if one.is_empty() => Some(Vec::new()),
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(all) => all.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        self.typed(key, unknown, read).unwrap_or_default()
    }

    /// A moment (RFC 3339); an empty text stands for none.
    fn moment(&mut self, key: &'static str, unknown: &mut Vec<String>) -> Option<Moment> {
        if self.get(key)?.as_str() == Some("") {
            return None;
        }
        self.typed(key, unknown, |value| {
            let text = value.as_str()?;
            Some(Moment {
                at: timestamp(text)?,
                text: text.to_owned(),
            })
        })
    }

    fn time(&mut self, key: &'static str, unknown: &mut Vec<String>) -> Option<Timestamp> {
        self.moment(key, unknown).map(|moment| moment.at)
    }

    fn list(&mut self, key: &'static str, unknown: &mut Vec<String>) -> &'a [Value] {
        self.typed(key, unknown, Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Known attributes that no rule needs.
    fn skip(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    fn rest(self, unknown: &mut Vec<String>) {
        for key in self.json.into_iter().flat_map(|json| json.keys()) {
            if !self.asked.contains(key.as_str()) {
                unknown.push(format!("{}.{key}", self.path));
            }
        }
    }
}

fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|t| Timestamp::from_millis(t.as_millisecond()))
}

/// Reads a question (`given` of a case).
pub fn question(json: &Value) -> Result<ReceiveQuestion, CaseError> {
    let mut unknown = Vec::new();
    let u = &mut unknown;
    let mut given = Object::new("given", json, u);
    let now = given
        .time("now", u)
        .ok_or_else(|| CaseError("no `now`, or not a moment (RFC 3339)".to_owned()))?;
    let null = Value::Null;
    let part_json = given.get("part").unwrap_or(&null);
    let part = part(part_json, u);
    let case_json = given.get("case").unwrap_or(&null);
    let case = case_state(case_json, u);
    let mut party = |[id, role, side]: [&'static str; 3], u: &mut Vec<String>| {
        let id = given.text(id, u);
        let region = case
            .participant(&id)
            .and_then(|p| p.region.as_ref().map(ToString::to_string));
        Party {
            role: given.text(role, u),
            side: given.optional(side, u),
            region,
            id,
        }
    };
    let (sender, recipient) = (
        party(["sender", "sender_role", "sender_side"], u),
        party(["recipient", "recipient_role", "recipient_side"], u),
    );
    let consents = match given.get("consent") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.iter().map(|one| consent(one, u)).collect(),
        Some(one) => vec![consent(one, u)],
    };
    let break_glass = given.get("break_glass").map(|json| break_glass(json, u));
    let report = given.get("report").map(|json| report(json, u));
    let question = ReceiveQuestion {
        now,
        sender,
        recipient,
        purpose: given.text("purpose", u),
        legal_basis: given.text("legal_basis", u),
        urgency: given.text("urgency", u),
        roster_version_seen: given.typed("roster_version_seen", u, Value::as_u64),
        case: Arc::new(case),
        part,
        consents,
        break_glass,
        report,
        unknown: Vec::new(),
    };
    given.rest(u);
    Ok(ReceiveQuestion { unknown, ..question })
}

fn part(json: &Value, u: &mut Vec<String>) -> Part {
    let mut object = Object::new("part", json, u);
    let subjects = object.list("subjects", u).iter().map(|json| {
        let mut subject = Object::new("subject", json, u);
        let read = Subject {
            role: subject.text("role", u),
            age_class: subject.text("age_class", u),
            reference: subject.optional("reference", u),
        };
        subject.rest(u);
        read
    });
    let subjects = subjects.collect();
    let release = object.get("release").map(|json| {
        let mut release = Object::new("release", json, u);
        let read = Release {
            by_role: release.text("by_role", u),
            scope: release.texts("scope", u),
        };
        release.skip(&["id", "by", "at"]);
        release.rest(u);
        read
    });
    let measure = object.get("measure").map(|json| measure(json, u));
    let part = Part {
        category: object.text("category", u),
        subjects,
        source_secrecy: object.text("source_secrecy", u),
        release,
        measure,
        relevant: object.flag("relevant", u),
        pseudonymous: object.flag("pseudonymous", u).unwrap_or(false),
    };
    object.skip(&["id"]);
    object.rest(u);
    part
}

fn measure(json: &Value, u: &mut Vec<String>) -> Measure {
    let mut object = Object::new("measure", json, u);
    let measure = Measure {
        id: String::new(),
        kind: object.text("kind", u),
        status: object.text("status", u),
        valid_until: object.moment("valid_until", u),
    };
    object.skip(&[
        "id",
        "imposed_at",
        "imposed_by",
        "extended_by",
        "lifted_at",
        "ended_at",
    ]);
    object.rest(u);
    measure
}

fn case_state(json: &Value, u: &mut Vec<String>) -> CaseState {
    let mut object = Object::new("case", json, u);
    let participants = object
        .list("participants", u)
        .iter()
        .map(|json| participant(json, u))
        .collect();
    let consultation = object.get("consultation").map(|json| {
        let mut table = Object::new("consultation", json, u);
        let read = Consultation {
            id: String::new(),
            basis: table.text("basis", u),
            status: table.text("status", u),
            valid_until: table.time("valid_until", u),
            finality: table.text("finality", u),
            signed_by: table.texts("signed_by", u),
        };
        table.skip(&["id", "valid_from"]);
        table.rest(u);
        read
    });
    let measures = object
        .list("measures", u)
        .iter()
        .map(|json| measure(json, u))
        .collect();
    let mandate = object.get("mandate").map(|json| {
        let mut mandate = Object::new("mandate", json, u);
        let read = Mandate {
            id: String::new(),
            holder: mandate.text("holder", u),
            authority: mandate.text("authority", u),
            actors: mandate.texts("actors", u),
            status: mandate.text("status", u),
            until: mandate.time("until", u),
        };
        mandate.skip(&["id", "from", "kind"]);
        mandate.rest(u);
        read
    });
    let state = CaseState {
        status: object.text("status", u).into(),
        region: object.text("region", u).into(),
        case_type: object.text("type", u).into(),
        roster_version: object.typed("roster_version", u, Value::as_u64).unwrap_or(0),
        opener: object.optional("opener", u),
        participants,
        consultation: consultation.map(Box::new),
        measures,
        mandate: mandate.map(Box::new),
        stated: Stated::default(),
    };
    object.skip(&["id"]);
    object.rest(u);
    state
}

fn participant(json: &Value, u: &mut Vec<String>) -> Participant {
    let mut object = Object::new("participant", json, u);
    let read = Participant {
        id: object.text("id", u).into(),
        role: object.optional("role", u).map(Into::into),
        status: object.text("status", u).into(),
        from: object.time("from", u),
        until: object.time("until", u),
        perp_side: object.flag("perp_side", u).unwrap_or(false),
        region: object.optional("region", u).map(Into::into),
    };
    object.rest(u);
    read
}

fn consent(json: &Value, u: &mut Vec<String>) -> Consent {
    let mut object = Object::new("consent", json, u);
    let null = Value::Object(serde_json::Map::new());
    let mut scope = Object::new("scope", object.get("scope").unwrap_or(&null), u);
    let covers = Scope {
        categories: scope.texts("categories", u),
        recipients: scope.texts("recipients", u),
        purposes: scope.texts("purposes", u),
    };
    scope.rest(u);
    let read = Consent {
        subject: object.text("subject", u),
        subject_reference: object.optional("subject_reference", u),
        given_by: object.text("given_by", u),
        capacity: object.text("capacity", u),
        status: object.text("status", u),
        scope: covers,
        informed: object.flag("informed", u).unwrap_or(false),
        form: object.text("form", u),
        expires_at: object.time("expires_at", u),
        minor_cosign: object.flag("minor_cosign", u).unwrap_or(false),
        parents_cosign: object.flag("parents_cosign", u).unwrap_or(false),
    };
    object.skip(&["id", "given_at", "withdrawn_at", "refused_at"]);
    object.rest(u);
    read
}

fn break_glass(json: &Value, u: &mut Vec<String>) -> BreakGlass {
    let mut object = Object::new("break_glass", json, u);
    let chars = object.text("justification", u).chars().count();
    let counted = object.typed("justification_chars", u, Value::as_u64);
    let chars = counted.unwrap_or(u64::try_from(chars).unwrap_or(u64::MAX));
    let read = BreakGlass {
        actor: object.text("actor", u),
        justification_chars: u32::try_from(chars).unwrap_or(u32::MAX),
        danger_to: object.texts("danger_to", u),
        reviewer: object.text("reviewer", u),
        review_by: object.time("review_by", u),
    };
    object.skip(&["id", "at"]);
    object.rest(u);
    read
}

fn report(json: &Value, u: &mut Vec<String>) -> Report {
    let mut object = Object::new("report", json, u);
    let read = Report {
        victim_class: object.text("victim_class", u),
        danger: object.text("danger", u),
        cannot_protect_otherwise: object.flag("cannot_protect_otherwise", u).unwrap_or(false),
    };
    object.skip(&["id"]);
    object.rest(u);
    read
}

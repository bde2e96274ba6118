//! Statement cases: may this agency open a case, change its roster, see it? `cases/statements.jsonl` of a bundle,
//! one a line: `statement` (the question), `expect` (`granted`, `reason_code`), `why`.

use std::sync::Arc;

use serde_json::Value;

use super::{CaseError, Object, case_state, participant};
use crate::engine::Engine;
use crate::facts::Participant;
use crate::question::{InspectQuestion, Party, Said, Shown, StateQuestion, StatementKind};
use crate::ruling::Permission;

/// The file of a bundle that holds them.
pub(crate) const FILE: &str = "cases/statements.jsonl";

/// A statement case.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementCase {
    /// Its id, e.g. `ST-001`.
    pub id: String,
    /// The question.
    pub asked: Asked,
    /// Whether it is granted.
    pub granted: bool,
    /// Reason code.
    pub reason: String,
}

/// What a statement case asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// May it make this statement?
    State(StateQuestion),
    /// May it see the case?
    Inspect(InspectQuestion),
}

impl StatementCase {
    /// Parses one line. What the format does not know makes it no case: there is no ruling to expect of it.
    pub fn parse(line: &str) -> Result<Self, CaseError> {
        let json: Value =
            serde_json::from_str(line).map_err(|error| CaseError(format!("not JSON: {error}")))?;
        let expect = json.get("expect").unwrap_or(&Value::Null);
        let granted = expect.get("granted").and_then(Value::as_bool);
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        Ok(Self {
            id: text(&json, "id"),
            asked: asked(json.get("statement").unwrap_or(&Value::Null))?,
            granted: granted.ok_or_else(|| CaseError("nothing is expected".to_owned()))?,
            reason: text(expect, "reason_code"),
        })
    }

    /// Parses a file: line number and case for each line that is not empty; the error names the line.
    pub(crate) fn parse_file(text: &str) -> Result<Vec<(usize, Self)>, (usize, CaseError)> {
        let lines = text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(n, line)| match Self::parse(line) {
                Ok(case) => Ok((n + 1, case)),
                Err(error) => Err((n + 1, error)),
            })
            .collect()
    }

    /// In what the engine's answer differs from the one expected; `None`: in nothing.
    pub fn difference(&self, engine: &Engine) -> Option<String> {
        let got: Permission = match &self.asked {
            Asked::State(question) => engine.state(question),
            Asked::Inspect(question) => engine.inspect(question),
        };
        let word = |granted| if granted { "granted" } else { "refused" };
        (got.granted() != self.granted || got.reason() != self.reason).then(|| {
            format!(
                "expected {} {}, got {} {} by {}",
                word(self.granted),
                self.reason,
                word(got.granted()),
                got.reason(),
                got.policies().join(", ")
            )
        })
    }
}

fn asked(json: &Value) -> Result<Asked, CaseError> {
    let mut unknown = Vec::new();
    let u = &mut unknown;
    let mut object = Object::new("statement", json, u);
    let now = object
        .time("now", u)
        .ok_or_else(|| CaseError("no `now`, or not a moment (RFC 3339)".to_owned()))?;
    let speaker = Party {
        id: object.text("speaker", u),
        role: object.text("speaker_role", u),
        ..Party::default()
    };
    let competent = object.flag("competent", u).unwrap_or(false);
    let case = object.get("case").map(|json| Arc::new(case_state(json, u)));
    let roles = case.iter().flat_map(|case| &case.participants);
    let roles = roles
        .filter_map(|p| Some((p.id.to_string(), p.role.as_ref()?.to_string())))
        .collect();
    let roster: Vec<Participant> = object
        .list("roster", u)
        .iter()
        .map(|json| participant(json, u))
        .collect();
    let version = object.typed("version", u, Value::as_u64);
    let kind = object.text("kind", u);
    let said = said(&mut object, u);
    let shown = shown(object.get("shown"), &said, u);
    object.rest(u);
    if let Some(first) = unknown.first() {
        return Err(CaseError(format!("unknown attribute {first}")));
    }
    let statement = match kind.as_str() {
        "case_opened" => StatementKind::CaseOpened {
            roster: roster.iter().map(|p| p.id.to_string()).collect(),
        },
        "roster_changed" => StatementKind::RosterChanged {
            version: version.unwrap_or(0),
            roster,
        },
        "inspect" => {
            let case = case.ok_or_else(|| CaseError("no `case`".to_owned()))?;
            return Ok(Asked::Inspect(InspectQuestion {
                now,
                reader: speaker,
                case,
                shown,
            }));
        }
        _ => StatementKind::Other { name: kind, said },
    };
    Ok(Asked::State(StateQuestion {
        now,
        speaker,
        competent,
        roles,
        case,
        statement,
    }))
}

fn said(object: &mut Object<'_>, u: &mut Vec<String>) -> Said {
    Said {
        subject: object.optional("subject", u),
        table_basis: object.optional("table_basis", u),
        categories: object.texts("categories", u),
        roles: object.texts("roles", u),
        strangers: object.flag("strangers", u).unwrap_or(false),
        own: object.flag("own", u).unwrap_or(false),
        named: object.flag("named", u).unwrap_or(false),
    }
}

/// What an `inspect` case looks at; the case's opening if it does not say.
fn shown(json: Option<&Value>, said: &Said, u: &mut Vec<String>) -> Shown {
    let subject = said.subject.clone();
    let Some(json) = json else {
        return Shown {
            name: "case_opened".to_owned(),
            subject,
            ..Shown::default()
        };
    };
    let mut object = Object::new("shown", json, u);
    let shown = Shown {
        name: object.text("name", u),
        speaker: object.flag("speaker", u).unwrap_or(false),
        covered: object.flag("covered", u).unwrap_or(false),
        subject,
    };
    object.rest(u);
    shown
}

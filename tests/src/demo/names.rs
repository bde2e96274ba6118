//! The names that a story uses, and the random references that stand for them in the network.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use schakel_agent::clock::randomness;
use schakel_proto::ids::{CaseRef, SubjectRef};
use serde_json::{Map, Value, json};

use super::problem::{Problem, Result};
use super::step::Statement;
use super::story::{Moment, minute};
use super::time::Time;

/// What the story's names stand for so far.
pub struct Names {
    rng: StdRng,
    cases: BTreeMap<String, CaseRef>,
    people: BTreeMap<(String, String), SubjectRef>,
    statements: BTreeMap<String, String>,
    packets: BTreeMap<String, usize>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            rng: randomness(),
            cases: BTreeMap::new(),
            people: BTreeMap::new(),
            statements: BTreeMap::new(),
            packets: BTreeMap::new(),
        }
    }
}

impl Names {
    /// The case of this name; made up at its first use.
    pub fn case(&mut self, name: &str) -> CaseRef {
        let rng = &mut self.rng;
        *self
            .cases
            .entry(name.to_owned())
            .or_insert_with(|| CaseRef::random(rng))
    }

    /// All cases, by name.
    pub fn cases(&self) -> impl Iterator<Item = (&str, CaseRef)> {
        self.cases.iter().map(|(name, case)| (name.as_str(), *case))
    }

    /// The person of this name in a case; made up at its first use there.
    pub fn person(&mut self, case: &str, name: &str) -> SubjectRef {
        let rng = &mut self.rng;
        let key = (case.to_owned(), name.to_owned());
        *self.people.entry(key).or_insert_with(|| SubjectRef::random(rng))
    }

    /// The statement of this name.
    pub fn statement(&self, name: &str) -> Result<String> {
        let found = self.statements.get(name).cloned();
        found.ok_or_else(|| Problem::new(format!("no earlier statement is called \"{name}\"")))
    }

    /// Names a statement.
    pub fn call_statement(&mut self, name: &str, id: &str) {
        self.statements.insert(name.to_owned(), id.to_owned());
    }

    /// The packet of this name: its place among those sent.
    pub fn packet(&self, name: &str) -> Result<usize> {
        let found = self.packets.get(name).copied();
        found.ok_or_else(|| Problem::new(format!("no earlier packet is called \"{name}\"")))
    }

    /// Names a packet.
    pub fn call_packet(&mut self, name: &str, place: usize) {
        self.packets.insert(name.to_owned(), place);
    }

    /// A statement as the agent's API takes it. `packet_id` gives the id of a packet by its place.
    pub fn request(
        &mut self,
        statement: &Statement,
        time: &Time,
        packet_id: impl Fn(usize) -> Option<String>,
    ) -> Result<Value> {
        let mut request = Map::new();
        request.insert("kind".to_owned(), json!(statement.kind));
        let fields = &statement.fields.0;
        for (key, value) in fields {
            let text = value.as_str().unwrap_or_default();
            let refers = match key.as_str() {
                "case" => json!(self.case(text)),
                "subject" => json!(self.person(&statement.case, text)),
                "measure" if statement.kind == "impose-measure" => json!(text),
                "consultation" | "mandate" | "measure" | "consent" => json!(self.statement(text)?),
                "packet" => json!(packet_id(self.packet(text)?)),
                "roster" => roster(value, time)?,
                "until_day" => {
                    request.insert("until_ms".to_owned(), moment(fields, "until", time)?);
                    continue;
                }
                "given_day" => {
                    request.insert("given_ms".to_owned(), moment(fields, "given", time)?);
                    continue;
                }
                "until_time" | "given_time" => continue,
                _ => json!(value),
            };
            request.insert(key.clone(), refers);
        }
        Ok(Value::Object(request))
    }
}

/// `NAME_day` and `NAME_time` as milliseconds.
fn moment(table: &toml::Table, name: &str, time: &Time) -> Result<Value> {
    let day = table
        .get(&format!("{name}_day"))
        .and_then(toml::Value::as_integer);
    let day = day.ok_or_else(|| Problem::new(format!("`{name}_day` is not a number")))?;
    let clock = table.get(&format!("{name}_time")).and_then(toml::Value::as_str);
    let minute = minute(clock.unwrap_or("00:00"))?;
    Ok(json!(time.at(Moment { day, minute }).millis()))
}

fn roster(value: &toml::Value, time: &Time) -> Result<Value> {
    let wrong = || Problem::new("`roster` is a list of agencies, or of tables with `agency`");
    let one = |entry: &toml::Value| match entry {
        toml::Value::String(id) => Ok(json!({ "agency": id, "status": "active" })),
        toml::Value::Table(table) => {
            let mut entry = Map::new();
            entry.insert("status".to_owned(), json!("active"));
            for (key, value) in table {
                match key.as_str() {
                    "from_day" => entry.insert("from_ms".to_owned(), moment(table, "from", time)?),
                    "until_day" => entry.insert("until_ms".to_owned(), moment(table, "until", time)?),
                    "from_time" | "until_time" => None,
                    _ => entry.insert(key.clone(), json!(value)),
                };
            }
            Ok(Value::Object(entry))
        }
        _ => Err(wrong()),
    };
    let entries = value.as_array().ok_or_else(wrong)?.iter().map(one);
    Ok(Value::Array(entries.collect::<Result<_>>()?))
}

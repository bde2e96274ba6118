//! The story of a network: one TOML file that says who takes part, what happens when, and what must come
//! of it. Read here into steps; every key that is not known is an error that names its step.

use std::path::{Path, PathBuf};

use schakel_certs_dev::NetworkSpec;
use serde::Deserialize;
use toml::{Table, Value};

use super::problem::{Problem, Result};
use super::step::{Act, Step};

/// A story, read and checked.
#[derive(Clone, Debug)]
pub struct Story {
    /// The network and its agencies.
    pub network: NetworkSpec,
    /// What stands at its head.
    pub head: Head,
    /// What happens, in order.
    pub scenes: Vec<Scene>,
    /// Where its documents lie.
    pub documents: PathBuf,
}

/// The table `[story]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Language of the tale: nl or fr.
    pub language: String,
    /// What the story shows, in some sentences.
    pub opening: String,
    /// Names of (fictional) persons in the documents.
    pub persons: Vec<String>,
    /// The agencies whose agents run.
    pub agents: Vec<String>,
}

/// One `[[step]]`: the moment, a sentence, and what is done, once or many times.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Its number, from 1.
    pub number: usize,
    /// A sentence of the tale.
    pub tell: Option<String>,
    /// When it is; none: right after the one before.
    pub moment: Option<Moment>,
    /// What happens; more than one for a step that is repeated, none for a sentence alone.
    pub steps: Vec<Step>,
    /// For a step that is repeated: what it looks like with all its numbers at once, to be told.
    pub all: Option<Step>,
    /// For a repeated packet: how often each outcome must come.
    pub counts: Vec<Count>,
}

/// A moment of the story, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Day of the story, from 0.
    pub day: i64,
    /// Minute of the day.
    pub minute: i64,
}

/// How often something must come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Outcome, or for a check its kind.
    #[serde(alias = "kind")]
    pub outcome: String,
    /// Reason code.
    #[serde(default)]
    pub reason: String,
    /// How many.
    pub number: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    from: usize,
    to: usize,
    #[serde(default)]
    except: Vec<usize>,
}

/// Most times that a step is repeated.
const REPEAT_MAX_COUNT: usize = 1000;

impl Story {
    /// Reads the story in a file, or that of a built-in network.
    pub fn load(name: &str) -> Result<Self> {
        let folder = Path::new("tests/stories");
        let file = if Path::new(name).extension().is_some_and(|e| e == "toml") {
            PathBuf::from(name)
        } else {
            folder.join(format!("{name}.toml"))
        };
        let network = NetworkSpec::load(&file).map_err(|error| Problem::new(error.to_string()))?;
        let none = || {
            Problem::new(format!(
                "{}: it tells no story: [story] is missing",
                file.display()
            ))
        };
        let head = network.story.clone().ok_or_else(none)?;
        let head: Head = head
            .try_into()
            .map_err(Problem::during(format!("{}: [story]", file.display())))?;
        if !["nl", "fr"].contains(&head.language.as_str()) {
            let language = &head.language;
            return Err(Problem::new(format!(
                "{}: language \"{language}\" is neither nl nor fr",
                file.display()
            )));
        }
        let stranger = head
            .agents
            .iter()
            .find(|id| network.agencies.iter().all(|a| a.id.as_str() != **id));
        if let Some(id) = stranger {
            return Err(Problem::new(format!(
                "{}: agents: {id} is no agency of the network",
                file.display()
            )));
        }
        let documents = file.parent().unwrap_or(folder).join("../documents");
        let mut scenes = Vec::with_capacity(network.steps.len());
        for (number, table) in (1..).zip(&network.steps) {
            let here =
                |problem: Problem| Problem::new(format!("{}: step {number}: {problem}", file.display()));
            scenes.push(Scene::read(number, table.clone()).map_err(here)?);
        }
        Ok(Self {
            network,
            head,
            scenes,
            documents,
        })
    }

    /// The agency's name for people.
    pub fn agency(&self, id: &str) -> String {
        let found = self
            .network
            .agencies
            .iter()
            .find(|agency| agency.id.as_str() == id);
        found.map_or_else(|| id.to_owned(), |agency| agency.name.clone())
    }
}

impl Scene {
    fn read(number: usize, table: Table) -> Result<Self> {
        let mut fields = Fields(table);
        let tell = fields.take("tell")?;
        let (day, time) = (fields.take::<i64>("day")?, fields.take::<String>("time")?);
        let moment = match (day, time) {
            (None, None) => None,
            (Some(day), time) => Some(Moment {
                day,
                minute: minute(&time.unwrap_or_else(|| "00:00".to_owned()))?,
            }),
            (None, Some(_)) => return Err(Problem::new("a time needs its day")),
        };
        let repeat: Option<Repeat> = fields.take("repeat")?;
        let counts: Vec<Count> = fields.take("counts")?.unwrap_or_default();
        let is_check = fields.0.contains_key("check");
        let fields_of = fields.clone();
        let steps = match &repeat {
            None if fields.0.is_empty() => Vec::new(),
            None => vec![Step::read(fields, &counts)?],
            Some(repeat) => repeated(&fields, repeat)?,
        };
        let all = repeat
            .as_ref()
            .map(|repeat| numbered(&fields_of, &format!("{}–{}", repeat.from, repeat.to)));
        let all = all.transpose()?;
        let packet = steps.iter().any(|step| matches!(step.act, Act::Send(_)));
        if repeat.is_some() && packet == counts.is_empty() {
            return Err(Problem::new(
                "a repeated packet needs `counts`, a repeated statement has none",
            ));
        }
        if repeat.is_none() && !counts.is_empty() && !is_check {
            return Err(Problem::new(
                "`counts` is for repeated packets and checks; here write `expect`",
            ));
        }
        Ok(Self {
            number,
            tell,
            moment,
            steps,
            all,
            counts,
        })
    }
}

fn repeated(fields: &Fields, repeat: &Repeat) -> Result<Vec<Step>> {
    let times = (repeat.from..=repeat.to).filter(|n| !repeat.except.contains(n));
    if repeat.to.saturating_sub(repeat.from) >= REPEAT_MAX_COUNT {
        return Err(Problem::new(format!(
            "repeated more than {REPEAT_MAX_COUNT} times"
        )));
    }
    times.map(|n| numbered(fields, &n.to_string())).collect()
}

/// A step with a number in place of `{n}` in every text.
fn numbered(fields: &Fields, number: &str) -> Result<Step> {
    let mut table = Value::Table(fields.0.clone());
    put(&mut table, number);
    match table {
        Value::Table(table) => Step::read(Fields(table), &[]),
        _ => Err(Problem::new("not a table")),
    }
}

fn put(value: &mut Value, number: &str) {
    match value {
        Value::String(text) => *text = text.replace("{n}", number),
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, number)),
        Value::Table(table) => table.iter_mut().for_each(|(_, item)| put(item, number)),
        _ => {}
    }
}

/// Minutes of `HH:MM`.
pub fn minute(text: &str) -> Result<i64> {
    let wrong = || Problem::new(format!("\"{text}\" is not a time such as 09:30"));
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str, end: i64| {
        text.parse()
            .ok()
            .filter(|n| (0..end).contains(n))
            .ok_or_else(wrong)
    };
    Ok(number(hour, 24)? * 60 + number(minute, 60)?)
}

/// The keys of a table, taken one by one; what nobody took is an error.
#[derive(Clone, Debug)]
pub struct Fields(pub Table);

impl Fields {
    /// Takes a key's value, if it is there.
    pub fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        value
            .try_into()
            .map(Some)
            .map_err(Problem::during(format!("`{key}`")))
    }

    /// Takes the value of a key that must be there.
    pub fn must<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.take(key)?
            .ok_or_else(|| Problem::new(format!("`{key}` is missing")))
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(Problem::new(format!("`{key}` is not known here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(text: &str) -> Result<Scene> {
        Scene::read(1, text.parse().unwrap())
    }

    #[test]
    fn what_is_not_known_or_does_not_fit_is_said() {
        let wrong = |text: &str| scene(text).unwrap_err().to_string();
        let close = "by = \"a\"\nstate = \"close-case\"\ncase = \"c\"\n";
        assert_eq!(scene(close).unwrap().steps.len(), 1);
        assert!(scene("tell = \"Stil.\"").unwrap().steps.is_empty());
        assert_eq!(wrong("send = \"x\"\nby = \"a\"\nwaht = 1"), "`case` is missing");
        assert_eq!(
            wrong("look = \"x\"\nexpect = []\nwaht = 1"),
            "`waht` is not known here"
        );
        assert_eq!(wrong("time = \"09:00\"\n"), "a time needs its day");
        assert!(wrong("day = 1\ntime = \"24:00\"").contains("not a time"));
        assert!(
            wrong(&format!(
                "{close}counts = [{{ outcome = \"received\", number = 1 }}]"
            ))
            .contains("expect")
        );
    }

    #[test]
    fn a_repeated_step_has_its_number_everywhere() {
        let text = "by = \"a\"\nstate = \"close-case\"\ncase = \"c-{n}\"\nrepeat = { from = 3, to = 6, except = [5] }";
        let case = |step: Step| match step.act {
            Act::State(statement) => statement.fields.0["case"].as_str().unwrap().to_owned(),
            _ => panic!("not a statement"),
        };
        let cases: Vec<_> = scene(text).unwrap().steps.into_iter().map(case).collect();
        assert_eq!(cases, ["c-3", "c-4", "c-6"]);
    }
}

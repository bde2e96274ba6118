//! Plays a story on the stage: every step through the acting agency's own agent, every outcome compared
//! with what the story says.

use std::collections::BTreeMap;

use schakel_proto::ids::PacketId;
use serde_json::{Value, json};

use super::local::{Local, field, list};
use super::names::Names;
use super::outside::{End, Sent};
use super::problem::{Problem, Result};
use super::stage::Stage;
use super::step::{Act, Expect, Look, Packet, Recall, Statement, Step};
use super::story::{Count, Scene};
use super::tale::{Line, Tale};

mod checks;

mod outage;

mod orders;

pub use orders::media;

/// Longest wait until a packet is decided, in seconds.
const DECIDED_MAX_SECONDS: u64 = 60;
/// How often a packet is looked at until it is as the story says.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

/// A story being played.
pub struct Play<'a> {
    stage: &'a mut Stage,
    tale: Tale,
    names: Names,
    /// What was sent, in order.
    pub sent: Vec<Sent>,
    /// What happened, for programs.
    pub events: Vec<Value>,
    /// How many things were not as the story says.
    pub wrong: usize,
}

impl<'a> Play<'a> {
    /// A story about to begin.
    pub fn on(stage: &'a mut Stage, tale: Tale) -> Self {
        Self {
            stage,
            tale,
            names: Names::default(),
            sent: Vec::new(),
            events: Vec::new(),
            wrong: 0,
        }
    }

    /// Plays all scenes.
    pub fn run(&mut self) -> Result<()> {
        for scene in self.stage.story().scenes.clone() {
            let here = |problem: Problem| Problem::new(format!("step {}: {problem}", scene.number));
            self.scene(&scene).map_err(here)?;
        }
        self.stage.all_started()
    }

    /// The names and what they stand for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    fn scene(&mut self, scene: &Scene) -> Result<()> {
        if let Some(moment) = scene.moment {
            self.stage.go(moment)?;
            self.tale.moment(moment);
        }
        if let Some(sentence) = &scene.tell {
            self.tale.tell(sentence);
        }
        match (&scene.all, scene.steps.as_slice()) {
            (None, []) => Ok(()),
            (None, steps) => steps.iter().try_for_each(|step| self.step(step, scene)),
            (Some(all), steps) => self.many(all, steps, scene),
        }
    }

    fn step(&mut self, step: &Step, scene: &Scene) -> Result<()> {
        match &step.act {
            Act::State(statement) => self.state(&step.by, statement).map(|(words, differs)| {
                self.did(scene, &words, differs);
            }),
            Act::Send(packet) => self.send(&step.by, packet, scene),
            Act::Look(look) => self.look(look, scene),
            Act::Recall(recall) => self.recall(&step.by, recall, scene),
            Act::Outage(outage) => self.outage(outage, scene),
            Act::Check(check) => {
                let (words, differs) = self.check(check)?;
                self.did(scene, &words, differs);
                Ok(())
            }
        }
    }

    /// Something was done or checked; notes it.
    fn did(&mut self, scene: &Scene, words: &str, differs: Option<String>) {
        self.tale.did(words, differs.as_deref());
        self.wrong += usize::from(differs.is_some());
        let as_promised = differs.is_none();
        self.events.push(
            json!({ "step": scene.number, "did": words, "as_promised": as_promised, "differs": differs }),
        );
    }

    fn local(&self, agency: &str) -> Result<Local> {
        if self.stage.story().head.agents.iter().all(|agent| agent != agency) {
            return Err(Problem::new(format!(
                "the agent of {agency} does not run: name it in `agents`"
            )));
        }
        Local::of(self.stage, agency)
    }

    /// Makes a statement; what it says in words, and what differs.
    fn state(&mut self, by: &str, statement: &Statement) -> Result<(String, Option<String>)> {
        let sent = &self.sent;
        let packet = |place: usize| sent.get(place).map(|sent| sent.id.to_string());
        let request = self.names.request(statement, self.stage.time(), packet)?;
        let (status, answer) = self.local(by)?.insist("POST", "/v1/statements", Some(&request))?;
        if let (200, Some(name)) = (status, &statement.name) {
            self.names.call_statement(name, field(&answer, "statement"));
        }
        if let (200, Some(packet)) = (
            status,
            statement.fields.0.get("packet").and_then(toml::Value::as_str),
        ) {
            let place = self.names.packet(packet)?;
            if let Some(sent) = self.sent.get_mut(place) {
                sent.reviewed = true;
            }
        }
        let mut words = self.stated(by, statement);
        let code = field(&answer, "code").to_owned();
        if status != 200 {
            let sentence = field(&answer, "sentence");
            // The policies' own reason, if the answer names one: it is told in the story's language.
            let mut named = sentence.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            let reason = named.find(|word| !self.tale.reason(word).is_empty());
            let said = reason.map_or(sentence, |reason| self.tale.reason(reason));
            let why = format!("{said} [{}]", reason.unwrap_or(&code));
            words = format!("{words} {}", self.tale.line("refused", &[("reason", &why)]));
        }
        let differs = match &statement.refused {
            None if status == 200 => None,
            None => Some(format!("accepted; the answer is {answer}")),
            Some(wanted) if status == 200 => Some(format!("refused: {wanted}")),
            Some(wanted) if code == *wanted || field(&answer, "sentence").contains(wanted.as_str()) => None,
            Some(wanted) => Some(format!("refused: {wanted}; the answer is {answer}")),
        };
        Ok((words, differs))
    }

    /// A statement in words.
    fn stated(&self, by: &str, statement: &Statement) -> String {
        let story = self.stage.story();
        let fields = &statement.fields.0;
        let text = |key: &str| fields.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let items = |key: &str| {
            fields
                .get(key)
                .and_then(toml::Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let agency = |value: &toml::Value| match value {
            toml::Value::Table(table) => table
                .get("agency")
                .and_then(toml::Value::as_str)
                .map(|id| story.agency(id)),
            other => other.as_str().map(|id| story.agency(id)),
        };
        let roster: Vec<_> = items("roster").iter().filter_map(agency).collect();
        let categories: Vec<_> = items("categories")
            .iter()
            .filter_map(toml::Value::as_str)
            .map(|c| self.tale.category(c))
            .collect();
        let until = fields.get("until_day").and_then(toml::Value::as_integer);
        let day = until.map(|day| {
            self.tale.line(
                "moment",
                &[
                    ("day", &day.to_string()),
                    (
                        "time",
                        fields
                            .get("until_time")
                            .and_then(toml::Value::as_str)
                            .unwrap_or("00:00"),
                    ),
                ],
            )
        });
        let blanks = [
            ("who", story.agency(by)),
            ("case", statement.case.clone()),
            ("roster", roster.join(", ")),
            ("categories", categories.join(", ")),
            ("subject", text("subject").to_owned()),
            ("holder", story.agency(text("holder"))),
            ("dossier", story.agency(text("to"))),
            ("until", day.unwrap_or_else(|| "…".to_owned()).to_lowercase()),
        ];
        let blanks: Vec<_> = blanks
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.tale.statement(&statement.kind, &blanks)
    }

    /// Hands a packet to its sender's agent; its place among those sent, or why it was not taken.
    fn hand_in(&mut self, by: &str, packet: &Packet) -> Result<std::result::Result<usize, Value>> {
        let order = self.order(packet)?;
        let (status, answer) = self.local(by)?.insist("POST", "/v1/packets", Some(&order))?;
        if status != 200 {
            return Ok(Err(answer));
        }
        let place = self.sent.len();
        let id = field(&answer, "packet")
            .parse::<PacketId>()
            .map_err(Problem::during("a packet's id"))?;
        self.sent
            .push(Sent::new(by, packet, self.names.case(&packet.case), id));
        if let Some(name) = &packet.name {
            self.names.call_packet(name, place);
        }
        Ok(Ok(place))
    }

    /// What is known of a packet at its sender; waits until it is decided if `wait`.
    fn known(&mut self, place: usize, wait: bool) -> Result<Vec<End>> {
        let sent = self
            .sent
            .get(place)
            .ok_or_else(|| Problem::new("no such packet"))?;
        // Asking for the least wait also leads from a packet that was sealed anew to its successor.
        let seconds = if wait { DECIDED_MAX_SECONDS } else { 0 };
        let route = format!("/v1/packets/{}?wait=decided&seconds={seconds}", sent.id);
        let record = self.local(&sent.sender)?.must("GET", &route, None)?;
        let sent = self
            .sent
            .get_mut(place)
            .ok_or_else(|| Problem::new("no such packet"))?;
        sent.take_up(&record)?;
        Ok(sent.ends.clone())
    }

    fn send(&mut self, by: &str, packet: &Packet, scene: &Scene) -> Result<()> {
        let story = self.stage.story();
        let to: Vec<_> = packet.to.iter().map(|id| story.agency(id)).collect();
        let blanks = [
            ("who", story.agency(by)),
            ("title", packet.title.clone()),
            ("to", to.join(", ")),
        ];
        let words = self.tale.line(
            "send",
            &blanks.each_ref().map(|(name, value)| (*name, value.as_str())),
        );
        match self.hand_in(by, packet)? {
            Err(answer) => self.did(
                scene,
                &words,
                Some(format!("taken by the agent; it says {answer}")),
            ),
            Ok(place) => {
                self.tale.did(&words, None);
                // What cannot leave its sender yet is not waited for.
                let wait = packet.expect.iter().any(|end| end.outcome != "pending");
                let ends = self.known(place, wait)?;
                self.compare(place, &ends, &packet.expect, scene);
            }
        }
        Ok(())
    }

    fn look(&mut self, look: &Look, scene: &Scene) -> Result<()> {
        let place = self.names.packet(&look.packet)?;
        let ends = self.until(place, &look.expect)?;
        self.again("look", place);
        if look.sealed_anew {
            self.sealed_anew(place, scene)?;
        }
        self.compare(place, &ends, &look.expect, scene);
        Ok(())
    }

    fn recall(&mut self, by: &str, recall: &Recall, scene: &Scene) -> Result<()> {
        let place = self.names.packet(&recall.packet)?;
        let id = self.sent.get(place).map(|sent| sent.id);
        let request = json!({ "packet": id, "reason": recall.reason });
        self.local(by)?.must("POST", "/v1/recalls", Some(&request))?;
        let ends = self.until(place, &recall.expect)?;
        self.again("recall", place);
        self.compare(place, &ends, &recall.expect, scene);
        Ok(())
    }

    fn again(&self, line: &str, place: usize) {
        if let Some(sent) = self.sent.get(place) {
            let who = self.stage.story().agency(&sent.sender);
            self.tale.did(
                &self.tale.line(line, &[("title", &sent.title), ("who", &who)]),
                None,
            );
        }
    }

    /// Waits until a packet is as expected; what is known of it then, or at the end of the wait.
    fn until(&mut self, place: usize, expect: &[Expect]) -> Result<Vec<End>> {
        let began = std::time::Instant::now();
        loop {
            let ends = self.known(place, false)?;
            let so = rows(&ends, expect).iter().all(|(_, differs)| differs.is_none());
            if so || began.elapsed().as_secs() >= DECIDED_MAX_SECONDS {
                return Ok(ends);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Compares what came of a packet with what was promised, and tells it.
    fn compare(&mut self, place: usize, ends: &[End], expect: &[Expect], scene: &Scene) {
        let Some(sent) = self.sent.get(place) else { return };
        let story = self.stage.story();
        let mut lines = Vec::new();
        for (end, differs) in rows(ends, expect) {
            let part = sent.parts.get(end.part.saturating_sub(1));
            let category = part.map_or("", |part| part.category.as_str());
            lines.push(Line {
                differs: differs.clone(),
                who: story.agency(&end.to),
                what: self.tale.category(category),
                came: self.tale.outcome(&end.outcome, &end.reason),
            });
            self.wrong += usize::from(differs.is_some());
            self.events.push(json!({
                "step": scene.number, "packet": sent.title, "packet_id": sent.id, "case": sent.case, "sender": sent.sender,
                "recipient": end.to, "part": end.part, "file": part.map(|p| &p.file), "category": category,
                "outcome": end.outcome, "reason": end.reason, "obligations": end.obligations,
                "sentence": self.tale.reason(&end.reason), "as_promised": differs.is_none(), "differs": differs,
            }));
        }
        self.tale.came(&lines);
    }

    /// A repeated step: all statements, or all packets at once and then what came of them, counted.
    fn many(&mut self, all: &Step, steps: &[Step], scene: &Scene) -> Result<()> {
        let (mut places, mut differing) = (Vec::new(), None);
        for step in steps {
            match &step.act {
                Act::State(statement) => differing = differing.or(self.state(&step.by, statement)?.1),
                Act::Send(packet) => match self.hand_in(&step.by, packet)? {
                    Ok(place) => places.push(place),
                    Err(answer) => differing = Some(format!("taken by the agent; it says {answer}")),
                },
                _ => return Err(Problem::new("only statements and packets can be repeated")),
            }
        }
        let (count, who) = (steps.len().to_string(), self.stage.story().agency(&all.by));
        match &all.act {
            Act::State(statement) => {
                let words = self.stated(&all.by, statement);
                let words = self
                    .tale
                    .line("many_statements", &[("count", &count), ("what", &words)]);
                self.did(scene, &words, differing);
            }
            Act::Send(packet) => {
                let blanks = [("who", who.as_str()), ("count", &count), ("title", &packet.title)];
                self.did(scene, &self.tale.line("many", &blanks), differing);
                self.count(&places, scene)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts what came of many packets, and compares.
    fn count(&mut self, places: &[usize], scene: &Scene) -> Result<()> {
        let mut found: BTreeMap<(String, String), usize> = BTreeMap::new();
        for place in places {
            for end in self.known(*place, true)? {
                *found.entry((end.outcome, end.reason)).or_default() += 1;
            }
        }
        let wanted = |count: &Count| ((count.outcome.clone(), count.reason.clone()), count.number);
        let wanted: BTreeMap<_, _> = scene.counts.iter().map(wanted).collect();
        let keys: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).cloned().collect();
        let mut lines = Vec::new();
        for (outcome, reason) in keys {
            let key = (outcome, reason);
            let (number, promised) = (
                found.get(&key).copied().unwrap_or(0),
                wanted.get(&key).copied().unwrap_or(0),
            );
            let differs = (number != promised).then(|| format!("{promised}"));
            let came = self.tale.outcome(&key.0, &key.1);
            let blanks = [("count", number.to_string()), ("outcome", came)];
            let text = self.tale.line(
                "times",
                &blanks.each_ref().map(|(name, value)| (*name, value.as_str())),
            );
            self.wrong += usize::from(differs.is_some());
            self.events.push(json!({
                "step": scene.number, "outcome": key.0, "reason": key.1, "number": number,
                "as_promised": differs.is_none(), "differs": differs,
            }));
            lines.push(Line {
                differs,
                who: String::new(),
                what: String::new(),
                came: text,
            });
        }
        self.tale.came(&lines);
        Ok(())
    }
}

/// Each outcome with what differs from what was expected; what is expected and is not there stands at the end.
fn rows(ends: &[End], expect: &[Expect]) -> Vec<(End, Option<String>)> {
    let of = |end: &End| expect.iter().find(|e| e.part == end.part && e.to == end.to);
    let mut rows: Vec<(End, Option<String>)> = ends
        .iter()
        .map(|end| {
            (
                end.clone(),
                of(end).map_or_else(|| Some("nothing is said of it".to_owned()), |e| differs(end, e)),
            )
        })
        .collect();
    let missing = expect
        .iter()
        .filter(|e| !ends.iter().any(|end| e.part == end.part && e.to == end.to));
    rows.extend(missing.map(|e| {
        let end = End {
            to: e.to.clone(),
            part: e.part,
            ..End::default()
        };
        (end, Some(format!("{} [{}]", e.outcome, e.reason)))
    }));
    rows
}

fn differs(end: &End, expect: &Expect) -> Option<String> {
    if end.outcome != expect.outcome || end.reason != expect.reason {
        return Some(format!("{} [{}]", expect.outcome, expect.reason));
    }
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    let wanted = expect.obligations.as_deref().map(sorted)?;
    (wanted != sorted(&end.obligations)).then(|| {
        format!(
            "obligations {}; there are {}",
            wanted.join(", "),
            end.obligations.join(", ")
        )
    })
}

/// The outcomes in a record of the sender's agent.
pub fn ends(record: &Value) -> Result<Vec<End>> {
    let parts: Vec<&str> = list(record, "parts")
        .iter()
        .map(|part| field(part, "part"))
        .collect();
    let one = |outcome: &Value| {
        let part = parts.iter().position(|part| *part == field(outcome, "part"));
        Ok(End {
            to: field(outcome, "recipient").to_owned(),
            part: 1 + part.ok_or_else(|| Problem::new("an outcome of no part"))?,
            outcome: field(outcome, "state").to_owned(),
            reason: field(outcome, "reason").to_owned(),
            obligations: list(outcome, "obligations")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            own: outcome.get("own") == Some(&Value::Bool(true)),
        })
    };
    list(record, "outcomes").iter().map(one).collect()
}

//! The checks that a story asks for, from outside: what agencies hold and are shown, what the broker tells
//! its admin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{LOOK_EVERY, Play};
use crate::demo::local::{field, list};
use crate::demo::problem::{Problem, Result};
use crate::demo::step::{Check, Disclosed};
use crate::demo::story::{Count, Moment, minute};

/// What an agent says of a part that it has destroyed.
const DESTROYED: &str = "PART_DESTROYED";
/// Longest wait until it is.
const DESTROYED_MAX: Duration = Duration::from_secs(60);

type Checked = Result<(String, Option<String>)>;

impl Play<'_> {
    /// Makes a check: what was checked, in words, and what differs.
    pub(super) fn check(&mut self, check: &Check) -> Checked {
        match check {
            Check::InboxNever { agencies, category } => self.inbox_never(agencies, category),
            Check::Destroyed {
                packet,
                part,
                agencies,
            } => self.destroyed(packet, *part, agencies),
            Check::Measure {
                case,
                agencies,
                measure,
                until_day,
                until_time,
            } => {
                let until = Moment {
                    day: *until_day,
                    minute: minute(until_time)?,
                };
                self.measure(case, agencies, measure, until)
            }
            Check::Overdue { counts } => self.overdue(counts),
            Check::Disclosures {
                case,
                subject,
                expect,
            } => self.disclosures(case, subject, expect),
        }
    }

    fn agencies(&self, ids: &[String]) -> String {
        let story = self.stage.story();
        ids.iter()
            .map(|id| story.agency(id))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn inbox_never(&self, agencies: &[String], category: &str) -> Checked {
        let mut differs = None;
        for agency in agencies {
            let local = self.local(agency)?;
            let inbox = local.must("GET", "/v1/inbox", None)?;
            let parts = inbox
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|delivery| list(delivery, "parts"));
            if parts.clone().any(|part| field(part, "category") == category) {
                differs = Some(format!("{agency} has it"));
            }
            let quarantine = local.must("GET", "/v1/quarantine", None)?;
            if quarantine.as_array().is_none_or(|kept| !kept.is_empty()) {
                differs = Some(format!("{agency} has something in quarantine"));
            }
        }
        let blanks = [
            ("agencies", self.agencies(agencies)),
            ("category", self.tale.category(category)),
        ];
        Ok((
            self.tale
                .check("inbox-never", &blanks.each_ref().map(|(n, v)| (*n, v.as_str()))),
            differs,
        ))
    }

    /// Each agency's agent has destroyed the part, or does so soon: its time was over before.
    fn destroyed(&mut self, packet: &str, part: usize, agencies: &[String]) -> Checked {
        let sent = self.sent.get(self.names.packet(packet)?);
        let sent = sent.ok_or_else(|| Problem::new("no such packet"))?;
        let of = sent.parts.get(part.saturating_sub(1));
        let of = of.ok_or_else(|| Problem::new("no such part"))?;
        let out = self.stage.folder().join("destroyed");
        let request = json!({ "packet": sent.id, "part": of.id, "out": out });
        let (title, began) = (of.title.clone(), Instant::now());
        let mut differs = None;
        for agency in agencies {
            let local = self.local(agency)?;
            differs = loop {
                let (_, said) = local.ask("POST", "/v1/inbox/open", Some(&request))?;
                if field(&said, "code") == DESTROYED {
                    break differs;
                }
                std::fs::remove_file(&out).ok();
                if began.elapsed() > DESTROYED_MAX {
                    break Some(format!("{agency} has destroyed it; it says {said}"));
                }
                std::thread::sleep(LOOK_EVERY);
            };
        }
        let blanks = [("agencies", self.agencies(agencies)), ("title", title)];
        Ok((
            self.tale
                .check("destroyed", &blanks.each_ref().map(|(n, v)| (*n, v.as_str()))),
            differs,
        ))
    }

    /// Each agency is shown one measure in force: this one, with this end.
    fn measure(&mut self, case: &str, agencies: &[String], name: &str, until: Moment) -> Checked {
        let wanted = (
            self.names.statement(name)?,
            Some(self.stage.time().at(until).millis()),
        );
        let (case, now) = (self.names.case(case), self.stage.now().millis());
        let mut differs = None;
        for agency in agencies {
            let facts = self
                .local(agency)?
                .must("GET", &format!("/v1/facts/{case}"), None)?;
            let shown = in_force(list(&facts, "facts"), now);
            if shown != [wanted.clone()] {
                differs = Some(format!("only {wanted:?}; {agency} is shown {shown:?}"));
            }
        }
        let end = self.tale.line(
            "moment",
            &[("day", &until.day.to_string()), ("time", &clock(until))],
        );
        let blanks = [
            ("agencies", self.agencies(agencies)),
            ("until", end.to_lowercase()),
        ];
        Ok((
            self.tale
                .check("measure", &blanks.each_ref().map(|(n, v)| (*n, v.as_str()))),
            differs,
        ))
    }

    fn overdue(&self, counts: &[Count]) -> Checked {
        let said = self.stage.ask_broker(&["overdue", "--json"])?;
        let number = |kind: &str| said.pointer(&format!("/counts/{kind}")).and_then(Value::as_u64);
        let wrong = counts
            .iter()
            .find(|count| number(&count.outcome) != Some(count.number as u64));
        let differs = wrong.map(|count| format!("{} {}; it says {said}", count.number, count.outcome));
        let kinds: Vec<_> = counts
            .iter()
            .map(|c| format!("{} {}", c.number, self.tale.overdue(&c.outcome)))
            .collect();
        Ok((
            self.tale.check("overdue", &[("what", &kinds.join(", "))]),
            differs,
        ))
    }

    fn disclosures(&mut self, case: &str, subject: &str, expect: &[Disclosed]) -> Checked {
        let person = self.names.person(case, subject).to_string();
        let reference = self.names.case(case).to_string();
        let words = [
            "disclosures",
            "--json",
            "--case",
            &reference,
            "--subject",
            &person,
        ];
        let said = self.stage.ask_broker(&words)?;
        let row = |row: &Value| Disclosed {
            to: field(row, "recipient").to_owned(),
            category: field(row, "category").to_owned(),
            reason: field(row, "reason").to_owned(),
        };
        let rows: Vec<_> = list(&said, "disclosures")
            .iter()
            .map(|said| (field(said, "packet"), row(said)))
            .collect();
        let differs = (!in_order(&rows, expect)).then(|| format!("{expect:?}; there are {rows:?}"));
        let blanks = [
            ("case", case),
            ("subject", subject),
            ("count", &expect.len().to_string()),
        ];
        Ok((self.tale.check("disclosures", &blanks), differs))
    }
}

/// Whether the rows are those expected, in their order; rows of one packet have none among themselves.
fn in_order(rows: &[(&str, Disclosed)], expect: &[Disclosed]) -> bool {
    let sorted = |mut rows: Vec<Disclosed>| {
        rows.sort();
        rows
    };
    let mut rest = expect;
    rows.len() == expect.len()
        && rows.chunk_by(|a, b| a.0 == b.0).all(|same| {
            let (now, later) = rest.split_at(same.len().min(rest.len()));
            rest = later;
            sorted(now.to_vec()) == sorted(same.iter().map(|(_, row)| row.clone()).collect())
        })
}

fn clock(moment: Moment) -> String {
    format!("{:02}:{:02}", moment.minute / 60, moment.minute % 60)
}

/// The measures that are in force by these facts, with their ends.
fn in_force(facts: &[Value], now: i64) -> Vec<(String, Option<i64>)> {
    let mut measures: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for fact in facts {
        let says = |name: &str| fact.pointer(&format!("/says/{name}"));
        let until = says("until_ms").and_then(Value::as_i64);
        let of = || {
            says("measure")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match field(fact, "kind") {
            "MeasureImposed" => drop(measures.insert(field(fact, "statement").to_owned(), until)),
            "MeasureExtended" => drop(measures.insert(of(), until)),
            "MeasureLifted" => drop(measures.remove(&of())),
            _ => {}
        }
    }
    measures
        .into_iter()
        .filter(|(_, until)| until.is_none_or(|until| until > now))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_packet_have_no_order_and_those_of_two_have() {
        let row = |to: &str| Disclosed {
            to: to.to_owned(),
            category: "identity".to_owned(),
            reason: "OK_CONSENT".to_owned(),
        };
        let rows = [("one", row("a")), ("one", row("b")), ("two", row("c"))];
        let expect = |names: &[&str]| names.iter().map(|name| row(name)).collect::<Vec<_>>();
        assert!(in_order(&rows, &expect(&["a", "b", "c"])) && in_order(&rows, &expect(&["b", "a", "c"])));
        for other in [
            &["a", "c", "b"][..],
            &["a", "b"],
            &["a", "a", "c"],
            &["a", "b", "c", "c"],
        ] {
            assert!(!in_order(&rows, &expect(other)), "{other:?}");
        }
    }
}

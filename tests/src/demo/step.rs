//! One thing that happens in a story: a statement, a packet, a look at one, a recall, a check.

use serde::Deserialize;

use super::problem::{Problem, Result};
use super::story::{Count, Fields};

/// What is done, and by whom.
#[derive(Clone, Debug)]
pub struct Step {
    /// The agency that does it; empty for looks and checks.
    pub by: String,
    /// What it does.
    pub act: Act,
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    /// Makes a statement.
    State(Statement),
    /// Sends a packet.
    Send(Box<Packet>),
    /// Looks at a packet again.
    Look(Look),
    /// Takes a packet back.
    Recall(Recall),
    /// Checks something from outside.
    Check(Check),
    /// Processes stop, or start again.
    Outage(Outage),
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Kind, as in the agent's API.
    pub kind: String,
    /// Its case, by the story's name.
    pub case: String,
    /// The name that later steps call it by.
    pub name: Option<String>,
    /// The code with which it must be refused; none: it must be accepted.
    pub refused: Option<String>,
    /// Its own fields, with the story's names.
    pub fields: Fields,
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Title.
    pub title: String,
    /// The name that later steps call it by.
    pub name: Option<String>,
    /// Case, by the story's name.
    pub case: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Purpose code.
    pub purpose: String,
    /// Legal basis code.
    pub basis: String,
    /// Urgency code.
    pub urgency: String,
    /// Life in hours.
    pub expires_hours: Option<u32>,
    /// Names of what it refers to.
    pub refers: Refers,
    /// Conditions of the right to report.
    pub report: Option<Report>,
    /// The emergency.
    pub emergency: Option<Emergency>,
    /// The documents.
    pub parts: Vec<Part>,
    /// What must come of it.
    pub expect: Vec<Expect>,
}

/// Names of statements and packets that a packet refers to.
#[derive(Clone, Debug, Default)]
pub struct Refers {
    /// A consultation.
    pub consultation: Option<String>,
    /// A mandate.
    pub mandate: Option<String>,
    /// A measure.
    pub measure: Option<String>,
    /// The packet that it answers.
    pub in_reply_to: Option<String>,
}

/// Conditions of the right to report.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Class of victim.
    pub victim_class: String,
    /// Kind of danger.
    pub danger: String,
    /// The reporter cannot protect the victim otherwise.
    pub cannot_protect_otherwise: bool,
}

/// An emergency.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    /// Function of who broke the glass.
    pub actor: String,
    /// Roles in danger.
    pub danger_to: Vec<String>,
    /// The reviewing agency.
    pub reviewer: String,
    /// Review due, in hours.
    pub review_by_hours: i64,
    /// Why.
    pub justification: String,
}

/// A document and what is said of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Category code.
    pub category: String,
    /// File among the story's documents.
    pub file: String,
    /// Title inside the seal; the packet's unless given.
    #[serde(default)]
    pub title: Option<String>,
    /// Whom it is about: NAME:ROLE:AGE.
    #[serde(default)]
    pub about: Vec<String>,
    /// Secrecy of its source.
    #[serde(default)]
    pub secrecy: Option<String>,
    /// Name of the release.
    #[serde(default)]
    pub release: Option<String>,
    /// Name of the measure that it reports on.
    #[serde(default)]
    pub measure: Option<String>,
    /// Judged relevant.
    #[serde(default)]
    pub relevant: Option<bool>,
    /// Names were replaced.
    #[serde(default)]
    pub pseudonymous: bool,
    /// Its recipients; empty: all of the packet's.
    #[serde(default)]
    pub to: Vec<String>,
}

/// What must come of one part for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Which part, from 1.
    #[serde(default = "first")]
    pub part: usize,
    /// The recipient.
    pub to: String,
    /// How it ends, in the agent's word.
    pub outcome: String,
    /// Reason code.
    #[serde(default)]
    pub reason: String,
    /// The obligations, all of them; none: not looked at.
    #[serde(default)]
    pub obligations: Option<Vec<String>>,
}

const fn first() -> usize {
    1
}

/// A later look at a packet.
#[derive(Clone, Debug)]
pub struct Look {
    /// The packet's name.
    pub packet: String,
    /// What must have come of it.
    pub expect: Vec<Expect>,
    /// The broker refused it for its roster, and the sender sealed it anew.
    pub sealed_anew: bool,
}

/// An outage, or its end.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Whose process: an agency, or `broker`.
    pub whose: Vec<String>,
    /// They start again.
    pub over: bool,
}

/// Taking back.
#[derive(Clone, Debug)]
pub struct Recall {
    /// The packet's name.
    pub packet: String,
    /// Why.
    pub reason: String,
    /// What must come of it.
    pub expect: Vec<Expect>,
}

/// A check from outside.
#[derive(Clone, Debug)]
pub enum Check {
    /// None of these agencies ever had a part of this category.
    InboxNever {
        /// The agencies.
        agencies: Vec<String>,
        /// Category code.
        category: String,
    },
    /// Each of these agencies has destroyed this part that came to it, as an obligation said.
    Destroyed {
        /// The packet's name.
        packet: String,
        /// Which part, from 1.
        part: usize,
        /// The agencies.
        agencies: Vec<String>,
    },
    /// Each of these agencies is shown exactly this measure in force, with this end.
    Measure {
        /// Case, by the story's name.
        case: String,
        /// The agencies.
        agencies: Vec<String>,
        /// The measure's name.
        measure: String,
        /// Its end: day.
        until_day: i64,
        /// Its end: time.
        until_time: String,
    },
    /// What the broker's deadline monitor says.
    Overdue {
        /// How many of each kind.
        counts: Vec<Count>,
    },
    /// Who received what about a person.
    Disclosures {
        /// Case, by the story's name.
        case: String,
        /// The person, by the story's name.
        subject: String,
        /// The rows, in order of time.
        expect: Vec<Disclosed>,
    },
}

/// One row of a list of disclosures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosed {
    /// The recipient.
    pub to: String,
    /// Category code.
    pub category: String,
    /// Reason code.
    pub reason: String,
}

impl Step {
    /// Reads what is left of a `[[step]]` once moment and repetition are taken.
    pub fn read(mut fields: Fields, counts: &[Count]) -> Result<Self> {
        let by = fields.take("by")?;
        let verbs = ["state", "send", "look", "recall", "check", "stop", "start"];
        let found: Vec<&str> = verbs
            .into_iter()
            .filter(|verb| fields.0.contains_key(*verb))
            .collect();
        let [verb] = found.as_slice() else {
            return Err(Problem::new(format!("needs exactly one of {}", verbs.join(", "))));
        };
        let acts = ["state", "send", "recall"].contains(verb);
        let by: String = match (acts, by) {
            (true, None) => return Err(Problem::new("`by` is missing: who does it?")),
            (false, Some(_)) => return Err(Problem::new("`by` is not known here")),
            (_, by) => by.unwrap_or_default(),
        };
        let act = match *verb {
            "state" => Act::State(statement(fields)?),
            "send" => Act::Send(Box::new(packet(fields)?)),
            "look" => {
                let (packet, expect) = (fields.must("look")?, fields.must("expect")?);
                let sealed_anew = fields.take("sealed_anew")?.unwrap_or_default();
                fields.end()?;
                Act::Look(Look {
                    packet,
                    expect,
                    sealed_anew,
                })
            }
            "recall" => {
                let (packet, reason) = (fields.must("recall")?, fields.must("reason")?);
                let expect = fields.must("expect")?;
                fields.end()?;
                Act::Recall(Recall {
                    packet,
                    reason,
                    expect,
                })
            }
            "stop" | "start" => {
                let whose = fields.must(verb)?;
                fields.end()?;
                Act::Outage(Outage {
                    whose,
                    over: *verb == "start",
                })
            }
            _ => Act::Check(check(fields, counts)?),
        };
        Ok(Self { by, act })
    }
}

fn statement(mut fields: Fields) -> Result<Statement> {
    let case = fields.must::<String>("case")?;
    fields.0.insert("case".to_owned(), case.clone().into());
    Ok(Statement {
        kind: fields.must("state")?,
        case,
        name: fields.take("as")?,
        refused: fields.take("refused")?,
        fields,
    })
}

fn packet(mut fields: Fields) -> Result<Packet> {
    let packet = Packet {
        title: fields.must("send")?,
        name: fields.take("as")?,
        case: fields.must("case")?,
        to: fields.must("to")?,
        purpose: fields.must("purpose")?,
        basis: fields.must("basis")?,
        urgency: fields.take("urgency")?.unwrap_or_else(|| "routine".to_owned()),
        expires_hours: fields.take("expires_hours")?,
        refers: Refers {
            consultation: fields.take("consultation")?,
            mandate: fields.take("mandate")?,
            measure: fields.take("measure")?,
            in_reply_to: fields.take("in_reply_to")?,
        },
        report: fields.take("report")?,
        emergency: fields.take("emergency")?,
        parts: fields.must("parts")?,
        expect: fields.take("expect")?.unwrap_or_default(),
    };
    fields.end()?;
    Ok(packet)
}

fn check(mut fields: Fields, counts: &[Count]) -> Result<Check> {
    let kind: String = fields.must("check")?;
    let check = match kind.as_str() {
        "inbox-never" => Check::InboxNever {
            agencies: fields.must("agencies")?,
            category: fields.must("category")?,
        },
        "destroyed" => Check::Destroyed {
            packet: fields.must("packet")?,
            part: fields.take("part")?.unwrap_or_else(first),
            agencies: fields.must("agencies")?,
        },
        "measure" => Check::Measure {
            case: fields.must("case")?,
            agencies: fields.must("agencies")?,
            measure: fields.must("measure")?,
            until_day: fields.must("until_day")?,
            until_time: fields.take("until_time")?.unwrap_or_else(|| "00:00".to_owned()),
        },
        "overdue" if !counts.is_empty() => Check::Overdue {
            counts: counts.to_vec(),
        },
        "overdue" => return Err(Problem::new("`counts` is missing")),
        "disclosures" => Check::Disclosures {
            case: fields.must("case")?,
            subject: fields.must("subject")?,
            expect: fields.must("expect")?,
        },
        _ => {
            let known = "inbox-never, destroyed, measure, overdue, disclosures";
            return Err(Problem::new(format!("check \"{kind}\" is not one of {known}")));
        }
    };
    fields.end()?;
    Ok(check)
}

//! A decision in sentences: outcome, rule, legal ground of the day, obligations, and what would change it.
//! What would change it is found by asking again with one fact supposed, never by reading rules.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::suppose::Refused;
use crate::facts::{CaseState, Consultation, Participant};
use crate::question::{BreakGlass, Consent, Party, ReceiveQuestion, Release, Scope};
use crate::ruling::Ruling;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A policy officer: everything.
    Officer,
    /// The sending agency: reason, obligations, what would change it; no rule ids.
    Sender,
    /// The receiving agency: only what it receives; of the rest, nothing, not even that it exists.
    Recipient,
}

impl Audience {
    /// From its word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "officer" => Some(Self::Officer),
            "sender" => Some(Self::Sender),
            "recipient" => Some(Self::Recipient),
            _ => None,
        }
    }
}

/// A fact that can be supposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supposed {
    /// A valid consent of every subject.
    Consent,
    /// The packet saw the present roster.
    Roster,
    /// Sender and recipient take part in the case.
    Seats,
    /// The case is open.
    Open,
    /// The prosecutor released the content to this recipient.
    Release,
    /// Shared at a valid table that both signed.
    Table,
    /// A complete emergency record.
    Emergency,
}

impl Supposed {
    /// All, in the order they are offered.
    pub const ALL: [Self; 7] = [
        Self::Roster,
        Self::Seats,
        Self::Open,
        Self::Consent,
        Self::Release,
        Self::Table,
        Self::Emergency,
    ];

    /// Key of the phrase in the bundle's texts.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Consent => "hint-consent",
            Self::Roster => "hint-roster",
            Self::Seats => "hint-seats",
            Self::Open => "hint-open",
            Self::Release => "hint-release",
            Self::Table => "hint-table",
            Self::Emergency => "hint-emergency",
        }
    }

    /// The same question with this one fact changed.
    pub fn suppose(self, question: &ReceiveQuestion) -> ReceiveQuestion {
        let mut asked = question.clone();
        self.change(&mut asked);
        asked
    }

    fn change(self, asked: &mut ReceiveQuestion) {
        match self {
            Self::Consent => {
                // Each person is named, so that each consent is somebody's.
                for (n, subject) in asked.part.subjects.iter_mut().enumerate() {
                    subject.reference.get_or_insert_with(|| format!("supposed-{n}"));
                }
                asked.consents = consents(asked);
            }
            Self::Roster => asked.roster_version_seen = Some(asked.case.roster_version),
            Self::Seats => seat(Arc::make_mut(&mut asked.case), [&asked.sender, &asked.recipient]),
            Self::Open => Arc::make_mut(&mut asked.case).status = "open".into(),
            Self::Release => {
                let scope = vec![asked.recipient.id.clone()];
                asked.part.release = Some(Release {
                    by_role: "prosecutor".to_owned(),
                    scope,
                });
            }
            Self::Table => {
                asked.legal_basis = "consultation".to_owned();
                Arc::make_mut(&mut asked.case).consultation = Some(Box::new(Consultation {
                    id: String::new(),
                    basis: "law".to_owned(),
                    status: "active".to_owned(),
                    valid_until: None,
                    finality: "protect_integrity".to_owned(),
                    signed_by: vec![asked.sender.id.clone(), asked.recipient.id.clone()],
                }));
            }
            Self::Emergency => {
                asked.legal_basis = "emergency".to_owned();
                asked.urgency = "immediate".to_owned();
                asked.break_glass = Some(BreakGlass {
                    actor: "supposed".to_owned(),
                    justification_chars: 20,
                    danger_to: vec!["victim".to_owned()],
                    reviewer: "supposed".to_owned(),
                    review_by: Some(asked.now),
                });
            }
        }
    }

    /// What `change` changed is again as it is in the question; nothing else is made anew.
    fn undo(self, asked: &mut ReceiveQuestion, question: &ReceiveQuestion) {
        match self {
            Self::Consent => {
                asked.part.subjects.clone_from(&question.part.subjects);
                asked.consents.clone_from(&question.consents);
            }
            Self::Roster => asked.roster_version_seen = question.roster_version_seen,
            Self::Seats | Self::Open => asked.case = Arc::clone(&question.case),
            Self::Release => asked.part.release.clone_from(&question.part.release),
            Self::Table => {
                asked.legal_basis.clone_from(&question.legal_basis);
                asked.case = Arc::clone(&question.case);
            }
            Self::Emergency => {
                asked.legal_basis.clone_from(&question.legal_basis);
                asked.urgency.clone_from(&question.urgency);
                asked.break_glass.clone_from(&question.break_glass);
            }
        }
    }

    /// The one fact of the policies that it changes, if it changes one only.
    const fn fact(self) -> Option<&'static str> {
        match self {
            Self::Roster => Some("roster_version_seen"),
            Self::Consent => Some("consent"),
            Self::Release => Some("release"),
            Self::Seats | Self::Open | Self::Table | Self::Emergency => None,
        }
    }

    /// Whether the fact is already as supposed, so that the answer is the one already given.
    fn holds(self, question: &ReceiveQuestion) -> bool {
        let case = &question.case;
        let seated = |party: &Party| {
            case.participant(&party.id).is_some_and(|seat| {
                let role = seat.role.as_ref();
                seat.status == "active"
                    && (seat.from, seat.until) == (None, None)
                    && role.is_none_or(|role| *role == party.role)
            })
        };
        match self {
            Self::Roster => question.roster_version_seen == Some(case.roster_version),
            Self::Seats => seated(&question.sender) && seated(&question.recipient),
            Self::Open => case.status == "open",
            Self::Consent | Self::Release | Self::Table | Self::Emergency => false,
        }
    }
}

fn seat(case: &mut CaseState, parties: [&Party; 2]) {
    for party in parties {
        let flagged = case.entries(&party.id).any(|p| p.perp_side);
        case.participants.retain(|p| p.id != party.id);
        case.participants.push(Participant {
            id: party.id.as_str().into(),
            status: "active".into(),
            perp_side: flagged,
            ..Participant::default()
        });
    }
}

fn consents(question: &ReceiveQuestion) -> Vec<Consent> {
    let of = |subject: &crate::question::Subject| {
        let child = subject.age_class != "adult";
        let guardian = if subject.role == "victim" {
            "child"
        } else {
            "victim"
        };
        Consent {
            subject: subject.role.clone(),
            subject_reference: subject.reference.clone(),
            given_by: if child {
                guardian.to_owned()
            } else {
                subject.role.clone()
            },
            capacity: if child { "guardian" } else { "self" }.to_owned(),
            status: "given".to_owned(),
            scope: Scope {
                categories: vec![question.part.category.clone()],
                recipients: vec![question.recipient.id.clone()],
                purposes: vec![question.purpose.clone()],
            },
            informed: true,
            form: "written".to_owned(),
            expires_at: None,
            minor_cosign: true,
            parents_cosign: true,
        }
    };
    let nobody = crate::question::Subject {
        role: "victim".to_owned(),
        age_class: "adult".to_owned(),
        reference: None,
    };
    let subjects = question.part.subjects.iter();
    if subjects.len() == 0 {
        vec![of(&nobody)]
    } else {
        subjects.map(of).collect()
    }
}

/// A decision in sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    ruling: Ruling,
    audience: Audience,
    outcome: String,
    reason: String,
    /// Rule ids with sentence and ground; for officers.
    rules: Vec<(String, String, String)>,
    ground: Option<String>,
    obligations: Vec<String>,
    hints: Vec<String>,
    words: [String; 3],
}

/// Decides and explains. `None`: the bundle does not speak the language.
pub fn explain(
    engine: &Engine,
    question: &ReceiveQuestion,
    language: &str,
    audience: Audience,
) -> Option<Explanation> {
    let bundle = engine.bundle();
    let texts = bundle.texts();
    let speech = texts.language(language)?;
    let ruling = engine.receive(question);
    let phrase = |key: &str| speech.phrase.get(key).cloned().unwrap_or_default();
    let mut rules = Vec::new();
    for id in ruling.policies() {
        if let Some((sentence, key)) = bundle.policy_text(id, language) {
            let cite = texts.cite(key, question.now).unwrap_or(key).to_owned();
            let cite = bundle
                .cell_ground(id, language)
                .map_or(cite.clone(), |cell| format!("{cite}; {cell}"));
            rules.push((id.clone(), sentence.to_owned(), cite));
        }
    }
    let mut hints = Vec::new();
    let hidden = audience == Audience::Recipient && !ruling.delivers();
    if !ruling.delivers() && !hidden {
        let refused = Refused::new(engine, question);
        let open = Supposed::ALL
            .into_iter()
            .filter(|supposed| !supposed.holds(question));
        let mut asked = question.clone();
        for supposed in open {
            supposed.change(&mut asked);
            if refused.would_deliver(&asked, supposed.fact()) {
                hints.push(phrase(supposed.phrase()));
            }
            supposed.undo(&mut asked, question);
        }
    }
    Some(Explanation {
        outcome: speech
            .outcome
            .get(ruling.outcome().as_str())
            .cloned()
            .unwrap_or_default(),
        reason: speech.reason.get(ruling.reason()).cloned().unwrap_or_default(),
        ground: rules.first().map(|(_, _, cite)| cite.clone()),
        obligations: ruling
            .obligations()
            .iter()
            .map(|o| speech.obligation(o))
            .collect(),
        hints,
        words: [phrase("ground"), phrase("rule"), phrase("obligations")],
        rules,
        ruling,
        audience,
    })
}

impl Explanation {
    /// The ruling that is explained.
    pub fn ruling(&self) -> &Ruling {
        &self.ruling
    }

    /// What would turn a refusal into a delivery, in sentences.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    fn hidden(&self) -> bool {
        self.audience == Audience::Recipient && !self.ruling.delivers()
    }

    /// For machines; holds no more than the text for the same reader.
    pub fn to_json(&self) -> serde_json::Value {
        if self.hidden() {
            return serde_json::json!({});
        }
        let mut json = serde_json::json!({
            "outcome": self.ruling.outcome().as_str(),
            "reason": self.ruling.reason(),
            "sentence": format!("{} {}", self.outcome, self.reason),
            "ground": self.ground,
            "obligations": self.ruling.obligations(),
            "would_change_it": self.hints,
        });
        if self.audience == Audience::Officer
            && let Some(object) = json.as_object_mut()
        {
            let rules = self
                .rules
                .iter()
                .map(|(id, text, cite)| serde_json::json!({ "id": id, "sentence": text, "ground": cite }));
            object.insert("rules".to_owned(), rules.collect());
            object.insert("alarms".to_owned(), serde_json::json!(self.ruling.alarms()));
        }
        json
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hidden() {
            return Ok(()); // a recipient learns nothing of what it does not get
        }
        let [ground, rule, obligations] = &self.words;
        writeln!(f, "{} {}", self.outcome, self.reason)?;
        if self.audience == Audience::Officer {
            writeln!(f, "{} {}", self.ruling.outcome(), self.ruling.reason())?;
            for (id, sentence, cite) in &self.rules {
                writeln!(f, "{rule} {id}: {sentence} ({cite})")?;
            }
        } else if let Some(cite) = &self.ground {
            writeln!(f, "{ground}: {cite}")?;
        }
        if !self.obligations.is_empty() {
            writeln!(f, "{obligations}: {}", self.obligations.join(" "))?;
        }
        for hint in &self.hints {
            writeln!(f, "{hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;

    #[test]
    fn a_supposition_is_taken_back_whole() {
        let bundle = Bundle::built_in().unwrap();
        let mut changed = 0;
        for (_, case) in bundle.cases().values().flatten() {
            for supposed in Supposed::ALL {
                let mut asked = case.given.clone();
                supposed.change(&mut asked);
                changed += usize::from(asked != case.given);
                supposed.undo(&mut asked, &case.given);
                assert_eq!(asked, case.given, "{} {supposed:?}", case.id);
            }
        }
        assert!(changed > 1_000, "{changed}");
    }
}

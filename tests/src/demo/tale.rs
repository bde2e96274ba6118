//! How a story is told: in its own language, with the agencies' names and the policies' own sentences.

use std::collections::BTreeMap;

use schakel_policy::bundle::Bundle;
use serde::Deserialize;

use super::problem::{Problem, Result};
use super::say::Voice;
use super::story::Moment;
use super::table;

/// The words of one language.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    line: BTreeMap<String, String>,
    statement: BTreeMap<String, String>,
    outcome: BTreeMap<String, String>,
    check: BTreeMap<String, String>,
    overdue: BTreeMap<String, String>,
}

/// What the policies' texts say of a code.
#[derive(Clone, Debug, Default)]
struct Texts {
    reason: BTreeMap<String, String>,
    category: BTreeMap<String, String>,
}

/// A story being told.
#[derive(Clone, Debug)]
pub struct Tale {
    words: Words,
    texts: Texts,
    voice: Voice,
    last: Option<Moment>,
}

/// One line of what came of a packet.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whether it is as promised; else what was.
    pub differs: Option<String>,
    /// Whom or what it concerns.
    pub who: String,
    /// The document.
    pub what: String,
    /// The outcome's word and the reason's sentence.
    pub came: String,
}

impl Tale {
    /// In this language, with the built-in policies' texts.
    pub fn in_language(language: &str, voice: Voice) -> Result<Self> {
        let words = match language {
            "fr" => include_str!("words/fr.toml"),
            _ => include_str!("words/nl.toml"),
        };
        let bundle = Bundle::built_in().map_err(Problem::during("the built-in policies"))?;
        let texts = bundle.texts().language(language).map(|texts| Texts {
            reason: texts.reason.clone(),
            category: texts.category.clone(),
        });
        Ok(Self {
            words: toml::from_str(words).map_err(Problem::during("the words"))?,
            texts: texts.unwrap_or_default(),
            voice,
            last: None,
        })
    }

    /// The head of the story.
    pub fn open(&self, title: &str, opening: &str) {
        self.voice.line(&format!("{title}\n"));
        self.paragraph("", opening);
    }

    /// The moment, if it is another than before.
    pub fn moment(&mut self, moment: Moment) {
        if self.last == Some(moment) {
            return;
        }
        self.last = Some(moment);
        let time = format!("{:02}:{:02}", moment.minute / 60, moment.minute % 60);
        let day = moment.day.to_string();
        self.voice.line(&format!(
            "\n{}",
            self.line("moment", &[("day", &day), ("time", &time)])
        ));
    }

    /// A sentence of the story.
    pub fn tell(&self, text: &str) {
        self.voice.line("");
        self.paragraph("  ", text);
    }

    /// Something that was done or checked; with a mark if it was not as promised.
    pub fn did(&self, text: &str, differs: Option<&str>) {
        let mark = if differs.is_none() { "·" } else { "✗" };
        self.paragraph(&format!("  {mark} "), text);
        if let Some(differs) = differs {
            self.paragraph("      EXPECTED otherwise: ", differs);
        }
    }

    /// What came of something, line by line.
    pub fn came(&self, lines: &[Line]) {
        let row = |line: &Line| {
            let mark = if line.differs.is_none() {
                "    ✓"
            } else {
                "    ✗"
            };
            let expected = line
                .differs
                .as_ref()
                .map(|e| format!(" EXPECTED: {e}"))
                .unwrap_or_default();
            vec![
                mark.to_owned(),
                line.who.clone(),
                line.what.clone(),
                format!("{}{expected}", line.came),
            ]
        };
        for lines in table::rows(&lines.iter().map(row).collect::<Vec<_>>()) {
            self.voice.lines(&lines);
        }
    }

    fn paragraph(&self, begin: &str, text: &str) {
        for lines in table::rows(&[vec![begin.to_owned(), text.to_owned()]].map(|row| joined(&row))) {
            self.voice.lines(&lines);
        }
    }

    /// A phrase of the language with its blanks filled in.
    pub fn line(&self, name: &str, blanks: &[(&str, &str)]) -> String {
        filled(self.words.line.get(name), blanks)
    }

    /// A statement in words.
    pub fn statement(&self, kind: &str, blanks: &[(&str, &str)]) -> String {
        filled(self.words.statement.get(kind), blanks)
    }

    /// A check in words.
    pub fn check(&self, kind: &str, blanks: &[(&str, &str)]) -> String {
        filled(self.words.check.get(kind), blanks)
    }

    /// A kind of overdue item in words.
    pub fn overdue(&self, kind: &str) -> String {
        self.words
            .overdue
            .get(kind)
            .cloned()
            .unwrap_or_else(|| kind.to_owned())
    }

    /// A category in words.
    pub fn category(&self, code: &str) -> String {
        self.texts
            .category
            .get(code)
            .cloned()
            .unwrap_or_else(|| code.to_owned())
    }

    /// The sentence for a reason code; empty if there is none.
    pub fn reason(&self, code: &str) -> &str {
        self.texts.reason.get(code).map_or("", String::as_str)
    }

    /// An outcome and its reason in words.
    pub fn outcome(&self, outcome: &str, reason: &str) -> String {
        let word = self.words.outcome.get(outcome).map_or(outcome, String::as_str);
        match (reason, self.reason(reason)) {
            ("", _) => word.to_owned(),
            (code, "") => format!("{word} [{code}]"),
            (code, sentence) => format!("{word}. {sentence} [{code}]"),
        }
    }
}

/// The begin and the text as one row whose text is wrapped beside its begin.
fn joined(row: &[String]) -> Vec<String> {
    match row {
        [begin, text] if begin.is_empty() => vec![text.clone()],
        _ => row.to_vec(),
    }
}

fn filled(phrase: Option<&String>, blanks: &[(&str, &str)]) -> String {
    let mut text = phrase.cloned().unwrap_or_default();
    for (name, value) in blanks {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_the_same_words_and_none_is_left_out() {
        let of = |language| Tale::in_language(language, Voice::quiet()).unwrap();
        let (dutch, french) = (of("nl"), of("fr"));
        let keys = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
        type Part = fn(&Words) -> &BTreeMap<String, String>;
        let maps: [Part; 5] = [
            |w| &w.line,
            |w| &w.statement,
            |w| &w.outcome,
            |w| &w.check,
            |w| &w.overdue,
        ];
        for map in maps {
            assert_eq!(keys(map(&dutch.words)), keys(map(&french.words)));
        }
        assert_eq!(dutch.words.statement.len(), 18);
        assert_ne!(
            dutch.outcome("held", "HOLD_CONSENT_MISSING"),
            french.outcome("held", "HOLD_CONSENT_MISSING")
        );
        assert!(
            french
                .outcome("held", "HOLD_CONSENT_MISSING")
                .ends_with("[HOLD_CONSENT_MISSING]")
        );
    }
}

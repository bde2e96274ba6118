//! The language in which the command line tells what went wrong. Codes are the same in every language; what has no
//! words in it is told in English.

use schakel_proto::words;
use serde_json::Value;

use crate::problem::Problem;

impl Problem {
    /// The same problem, told in another language.
    #[must_use]
    pub fn in_language(mut self, language: &str) -> Self {
        if let Some((sentence, remedy)) = said(&self.code, &self.remedy, language) {
            (self.sentence, self.remedy) = (sentence, remedy);
        }
        self
    }
}

/// Tells every problem within an answer of the daemon in another language.
pub(super) fn translate(answer: &mut Value, language: &str) {
    match answer {
        Value::Array(list) => list.iter_mut().for_each(|one| translate(one, language)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            let told = match (text("code"), text("sentence"), text("remedy")) {
                (Some(code), Some(_), remedy) => said(code, remedy.unwrap_or_default(), language),
                _ => None,
            };
            if let Some((sentence, remedy)) = told {
                fields.insert("sentence".to_owned(), sentence.into());
                fields.insert("remedy".to_owned(), remedy.into());
            }
            fields.values_mut().for_each(|one| translate(one, language));
        }
        _ => {}
    }
}

/// Sentence and remedy: what to do depends on who found the fault, and is kept if there are words for it.
fn said(code: &str, remedy: &str, language: &str) -> Option<(String, String)> {
    // What came in English may name numbers: it is more exact than ours.
    let words = words::of(code, language).filter(|_| language != "en")?;
    // A remedy without words of its own belongs to another finding under this code: all of it stays in English.
    let remedy = words::remedy(remedy, language)?;
    Some((words.sentence.to_owned(), remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_are_told_in_the_language_wherever_they_stand_and_only_once() {
        let problem = Problem::distrust("SIGNATURE_BAD", "the signature does not match").at("manifest");
        let mut answer = json!({ "packets": [{ "refusal": problem }], "code": "x", "state": "refused" });
        translate(&mut answer, "fr");
        let told = answer["packets"][0]["refusal"].clone();
        assert_eq!(told["sentence"], "La signature ne correspond pas");
        assert!(
            told["remedy"]
                .as_str()
                .is_some_and(|text| text.starts_with("Rien n'a été accepté."))
        );
        assert_eq!(
            (&told["code"], &told["place"]),
            (&json!("SIGNATURE_BAD"), &json!("manifest"))
        );
        let mut again = answer.clone();
        translate(&mut again, "fr");
        assert_eq!(again, answer);
        translate(&mut again, "en");
        assert_eq!(again, answer, "English is as it came");
    }

    #[test]
    fn what_has_no_words_stays_as_it_is() {
        let problem = Problem::distrust("NOT_KNOWN_HERE", "something else");
        assert_eq!(problem.clone().in_language("nl"), problem);
        assert_eq!(problem.clone().in_language("xx"), problem);
    }
}

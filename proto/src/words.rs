//! What a refusal says to a person, in Dutch, French and English: what is wrong, where, and what to do. The code is
//! the same in all of them. A code that is not here is told in the English words that came with it.

use crate::defect::{self, Defect};

mod fr;
mod nl;

/// The languages.
pub const LANGUAGES: [&str; 3] = ["nl", "fr", "en"];

const SENDER: &str = defect::SENDER;
const SEAL_ANEW: &str = defect::SEAL_ANEW;
const KEEP: &str = defect::KEEP;
const KEYS: &str = defect::KEYS;
const ORDER: &str =
    "Send the head, then a key packet for each part and recipient, then the data in the order of the head.";
const SHORTER: &str = "Send a shorter part, or ask the broker's operator for its limits.";
const LIST: &str = "Have the network's authority list the key in the directory.";
const NEW_ID: &str = "Give each packet a new id.";
const REASONS: &str =
    "Each recipient's reason code says what stands in the way; change that, then seal anew.";
const COMPARE: &str = "Have the newest checkpoint proved against the one that was seen; if that fails, tell the network's authority.";
const ERASED: &str = "Nothing is added to it any more; open a new case with a new reference.";
const DISTRUST: &str = "Nothing was accepted. Tell the network's authority; both sides are kept as evidence.";

/// Codes of the broker's and the agent's own that a packet may meet, in English.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "KEY_PACKETS_TOO_MANY",
        "There are more session-key packets than parts times recipients",
        ORDER,
    ),
    (
        "FRAMES_OUT_OF_ORDER",
        "The frames of the submission do not come in their order",
        ORDER,
    ),
    (
        "CHUNK_OUT_OF_ORDER",
        "The ciphertext does not come whole and in its order",
        ORDER,
    ),
    (
        "PART_TOO_LONG",
        "A part is longer than this broker takes",
        SHORTER,
    ),
    (
        "UNKNOWN_IDENTITY",
        "No agency in the current directory has this TLS key",
        LIST,
    ),
    ("PACKET_ID_REUSED", "This id is another packet's", NEW_ID),
    ("DENIED", "The rules deny this packet to every recipient", REASONS),
    (
        "DELIVERY_MALFORMED",
        "The delivery does not have the form that it must have",
        DISTRUST,
    ),
    ("DELIVERY_TRUNCATED", "Not all of the delivery came", DISTRUST),
    (
        "OWN_DECISION_DIFFERS",
        "Our own policy engine does not deliver it",
        DISTRUST,
    ),
    (
        "CHECKPOINT_OTHER_HISTORY",
        "The sender saw another history of the log than we were shown",
        DISTRUST,
    ),
    (
        "LOG_FROZEN",
        "The log shows a checkpoint beyond the end of a frozen shard: somebody else has its key",
        DISTRUST,
    ),
    (
        "CHECKPOINT_UNKNOWN",
        "The packet names a checkpoint that is not of this log",
        COMPARE,
    ),
    ("CASE_ERASED", "This case was erased", ERASED),
];

/// A refusal in one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What is wrong, one sentence without full stop.
    pub sentence: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    at: &'static str,
}

impl Words {
    /// All of it in one line: what, where, what to do.
    pub fn line(&self, place: &str) -> String {
        match place {
            "" => format!("{}. {}", self.sentence, self.remedy),
            place => format!("{} ({} {place}). {}", self.sentence, self.at, self.remedy),
        }
    }
}

/// What a code says in a language; none if either is not known here.
pub fn of(code: &str, language: &str) -> Option<Words> {
    let (sentence, remedy) = english(code)?;
    let found = |table: &[(&str, &'static str)], key: &str| {
        table
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, words)| *words)
    };
    let (sentences, remedies, at) = match language {
        "en" => {
            return Some(Words {
                sentence,
                remedy,
                at: "at",
            });
        }
        "nl" => (nl::SENTENCES, nl::REMEDIES, "bij"),
        "fr" => (fr::SENTENCES, fr::REMEDIES, "à"),
        _ => return None,
    };
    Some(Words {
        sentence: found(sentences, code)?,
        remedy: found(remedies, remedy)?,
        at,
    })
}

/// What to do, by its English words; words of the language itself are left as they are.
pub fn remedy(english: &str, language: &str) -> Option<&'static str> {
    let table = match language {
        "nl" => nl::REMEDIES,
        "fr" => fr::REMEDIES,
        _ => return None,
    };
    let found = table
        .iter()
        .find(|(key, words)| *key == english || *words == english);
    found.map(|(_, words)| *words)
}

/// How far a receipt can be relied on: whether enough witnesses cosigned the log that holds it. In English for a language
/// that is not known here.
pub fn standing(witnessed: bool, language: &str) -> &'static str {
    match (witnessed, language) {
        (true, "nl") => "bevestigd door getuigen",
        (false, "nl") => "voorlopig",
        (true, "fr") => "attesté par les témoins",
        (false, "fr") => "provisoire",
        (true, _) => "witnessed",
        (false, _) => "provisional",
    }
}

fn english(code: &str) -> Option<(&'static str, &'static str)> {
    let defect = Defect::ALL.iter().find(|defect| defect.code() == code);
    if let Some(defect) = defect {
        return Some((defect.sentence(), defect.remedy()));
    }
    let other = OTHERS.iter().find(|(known, _, _)| *known == code);
    other.map(|(_, sentence, remedy)| (*sentence, *remedy))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn codes() -> impl Iterator<Item = &'static str> {
        let defects = Defect::ALL.iter().map(|defect| defect.code());
        defects.chain(OTHERS.iter().map(|(code, _, _)| *code))
    }

    #[test]
    fn every_code_has_a_sentence_and_a_remedy_of_its_own_in_every_language() {
        for language in LANGUAGES {
            let mut seen = BTreeSet::new();
            for code in codes() {
                let words = of(code, language).unwrap_or_else(|| panic!("{code} in {language}"));
                assert!(
                    seen.insert(words.sentence),
                    "{language}: two codes say {:?}",
                    words.sentence
                );
                assert!(
                    !words.sentence.ends_with('.') && words.remedy.ends_with('.'),
                    "{code}"
                );
                assert!(words.sentence.len() > 15 && words.remedy.len() > 15, "{code}");
            }
        }
    }

    #[test]
    fn no_language_has_words_for_what_does_not_exist_or_those_of_another() {
        let known: BTreeSet<_> = codes().collect();
        for table in [nl::SENTENCES, fr::SENTENCES] {
            assert_eq!(
                table.iter().map(|(code, _)| *code).collect::<BTreeSet<_>>(),
                known
            );
            assert_eq!(table.len(), known.len());
        }
        for code in codes() {
            let [nl, fr, en] = LANGUAGES.map(|language| of(code, language).map(|w| (w.sentence, w.remedy)));
            assert!(nl != fr && fr != en && nl != en, "{code}");
        }
    }

    #[test]
    fn a_line_says_what_where_and_what_to_do() {
        let line = of("SIGNATURE_BAD", "nl").map(|words| words.line("manifest.signature"));
        let said = "De handtekening klopt niet (bij manifest.signature). De software van de afzender moet verbeterd \
                    worden; zend het niet opnieuw zoals het is.";
        assert_eq!(line.as_deref(), Some(said));
        assert_eq!(of("SIGNATURE_BAD", "de"), None);
        assert_eq!(of("NO_SUCH_CODE", "nl"), None);
    }
}

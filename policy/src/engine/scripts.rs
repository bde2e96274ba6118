//! Letters that look like others. A rule about an agency whose id is written with a Cyrillic `а` concerns nobody,
//! and a character that turns the writing direction lets a file read otherwise than it is: both are findings.
//! Strings that mix scripts are found by Cedar's validator.

use std::collections::HashMap;

use cedar_policy::PolicySet;

use super::rule::Rule;
use super::vocabulary::{FILE, Vocabulary};
use crate::bundle::BundleError;
use crate::places::{line_of, line_with};

const CODE: &str = "BUNDLE_SCRIPT";

/// Characters that nobody sees: direction marks, joiners, separators, a byte order mark.
const fn hidden(c: char) -> bool {
    matches!(
        c,
        '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    )
}

/// The first hidden character of a file.
pub(crate) fn hidden_in(text: &str, file: &str) -> Option<BundleError> {
    let (at, c) = text.char_indices().find(|(_, c)| hidden(*c))?;
    let sentence = format!(
        "the invisible character U+{:04X} lets the text read otherwise than it is",
        u32::from(c)
    );
    Some(BundleError::new(CODE, &sentence, file, line_of(text, at)))
}

/// Names in the schema that hold other characters than ASCII.
pub(crate) fn in_schema(text: &str, vocabulary: &Vocabulary) -> Vec<BundleError> {
    let names = vocabulary.kinds().flat_map(|kind| vocabulary.members(kind));
    names
        .filter(|name| !name.is_ascii())
        .map(|name| BundleError::new(CODE, &sentence(name), FILE, line_with(text, name)))
        .collect()
}

/// Entities in policies whose ids hold other characters than ASCII: no agency and no listed name has such an id.
pub(crate) fn in_policies(set: &PolicySet, rules: &HashMap<String, Rule>) -> Vec<BundleError> {
    let mut found = Vec::new();
    for policy in set.policies().filter(|policy| policy.is_static()) {
        let Some(rule) = rules.get::<str>(policy.id().as_ref()) else {
            continue;
        };
        for uid in policy.entity_literals() {
            let id = uid.id().unescaped();
            if !id.is_ascii() {
                let sentence = format!("{}: {}", rule.id, sentence(id));
                found.push(BundleError::new(CODE, &sentence, &rule.file, rule.line));
            }
        }
    }
    found
}

fn sentence(name: &str) -> String {
    format!(
        "{:?} holds letters that are not ASCII and may look like others",
        name.escape_unicode().to_string()
    )
}

//! What people read: sentences for reasons and obligations in three languages, and the dated table of legal grounds.

use std::collections::{BTreeMap, BTreeSet};

use schakel_proto::time::Timestamp;
use serde::Deserialize;

use crate::bundle::BundleError;
use crate::places::{line_of, line_with};

/// The languages every bundle speaks.
pub const LANGUAGES: [&str; 3] = ["nl", "fr", "en"];
/// The file of legal references in a bundle.
pub const REFERENCES_FILE: &str = "references.toml";

/// Sentences in one language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Outcomes.
    pub outcome: BTreeMap<String, String>,
    /// Reason codes.
    pub reason: BTreeMap<String, String>,
    /// Obligations; of one with a value (`expire-at:…`) the part before the colon, `{}` stands for the value.
    pub obligation: BTreeMap<String, String>,
    /// Hints and the words of an explanation and of the grid.
    pub phrase: BTreeMap<String, String>,
    /// What a cell says, by verdict.
    pub verdict: BTreeMap<String, String>,
    /// Roles of agencies.
    pub role: BTreeMap<String, String>,
    /// Categories of parts.
    pub category: BTreeMap<String, String>,
}

/// One legal reference and the days it holds for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    key: String,
    /// First day, `YYYY-MM-DD`.
    from: Option<String>,
    /// First day on which it no longer holds.
    until: Option<String>,
    cite: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct References {
    reference: Vec<Reference>,
}

/// All texts of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    languages: BTreeMap<String, Language>,
    references: References,
}

/// Phrases that explanations and the grid are built from; every language must have them.
const PHRASES: [&str; 14] = [
    "ground",
    "rule",
    "obligations",
    "hint-consent",
    "hint-roster",
    "hint-seats",
    "hint-open",
    "hint-release",
    "hint-table",
    "hint-emergency",
    "matrix-title",
    "matrix-intro",
    "matrix-category",
    "matrix-grounds",
];

/// What a bundle uses, and so must have a sentence or a name for.
pub(crate) struct Needed<'a> {
    pub(crate) reasons: &'a BTreeSet<String>,
    pub(crate) obligations: &'a BTreeSet<String>,
    pub(crate) outcomes: &'a [&'a str],
    pub(crate) verdicts: &'a [&'a str],
    pub(crate) roles: &'a [String],
    pub(crate) categories: &'a [String],
}

impl Texts {
    /// Reads `texts/*.toml` and `references.toml`.
    pub(crate) fn parse(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, BundleError> {
        let mut texts = Self::default();
        for language in LANGUAGES {
            let file = format!("texts/{language}.toml");
            texts
                .languages
                .insert(language.to_owned(), toml_file(files, &file)?);
        }
        texts.references = toml_file(files, REFERENCES_FILE)?;
        for reference in &texts.references.reference {
            for day in reference.from.iter().chain(&reference.until) {
                if day.parse::<jiff::civil::Date>().is_err() {
                    let line = line_of_text(files, REFERENCES_FILE, day);
                    let sentence = format!("{day:?} is not a day (YYYY-MM-DD)");
                    return Err(BundleError::new("BUNDLE_TEXT", &sentence, REFERENCES_FILE, line));
                }
            }
        }
        Ok(texts)
    }

    /// Codes without a sentence, and grounds without a reference.
    pub(crate) fn findings(&self, needed: &Needed<'_>) -> Vec<BundleError> {
        let mut found = Vec::new();
        for (name, language) in &self.languages {
            let file = format!("texts/{name}.toml");
            let mut need = |kind: &str, key: &str, table: &BTreeMap<String, String>| {
                if table.get(key).is_none_or(|t| t.trim().is_empty()) {
                    let sentence = format!("no sentence for {kind} {key}");
                    found.push(BundleError::new("BUNDLE_TRANSLATION", &sentence, &file, 1));
                }
            };
            for reason in needed.reasons {
                need("reason", reason, &language.reason);
            }
            for obligation in needed.obligations {
                let key = obligation.split(':').next().unwrap_or("");
                need("obligation", key, &language.obligation);
            }
            for outcome in needed.outcomes {
                need("outcome", outcome, &language.outcome);
            }
            for phrase in PHRASES {
                need("phrase", phrase, &language.phrase);
            }
            for verdict in needed.verdicts {
                need("verdict", verdict, &language.verdict);
            }
            for role in needed.roles {
                need("role", role, &language.role);
            }
            for category in needed.categories {
                need("category", category, &language.category);
            }
        }
        found
    }

    /// Sentences in a language; `None`: the bundle does not speak it.
    pub fn language(&self, name: &str) -> Option<&Language> {
        self.languages.get(name)
    }

    /// The article of the day for a key.
    pub fn cite(&self, key: &str, at: Timestamp) -> Option<&str> {
        let day = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<jiff::civil::Date>().ok());
        let moment = jiff::Timestamp::from_millisecond(at.millis()).ok()?;
        // Belgian law begins on a Belgian day; one hour of UTC offset decides nothing here that is not dated.
        let today = moment
            .to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(1)))
            .date();
        let holds = |r: &&Reference| {
            r.key == key
                && day(&r.from).is_none_or(|from| from <= today)
                && day(&r.until).is_none_or(|until| today < until)
        };
        self.references
            .reference
            .iter()
            .find(holds)
            .map(|r| r.cite.as_str())
    }

    /// Whether any reference has this key.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.references.reference.iter().any(|r| r.key == key)
    }
}

impl Language {
    /// The sentence of an obligation, with its value.
    pub fn obligation(&self, obligation: &str) -> String {
        let (key, value) = obligation.split_once(':').unwrap_or((obligation, ""));
        self.obligation
            .get(key)
            .map_or_else(|| obligation.to_owned(), |text| text.replace("{}", value))
    }
}

fn line_of_text(files: &BTreeMap<String, Vec<u8>>, name: &str, needle: &str) -> usize {
    files
        .get(name)
        .and_then(|b| std::str::from_utf8(b).ok())
        .map_or(1, |text| line_with(text, needle))
}

/// Reads one TOML file of a bundle.
pub(crate) fn toml_file<T: serde::de::DeserializeOwned>(
    files: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Result<T, BundleError> {
    let bytes = files
        .get(name)
        .ok_or_else(|| BundleError::new("BUNDLE_INCOMPLETE", "the file is missing", name, 1))?;
    let text = std::str::from_utf8(bytes)
        .map_err(|_| BundleError::new("BUNDLE_ENCODING", "the file is not UTF-8", name, 1))?;
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        BundleError::new("BUNDLE_TEXT", error.message(), name, line)
    })
}

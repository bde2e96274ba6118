//! The matrix: verdict by category and recipient role, as the officer edits it (`matrix.toml`) and reads it (a grid).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bundle::BundleError;
use crate::places::{line_of, line_with};
use crate::texts::Language;

/// The file in a bundle.
pub const FILE: &str = "matrix.toml";

/// What a cell says. Each has a template of the same name in the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Possible after all gates.
    Deliver,
    /// Needs a valid consent of every subject.
    OnlyWithConsent,
    /// Only at a case consultation.
    OnlyInCaseConsultation,
    /// Only in an emergency.
    EmergencyOnly,
    /// No key opens it.
    Never,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 5] = [
        Self::Deliver,
        Self::OnlyWithConsent,
        Self::OnlyInCaseConsultation,
        Self::EmergencyOnly,
        Self::Never,
    ];

    /// Its word, which is also the id of its template.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::OnlyWithConsent => "only-with-consent",
            Self::OnlyInCaseConsultation => "only-in-case-consultation",
            Self::EmergencyOnly => "emergency-only",
            Self::Never => "never",
        }
    }

    /// Its letter in the grid (domain.md 6.2).
    pub const fn letter(self) -> char {
        match self {
            Self::Deliver => 'D',
            Self::OnlyWithConsent => 'K',
            Self::OnlyInCaseConsultation => 'C',
            Self::EmergencyOnly => 'E',
            Self::Never => 'N',
        }
    }

    /// From its word or its letter.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text || (text.len() == 1 && text.starts_with(v.letter())))
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What it says.
    pub verdict: Verdict,
    /// Key of its ground, e.g. `R03`.
    pub reason: String,
}

/// A role's default side and the circles it is in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleEntry {
    /// Default side.
    pub side: String,
    /// Circles.
    pub circles: Vec<String>,
}

/// The ground of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ground {
    /// `LAW`, `LAW+MODEL` or `MODEL`.
    pub status: String,
    /// One sentence in Dutch.
    pub nl: String,
    /// One sentence in French.
    pub fr: String,
    /// One sentence in English.
    pub en: String,
}

impl Ground {
    /// Its sentence; English for a language it is not written in.
    pub fn sentence(&self, language: &str) -> &str {
        match language {
            "nl" => &self.nl,
            "fr" => &self.fr,
            _ => &self.en,
        }
    }
}

/// The matrix, with what it says of roles and lists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Version of the table.
    pub version: u64,
    /// Roles.
    pub roles: BTreeMap<String, RoleEntry>,
    /// Lists of categories that rules refer to.
    pub lists: BTreeMap<String, Vec<String>>,
    /// Grounds by key.
    pub reasons: BTreeMap<String, Ground>,
    /// Cells by category and role.
    pub cells: BTreeMap<String, BTreeMap<String, Cell>>,
}

/// The names that the schema lists, in its order: what the matrix must cover exactly.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Roles.
    pub roles: &'a [String],
    /// Categories.
    pub categories: &'a [String],
    /// Circles.
    pub circles: &'a [String],
    /// Lists.
    pub lists: &'a [String],
    /// Sides.
    pub sides: &'a [String],
}

impl Matrix {
    /// Parses the file.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            BundleError::new("BUNDLE_MATRIX", error.message(), FILE, line)
        })
    }

    /// What does not fit the schema: a missing or unknown role, category, circle, list, side or ground.
    pub fn findings(&self, text: &str, names: Names<'_>) -> Vec<BundleError> {
        let mut found = Vec::new();
        let mut say = |needle: &str, sentence: String| {
            found.push(BundleError::new(
                "BUNDLE_MATRIX",
                &sentence,
                FILE,
                line_with(text, needle),
            ));
        };
        for (role, entry) in &self.roles {
            let header = format!("[roles.{role}]");
            if !names.roles.contains(role) {
                say(&header, format!("role {role} is not in the schema"));
            }
            if !names.sides.contains(&entry.side) {
                say(
                    &header,
                    format!("side {} of role {role} is not in the schema", entry.side),
                );
            }
            for circle in entry.circles.iter().filter(|c| !names.circles.contains(c)) {
                say(
                    &header,
                    format!("circle {circle} of role {role} is not in the schema"),
                );
            }
        }
        for (list, members) in &self.lists {
            if !names.lists.contains(list) {
                say(list, format!("list {list} is not in the schema"));
            }
            for category in members.iter().filter(|c| !names.categories.contains(c)) {
                say(
                    list,
                    format!("category {category} on list {list} is not in the schema"),
                );
            }
        }
        for role in names.roles.iter().filter(|r| !self.roles.contains_key(*r)) {
            say("[roles", format!("role {role} is missing"));
        }
        for list in names.lists.iter().filter(|l| !self.lists.contains_key(*l)) {
            say("[lists]", format!("list {list} is missing"));
        }
        for category in self.cells.keys().filter(|c| !names.categories.contains(c)) {
            say(
                &format!("[cells.{category}]"),
                format!("category {category} is not in the schema"),
            );
        }
        for category in names.categories {
            self.row_findings(category, names.roles, &mut say);
        }
        found
    }

    fn row_findings(&self, category: &str, roles: &[String], say: &mut dyn FnMut(&str, String)) {
        let header = format!("[cells.{category}]");
        let Some(row) = self.cells.get(category) else {
            say("[cells", format!("category {category} has no row"));
            return;
        };
        for role in roles.iter().filter(|r| !row.contains_key(*r)) {
            say(&header, format!("the cell {category} x {role} is missing"));
        }
        for (role, cell) in row {
            if !roles.contains(role) {
                say(&header, format!("role {role} is not in the schema"));
            }
            if !self.reasons.contains_key(&cell.reason) {
                say(
                    &header,
                    format!("the ground {} of {category} x {role} is not listed", cell.reason),
                );
            }
        }
    }

    /// The grid as text: a row for each category, a column for each role, letter and ground in each cell.
    pub fn grid(&self, roles: &[String], categories: &[String], language: &str, speech: &Language) -> String {
        let phrase = |key: &str| speech.phrase.get(key).map_or("", String::as_str);
        let mut out = format!("{}\n\n", phrase("matrix-intro"));
        for verdict in Verdict::ALL {
            let words = speech.verdict.get(verdict.as_str()).map_or("", String::as_str);
            out.push_str(&format!("  {} {words}\n", verdict.letter()));
        }
        out.push('\n');
        let widest = categories.iter().map(String::len).max().unwrap_or(0);
        for (number, role) in roles.iter().enumerate() {
            let label = speech.role.get(role).map_or("", String::as_str);
            out.push_str(&format!("  {:>2}  {role:<15} {label}\n", number + 1));
        }
        out.push('\n');
        out.push_str(&format!("{:widest$}", ""));
        for number in 1..=roles.len() {
            out.push_str(&format!(" {number:>5}"));
        }
        out.push('\n');
        for category in categories {
            out.push_str(&format!("{category:widest$}"));
            for role in roles {
                let cell = self.cells.get(category).and_then(|row| row.get(role));
                let text = cell.map_or_else(
                    || "?".to_owned(),
                    |c| format!("{} {}", c.verdict.letter(), c.reason),
                );
                out.push_str(&format!(" {text:>5}"));
            }
            out.push('\n');
        }
        out.push_str(&format!("\n{}\n", phrase("matrix-grounds")));
        for (key, ground) in &self.reasons {
            out.push_str(&format!(
                "  {key} {:<9} {}\n",
                ground.status,
                ground.sentence(language)
            ));
        }
        out
    }

    /// The grid as comma-separated values: category, then one verdict for each role.
    pub fn csv(&self, roles: &[String], categories: &[String]) -> String {
        let mut out = format!("category,{}\n", roles.join(","));
        for category in categories {
            let row = self.cells.get(category);
            let verdicts: Vec<&str> = roles
                .iter()
                .map(|r| row.and_then(|row| row.get(r)).map_or("", |c| c.verdict.as_str()))
                .collect();
            out.push_str(&format!("{category},{}\n", verdicts.join(",")));
        }
        out
    }
}

/// The file's text with one cell set, every other byte as it was. `None` if there is no such cell.
pub fn set_cell(text: &str, category: &str, role: &str, verdict: Verdict) -> Option<String> {
    let header = format!("[cells.{category}]");
    let mut inside = false;
    let mut done = false;
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            inside = line.trim_start().starts_with(&header);
        }
        let key = line.split('=').next().unwrap_or("").trim();
        if inside && !done && key == role {
            let old = Verdict::ALL
                .into_iter()
                .find(|v| line.contains(&format!("\"{}\"", v.as_str())))?;
            out.push_str(&line.replacen(
                &format!("\"{}\"", old.as_str()),
                &format!("\"{}\"", verdict.as_str()),
                1,
            ));
            done = true;
        } else {
            out.push_str(line);
        }
    }
    done.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../matrix.toml");

    #[test]
    fn setting_a_cell_changes_exactly_one_and_goes_there_and_back() {
        let before = Matrix::parse(TEXT).unwrap();
        let changed = set_cell(TEXT, "identity", "caw_victim", Verdict::Deliver).unwrap();
        let mut after = Matrix::parse(&changed).unwrap();
        let cell = after
            .cells
            .get_mut("identity")
            .unwrap()
            .get_mut("caw_victim")
            .unwrap();
        assert_eq!(cell.verdict, Verdict::Deliver);
        cell.verdict = Verdict::OnlyWithConsent;
        assert_eq!(after, before);
        assert_eq!(
            set_cell(&changed, "identity", "caw_victim", Verdict::OnlyWithConsent).unwrap(),
            TEXT
        );
        assert_eq!(set_cell(TEXT, "identity", "nobody", Verdict::Never), None);
    }

    #[test]
    fn verdicts_have_a_word_and_a_letter() {
        for verdict in Verdict::ALL {
            assert_eq!(Verdict::parse(verdict.as_str()), Some(verdict));
            assert_eq!(Verdict::parse(&verdict.letter().to_string()), Some(verdict));
        }
        assert_eq!(Verdict::parse("maybe"), None);
    }
}

//! From files to policies: parse, read annotations, link the matrix, validate against the schema.
//! Every finding carries file and line; a bundle with one finding is not used.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{PolicyId, PolicySet, Schema, SlotId, Template, ValidationMode, Validator};

use super::fit;
use super::rule::{Rule, Scope};
use super::scripts;
use super::slice::Index;
use super::vocabulary::{self, Vocabulary};
use crate::bundle::BundleError;
use crate::matrix::{self, Matrix, Verdict};
use crate::places::{line_of, line_with, too_deep};

/// Most rules and cells in a bundle: of 16 roles and 17 categories there are 272 cells.
const POLICIES_MAX: usize = 1 << 14;

/// Everything that decisions need, made from one bundle's files.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) schema: Schema,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) matrix: Matrix,
    /// By policy id; matrix links are listed under their own id with their template's annotations.
    pub(crate) rules: HashMap<String, Rule>,
    pub(crate) index: Index,
    /// All policies, for validation, proofs and the comparison with slices.
    pub(crate) all: PolicySet,
}

/// The text of a file.
fn text<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a str, BundleError> {
    let bytes = files
        .get(name)
        .ok_or_else(|| BundleError::new("BUNDLE_INCOMPLETE", "the file is missing", name, 1))?;
    std::str::from_utf8(bytes)
        .map_err(|_| BundleError::new("BUNDLE_ENCODING", "the file is not UTF-8", name, 1))
}

/// Compiles a bundle's files, or says everything that is wrong at the first stage that finds anything.
pub(crate) fn compile(files: &BTreeMap<String, Vec<u8>>) -> Result<Compiled, Vec<BundleError>> {
    let one = |error: BundleError| vec![error];
    let schema_text = text(files, vocabulary::FILE).map_err(one)?;
    let matrix_text = text(files, matrix::FILE).map_err(one)?;
    let hidden = [(schema_text, vocabulary::FILE), (matrix_text, matrix::FILE)];
    stop_at(
        hidden
            .iter()
            .filter_map(|(text, file)| scripts::hidden_in(text, file))
            .collect(),
    )?;
    let (schema, vocabulary) = vocabulary::parse_schema(schema_text).map_err(one)?;
    stop_at(scripts::in_schema(schema_text, &vocabulary))?;
    let matrix = Matrix::parse(matrix_text).map_err(one)?;
    stop_at(matrix.findings(matrix_text, vocabulary.names()))?;
    let vocabulary = vocabulary.with_matrix(&matrix);

    let mut parsed = Parsed::default();
    let mut found = Vec::new();
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("policies/")) {
        match std::str::from_utf8(bytes) {
            Ok(text) => parsed.file(name, text, &mut found),
            Err(_) => found.push(BundleError::new(
                "BUNDLE_ENCODING",
                "the file is not UTF-8",
                name,
                1,
            )),
        }
    }
    stop_at(found)?;
    not_too_many(&parsed.set, &matrix).map_err(one)?;
    stop_at(scripts::in_policies(&parsed.set, &parsed.rules))?;
    let mut all = parsed.set;
    let mut rules = parsed.rules;
    stop_at(link_matrix(
        &mut all,
        &mut rules,
        &matrix,
        matrix_text,
        &vocabulary,
    ))?;
    stop_at(validate(&all, &rules, &schema))?;
    stop_at(fit::findings(&schema, &vocabulary))?;
    let index = Index::new(&all, &rules).map_err(|error| {
        one(BundleError::new(
            "BUNDLE_SYNTAX",
            &error.to_string(),
            "policies/",
            1,
        ))
    })?;
    Ok(Compiled {
        schema,
        vocabulary,
        matrix,
        rules,
        index,
        all,
    })
}

fn not_too_many(set: &PolicySet, matrix: &Matrix) -> Result<(), BundleError> {
    let cells: usize = matrix.cells.values().map(BTreeMap::len).sum();
    let count = set.num_of_policies() + cells;
    if count <= POLICIES_MAX {
        return Ok(());
    }
    let sentence = format!("{count} rules and cells; no more than {POLICIES_MAX} may be in a bundle");
    Err(BundleError::new("BUNDLE_TOO_LARGE", &sentence, "policies/", 1))
}

fn stop_at(found: Vec<BundleError>) -> Result<(), Vec<BundleError>> {
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Policies read so far.
#[derive(Default)]
struct Parsed {
    set: PolicySet,
    rules: HashMap<String, Rule>,
}

impl Parsed {
    fn file(&mut self, name: &str, text: &str, found: &mut Vec<BundleError>) {
        if let Some(hidden) = scripts::hidden_in(text, name) {
            found.push(hidden);
            return;
        }
        if let Some(line) = too_deep(text) {
            found.push(BundleError::new(
                "BUNDLE_SYNTAX",
                "a policy nests too deep or is too long",
                name,
                line,
            ));
            return;
        }
        let set: PolicySet = match text.parse() {
            Ok(set) => set,
            Err(errors) => {
                found.push(syntax(&errors, name, text));
                return;
            }
        };
        for policy in set.policies() {
            let id = policy.annotation("id").unwrap_or("");
            let rule = Rule::of_policy(policy, name, line_with(text, &format!("@id(\"{id}\")")));
            if self.take(id, rule, name, found)
                && let Err(error) = self.set.add(policy.new_id(PolicyId::new(id)))
            {
                found.push(BundleError::new("BUNDLE_SYNTAX", &error.to_string(), name, 1));
            }
        }
        for template in set.templates() {
            let id = template.annotation("id").unwrap_or("");
            let rule = Rule::of_template(template, name, line_with(text, &format!("@id(\"{id}\")")));
            if self.take(id, rule, name, found)
                && let Err(error) = self.set.add_template(template.new_id(PolicyId::new(id)))
            {
                found.push(BundleError::new("BUNDLE_SYNTAX", &error.to_string(), name, 1));
            }
        }
    }

    fn take(&mut self, id: &str, rule: Rule, file: &str, found: &mut Vec<BundleError>) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
            let sentence = format!("every policy needs an @id of letters, digits, '-' and '_'; found {id:?}");
            found.push(BundleError::new("BUNDLE_ANNOTATION", &sentence, file, rule.line));
            return false;
        }
        if let Some(first) = self.rules.get(id) {
            let sentence = format!(
                "the @id {id} is used twice, first in {}:{}",
                first.file, first.line
            );
            found.push(BundleError::new("BUNDLE_ANNOTATION", &sentence, file, rule.line));
            return false;
        }
        self.rules.insert(id.to_owned(), rule);
        true
    }
}

fn syntax(errors: &cedar_policy::ParseErrors, name: &str, text: &str) -> BundleError {
    let first = errors.iter().map(DetailedError::from).next();
    let line = first
        .as_ref()
        .and_then(|e| e.source_locations.first())
        .map_or(1, |l| line_of(text, l.loc.start));
    let message = first.map_or_else(|| errors.to_string(), |e| e.message);
    BundleError::new("BUNDLE_SYNTAX", &message, name, line)
}

/// The id of the link for a cell.
pub(crate) fn link_id(category: &str, role: &str) -> String {
    format!("matrix:{category}:{role}")
}

/// Every verdict has a template, and every template is a verdict.
fn template_findings(rules: &HashMap<String, Rule>) -> Vec<BundleError> {
    let mut found = Vec::new();
    let verdicts: BTreeSet<&str> = Verdict::ALL.iter().map(|v| v.as_str()).collect();
    let templates: Vec<(String, String, usize)> = rules
        .values()
        .filter(|r| r.template)
        .map(|r| (r.id.clone(), r.file.clone(), r.line))
        .collect();
    for (id, file, line) in templates
        .iter()
        .filter(|(id, ..)| !verdicts.contains(id.as_str()))
    {
        let sentence = format!("the template {id} is no verdict of the matrix");
        found.push(BundleError::new("BUNDLE_MATRIX", &sentence, file, *line));
    }
    for verdict in verdicts
        .iter()
        .filter(|v| !templates.iter().any(|(id, ..)| id == *v))
    {
        let sentence = format!("the verdict {verdict} has no template in policies/");
        found.push(BundleError::new("BUNDLE_MATRIX", &sentence, matrix::FILE, 1));
    }
    found
}

fn link_matrix(
    set: &mut PolicySet,
    rules: &mut HashMap<String, Rule>,
    matrix: &Matrix,
    matrix_text: &str,
    vocabulary: &Vocabulary,
) -> Vec<BundleError> {
    let mut found = template_findings(rules);
    if !found.is_empty() {
        return found;
    }
    for (category, row) in &matrix.cells {
        for (role, cell) in row {
            let (Some(role_uid), Some(category_uid)) =
                (vocabulary.uid("Role", role), vocabulary.uid("Category", category))
            else {
                continue; // reported by Matrix::findings
            };
            let id = link_id(category, role);
            let values = HashMap::from([
                (SlotId::principal(), role_uid.clone()),
                (SlotId::resource(), category_uid.clone()),
            ]);
            let template = cell.verdict.as_str();
            if let Err(error) = set.link(PolicyId::new(template), PolicyId::new(&id), values) {
                let line = line_with(matrix_text, &format!("[cells.{category}]"));
                found.push(BundleError::new(
                    "BUNDLE_MATRIX",
                    &error.to_string(),
                    matrix::FILE,
                    line,
                ));
                continue;
            }
            if let Some(rule) = rules.get(template) {
                let mut link = rule.clone();
                link.template = false;
                link.id.clone_from(&id);
                link.principal = Scope::In(role_uid.clone());
                link.resource = Scope::In(category_uid.clone());
                rules.insert(id, link);
            }
        }
    }
    found
}

fn validate(set: &PolicySet, rules: &HashMap<String, Rule>, schema: &Schema) -> Vec<BundleError> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    let place = |id: &PolicyId| {
        let rule = rules.get::<str>(id.as_ref());
        rule.map_or_else(|| ("policies/".to_owned(), 1), |r| (r.file.clone(), r.line))
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let errors = result
        .validation_errors()
        .map(|e| (e.policy_id(), DetailedError::from(e).message));
    let warnings = result
        .validation_warnings()
        .map(|w| (w.policy_id(), DetailedError::from(w).message));
    for (id, message) in errors.chain(warnings) {
        let (file, line) = place(id);
        if seen.insert((file.clone(), line)) {
            found.push(BundleError::new("BUNDLE_TYPE", &message, &file, line));
        }
    }
    found
}

/// The templates of a set, by id.
pub(crate) fn templates(set: &PolicySet) -> HashMap<String, Template> {
    set.templates().map(|t| (t.id().to_string(), t.clone())).collect()
}

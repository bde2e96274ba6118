//! A policy bundle: schema, policies, matrix, texts and its own cases. Loaded whole or refused with one
//! clear error; never empty, never half. Digest, archive form, signatures of officers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use schakel_proto::ids::Digest;
use schakel_proto::limits;
use schakel_proto::party::{Code, NetworkName};
use schakel_proto::time::Timestamp;
use serde::Deserialize;

use crate::case::Case;
use crate::case::statement::{self, StatementCase};
use crate::engine::check;
use crate::engine::compile::{Compiled, compile};
use crate::matrix::{self, Matrix};
use crate::texts::{Language, Texts, toml_file};

mod archive;
mod builtin;
mod signature;

pub use signature::{BundleSignature, OfficerEntry, SignedBundle, VerifiedBundle};

/// The bundle's own description.
const MANIFEST_FILE: &str = "bundle.toml";

/// Why a bundle is refused: what, where, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BundleError {
    /// Stable code, e.g. `BUNDLE_SYNTAX`.
    pub code: &'static str,
    /// One sentence.
    pub sentence: String,
    /// File and line, e.g. `policies/gates.cedar:12`.
    pub place: String,
}

impl BundleError {
    /// An error at a line of a file.
    pub fn new(code: &'static str, sentence: &str, file: &str, line: usize) -> Self {
        Self {
            code,
            sentence: sentence.to_owned(),
            place: format!("{file}:{line}"),
        }
    }
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.code, self.sentence)
    }
}

/// `bundle.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    version: u64,
    previous: String,
    valid_from: String,
    valid_until: String,
}

/// A loaded and validated bundle. Cheap to clone.
#[derive(Clone)]
pub struct Bundle(Arc<Inner>);

struct Inner {
    name: Code,
    version: u64,
    previous: Option<Digest>,
    valid_from: Timestamp,
    valid_until: Timestamp,
    digest: Digest,
    files: BTreeMap<String, Vec<u8>>,
    archive: Vec<u8>,
    compiled: Arc<Compiled>,
    texts: Texts,
    cases: BTreeMap<String, Vec<(usize, Case)>>,
    statement_cases: Vec<(usize, StatementCase)>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({} {}, {})", self.0.name, self.0.version, self.0.digest)
    }
}

impl Bundle {
    /// The built-in default bundle (Belgium).
    pub fn built_in() -> Result<Self, BundleError> {
        Self::from_files(builtin::files())
    }

    /// From a directory in the layout of policy.md.
    pub fn from_dir(path: &Path) -> Result<Self, BundleError> {
        Self::from_files(archive::read_dir(path)?)
    }

    /// From its archive form.
    pub fn from_archive(bytes: &[u8]) -> Result<Self, BundleError> {
        Self::from_files(archive::unpack(bytes)?)
    }

    /// From a directory, an archive file or a signed-bundle file.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        Self::from_files(Self::read(path)?)
    }

    /// The files at a path: a directory, an archive file or a signed-bundle file.
    pub fn read(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
        if path.is_dir() {
            return archive::read_dir(path);
        }
        let bytes = archive::read_file(path)?;
        if archive::is_archive(&bytes) {
            return archive::unpack(&bytes);
        }
        archive::unpack(&SignedBundle::from_bytes(&bytes)?.archive)
    }

    /// The files of the built-in bundle.
    pub fn built_in_files() -> BTreeMap<String, Vec<u8>> {
        builtin::files()
    }

    /// From its files by relative path. One error: the first of what `findings` would say.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, BundleError> {
        Self::check(files).map_err(|found| {
            let empty = BundleError::new("BUNDLE_INCOMPLETE", "the bundle is empty", MANIFEST_FILE, 1);
            found.into_iter().next().unwrap_or(empty)
        })
    }

    /// The bundle, or everything that is wrong with it at the first stage that finds anything.
    pub fn check(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Vec<BundleError>> {
        let one = |error: BundleError| vec![error];
        let archive = archive::pack(&files).map_err(one)?;
        if archive.len() > limits::BUNDLE_MAX_BYTES {
            let sentence = format!("the bundle is larger than {} bytes", limits::BUNDLE_MAX_BYTES);
            return Err(vec![BundleError::new(
                "BUNDLE_TOO_LARGE",
                &sentence,
                MANIFEST_FILE,
                1,
            )]);
        }
        let described: Description = toml_file(&files, MANIFEST_FILE).map_err(one)?;
        let bad = |sentence: &str| BundleError::new("BUNDLE_DESCRIPTION", sentence, MANIFEST_FILE, 1);
        let name = Code::new(&described.name).map_err(|error| one(bad(&error.to_string())))?;
        let moment = |text: &str| {
            let moment: Result<jiff::Timestamp, _> = text.parse();
            moment
                .map(|t| Timestamp::from_millis(t.as_millisecond()))
                .map_err(|_| one(bad(&format!("{text:?} is not a moment (RFC 3339)"))))
        };
        let (valid_from, valid_until) = (moment(&described.valid_from)?, moment(&described.valid_until)?);
        if valid_until <= valid_from {
            return Err(one(bad("valid_until must be after valid_from")));
        }
        if described.version == 0 {
            return Err(one(bad("version counts from 1")));
        }
        let previous = match described.previous.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| one(bad("previous is not a digest (sha256:…)")))?,
            ),
        };
        let compiled = compile(&files)?;
        let texts = Texts::parse(&files).map_err(one)?;
        let found = check::findings(&compiled, &texts);
        if !found.is_empty() {
            return Err(found);
        }
        let cases = cases(&files).map_err(one)?;
        let statement_cases = statement_cases(&files).map_err(one)?;
        Ok(Self(Arc::new(Inner {
            name,
            version: described.version,
            previous,
            valid_from,
            valid_until,
            digest: archive::digest(&files),
            archive,
            compiled: Arc::new(compiled),
            texts,
            cases,
            statement_cases,
            files,
        })))
    }

    /// Its archive form: the same files give the same bytes.
    pub fn archive(&self) -> &[u8] {
        &self.0.archive
    }

    /// Its files by relative path.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.0.files
    }

    /// Name, e.g. `belgium`.
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }

    /// Version; a network never goes back.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// Digest of the bundle it follows.
    pub fn previous(&self) -> Option<Digest> {
        self.0.previous
    }

    /// SHA-256 over the canonical listing of its files.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// From when it may decide.
    pub fn valid_from(&self) -> Timestamp {
        self.0.valid_from
    }

    /// From when it may no longer decide.
    pub fn valid_until(&self) -> Timestamp {
        self.0.valid_until
    }

    /// Whether it may decide at `now`.
    pub fn in_force_at(&self, now: Timestamp) -> bool {
        self.0.valid_from <= now && now < self.0.valid_until
    }

    /// The bytes that an officer signs: type, network, name, version, digest, validity; one line each.
    pub fn signing_text(&self, network: &NetworkName) -> Vec<u8> {
        format!(
            "schakel.v1.Bundle\nnetwork: {network}\nname: {}\nversion: {}\ndigest: {}\nvalid_from: {}\nvalid_until: {}\n",
            self.0.name, self.0.version, self.0.digest, self.0.valid_from, self.0.valid_until,
        )
        .into_bytes()
    }

    /// Its matrix.
    pub fn matrix(&self) -> &Matrix {
        &self.0.compiled.matrix
    }

    /// The matrix as a grid that an officer reads, in one of the bundle's languages.
    pub fn matrix_grid(&self, language: &str, speech: &Language) -> String {
        let vocabulary = &self.0.compiled.vocabulary;
        let (roles, categories) = (vocabulary.members("Role"), vocabulary.members("Category"));
        self.matrix().grid(roles, categories, language, speech)
    }

    /// The matrix as comma-separated values.
    pub fn matrix_csv(&self) -> String {
        let vocabulary = &self.0.compiled.vocabulary;
        self.matrix()
            .csv(vocabulary.members("Role"), vocabulary.members("Category"))
    }

    /// The same files with one cell set, not yet checked. `None`: there is no such cell.
    pub fn with_cell(
        &self,
        category: &str,
        role: &str,
        verdict: matrix::Verdict,
    ) -> Option<BTreeMap<String, Vec<u8>>> {
        let mut files = self.0.files.clone();
        let file = files.get_mut(matrix::FILE)?;
        let text = matrix::set_cell(std::str::from_utf8(file).ok()?, category, role, verdict)?;
        *file = text.into_bytes();
        Some(files)
    }

    /// What people read.
    pub fn texts(&self) -> &Texts {
        &self.0.texts
    }

    /// The names of an enumeration of the schema (`Role`, `Category`, `Basis` …), in its order.
    pub fn vocabulary(&self, kind: &str) -> &[String] {
        self.0.compiled.vocabulary.members(kind)
    }

    /// The sentence of a policy in a language, and the key of its legal ground.
    pub fn policy_text(&self, id: &str, language: &str) -> Option<(&str, &str)> {
        let rule = self.0.compiled.rules.get(id)?;
        Some((rule.annotations.get(language)?, rule.annotations.get("legal")?))
    }

    /// The ground of a cell, by the id of its link (`matrix:CATEGORY:ROLE`): key and sentence.
    pub fn cell_ground(&self, id: &str, language: &str) -> Option<String> {
        let (category, role) = id.strip_prefix("matrix:")?.split_once(':')?;
        let cell = self.matrix().cells.get(category)?.get(role)?;
        let ground = self.matrix().reasons.get(&cell.reason)?;
        Some(format!(
            "{} {}: {}",
            cell.reason,
            ground.status,
            ground.sentence(language)
        ))
    }

    /// Every rule (cells aside) by id: its text as Cedar normalises it, annotations included.
    pub(crate) fn rule_texts(&self) -> BTreeMap<String, String> {
        let rules = self
            .0
            .compiled
            .rules
            .values()
            .filter(|rule| !rule.id.starts_with("matrix:"));
        rules.map(|rule| (rule.id.clone(), rule.text.clone())).collect()
    }

    /// The bundle's own cases by file, with their line.
    pub fn cases(&self) -> &BTreeMap<String, Vec<(usize, Case)>> {
        &self.0.cases
    }

    /// Its own cases about statements, with their line in `cases/statements.jsonl`.
    pub fn statement_cases(&self) -> &[(usize, StatementCase)] {
        &self.0.statement_cases
    }

    pub(crate) fn compiled(&self) -> Arc<Compiled> {
        Arc::clone(&self.0.compiled)
    }
}

fn cases(files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Vec<(usize, Case)>>, BundleError> {
    let mut all = BTreeMap::new();
    let decisions = |name: &str| name.starts_with("cases/") && name != statement::FILE;
    for (name, bytes) in files.iter().filter(|(name, _)| decisions(name)) {
        let read = Case::parse_file(utf8(name, bytes)?)
            .map_err(|(line, error)| BundleError::new("BUNDLE_CASES", &error.to_string(), name, line))?;
        all.insert(name.clone(), read);
    }
    Ok(all)
}

fn statement_cases(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<(usize, StatementCase)>, BundleError> {
    let name = statement::FILE;
    let Some(bytes) = files.get(name) else {
        return Ok(Vec::new());
    };
    StatementCase::parse_file(utf8(name, bytes)?)
        .map_err(|(line, error)| BundleError::new("BUNDLE_CASES", &error.to_string(), name, line))
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, BundleError> {
    std::str::from_utf8(bytes)
        .map_err(|_| BundleError::new("BUNDLE_ENCODING", "the file is not UTF-8", name, 1))
}

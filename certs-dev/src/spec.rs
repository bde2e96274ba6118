//! What a development network is made of: a TOML file, or one of the built-in ones.

use std::collections::BTreeSet;
use std::path::Path;

use schakel_proto::openpgp::KeyKind;
use schakel_proto::party::{AgencyId, Code, NetworkName, OfficerId};
use schakel_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The built-in networks; each file tells the network's story too.
const BUILTIN: [(&str, &str); 5] = [
    ("rupel", include_str!("../../tests/stories/rupel.toml")),
    (
        "noorderkempen",
        include_str!("../../tests/stories/noorderkempen.toml"),
    ),
    ("secova", include_str!("../../tests/stories/secova.toml")),
    (
        "west-vlaanderen",
        include_str!("../../tests/stories/west-vlaanderen.toml"),
    ),
    ("oostende", include_str!("../../tests/stories/oostende.toml")),
];
const REMEDY: &str = "Correct the network's TOML file; tests/stories/rupel.toml is an example.";

/// The OpenPGP keys that an agency gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenPgp {
    /// v6: Ed25519 signing, ML-KEM-768+X25519 encryption.
    #[default]
    V6,
    /// v6 with ML-DSA-65+Ed25519 signing.
    V6PostQuantumSigning,
    /// v4, for an agency that works with GnuPG.
    V4,
}

impl OpenPgp {
    /// The kind of keys to generate.
    pub fn kind(self) -> KeyKind {
        match self {
            Self::V6 => KeyKind::V6,
            Self::V6PostQuantumSigning => KeyKind::V6PostQuantumSigning,
            Self::V4 => KeyKind::V4,
        }
    }
}

/// The authority of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthoritySpec {
    /// How many authority keys to make.
    pub keys: usize,
    /// How many of them must sign a directory.
    pub threshold: usize,
}

impl Default for AuthoritySpec {
    fn default() -> Self {
        Self {
            keys: 1,
            threshold: 1,
        }
    }
}

/// One agency.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgencySpec {
    /// Id in the directory.
    pub id: AgencyId,
    /// Name of the organisation.
    pub name: String,
    /// Role code, e.g. `police_zone`.
    pub role: Code,
    /// `victim`, `perpetrator`, `mixed` or `neutral`; empty: the role's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub side: String,
    /// Region, e.g. `vlg`.
    pub region: Code,
    /// Languages, the preferred one first.
    #[serde(default)]
    pub languages: Vec<Code>,
    /// The OpenPGP keys it gets.
    #[serde(default)]
    pub openpgp: OpenPgp,
    /// Its officers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub officers: Vec<OfficerId>,
    /// For police zones: the towns or regions it is competent for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub competent_for: Vec<Code>,
}

/// One network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Its name.
    pub network: NetworkName,
    /// Its name for people.
    pub title: String,
    /// Its authority.
    #[serde(default)]
    pub authority: AuthoritySpec,
    /// Its agencies.
    #[serde(rename = "agency")]
    pub agencies: Vec<AgencySpec>,
    /// What happens in it, for a demonstration; nothing that is minted depends on it.
    #[serde(default, skip_serializing)]
    pub story: Option<toml::Table>,
    /// The story's steps.
    #[serde(default, rename = "step", skip_serializing)]
    pub steps: Vec<toml::Table>,
}

impl NetworkSpec {
    /// The built-in network of this name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn builtin(name: &str) -> Result<Self, Problem> {
        let Some((_, text)) = BUILTIN.iter().find(|(known, _)| *known == name) else {
            let known = BUILTIN.map(|(known, _)| known).join(", ");
            return Err(Problem::new(
                name,
                format!("is not one of the built-in networks {known}"),
                "Use one of them, or name a TOML file that describes the network.",
            ));
        };
        Self::parse(&Path::new("tests/stories").join(format!("{name}.toml")), text)
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// It cannot be read, or does not describe a network.
    pub fn load(file: &Path) -> Result<Self, Problem> {
        let text =
            std::fs::read_to_string(file).map_err(Problem::at(file, "Name a TOML file that is there."))?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let spec: Self = toml::from_str(text).map_err(Problem::at(file, REMEDY))?;
        spec.check().map_err(|what| Problem::new(file, what, REMEDY))?;
        Ok(spec)
    }

    /// What the directory would refuse is found by signing it; here only what the minting itself needs.
    fn check(&self) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        if let Some(twice) = self.agencies.iter().find(|agency| !ids.insert(&agency.id)) {
            return Err(format!("agency {} is described twice", twice.id));
        }
        let mut officers = BTreeSet::new();
        if let Some(twice) = self
            .agencies
            .iter()
            .flat_map(|a| &a.officers)
            .find(|id| !officers.insert(*id))
        {
            return Err(format!("officer {twice} is described twice"));
        }
        if self
            .agencies
            .iter()
            .filter(|agency| !agency.officers.is_empty())
            .count()
            < 2
        {
            return Err(
                "fewer than two agencies have an officer, so nobody can sign a policy bundle".to_owned(),
            );
        }
        if self.authority.threshold == 0 || self.authority.threshold > self.authority.keys {
            return Err("the authority's threshold is not between 1 and its number of keys".to_owned());
        }
        Ok(())
    }

    /// The DNS name of the network's broker.
    pub fn broker_name(&self) -> String {
        format!("broker.{}.example", self.network.as_str().replace('_', "-"))
    }

    /// The name of the network's log in the half-year of a moment.
    pub fn log_origin(&self, at: Timestamp) -> String {
        let text = at.to_string();
        let (year, rest) = text.split_once('-').unwrap_or((&text, ""));
        let half = if rest < "07" { 1 } else { 2 };
        format!("{}.example/log/{year}h{half}", self.network)
    }
}

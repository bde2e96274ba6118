//! A network's folder: where everything lies, and the keys in it.

use std::path::{Path, PathBuf};

use prost::Message;
use schakel_proto::directory::{Authority, Directory};
use schakel_proto::openpgp::SecretKeys;
use schakel_proto::party::{AgencyId, OfficerId};
use schakel_proto::time::Timestamp;
use schakel_proto::wire;

use crate::files;
use crate::problem::Problem;
use crate::spec::NetworkSpec;
use crate::tls::TlsAuthority;

const NOT_OURS: &str = "Name the folder that `certs-dev new` made.";

/// A network that was minted, on disk.
#[derive(Clone, Debug)]
pub struct Network {
    root: PathBuf,
    spec: NetworkSpec,
}

impl Network {
    /// Opens the folder that `mint` made.
    ///
    /// # Errors
    /// It holds no network.
    pub fn open(root: &Path) -> Result<Self, Problem> {
        let spec = NetworkSpec::load(&root.join("network.toml"))?;
        Ok(Self::of(root, spec))
    }

    pub(crate) fn of(root: &Path, spec: NetworkSpec) -> Self {
        Self {
            root: root.to_owned(),
            spec,
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it was made from, with later changes.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    pub(crate) fn spec_mut(&mut self) -> &mut NetworkSpec {
        &mut self.spec
    }

    /// The file of the specification.
    pub fn spec_file(&self) -> PathBuf {
        self.root.join("network.toml")
    }

    /// The signed directory: an encoded `MultiSigned`.
    pub fn directory_file(&self) -> PathBuf {
        self.root.join("directory.bin")
    }

    /// The signed policy bundle.
    pub fn bundle_file(&self) -> PathBuf {
        self.root.join("bundle.bin")
    }

    /// The folder of the authority's keys.
    pub fn authority_folder(&self) -> PathBuf {
        self.root.join("authority")
    }

    /// The authority's OpenPGP keyring: what parties pin.
    pub fn authority_file(&self) -> PathBuf {
        self.authority_folder().join("authority.pgp")
    }

    /// The TLS certificate authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.authority_folder().join("ca.pem")
    }

    pub(crate) fn ca_key_file(&self) -> PathBuf {
        self.authority_folder().join("ca-key.pem")
    }

    pub(crate) fn authority_key_file(&self, number: usize) -> PathBuf {
        self.authority_folder().join(format!("authority-{number}.key"))
    }

    /// The broker's folder.
    pub fn broker_folder(&self) -> PathBuf {
        self.root.join("broker")
    }

    /// The broker's configuration.
    pub fn broker_config(&self) -> PathBuf {
        self.broker_folder().join("broker.toml")
    }

    /// The broker's data directory.
    pub fn broker_data(&self) -> PathBuf {
        self.broker_folder().join("data")
    }

    /// An agency's folder.
    pub fn agent_folder(&self, agency: &AgencyId) -> PathBuf {
        self.root.join("agents").join(agency.as_str())
    }

    /// An agent's configuration.
    pub fn agent_config(&self, agency: &AgencyId) -> PathBuf {
        self.agent_folder(agency).join("agent.toml")
    }

    /// An agent's data directory.
    pub fn agent_data(&self, agency: &AgencyId) -> PathBuf {
        self.agent_folder(agency).join("data")
    }

    /// An agency's OpenPGP secret keys.
    pub fn agent_key_file(&self, agency: &AgencyId) -> PathBuf {
        self.agent_folder(agency).join("openpgp.key")
    }

    /// The key with which an agency cosigns the log.
    pub fn witness_key_file(&self, agency: &AgencyId) -> PathBuf {
        self.agent_folder(agency).join("witness.key")
    }

    /// An officer's OpenPGP secret keys.
    pub fn officer_key_file(&self, officer: &OfficerId) -> PathBuf {
        self.root.join("officers").join(format!("{officer}.key"))
    }

    /// The authority as parties pin it.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn authority(&self) -> Result<Authority, Problem> {
        let file = self.authority_file();
        let keyring = files::read(&file)?;
        Authority::from_keyring(&keyring, self.spec.authority.threshold).map_err(Problem::at(&file, NOT_OURS))
    }

    /// The directory in force, verified.
    ///
    /// # Errors
    /// A file is missing or damaged, or the directory is refused at `now`.
    pub fn directory(&self, now: Timestamp) -> Result<Directory, Problem> {
        let file = self.directory_file();
        Directory::verify_encoded(&files::read(&file)?, &self.authority()?, &self.spec.network, now).map_err(
            Problem::at(&file, "Issue a new one: certs-dev directory refresh."),
        )
    }

    /// The directory's message, as last signed, without checking it again.
    pub(crate) fn directory_message(&self) -> Result<wire::Directory, Problem> {
        let file = self.directory_file();
        let bytes = files::read(&file)?;
        let signed = wire::MultiSigned::decode(bytes.as_slice()).map_err(Problem::at(&file, NOT_OURS))?;
        wire::Directory::decode(signed.bytes.as_ref()).map_err(Problem::at(&file, NOT_OURS))
    }

    /// An agency's secret keys, as a test that plays the agency needs them.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn agency_keys(&self, agency: &AgencyId) -> Result<SecretKeys, Problem> {
        secret_keys(&self.agent_key_file(agency))
    }

    /// An officer's secret keys, as a test that plays the officer needs them.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn officer_keys(&self, officer: &OfficerId) -> Result<SecretKeys, Problem> {
        secret_keys(&self.officer_key_file(officer))
    }

    /// The authority's secret keys.
    pub(crate) fn authority_keys(&self) -> Result<Vec<SecretKeys>, Problem> {
        (1..=self.spec.authority.keys)
            .map(|number| secret_keys(&self.authority_key_file(number)))
            .collect()
    }

    pub(crate) fn tls_authority(&self) -> Result<TlsAuthority, Problem> {
        let file = self.ca_key_file();
        let pem = std::fs::read_to_string(&file).map_err(Problem::at(&file, NOT_OURS))?;
        TlsAuthority::from_pem(self.spec.network.as_str(), &pem).map_err(Problem::at(&file, NOT_OURS))
    }
}

fn secret_keys(file: &Path) -> Result<SecretKeys, Problem> {
    SecretKeys::parse(&files::read(file)?).map_err(Problem::at(file, NOT_OURS))
}

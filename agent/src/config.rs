//! `agent.toml`: every setting parsed, every error with file and line, private files private.

mod brokers;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schakel_proto::party::{AgencyId, NetworkName};
use serde::Deserialize;
use toml::Spanned;

pub use self::brokers::BrokerAddress;
use self::brokers::{RawBrokers, brokers};
use crate::inbox::quarantine::QuarantineMax;
use crate::problem::{Kind, Problem};
use crate::retention::Retention;

/// How the inbox keeps what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// As an ordinary OpenPGP message, opened on demand.
    Sealed,
    /// As the content itself.
    Plain,
}

/// The agent's settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file they came from.
    pub file: PathBuf,
    /// The network's name.
    pub network: NetworkName,
    /// Who this agent is.
    pub agency: AgencyId,
    /// The network's brokers, one at least; the agent is at one of them at a time.
    pub brokers: Vec<BrokerAddress>,
    /// Folder of everything the agent keeps.
    pub data_dir: PathBuf,
    /// OpenPGP keyring of the network's authority.
    pub authority: PathBuf,
    /// How many keys of the authority must have signed the directory.
    pub authority_threshold: usize,
    /// The agency's OpenPGP secret keys.
    pub openpgp_key: PathBuf,
    /// Former OpenPGP secret keys of the agency: they open what was sealed to them.
    pub former_openpgp_keys: Vec<PathBuf>,
    /// TLS certificate chain, PEM.
    pub tls_certificate: PathBuf,
    /// TLS private key, PEM.
    pub tls_key: PathBuf,
    /// CA of the network, PEM.
    pub tls_ca: PathBuf,
    /// The key with which the agency cosigns the log; none: it is no witness.
    pub witness_key: Option<PathBuf>,
    /// How the inbox keeps parts.
    pub at_rest: AtRest,
    /// Packets asked for at once.
    pub credit_packets: u32,
    /// How much the quarantine keeps; the oldest goes first.
    pub quarantine_max: QuarantineMax,
    /// Most packets not yet settled.
    pub outbox_max_packets: usize,
    /// Most bytes of sealed parts not yet settled.
    pub outbox_max_bytes: u64,
    /// Pause between two looks at directory and bundle, in seconds.
    pub refresh_seconds: u64,
    /// Whole years after which what was sent, and what was received, goes.
    pub retention: Retention,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    network: Spanned<String>,
    agency: Spanned<String>,
    broker: Spanned<RawBrokers>,
    broker_name: Option<Spanned<String>>,
    data_dir: Spanned<PathBuf>,
    authority: Spanned<PathBuf>,
    authority_threshold: Option<Spanned<u32>>,
    openpgp_key: Spanned<PathBuf>,
    #[serde(default)]
    former_openpgp_keys: Vec<Spanned<PathBuf>>,
    refresh_seconds: Option<Spanned<u64>>,
    witness_key: Option<Spanned<PathBuf>>,
    tls: RawTls,
    #[serde(default)]
    inbox: RawInbox,
    #[serde(default)]
    outbox: RawOutbox,
    #[serde(default)]
    retention: RawRetention,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    sent_years: Option<Spanned<u16>>,
    received_years: Option<Spanned<u16>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
    ca: Spanned<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInbox {
    at_rest: Option<Spanned<String>>,
    credit_packets: Option<Spanned<u32>>,
    quarantine_max_count: Option<Spanned<u32>>,
    quarantine_max_bytes: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutbox {
    max_packets: Option<Spanned<u32>>,
    max_bytes: Option<Spanned<u64>>,
}

/// The text of a settings file, to say on which line something stands.
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, offset: usize, sentence: impl Into<String>, remedy: &str) -> Problem {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|b| **b == b'\n').count();
        Problem::new(Kind::Usage, "CONFIG", sentence, remedy)
            .at(format_args!("{}:{line}", self.file.display()))
    }

    fn wrong<T>(&self, value: &Spanned<T>, sentence: impl Into<String>, remedy: &str) -> Problem {
        self.error(value.span().start, sentence, remedy)
    }

    fn path(&self, value: &Spanned<PathBuf>) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(value.get_ref())
    }

    /// A file that must be there; a private one must be readable by its owner only.
    fn file(&self, value: &Spanned<PathBuf>, private: bool) -> Result<PathBuf, Problem> {
        let path = self.path(value);
        let meta = fs::metadata(&path).map_err(|e| {
            self.wrong(
                value,
                format!("cannot read {}: {e}", path.display()),
                "Name a file that is there.",
            )
        })?;
        if !meta.is_file() {
            let sentence = format!("{} is not a file", path.display());
            return Err(self.wrong(value, sentence, "Name a file."));
        }
        let mode = meta.mode() & 0o777;
        if private && mode & 0o077 != 0 {
            let sentence = format!("{} is private but has mode {mode:04o}", path.display());
            return Err(self.wrong(
                value,
                sentence,
                "Run `chmod 600` on it: group and others must not read it.",
            ));
        }
        Ok(path)
    }

    fn private_files(&self, values: &[Spanned<PathBuf>]) -> Result<Vec<PathBuf>, Problem> {
        values.iter().map(|value| self.file(value, true)).collect()
    }

    fn bounded<T: Copy + PartialOrd + std::fmt::Display>(
        &self,
        value: Option<Spanned<T>>,
        default: T,
        (low, high): (T, T),
    ) -> Result<T, Problem> {
        let Some(value) = value else { return Ok(default) };
        let number = *value.get_ref();
        if number < low || number > high {
            let sentence = format!("{number} is out of range");
            return Err(self.wrong(
                &value,
                format!("{sentence}: from {low} to {high}"),
                "Choose a number in it.",
            ));
        }
        Ok(number)
    }
}

impl Config {
    /// Reads and checks a settings file and the files it names. Relative paths are relative to it.
    pub fn load(file: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(file).map_err(|e| {
            let sentence = format!("cannot read the settings: {e}");
            Problem::new(Kind::Usage, "CONFIG", sentence, "Name the file with --config.").at(file.display())
        })?;
        Self::parse(file, &text)
    }

    /// As [`Self::load`], from a text that stands for the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let source = Source { file, text };
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let offset = e.span().map_or(0, |span| span.start);
            let remedy = "See docs/operating/agent.md for every setting.";
            source.error(offset, e.message().replace('\n', " "), remedy)
        })?;
        let name = |e: schakel_proto::party::NameError, v: &Spanned<String>| {
            source.wrong(v, e.to_string(), "For example \"pz-rupel\".")
        };
        let config = Self {
            network: NetworkName::new(raw.network.get_ref()).map_err(|e| name(e, &raw.network))?,
            agency: AgencyId::new(raw.agency.get_ref()).map_err(|e| name(e, &raw.agency))?,
            brokers: brokers(&source, &raw.broker, raw.broker_name.as_ref())?,
            data_dir: data_dir(&source, &raw.data_dir)?,
            authority: source.file(&raw.authority, false)?,
            authority_threshold: source.bounded(raw.authority_threshold, 1, (1, 16))? as usize,
            openpgp_key: source.file(&raw.openpgp_key, true)?,
            former_openpgp_keys: source.private_files(&raw.former_openpgp_keys)?,
            tls_certificate: source.file(&raw.tls.certificate, false)?,
            tls_key: source.file(&raw.tls.key, true)?,
            tls_ca: source.file(&raw.tls.ca, false)?,
            witness_key: raw.witness_key.map(|key| source.file(&key, true)).transpose()?,
            at_rest: at_rest(&source, raw.inbox.at_rest.as_ref())?,
            credit_packets: source.bounded(raw.inbox.credit_packets, 8, (1, 256))?,
            quarantine_max: QuarantineMax {
                count: source.bounded(raw.inbox.quarantine_max_count, 64, (1, 4096))? as usize,
                bytes: source.bounded(raw.inbox.quarantine_max_bytes, 4 << 30, (1 << 20, 1 << 50))?,
            },
            outbox_max_packets: source.bounded(raw.outbox.max_packets, 10_000, (1, 1_000_000))? as usize,
            outbox_max_bytes: source.bounded(raw.outbox.max_bytes, 16 << 30, (1 << 20, 1 << 50))?,
            refresh_seconds: source.bounded(raw.refresh_seconds, 10, (1, 3600))?,
            retention: Retention {
                sent_years: source.bounded(raw.retention.sent_years, 10, (1, 30))?,
                received_years: source.bounded(raw.retention.received_years, 10, (1, 30))?,
            },
            file: file.to_owned(),
        };
        Ok(config)
    }

    /// The socket of the local API.
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("agent.sock")
    }
}

fn at_rest(source: &Source<'_>, value: Option<&Spanned<String>>) -> Result<AtRest, Problem> {
    match value {
        None => Ok(AtRest::Sealed),
        Some(v) if v.get_ref() == "sealed" => Ok(AtRest::Sealed),
        Some(v) if v.get_ref() == "plain" => Ok(AtRest::Plain),
        Some(v) => Err(source.wrong(
            v,
            "at_rest is neither of its two words",
            "Write \"sealed\" or \"plain\".",
        )),
    }
}

/// The data folder may be missing (it is made with mode 0700); one that others can enter is refused,
/// since it holds what was sent, and with `at_rest = "plain"` what was received.
fn data_dir(source: &Source<'_>, value: &Spanned<PathBuf>) -> Result<PathBuf, Problem> {
    let path = source.path(value);
    let Ok(meta) = fs::metadata(&path) else {
        return Ok(path);
    };
    let mode = meta.mode() & 0o777;
    if !meta.is_dir() {
        return Err(source.wrong(
            value,
            format!("{} is not a folder", path.display()),
            "Name a folder.",
        ));
    }
    if mode != 0o700 {
        let sentence = format!("{} has mode {mode:04o}, it must be 0700", path.display());
        return Err(source.wrong(
            value,
            sentence,
            "Run `chmod 700` on it: it holds what the agency exchanges.",
        ));
    }
    let own = fs::metadata("/proc/self").map(|m| m.uid()).ok();
    if own.is_some_and(|uid| uid != meta.uid()) {
        let sentence = format!("{} belongs to another user", path.display());
        return Err(source.wrong(
            value,
            sentence,
            "Run the agent as its owner, or give it the folder.",
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = r#"
network = "rupel"
agency = "pz-rupel"
broker = "127.0.0.1:7443"
broker_name = "broker.rupel.example"
data_dir = "data"
authority = "authority.pgp"
openpgp_key = "key.pgp"

[tls]
certificate = "tls.pem"
key = "tls.key"
ca = "ca.pem"
"#;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["authority.pgp", "key.pgp", "tls.pem", "tls.key", "ca.pem"] {
            let path = dir.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        dir
    }

    fn parse(dir: &Path, text: &str) -> Result<Config, Problem> {
        let file = dir.join("agent.toml");
        fs::write(&file, text).unwrap();
        Config::load(&file)
    }

    #[test]
    fn a_good_file_loads_with_defaults_and_relative_paths() {
        let dir = folder();
        let config = parse(dir.path(), GOOD).unwrap();
        assert_eq!(config.agency.as_str(), "pz-rupel");
        let [broker] = &config.brokers[..] else {
            panic!("one broker");
        };
        assert_eq!(broker.to_string(), "127.0.0.1:7443");
        assert_eq!(broker.name, "broker.rupel.example");
        assert_eq!(config.at_rest, AtRest::Sealed);
        assert_eq!(config.data_dir, dir.path().join("data"));
        assert_eq!(config.socket(), dir.path().join("data/agent.sock"));
        let plain = parse(dir.path(), &format!("{GOOD}\n[inbox]\nat_rest = \"plain\"\n")).unwrap();
        assert_eq!(plain.at_rest, AtRest::Plain);
    }

    #[test]
    fn o01_every_wrong_setting_is_named_with_file_and_line() {
        let dir = folder();
        for (from, to, line, word) in [
            ("agency = \"pz-rupel\"", "agency = \"PZ Rupel\"", 3, "agency id"),
            (
                "broker = \"127.0.0.1:7443\"",
                "broker = \"127.0.0.1\"",
                4,
                "host:port",
            ),
            (
                "broker = \"127.0.0.1:7443\"",
                "broker = \"127.0.0.1:0\"",
                4,
                "host:port",
            ),
            ("broker = \"127.0.0.1:7443\"", "broker = 7443", 4, "string"),
            (
                "broker_name = \"broker.rupel.example\"",
                "broker_name = \"not a name\"",
                5,
                "DNS name",
            ),
            (
                "broker_name = \"broker.rupel.example\"",
                "brokername = \"x\"",
                5,
                "unknown field",
            ),
            (
                "authority = \"authority.pgp\"",
                "authority = \"missing.pgp\"",
                7,
                "missing.pgp",
            ),
            (
                "openpgp_key = \"key.pgp\"",
                "openpgp_key = \".\"",
                8,
                "not a file",
            ),
            ("[tls]", "authority_threshold = 0\n[tls]", 10, "out of range"),
            (
                "ca = \"ca.pem\"",
                "ca = \"ca.pem\"\n[inbox]\nat_rest = \"open\"",
                15,
                "at_rest",
            ),
            (
                "ca = \"ca.pem\"",
                "ca = \"ca.pem\"\n[inbox]\ncredit_packets = 1000",
                15,
                "out of range",
            ),
            ("ca = \"ca.pem\"", "ca = ", 13, ""),
        ] {
            let problem = parse(dir.path(), &GOOD.replace(from, to)).unwrap_err();
            assert_eq!(problem.code, "CONFIG");
            assert!(
                problem.place.ends_with(&format!("agent.toml:{line}")),
                "{to}: {problem}"
            );
            assert!(problem.sentence.contains(word), "{to}: {problem}");
            assert!(!problem.remedy.is_empty());
        }
    }

    #[test]
    fn o01_private_files_and_folders_that_others_can_read_are_refused() {
        let dir = folder();
        for (name, line) in [("key.pgp", 8), ("tls.key", 12)] {
            let path = dir.path().join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let problem = parse(dir.path(), GOOD).unwrap_err();
            assert!(
                problem.place.ends_with(&format!("agent.toml:{line}")),
                "{problem}"
            );
            assert!(problem.remedy.contains("chmod 600"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
        let problem = parse(dir.path(), GOOD).unwrap_err();
        assert!(problem.remedy.contains("chmod 700"), "{problem}");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        parse(dir.path(), GOOD).unwrap();
    }
}

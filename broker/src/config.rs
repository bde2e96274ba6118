//! `broker.toml`: read once at start, every error with file, line, cause and remedy.
//! docs/operating/broker.md lists every setting.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schakel_proto::party::NetworkName;
use serde::Deserialize;
use toml::Spanned;

use crate::overdue::settings::{self, OverdueText};

mod bounds;

mod retention;

mod store;

pub use bounds::Bounds;
pub use retention::Retention;
pub use store::StoreConfig;

/// What is wrong with the configuration: `file:line: sentence. remedy`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file at fault.
    pub file: PathBuf,
    /// Line in it, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub sentence: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}. {}", self.sentence, self.remedy)
    }
}

impl ConfigError {
    /// An error about a whole file.
    pub fn file(file: &Path, sentence: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            sentence: sentence.into(),
            remedy: remedy.into(),
        }
    }
}

/// The files of the TLS side, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain of the broker, leaf first.
    pub certificate: PathBuf,
    /// Private key of the leaf; private file.
    pub key: PathBuf,
    /// Certificate of the network's TLS authority, which client certificates must chain to.
    pub ca: PathBuf,
}

/// A checked configuration. Paths are absolute or relative to the working directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// Name of the network.
    pub network: NetworkName,
    /// Address for agents (gRPC over TLS).
    pub listen: SocketAddr,
    /// Loopback address for health (plain HTTP).
    pub health_listen: SocketAddr,
    /// Store, part files and log.
    pub data_dir: PathBuf,
    /// Per-case erasure keys; outside `data_dir` and outside its backups.
    pub erasure_dir: PathBuf,
    /// OpenPGP certificates of the network's authority.
    pub authority: PathBuf,
    /// Authority signatures that a directory needs.
    pub authority_threshold: usize,
    /// The signed directory; read again every few seconds.
    pub directory: PathBuf,
    /// The signed policy bundle; read again every few seconds.
    pub bundle: PathBuf,
    /// TLS files.
    pub tls: TlsFiles,
    /// Signing key of the log; private file.
    pub log_key: PathBuf,
    /// Bounds.
    pub bounds: Bounds,
    /// From when on something is overdue.
    pub overdue: settings::Settings,
    /// For how long what is kept.
    pub retention: Retention,
    /// Where everything durable is.
    pub store: StoreConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    network: Spanned<String>,
    listen: Spanned<String>,
    health_listen: Spanned<String>,
    data_dir: Spanned<PathBuf>,
    erasure_dir: Spanned<PathBuf>,
    authority: Spanned<PathBuf>,
    authority_threshold: Spanned<usize>,
    directory: Spanned<PathBuf>,
    bundle: Spanned<PathBuf>,
    tls: TlsText,
    log: LogText,
    #[serde(default)]
    limits: BTreeMap<String, Spanned<u64>>,
    #[serde(default)]
    overdue: OverdueText,
    #[serde(default)]
    retention: BTreeMap<String, Spanned<u64>>,
    #[serde(default)]
    store: store::StoreText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsText {
    certificate: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
    ca: Spanned<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogText {
    key: Spanned<PathBuf>,
}

/// Where in which text: turns spans into lines and relative paths into usable ones.
pub(crate) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    pub(crate) fn file(&self) -> &Path {
        self.file
    }

    pub(crate) fn line(&self, offset: usize) -> usize {
        self.text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1
    }

    pub(crate) fn error<T>(
        &self,
        at: &Spanned<T>,
        sentence: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        let line = self.line(at.span().start);
        ConfigError {
            file: self.file.to_owned(),
            line,
            sentence: sentence.into(),
            remedy: remedy.into(),
        }
    }

    fn path(&self, path: &Spanned<PathBuf>) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path.get_ref())
    }

    /// A file that must be there and readable.
    fn present(&self, path: &Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        let full = self.path(path);
        match std::fs::File::open(&full).and_then(|file| file.metadata()) {
            Ok(data) if data.is_file() => Ok(full),
            Ok(_) => Err(self.error(path, "this is not a file", "Name a file here.")),
            Err(cause) => Err(self.error(
                path,
                format!("{} cannot be read ({})", path.get_ref().display(), cause.kind()),
                "Put the file there, or correct the path; it is relative to the configuration file.",
            )),
        }
    }

    /// A file with a secret: neither group nor others may touch it.
    fn private(&self, path: &Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        let full = self.present(path)?;
        if open_to_others(&full) {
            let sentence = format!(
                "{} holds a secret and is open to group or others",
                path.get_ref().display()
            );
            return Err(self.error(
                path,
                sentence,
                format!("Run: chmod 600 {}", path.get_ref().display()),
            ));
        }
        Ok(full)
    }

    /// A directory of the broker's own: made on demand; if it exists, private.
    fn folder(&self, path: &Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        let full = self.path(path);
        match std::fs::metadata(&full) {
            Ok(data) if !data.is_dir() => {
                Err(self.error(path, "this is not a directory", "Name a directory."))
            }
            Ok(_) if open_to_others(&full) => Err(self.error(
                path,
                format!(
                    "directory {} is open to group or others",
                    path.get_ref().display()
                ),
                format!("Run: chmod 700 {}", path.get_ref().display()),
            )),
            _ => Ok(full),
        }
    }

    fn address(&self, text: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let sentence = format!("\"{}\" is not an address with a port", text.get_ref());
            self.error(
                text,
                sentence,
                "Write an IP address and a port, such as \"127.0.0.1:7443\".",
            )
        })
    }
}

/// Whether group or others have any right to `path`.
fn open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

impl Config {
    /// Reads and checks `file`, and that every file it names can be read.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|cause| {
            ConfigError::file(
                file,
                format!("cannot be read ({})", cause.kind()),
                "Name the file with --config.",
            )
        })?;
        Self::parse(file, &text)
    }

    /// As `load`, from a text that stands for the content of `file`.
    pub fn parse(file: &Path, content: &str) -> Result<Self, ConfigError> {
        let source = Source { file, text: content };
        let text: Text = toml::from_str(content).map_err(|error| ConfigError {
            file: file.to_owned(),
            line: error.span().map_or(0, |span| source.line(span.start)),
            sentence: error.message().lines().collect::<Vec<_>>().join(", "),
            remedy: "docs/operating/broker.md lists every setting.".into(),
        })?;
        let network = NetworkName::new(text.network.get_ref())
            .map_err(|error| source.error(&text.network, error.to_string(), "Example: \"rupel\"."))?;
        let listen = source.address(&text.listen)?;
        let health_listen = source.address(&text.health_listen)?;
        if !health_listen.ip().is_loopback() {
            let sentence = "health is plain HTTP and must stay on this machine";
            return Err(source.error(&text.health_listen, sentence, "Write \"127.0.0.1:7480\"."));
        }
        let data_dir = source.folder(&text.data_dir)?;
        let erasure_dir = source.folder(&text.erasure_dir)?;
        if erasure_dir.starts_with(&data_dir) || data_dir.starts_with(&erasure_dir) {
            let sentence = "erasure_dir and data_dir lie in one another, so a backup of one keeps the other";
            return Err(source.error(&text.erasure_dir, sentence, "Name a directory beside data_dir."));
        }
        if *text.authority_threshold.get_ref() == 0 {
            let sentence = "a threshold of 0 would accept an unsigned directory";
            return Err(source.error(&text.authority_threshold, sentence, "Write 1 or more."));
        }
        Ok(Self {
            file: file.to_owned(),
            network,
            listen,
            health_listen,
            store: store::read(&source, &text.store, &data_dir)?,
            data_dir,
            erasure_dir,
            authority: source.present(&text.authority)?,
            authority_threshold: *text.authority_threshold.get_ref(),
            directory: source.present(&text.directory)?,
            bundle: source.present(&text.bundle)?,
            tls: TlsFiles {
                certificate: source.present(&text.tls.certificate)?,
                key: source.private(&text.tls.key)?,
                ca: source.present(&text.tls.ca)?,
            },
            log_key: source.private(&text.log.key)?,
            bounds: bounds::read(&source, &text.limits)?,
            overdue: settings::read(&source, &text.overdue)?,
            retention: retention::read(&source, &text.retention)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = r#"network = "rupel"
listen = "127.0.0.1:0"
health_listen = "127.0.0.1:0"
data_dir = "data"
erasure_dir = "erasure"
authority = "authority.pgp"
authority_threshold = 1
directory = "directory.bin"
bundle = "bundle.bin"

[tls]
certificate = "tls.crt"
key = "tls.key"
ca = "ca.crt"

[log]
key = "log.key"
"#;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "authority.pgp",
            "directory.bin",
            "bundle.bin",
            "tls.crt",
            "tls.key",
            "ca.crt",
            "log.key",
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        folder
    }

    fn refused(folder: &tempfile::TempDir, text: &str) -> ConfigError {
        Config::parse(&folder.path().join("broker.toml"), text).unwrap_err()
    }

    #[test]
    fn a_good_file_is_read_and_paths_are_relative_to_it() {
        let folder = folder();
        let config = Config::parse(&folder.path().join("broker.toml"), GOOD).unwrap();
        assert_eq!(config.data_dir, folder.path().join("data"));
        assert_eq!(config.bounds, Bounds::default());
        let lowered = format!("{GOOD}[limits]\npacket_life_max_days = 7\nconnections_max_count = 9\n");
        let config = Config::parse(&folder.path().join("broker.toml"), &lowered).unwrap();
        assert_eq!(config.bounds.packet_life_max_millis, 7 * 24 * 3600 * 1000);
        assert_eq!(config.bounds.connections_max_count, 9);
    }

    #[test]
    fn o01_errors_name_file_line_and_remedy() {
        let folder = folder();
        let cases = [
            (
                GOOD.replace("listen = \"127.0.0.1:0\"\nhealth", "listen = \"here\"\nhealth"),
                2,
                "not an address",
            ),
            (
                GOOD.replace("health_listen = \"127.0.0.1:0\"", "health_listen = \"0.0.0.0:1\""),
                3,
                "this machine",
            ),
            (GOOD.replace("data_dir", "data_dri"), 4, "unknown field"),
            (
                GOOD.replace("authority_threshold = 1", "authority_threshold = 0"),
                7,
                "unsigned",
            ),
            (
                GOOD.replace("authority_threshold = 1", "authority_threshold = \"1\""),
                7,
                "invalid type",
            ),
            (
                GOOD.replace("\"bundle.bin\"", "\"none.bin\""),
                9,
                "cannot be read",
            ),
            (GOOD.replace("\"erasure\"", "\"data/erasure\""), 5, "backup"),
            (GOOD.replace("\"rupel\"", "\"Rupel!\""), 1, "network name"),
            (format!("{GOOD}[limits]\nparts = 1\n"), 19, "unknown setting"),
            (
                format!("{GOOD}[limits]\npart_max_bytes = 0\n"),
                19,
                "out of range",
            ),
            (
                format!("{GOOD}[limits]\npacket_life_max_days = 31\n"),
                19,
                "out of range",
            ),
        ];
        for (text, line, says) in cases {
            let error = refused(&folder, &text);
            assert_eq!(error.line, line, "{error}");
            assert!(error.sentence.contains(says), "{error}");
            assert!(error.to_string().contains("broker.toml:"), "{error}");
            assert!(!error.remedy.is_empty());
        }
    }

    #[test]
    fn what_is_overdue_is_configured_and_unknown_categories_are_refused() {
        let folder = folder();
        let file = folder.path().join("broker.toml");
        let defaults = Config::parse(&file, GOOD).unwrap().overdue;
        let hours = |hours: i64| Some(hours * 3_600_000);
        assert_eq!(defaults.unread_millis("alert"), hours(2));
        assert_eq!(
            (defaults.unread_millis("household"), defaults.revisit_millis()),
            (None, 60 * 86_400_000)
        );
        let text = format!(
            "{GOOD}[overdue]\nrevisit_days = 30\n[overdue.unread_minutes]\nalert = 60\nmeasures = 0\nalrt = 9\n"
        );
        let settings = Config::parse(&file, &text).unwrap().overdue;
        assert_eq!(
            (
                settings.unread_millis("alert"),
                settings.unread_millis("measures")
            ),
            (hours(1), None)
        );
        assert_eq!(settings.shortest_unread_millis(), Some(9 * 60_000));
        let known: Vec<String> = ["alert", "measures"].map(str::to_owned).into();
        let error = settings.check(&known).unwrap_err();
        assert_eq!(error.line, 23, "{error}");
        assert!(error.sentence.contains("alrt"), "{error}");
        // A default that a network's own bundle does not know is no error of the operator's.
        assert_eq!(defaults.check(&known), Ok(()));
        for (wrong, line) in [("revisit_days = 0", 19), ("unread_hours = 2", 19)] {
            assert_eq!(
                refused(&folder, &format!("{GOOD}[overdue]\n{wrong}\n")).line,
                line
            );
        }
    }

    #[test]
    fn o01_a_secret_open_to_others_is_refused() {
        let folder = folder();
        for (name, line) in [("tls.key", 13), ("log.key", 17)] {
            let path = folder.path().join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            let error = refused(&folder, GOOD);
            assert_eq!(
                (error.line, error.remedy.as_str()),
                (line, format!("Run: chmod 600 {name}").as_str())
            );
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

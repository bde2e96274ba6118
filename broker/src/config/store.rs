//! `[store.postgres]`: where the store is, if not in `data_dir`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Source};
use crate::store::postgres::{
    CONFIRM_MAX, Host, POOL_MAX_COUNT, PostgresOptions, Privacy, Standby, is_schema_name,
};

/// Most connections of one broker that read.
const CONNECTIONS_MAX_COUNT: u64 = 64;
/// Most servers named.
const HOSTS_MAX_COUNT: usize = 8;

/// Where everything durable is.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In `data_dir`, on this machine alone.
    Sled,
    /// In a database that other brokers use too.
    Postgres(Box<PostgresOptions>),
}

/// `[store]` as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreText {
    postgres: Option<PostgresText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresText {
    hosts: Spanned<Vec<Spanned<String>>>,
    database: Spanned<String>,
    user: Spanned<String>,
    #[serde(default)]
    schema: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    ca: Option<Spanned<PathBuf>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    standby: Option<Spanned<String>>,
    #[serde(default)]
    migrate: bool,
    connections: Option<Spanned<u64>>,
}

/// Checks what is written.
pub(super) fn read(
    source: &Source<'_>,
    text: &StoreText,
    data_dir: &Path,
) -> Result<StoreConfig, ConfigError> {
    let Some(text) = &text.postgres else {
        return Ok(StoreConfig::Sled);
    };
    let hosts = hosts(source, &text.hosts)?;
    let schema = match &text.schema {
        None => "schakel".to_owned(),
        Some(name) if is_schema_name(name.get_ref()) => name.get_ref().clone(),
        Some(name) => {
            let sentence = format!("\"{}\" is no name of a schema", name.get_ref());
            let remedy = "Write lower-case letters, digits and underscores, a letter first, at most 63.";
            return Err(source.error(name, sentence, remedy));
        }
    };
    for (name, what) in [(&text.database, "database"), (&text.user, "user")] {
        if name.get_ref().is_empty() || name.get_ref().contains(char::is_control) {
            return Err(source.error(
                name,
                format!("{what} is no name"),
                "Write the name as the server knows it.",
            ));
        }
    }
    Ok(StoreConfig::Postgres(Box::new(PostgresOptions {
        privacy: privacy(source, text, &hosts)?,
        hosts,
        database: text.database.get_ref().clone(),
        user: text.user.get_ref().clone(),
        password: text
            .password_file
            .as_ref()
            .map(|file| password(source, file))
            .transpose()?,
        schema,
        standby: standby(source, text.standby.as_ref())?,
        confirm_max: CONFIRM_MAX,
        migrate: text.migrate,
        pool_max_count: connections(source, text.connections.as_ref())?,
        notes_dir: data_dir.to_owned(),
    })))
}

fn hosts(source: &Source<'_>, text: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Host>, ConfigError> {
    let all = text.get_ref();
    if all.is_empty() || all.len() > HOSTS_MAX_COUNT {
        let sentence = format!("hosts names {} servers", all.len());
        let remedy = format!("Name the primary and its standbys, 1 to {HOSTS_MAX_COUNT}, in any order.");
        return Err(source.error(text, sentence, remedy));
    }
    let parse = |one: &Spanned<String>| {
        let wrong = |why: &str| {
            source.error(
                one,
                format!("\"{}\" is no host", one.get_ref()),
                format!("{why}."),
            )
        };
        one.get_ref().parse().map_err(wrong)
    };
    all.iter().map(parse).collect()
}

fn privacy(source: &Source<'_>, text: &PostgresText, hosts: &[Host]) -> Result<Privacy, ConfigError> {
    let identity = match (&text.certificate, &text.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((source.present(certificate)?, source.private(key)?)),
        (Some(one), None) | (None, Some(one)) => {
            let sentence = "certificate and key belong together";
            return Err(source.error(one, sentence, "Name both, or neither."));
        }
    };
    match &text.ca {
        Some(ca) => Ok(Privacy::Tls {
            ca: source.present(ca)?,
            identity,
        }),
        None if hosts.iter().all(Host::is_here) && identity.is_none() => Ok(Privacy::ThisMachine),
        None => {
            let sentence =
                "the way to the database leaves this machine, and no ca says whose certificate it must show";
            let remedy = "Name the file with the authority's certificate as ca: the way is then TLS 1.3.";
            Err(source.error(&text.hosts, sentence, remedy))
        }
    }
}

fn password(source: &Source<'_>, file: &Spanned<PathBuf>) -> Result<String, ConfigError> {
    let full = source.private(file)?;
    let text = std::fs::read_to_string(full).unwrap_or_default();
    let word = text.strip_suffix('\n').unwrap_or(&text);
    if word.is_empty() || word.len() > 1_024 || word.contains(char::is_control) {
        let sentence = "this file does not hold a password";
        return Err(source.error(file, sentence, "Put the password there, on one line."));
    }
    Ok(word.to_owned())
}

fn standby(source: &Source<'_>, text: Option<&Spanned<String>>) -> Result<Standby, ConfigError> {
    match text.map(|text| text.get_ref().as_str()) {
        None | Some("required") => Ok(Standby::Required),
        Some("none") => Ok(Standby::None),
        Some(other) => {
            let sentence = format!("standby = \"{other}\" is neither required nor none");
            let remedy = "Write \"required\": nothing is acknowledged that a synchronous standby has not; or \"none\": the \
                          primary's disk alone is trusted.";
            let at = text.map_or(0, |text| source.line(text.span().start));
            Err(ConfigError {
                file: source.file.to_owned(),
                line: at,
                sentence,
                remedy: remedy.to_owned(),
            })
        }
    }
}

fn connections(source: &Source<'_>, text: Option<&Spanned<u64>>) -> Result<usize, ConfigError> {
    let Some(text) = text else {
        return Ok(POOL_MAX_COUNT);
    };
    let count = *text.get_ref();
    match usize::try_from(count) {
        Ok(count) if (1..=CONNECTIONS_MAX_COUNT).contains(text.get_ref()) => Ok(count),
        _ => {
            let sentence = format!("connections = {count} is out of range");
            Err(source.error(
                text,
                sentence,
                format!("Write 1 to {CONNECTIONS_MAX_COUNT}; one more writes and one listens."),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn parse(folder: &Path, text: &str) -> Result<StoreConfig, ConfigError> {
        let file = folder.join("broker.toml");
        let source = Source { file: &file, text };
        read(&source, &toml::from_str(text).unwrap(), &folder.join("data"))
    }

    const GOOD: &str =
        "[postgres]\nhosts = [\"127.0.0.1:5432\"]\ndatabase = \"schakel\"\nuser = \"schakel\"\n";

    #[test]
    fn without_a_word_the_store_is_on_this_machine_and_a_database_has_a_standby() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(parse(folder.path(), "").unwrap(), StoreConfig::Sled));
        let StoreConfig::Postgres(options) = parse(folder.path(), GOOD).unwrap() else {
            panic!("it names a database");
        };
        assert_eq!((options.standby, options.migrate), (Standby::Required, false));
        assert_eq!(
            (options.schema.as_str(), options.pool_max_count),
            ("schakel", POOL_MAX_COUNT)
        );
        assert_eq!(options.notes_dir, folder.path().join("data"));
    }

    #[test]
    fn o01_each_wrong_word_about_the_database_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("word");
        std::fs::write(&secret, "\n").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(folder.path().join("open"), "word\n").unwrap();
        let cases = [
            (GOOD.replace("127.0.0.1:5432", "127.0.0.1"), 2, "no host"),
            (GOOD.replace("[\"127.0.0.1:5432\"]", "[]"), 2, "0 servers"),
            (GOOD.replace("127.0.0.1", "db1.example"), 2, "leaves this machine"),
            (
                GOOD.replace("\"schakel\"\nuser", "\"\"\nuser"),
                3,
                "database is no name",
            ),
            (format!("{GOOD}schema = \"Rupel\"\n"), 5, "no name of a schema"),
            (
                format!("{GOOD}standby = \"maybe\"\n"),
                5,
                "neither required nor none",
            ),
            (format!("{GOOD}connections = 0\n"), 5, "out of range"),
            (
                format!("{GOOD}password_file = \"word\"\n"),
                5,
                "does not hold a password",
            ),
            (
                format!("{GOOD}password_file = \"open\"\n"),
                5,
                "open to group or others",
            ),
            (format!("{GOOD}certificate = \"word\"\n"), 5, "belong together"),
            (format!("{GOOD}ca = \"none.crt\"\n"), 5, "cannot be read"),
        ];
        for (text, line, says) in cases {
            let error = parse(folder.path(), &text)
                .err()
                .unwrap_or_else(|| panic!("{says}"));
            assert_eq!(error.line, line, "{error}");
            assert!(
                error.sentence.contains(says) && !error.remedy.is_empty(),
                "{error}"
            );
        }
    }
}

//! What administrators write: the settings of broker and agent, read in a folder with the files they name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use schakel_proto::limits;

use crate::stable;

/// Longest thing said about a settings file, in bytes: a wrong value may be repeated in it.
const SAID_MAX_BYTES: usize = 64 * 1024;

const BROKER: &str = r#"network = "rupel"
listen = "127.0.0.1:0"
health_listen = "127.0.0.1:0"
data_dir = "data"
erasure_dir = "erasure"
authority = "a.pgp"
authority_threshold = 1
directory = "d.bin"
bundle = "b.bin"

[tls]
certificate = "tls.crt"
key = "tls.key"
ca = "ca.crt"

[log]
key = "log.key"
"#;

const AGENT: &str = r#"network = "rupel"
agency = "pz-rupel"
broker = "127.0.0.1:7443"
broker_name = "broker.rupel.example"
data_dir = "data"
authority = "a.pgp"
authority_threshold = 1
openpgp_key = "key.pgp"
former_openpgp_keys = ["key.pgp"]
refresh_seconds = 10

[tls]
certificate = "tls.crt"
key = "tls.key"
ca = "ca.crt"

[inbox]
at_rest = "sealed"
credit_packets = 8
quarantine_max_count = 64
quarantine_max_bytes = 1048576

[outbox]
max_packets = 100
max_bytes = 2000000
"#;

/// A folder with every file that the examples name, beside the program.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::current_exe().unwrap().with_file_name("fuzz-settings");
    fs::create_dir_all(&folder).unwrap();
    for name in [
        "a.pgp", "d.bin", "b.bin", "tls.crt", "tls.key", "ca.crt", "log.key", "key.pgp",
    ] {
        let path = folder.join(name);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
});

/// Text only: a file that is not UTF-8 is refused where it is read.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

fn points_into(text: &str, line: usize) {
    assert!(line <= text.lines().count() + 1, "line {line} of a shorter file");
}

/// An error has a line, a sentence and a remedy; what is accepted lowers the bounds and never raises them.
pub fn broker(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let file = FOLDER.join("broker.toml");
    match schakel_broker::config::Config::parse(&file, text) {
        Ok(config) => {
            assert!(config.health_listen.ip().is_loopback());
            assert!(config.authority_threshold > 0);
            assert!(config.bounds.packet_life_max_millis <= limits::PACKET_LIFE_MAX_MILLIS);
            assert!(config.data_dir != config.erasure_dir);
        }
        Err(error) => {
            points_into(text, error.line);
            assert!(!error.sentence.is_empty() && !error.remedy.is_empty(), "{error}");
            assert!(error.to_string().len() <= SAID_MAX_BYTES + text.len());
        }
    }
}

/// The broker's example, and what it may hold beside.
pub fn broker_files() -> Vec<Vec<u8>> {
    let more = [
        "",
        "[limits]\npacket_life_max_days = 7\nconnections_max_count = 9\npart_max_bytes = 1000000\n",
        "[overdue]\nrevisit_days = 30\n[overdue.unread_minutes]\nalert = 60\nmeasures = 0\n",
    ];
    more.iter()
        .map(|more| format!("{BROKER}{more}").into_bytes())
        .collect()
}

/// An error has a code, a place and a remedy; what is accepted is in range.
pub fn agent(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let file = FOLDER.join("agent.toml");
    match schakel_agent::config::Config::parse(&file, text) {
        Ok(config) => {
            assert!((1..=16).contains(&config.authority_threshold));
            assert!(!config.brokers.is_empty());
            assert!(
                config
                    .brokers
                    .iter()
                    .all(|broker| broker.port != 0 && !broker.host.is_empty())
            );
            assert!((1..=256).contains(&config.credit_packets));
            assert!(config.data_dir.starts_with(&*FOLDER) || Path::new(&config.data_dir).is_absolute());
        }
        Err(problem) => {
            stable(&problem.code);
            assert!(
                !problem.sentence.is_empty() && !problem.remedy.is_empty(),
                "{problem}"
            );
            let line = problem.place.rsplit(':').next().and_then(|n| n.parse().ok());
            points_into(text, line.expect("a place with a line"));
            assert!(problem.to_string().len() <= SAID_MAX_BYTES + text.len());
        }
    }
}

/// The agent's example, whole and as short as it may be.
pub fn agent_files() -> Vec<Vec<u8>> {
    let short = AGENT.split("[inbox]").next().unwrap_or_default();
    let one = "\"127.0.0.1:7443\"";
    let list = AGENT.replace(
        one,
        &format!("[{one}, {{ address = \"[::1]:7443\", name = \"b.example\" }}]"),
    );
    [AGENT, short, &list]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

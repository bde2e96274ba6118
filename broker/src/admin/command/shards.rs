//! `schakel-broker log shards|freeze|thaw|new-key`: the shards of the log. docs/operating/log.md has the steps.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::tlog::checkpoint::LogKey;
use serde_json::Value;

use super::{CommandError, Target, answer, list, number, print, text};
use crate::admin::Ask;
use crate::clock::seeded_rng;
use crate::config::Config;
use crate::log::{key, shards};
use crate::serve::ServeError;

/// How often it is looked whether a shard has ended and was cosigned.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `schakel-broker log shards`
#[derive(clap::Args)]
pub struct Shards {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker log freeze`
#[derive(clap::Args)]
pub struct Freeze {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of the shard that follows, e.g. rupel.example/log/2027h1.
    #[arg(long, value_name = "ORIGIN")]
    successor: String,
    /// Where to write the last checkpoint, for the network's authority.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long to wait for the witnesses.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

/// `schakel-broker log thaw`
#[derive(clap::Args)]
pub struct Thaw {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `schakel-broker log new-key`
#[derive(clap::Args)]
pub struct NewKey {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name of the shard that the key is for, e.g. rupel.example/log/2027h1.
    #[arg(long, value_name = "ORIGIN")]
    origin: String,
}

/// Runs `log shards`.
pub(super) fn show(arguments: &Shards) -> Result<ExitCode, CommandError> {
    let found = answer(&arguments.config, Ask::Shards)?;
    let line = |one: &Value| {
        let end = if one.get("size").is_some_and(Value::is_u64) {
            let witnessed = one.get("witnessed") == Some(&Value::Bool(true));
            let word = if witnessed { ", witnessed" } else { "" };
            format!(" to {}, root {}{word}", number(one, "size"), text(one, "root"))
        } else {
            String::new()
        };
        let (origin, state) = (text(one, "origin"), text(one, "state"));
        format!(
            "{:>4}  {origin}  {state}: from {}{end}\n",
            number(one, "number"),
            number(one, "first")
        )
    };
    if arguments.json {
        print(&format!("{found:#}\n"))?;
    } else {
        print(&list(&found, "shards").map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `log freeze`: asks for the end, waits until it is there and cosigned, and writes it out. Exit status 1: not enough
/// witnesses have cosigned it by then; asked again it goes on waiting.
pub(super) fn freeze(arguments: &Freeze) -> Result<ExitCode, CommandError> {
    let mut target = Target::of(&arguments.config)?;
    let successor = arguments.successor.clone();
    let mut found = target.ask(Ask::Freeze { successor }, &mut |_| {})?;
    let began = Instant::now();
    let wait = Duration::from_secs(arguments.wait);
    let last = loop {
        let last = list(&found, "shards").last().cloned().unwrap_or(Value::Null);
        let frozen = text(&last, "state") == "frozen";
        let witnessed = last.get("witnessed") == Some(&Value::Bool(true)) || number(&found, "witnesses") == 0;
        if (frozen && witnessed) || began.elapsed() >= wait {
            break last;
        }
        std::thread::sleep(LOOK_EVERY);
        found = target.ask(Ask::Shards, &mut |_| {})?;
    };
    target.close();
    let Some(note) = last.get("note").and_then(Value::as_str) else {
        print("the shard ends as soon as the broker runs: run it, and this command again\n")?;
        return Ok(ExitCode::FAILURE);
    };
    std::fs::write(&arguments.out, note)?;
    let (origin, size, root) = (text(&last, "origin"), number(&last, "size"), text(&last, "root"));
    print(&format!(
        "{origin} is frozen: {size} entries, root {root}\nits last checkpoint, for the authority: {}\n",
        arguments.out.display()
    ))?;
    let witnessed = last.get("witnessed") == Some(&Value::Bool(true)) || number(&found, "witnesses") == 0;
    if witnessed {
        return Ok(ExitCode::SUCCESS);
    }
    print("not enough witnesses have cosigned it: run this command again before the authority signs\n")?;
    Ok(ExitCode::FAILURE)
}

/// Runs `log thaw`.
pub(super) fn thaw(arguments: &Thaw) -> Result<ExitCode, CommandError> {
    let found = answer(&arguments.config, Ask::Thaw)?;
    let origin = text(&found, "origin");
    print(&format!(
        "{origin} goes on. No directory may freeze it where it was: a broker refuses that one\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `log new-key`: a key beside the one in force, which the broker takes up when the directory names it.
pub(super) fn new_key(arguments: &NewKey) -> Result<ExitCode, CommandError> {
    let config = Config::load(&arguments.config)?;
    let file = shards::next_key_file(&config.log_key);
    if file.exists() {
        let sentence = format!("There is a key for the next shard already: {}", file.display());
        let remedy = "If it is in force, move it to where log.key in broker.toml names; else use it.";
        let refusal = Refusal::new(Fault::Conflict, "LOG_KEY_EXISTS", sentence, remedy);
        return Err(ServeError::from(refusal).into());
    }
    let secret = key::create(&file, &arguments.origin, &mut seeded_rng()).map_err(ServeError::from)?;
    let public: &LogKey = secret.public();
    print(&format!("{}\n", public.to_text()))?;
    Ok(ExitCode::SUCCESS)
}

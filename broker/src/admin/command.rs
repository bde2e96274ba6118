//! The operator's commands: their arguments, and what they print.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::{Ask, Desk, socket};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::disclosures::LANGUAGES;
use crate::serve::ServeError;

/// Exit status when there is no answer (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: u8 = 69;

/// `schakel-broker log …`
#[derive(clap::Subcommand)]
pub enum Log {
    /// Makes every decision in the log again; exit status 1 if one comes out otherwise.
    Replay(Replay),
}

/// `schakel-broker log replay`
#[derive(clap::Args)]
pub struct Replay {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker disclosures`
#[derive(clap::Args)]
pub struct Disclosures {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The case.
    #[arg(long, value_name = "REF")]
    case: String,
    /// The person, by the pseudonym within the case.
    #[arg(long, value_name = "REF")]
    subject: String,
    /// Language of the list.
    #[arg(long, value_name = "LANGUAGE", default_value = "nl", value_parser = LANGUAGES)]
    lang: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print comma-separated values.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// `schakel-broker overdue`
#[derive(clap::Args)]
pub struct Overdue {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store of a stopped broker, or a file beside it.
    #[error("{0}")]
    Stopped(#[from] ServeError),
    /// The running broker refused.
    #[error("{0}")]
    Refused(String),
    /// The answer could not be printed, or no thread made.
    #[error("{0}")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// Whether the configuration is at fault.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Config(_))
    }

    /// Exit status if it is not.
    pub fn status() -> ExitCode {
        ExitCode::from(UNAVAILABLE)
    }
}

/// Of the broker that runs on this configuration, else out of its store.
fn answer(config: &Path, ask: Ask) -> Result<Value, CommandError> {
    let config = Config::load(config)?;
    if let Some(answer) = socket::ask(&config.data_dir, &ask) {
        return answer.map_err(CommandError::Refused);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let desk = Desk::stopped(&config, Arc::new(SystemClock)).await?;
        let answer = desk.answer(ask).await.map_err(ServeError::from);
        desk.close().await;
        Ok(answer?)
    })
}

fn print(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Runs `log replay`.
///
/// # Errors
/// There is no answer.
pub fn replay(arguments: &Replay) -> Result<ExitCode, CommandError> {
    let found = answer(&arguments.config, Ask::Replay)?;
    let text = if arguments.json {
        format!("{found:#}\n")
    } else {
        replay_text(&found)
    };
    print(&text)?;
    let same = found.get("differ").and_then(Value::as_u64) == Some(0);
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// A text field without control characters.
fn text(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_str).unwrap_or("-");
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn replay_text(found: &Value) -> String {
    let mut lines = vec![format!(
        "{} decisions replayed, {} differ",
        number(found, "replayed"),
        number(found, "differ")
    )];
    for one in list(found, "differences") {
        lines.push(format!(
            "differs: packet {} part {} recipient {} (entry {}): recorded {}; replayed {}",
            text(one, "packet"),
            text(one, "part"),
            text(one, "recipient"),
            number(one, "index"),
            text(one, "recorded"),
            text(one, "replayed"),
        ));
    }
    let gone = found.get("not_replayable").and_then(Value::as_object);
    for (what, count) in gone.into_iter().flatten() {
        lines.push(format!("not replayable, {what} gone: {count}"));
    }
    lines.join("\n") + "\n"
}

/// Runs `disclosures`.
///
/// # Errors
/// There is no answer.
pub fn disclosures(arguments: &Disclosures) -> Result<ExitCode, CommandError> {
    let ask = Ask::Disclosures {
        case: arguments.case.clone(),
        subject: arguments.subject.clone(),
        language: arguments.lang.clone(),
    };
    let mut found = answer(&arguments.config, ask)?;
    let mut form = |field: &str| {
        let form = found.as_object_mut().and_then(|found| found.remove(field));
        form.and_then(|form| form.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let (page, csv) = (form("text"), form("csv"));
    let text = match (arguments.json, arguments.csv) {
        (true, _) => format!("{found:#}\n"),
        (_, true) => csv,
        _ => page,
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `overdue`.
///
/// # Errors
/// There is no answer.
pub fn overdue(arguments: &Overdue) -> Result<ExitCode, CommandError> {
    let found = answer(&arguments.config, Ask::Overdue)?;
    let text = if arguments.json {
        format!("{found:#}\n")
    } else {
        overdue_text(&found)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn overdue_text(found: &Value) -> String {
    let counts = found.get("counts").unwrap_or(&Value::Null);
    let emergencies = found.get("emergencies").unwrap_or(&Value::Null);
    let mut lines = vec![format!(
        "{} unread, {} without contact, {} emergencies not reviewed in time ({} wait for their review)",
        number(counts, "unread"),
        number(counts, "revisit"),
        number(counts, "review"),
        number(emergencies, "unreviewed"),
    )];
    let moment = |one: &Value, field: &str| {
        let millis = one.get(field).and_then(Value::as_i64).unwrap_or_default();
        schakel_proto::time::Timestamp::from_millis(millis)
    };
    for one in list(found, "overdue") {
        lines.push(format!(
            "{}: case {} packet {} since {} due {}",
            text(one, "kind"),
            text(one, "case"),
            text(one, "packet"),
            moment(one, "since_ms"),
            moment(one, "due_ms"),
        ));
    }
    if found.get("complete") == Some(&Value::Bool(false)) {
        lines.push("there is more".to_owned());
    }
    lines.join("\n") + "\n"
}

//! The operator's commands: their arguments, and what they print.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::{Ask, Desk, Session, Told, socket};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::disclosures::LANGUAGES;
use crate::serve::ServeError;
use crate::store::StoreError;

mod logs;

mod shards;

mod stores;

pub use stores::{Stores, store};

/// Exit status when there is no answer (`EX_UNAVAILABLE` of sysexits.h).
const UNAVAILABLE: u8 = 69;

/// `schakel-broker log …`
#[derive(clap::Subcommand)]
pub enum Log {
    /// Makes every decision in the log again; exit status 1 if one comes out otherwise.
    Replay(Replay),
    /// Lists entries: who, what, when. Never content.
    Ls(logs::Ls),
    /// The whole way of a packet, each recipient and part.
    Show(logs::Show),
    /// Writes entries out: JSON Lines or comma-separated values.
    Export(logs::Export),
    /// The log in figures.
    Stats(logs::Stats),
    /// Recomputes everything from the store; exit status 1 if something differs.
    Verify(logs::Verify),
    /// Lists the shards of the log.
    Shards(shards::Shards),
    /// Ends the shard in force: nothing is handed over until the directory names the next one.
    Freeze(shards::Freeze),
    /// Lets a frozen shard go on that the directory has not frozen.
    Thaw(shards::Thaw),
    /// Makes the key of the next shard, and prints its public half for the authority.
    NewKey(shards::NewKey),
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

/// `schakel-broker erase`
#[derive(clap::Args)]
pub struct Erase {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The case. It must be closed, and none of its packets on their way.
    #[arg(long, value_name = "REF")]
    case: String,
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

/// Who answers a command.
enum Target {
    /// The broker that runs.
    Running(socket::Line),
    /// The store of a stopped one.
    Stopped {
        runtime: tokio::runtime::Runtime,
        desk: Arc<Desk>,
        session: Session,
    },
}

/// Words on how far an answer is that wait to be printed.
const TOLD_MAX_COUNT: usize = 16;

impl Target {
    /// The broker that runs on this configuration, else its store.
    fn of(config: &Path) -> Result<Self, CommandError> {
        let config = Config::load(config)?;
        if let Some(line) = socket::Line::to(&config.data_dir) {
            return line.map(Self::Running).map_err(CommandError::Refused);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let desk = runtime.block_on(Desk::stopped(&config, Arc::new(SystemClock)))?;
        let desk = Arc::new(desk);
        let user = rustix::process::getuid().as_raw();
        let session = Session::of(Arc::clone(&desk), user);
        Ok(Self::Stopped {
            runtime,
            desk,
            session,
        })
    }

    /// The same, for a look at what is wrong: also of a store that its broker would not start with.
    fn of_damaged(config: &Path) -> Result<Self, CommandError> {
        let refused = match Self::of(config) {
            Err(CommandError::Stopped(ServeError::Store(StoreError::Unusable(why)))) => why,
            other => return other,
        };
        eprintln!("the broker would not start with this store: {refused}");
        let config = Config::load(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let desk = Arc::new(runtime.block_on(Desk::damaged(&config, Arc::new(SystemClock)))?);
        let session = Session::on_damage(Arc::clone(&desk));
        Ok(Self::Stopped {
            runtime,
            desk,
            session,
        })
    }

    /// Asks one question; `told` hears how far the answer is.
    fn ask(&mut self, ask: Ask, told: &mut dyn FnMut(&Value)) -> Result<Value, CommandError> {
        match self {
            Self::Running(line) => line.ask(&ask, told).map_err(CommandError::Refused),
            Self::Stopped { runtime, session, .. } => runtime.block_on(async {
                let (sender, mut hears) = tokio::sync::mpsc::channel(TOLD_MAX_COUNT);
                let sender = Told::to(sender);
                let answered = session.answer(ask, &sender);
                tokio::pin!(answered);
                loop {
                    tokio::select! {
                        done = &mut answered => return Ok(done.map_err(ServeError::from)?),
                        Some(how_far) = hears.recv() => told(&how_far),
                    }
                }
            }),
        }
    }

    /// Lets go of the store, if it was opened.
    fn close(self) {
        if let Self::Stopped { runtime, desk, .. } = self {
            runtime.block_on(desk.close());
        }
    }
}

/// One question, one answer.
fn answer(config: &Path, ask: Ask) -> Result<Value, CommandError> {
    let mut target = Target::of(config)?;
    let answer = target.ask(ask, &mut |_| {});
    target.close();
    answer
}

fn print(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Runs `log …`. That nobody reads on is no error.
///
/// # Errors
/// There is no answer.
pub fn log(log: &Log) -> Result<ExitCode, CommandError> {
    let ended = match log {
        Log::Replay(arguments) => replay(arguments),
        Log::Ls(arguments) => logs::ls(arguments),
        Log::Show(arguments) => logs::show(arguments),
        Log::Export(arguments) => logs::export(arguments),
        Log::Stats(arguments) => logs::stats(arguments),
        Log::Verify(arguments) => logs::verify(arguments),
        Log::Shards(arguments) => shards::show(arguments),
        Log::Freeze(arguments) => shards::freeze(arguments),
        Log::Thaw(arguments) => shards::thaw(arguments),
        Log::NewKey(arguments) => shards::new_key(arguments),
    };
    match ended {
        Err(CommandError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        other => other,
    }
}

/// Runs `log replay`.
fn replay(arguments: &Replay) -> Result<ExitCode, CommandError> {
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

/// Runs `erase`.
///
/// # Errors
/// It was refused, or broken off: the same command again ends it.
pub fn erase(arguments: &Erase) -> Result<ExitCode, CommandError> {
    let case = arguments.case.clone();
    let done = answer(&arguments.config, Ask::Erase { case })?;
    let text = if arguments.json {
        format!("{done:#}\n")
    } else {
        let shown: Vec<&str> = list(&done, "shown_to").filter_map(Value::as_str).collect();
        format!(
            "erased: the key of {} is destroyed. Destroy every copy of it\nentry {}, shown to: {}\n",
            text(&done, "case"),
            text(&done, "leaf"),
            shown.join(" "),
        )
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

//! The agency's own command line, called as its people call it, with `--json`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::problem::{Problem, Result};
use super::processes::binary;
use super::stage::{Stage, agency};

/// Longest wait for one command; longer than `send` is told to wait.
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// Longest wait until a packet is decided everywhere, in seconds.
pub const DECIDED_MAX_SECONDS: u64 = 90;
const PAUSE: Duration = Duration::from_millis(50);

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it ended with 0.
    pub good: bool,
    /// Its JSON, on standard output or (a problem) on standard error; null if there is none.
    pub value: Value,
    /// What it said on standard error.
    pub error: String,
}

/// The command line of one agency's agent.
pub struct Cli {
    program: PathBuf,
    config: PathBuf,
    scratch: PathBuf,
    name: String,
}

impl Cli {
    /// That of an agency.
    pub fn of(stage: &Stage, id: &str) -> Result<Self> {
        Ok(Self {
            program: binary("schakel-agent")?,
            config: stage.network().agent_config(&agency(id)?),
            scratch: stage.folder().to_owned(),
            name: id.to_owned(),
        })
    }

    /// The command as a person would type it, without `--json`.
    pub fn typed(&self, command: &str) -> String {
        format!(
            "{} {command} --config {}",
            self.program.display(),
            self.config.display()
        )
    }

    /// Runs a command: its words, then its other arguments.
    pub fn call(&self, words: &[&str], arguments: &[String]) -> Result<Answer> {
        let temporary = || tempfile::NamedTempFile::new_in(&self.scratch).map_err(Problem::during("a file"));
        let (out, err) = (temporary()?, temporary()?);
        let reopen = |file: &tempfile::NamedTempFile| file.reopen().map_err(Problem::during("a file"));
        let mut child = Command::new(&self.program)
            .args(words)
            .arg("--config")
            .arg(&self.config)
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(reopen(&out)?)
            .stderr(reopen(&err)?)
            .spawn()
            .map_err(Problem::during(self.program.display()))?;
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(Problem::during("the command"))? {
                Some(status) => break status,
                None if began.elapsed() < COMMAND_MAX => std::thread::sleep(PAUSE),
                None => {
                    child.kill().ok();
                    child.wait().ok();
                    let command = words.join(" ");
                    return Err(Problem::new(format!(
                        "{}: `{command}` did not answer in time",
                        self.name
                    )));
                }
            }
        };
        let (output, error) = (text(out.path())?, text(err.path())?);
        let value = serde_json::from_str(&output).or_else(|_| serde_json::from_str(&error));
        Ok(Answer {
            good: status.success(),
            value: value.unwrap_or(Value::Null),
            error,
        })
    }

    /// Runs a command that must end well.
    pub fn expect(&self, words: &[&str], arguments: &[String]) -> Result<Value> {
        let answer = self.call(words, arguments)?;
        if answer.good {
            return Ok(answer.value);
        }
        let (command, error) = (words.join(" "), answer.error.trim());
        Err(Problem::new(format!(
            "{}: `{command}` failed: {error}",
            self.name
        )))
    }
}

/// A field of a JSON object as text; empty if it is not there.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The list in a field of a JSON object; empty if it is not there.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Whether every outcome of a packet is decided, or nothing more happens to it.
pub fn is_decided(state: &Value) -> bool {
    let over = ["settled", "refused", "replaced", "recalled"].contains(&field(state, "state"));
    let outcomes = list(state, "outcomes");
    let decided = |outcome: &Value| !["pending", "handed_over"].contains(&field(outcome, "state"));
    over || (!outcomes.is_empty() && outcomes.iter().all(decided))
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(Problem::during(file.display()))
}

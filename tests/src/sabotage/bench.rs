//! Runs a test on the right build and on a wrong one, and says what came of it.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Sabotage;
use super::tree::Tree;

/// Longest a build or a test may take, in seconds: a test that hangs on a wrong build is not one that notices.
const MAX_SECONDS: u32 = 1_500;

/// What a test said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It failed.
    Failed,
    /// It passed.
    Passed,
    /// It was skipped, or did not run at all.
    NotRun,
    /// It had no end.
    Endless,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "caught",
            Self::Passed => "NOT CAUGHT: the test passed",
            Self::NotRun => "NOT CAUGHT: the test did not run",
            Self::Endless => "NOT CAUGHT: the test had no end",
        })
    }
}

/// One line of the table.
pub struct Line {
    /// Of the sabotage.
    pub name: String,
    /// The test.
    pub test: String,
    /// What it said of the wrong build.
    pub verdict: Verdict,
    /// How long building and testing took.
    pub seconds: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, test) = (&self.name, &self.test);
        write!(f, "{name:<28} {test:<72} {:>5} s  {}", self.seconds, self.verdict)
    }
}

/// Reads what `cargo test` printed of one test.
pub fn verdict(test: &str, ended: Option<i32>, printed: &str) -> Verdict {
    // The code with which `timeout` ends.
    if ended == Some(124) || ended == Some(137) {
        return Verdict::Endless;
    }
    let skipped = format!("SKIPPED {test}:");
    if printed.lines().any(|line| line.starts_with(&skipped)) {
        return Verdict::NotRun;
    }
    // What a test prints may stand between its name and its result.
    let failed = printed.lines().any(|line| line == format!("    {test}"));
    let counted = |what: &str| {
        printed
            .lines()
            .any(|line| line.starts_with("test result: ") && line.contains(what))
    };
    match ended {
        Some(0) if counted(" 1 passed; 0 failed;") => Verdict::Passed,
        Some(0) | None => Verdict::NotRun,
        Some(_) if failed && counted(" 0 passed; 1 failed;") => Verdict::Failed,
        Some(_) => Verdict::NotRun,
    }
}

fn cargo(tree: &Tree, arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new("timeout");
    command
        .arg("--kill-after=20")
        .arg(MAX_SECONDS.to_string())
        .arg(cargo);
    command
        .args(arguments)
        .current_dir(&tree.root)
        .stdin(Stdio::null());
    command.env("CARGO_TARGET_DIR", &tree.target);
    // A skip must be told from a failure.
    command.env_remove("CI").env_remove("SCHAKEL_NO_SKIP");
    command
}

/// Builds what the test needs, and runs it.
fn run(tree: &Tree, one: &Sabotage, log: &Path) -> Result<Verdict, String> {
    let mut builds = vec![vec!["test", "--locked", "--quiet", "--no-run"]];
    builds.extend(
        one.programs
            .then(|| vec!["build", "--locked", "--quiet", "--workspace", "--bins"]),
    );
    if let Some(first) = builds.first_mut() {
        first.extend(one.place.iter().map(String::as_str));
    }
    for build in builds {
        let done = cargo(tree, &build)
            .output()
            .map_err(|e| format!("timeout: {e}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("{}: it does not build:\n{said}", one.name));
        }
    }
    let mut arguments = vec!["test", "--locked"];
    arguments.extend(one.place.iter().map(String::as_str));
    arguments.extend([one.test.as_str(), "--", "--exact"]);
    let mut command = cargo(tree, &arguments);
    if let Some(rounds) = one.rounds {
        command.env("SCHAKEL_ROUNDS", rounds.to_string());
    }
    let done = command.output().map_err(|e| format!("timeout: {e}"))?;
    let printed = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let printed = printed.join("\n");
    std::fs::write(log, &printed).map_err(|e| format!("{}: {e}", log.display()))?;
    Ok(verdict(&one.test, done.status.code(), &printed))
}

/// Shows that the tests of all these pass on the tree as it is.
///
/// # Errors
/// One does not, or something cannot be built.
pub fn all_is_well(tree: &Tree, all: &[Sabotage], logs: &Path) -> Result<(), String> {
    let mut done: Vec<&str> = Vec::new();
    for one in all {
        if done.contains(&one.test.as_str()) {
            continue;
        }
        let log = logs.join(format!("well-{}.txt", one.name));
        match run(tree, one, &log)? {
            Verdict::Passed => done.push(&one.test),
            other => {
                return Err(format!(
                    "{} must pass on what is right, and did not ({other:?}): see {}",
                    one.test,
                    log.display()
                ));
            }
        }
        println!("right build: {} passes", one.test);
    }
    Ok(())
}

/// Makes one thing wrong, runs its test, and puts everything right again.
///
/// # Errors
/// The text to be replaced does not stand there once, or the wrong build does not build.
pub fn tried(tree: &Tree, one: &Sabotage, logs: &Path) -> Result<Line, String> {
    let began = Instant::now();
    let before = tree.read(&one.file)?;
    tree.write(&one.file, &one.applied(&before)?)?;
    let ran = run(tree, one, &logs.join(format!("{}.txt", one.name)));
    tree.write(&one.file, &before)?;
    Ok(Line {
        name: one.name.clone(),
        test: one.test.clone(),
        verdict: ran?,
        seconds: began.elapsed().as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_ran_and_failed_has_caught_anything() {
        let of = |ended, printed: &str| verdict("kill::d01_x", ended, printed);
        let failed = "test kill::d01_x ... FAILED\n\nfailures:\n    kill::d01_x\n\ntest result: FAILED. 0 passed; 1 failed; 0";
        assert_eq!(of(Some(101), failed), Verdict::Failed);
        assert_eq!(of(Some(101), "error: could not compile"), Verdict::NotRun);
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 12 filtered out";
        assert_eq!(of(Some(0), none), Verdict::NotRun);
        let passed = "test kill::d01_x ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(of(Some(0), passed), Verdict::Passed);
        let skipped = format!("SKIPPED kill::d01_x: no root\n{passed}");
        assert_eq!(of(Some(0), &skipped), Verdict::NotRun);
        assert_eq!(of(Some(124), failed), Verdict::Endless);
    }
}

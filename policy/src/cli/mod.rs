//! Arguments, and where they lead. Exit codes: 0 all well, 1 something is wrong with what was looked at,
//! 2 the command itself could not be carried out.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use schakel_policy::bundle::{Bundle, BundleError};

mod check;
mod compare;
mod explain;
mod grid;
mod html;
mod mutate;
mod sign;
mod simulate;
mod test;

/// Policy bundles: check, test, show, explain, sign.
#[derive(Debug, Parser)]
#[command(
    name = "schakel-policy",
    version,
    about,
    after_help = "Without BUNDLE the built-in default bundle is meant."
)]
struct Arguments {
    /// Answer in JSON, for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Finds everything wrong with a bundle: each finding with file and line.
    Check {
        /// A directory, an archive or a signed bundle.
        bundle: Option<PathBuf>,
    },
    /// Runs decision cases: decision, reason code and obligations must match.
    Test {
        /// A bundle, then case files; what ends in .jsonl is a case file. Without one: the bundle's own cases.
        paths: Vec<PathBuf>,
    },
    /// Shows the grid category x role, or sets one cell of a bundle directory.
    Matrix(grid::Arguments),
    /// Says what was decided, by which rule, on what ground, and what would change it.
    Explain(explain::Arguments),
    /// Takes out each rule and changes each cell once: is there a case of the bundle that notices?
    Mutate {
        /// A directory, an archive or a signed bundle.
        bundle: Option<PathBuf>,
        /// Only rules and cells whose id contains this, e.g. `G4-` or `matrix:alert:`.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Shows changed cells, rules and cases between two bundles.
    Diff(compare::Arguments),
    /// Puts the same recorded questions to two bundles and shows what would come out differently.
    Simulate(simulate::Arguments),
    /// Adds an officer's signature.
    Sign(sign::SignArguments),
    /// Checks that two officers of two agencies signed.
    Verify(sign::VerifyArguments),
}

/// Something the command could not do.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The bundle is refused.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// Anything else: what, where.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn reading(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self::Other(format!("{}: {error}", path.display()))
    }
}

/// Whether what was looked at is well.
type Answer = Result<bool, Failure>;

/// The bundle at a path, or the built-in one.
fn bundle(path: Option<&Path>) -> Result<Bundle, BundleError> {
    path.map_or_else(Bundle::built_in, Bundle::load)
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let answer = match &arguments.command {
        Command::Check { bundle } => check::run(bundle.as_deref(), json),
        Command::Test { paths } => test::run(paths, json),
        Command::Matrix(arguments) => grid::run(arguments, json),
        Command::Explain(arguments) => explain::run(arguments, json),
        Command::Mutate { bundle, only } => mutate::run(bundle.as_deref(), only, json),
        Command::Diff(arguments) => compare::diff(arguments, json),
        Command::Simulate(arguments) => simulate::run(arguments, json),
        Command::Sign(arguments) => sign::sign(arguments, json),
        Command::Verify(arguments) => sign::verify(arguments, json),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            if json {
                println!("{}", serde_json::json!({ "error": failure.to_string() }));
            } else {
                eprintln!("schakel-policy: {failure}");
            }
            ExitCode::from(2)
        }
    }
}

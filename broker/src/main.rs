//! `schakel-broker`: the broker's daemon. docs/operating/broker.md says how to run it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use schakel_broker::admin::command::{self, CommandError};
use schakel_broker::clock::{Clock, SimulatedClock, SystemClock};
use schakel_broker::config::Config;
use schakel_broker::serve;

/// Exit status when the configuration is at fault (`EX_CONFIG` of sysexits.h).
const CONFIGURATION: u8 = 78;

/// The service between agencies: decides, holds, logs; cannot read.
#[derive(Parser)]
#[command(name = "schakel-broker", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the broker until SIGTERM or SIGINT.
    Run(Run),
    /// What stands in the log.
    #[command(subcommand)]
    Log(command::Log),
    /// The care of the store: check, backup, restore, compact, move.
    #[command(subcommand)]
    Store(command::Stores),
    /// Who received what about a person of a case, for the data protection officer.
    Disclosures(command::Disclosures),
    /// What should have happened by now: safety parts unread, families without contact, emergencies not reviewed.
    Overdue(command::Overdue),
    /// Erases a closed case: destroys the key without which its entries of the log mean nothing.
    Erase(command::Erase),
    /// Prints the version.
    Version,
}

#[derive(clap::Args)]
struct Run {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Accept a directory that was minted for development.
    #[arg(long)]
    development: bool,
    /// Follow simulated time: this file says by how many milliseconds the clock is ahead.
    #[arg(long, value_name = "FILE", requires = "development")]
    simulated_time: Option<PathBuf>,
    /// Check the configuration and every file that it names, then stop.
    #[arg(long)]
    check_config: bool,
    /// How much of its own doings the broker logs.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug"])]
    log_level: String,
    /// Log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Version => {
            println!("schakel-broker {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Command::Log(log) => ended(command::log(&log)),
        Command::Store(arguments) => ended(command::store(&arguments)),
        Command::Disclosures(arguments) => ended(command::disclosures(&arguments)),
        Command::Overdue(arguments) => ended(command::overdue(&arguments)),
        Command::Erase(arguments) => ended(command::erase(&arguments)),
        Command::Run(run) => match start(&run) {
            Ok(()) => ExitCode::SUCCESS,
            Err((error, status)) => {
                eprintln!("schakel-broker: {error}");
                status
            }
        },
    }
}

fn ended(result: Result<ExitCode, CommandError>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("schakel-broker: {error}");
        if error.is_configuration() {
            ExitCode::from(CONFIGURATION)
        } else {
            CommandError::status()
        }
    })
}

type Failure = (Box<dyn std::error::Error>, ExitCode);

fn start(run: &Run) -> Result<(), Failure> {
    let configuration = |error: Box<dyn std::error::Error>| (error, ExitCode::from(CONFIGURATION));
    let other = |error: Box<dyn std::error::Error>| (error, ExitCode::FAILURE);
    if !run.development {
        // No core dumps, no look into the memory by others of the same user.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| other(error.into()))?;
    }
    let config = Config::load(&run.config).map_err(|error| configuration(error.into()))?;
    if run.check_config {
        serve::check(&config, run.development).map_err(|error| configuration(error.into()))?;
        println!("{}: good", run.config.display());
        return Ok(());
    }
    let clock = clock(run).map_err(configuration)?;
    log_to_stderr(run);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| other(error.into()))?;
    runtime
        .block_on(serve::run(config, run.development, clock))
        .map_err(|error| other(error.into()))
}

fn clock(run: &Run) -> Result<Arc<dyn Clock>, Box<dyn std::error::Error>> {
    let Some(file) = &run.simulated_time else {
        return Ok(Arc::new(SystemClock));
    };
    let wrong = |e| {
        format!(
            "--simulated-time {}: {e}. It holds a number of milliseconds.",
            file.display()
        )
    };
    Ok(Arc::new(SimulatedClock::following(file).map_err(wrong)?))
}

/// Only this workspace's own lines: what libraries log was not written with content in mind.
fn log_to_stderr(run: &Run) {
    let level = &run.log_level;
    let filter =
        tracing_subscriber::EnvFilter::new(format!("off,schakel_broker={level},schakel_policy={level}"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if run.log_json {
        lines.json().init();
    } else {
        lines.with_ansi(false).init();
    }
}

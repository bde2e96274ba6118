//! `schakel-agent`: the daemon and its command line. All it does is in the library.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use schakel_agent::cli::args::{Cli, Command};
use schakel_agent::problem::Problem;
use tracing_subscriber::EnvFilter;

/// Logs go to the standard error stream; `SCHAKEL_LOG` sets what is logged, `info` unless set.
fn start_logging(json: bool) {
    let filter = EnvFilter::try_from_env("SCHAKEL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        format.json().init();
    } else {
        format.with_ansi(false).init();
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    if let Command::Run { log_json, .. } = &cli.command {
        start_logging(*log_json);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&Problem::io(&error, std::path::Path::new("threads")), json),
    };
    let mut print = |line: &str| {
        // Whoever reads may be gone (a closed pipe): what was asked for is done all the same.
        let _gone = writeln!(std::io::stdout().lock(), "{line}");
    };
    let done = runtime.block_on(schakel_agent::cli::run(cli, &mut print));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => say(&problem, json),
    }
}

fn say(problem: &Problem, json: bool) -> ExitCode {
    let text = match serde_json::to_string(problem) {
        Ok(text) if json => text,
        _ => format!("error: {problem}"),
    };
    let _gone = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::from(problem.exit_code())
}

//! `schakel-policy`: the officer's command line. Each command is a module; all speak text, or JSON with `--json`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}

//! `schakel-demo`: a whole network on this machine, real documents on their way, every promise checked
//! from outside. Started by `./demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use schakel_tests::demo::journey::{self, Order};
use schakel_tests::demo::processes::Processes;
use schakel_tests::demo::say::Voice;

/// Exit status when the demonstration is interrupted (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Mints a network, runs broker and agents, sends documents, and checks from outside what was promised.
#[derive(Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// The network whose story is told: rupel, noorderkempen, secova, west-vlaanderen or oostende; or a
    /// story file (.toml).
    #[arg(default_value = "rupel")]
    network: String,
    /// Leave the network running, and say how to talk to it.
    #[arg(long)]
    keep: bool,
    /// Write the outcomes to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let voice = Voice::new();
    let processes = Processes::default();
    if let Err(error) = stop_on_signals(processes.clone()) {
        eprintln!("demo: cannot listen for Ctrl-C: {error}");
        return ExitCode::FAILURE;
    }
    let order = Order {
        name: &arguments.network,
        keep: arguments.keep,
        json: arguments.json.as_deref(),
    };
    match journey::run(&order, &processes, voice) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            processes.stop();
            eprintln!("demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// On Ctrl-C, SIGTERM and SIGHUP: stops broker and agents, then this program.
fn stop_on_signals(processes: Processes) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        eprintln!("\ndemo: stopping broker and agents");
        processes.stop();
        processes.clean();
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

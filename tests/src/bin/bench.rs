//! `schakel-bench`: submissions and deliveries a second, and how long they take, beside what this machine gives.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use schakel_tests::bench::{Order, Trouble, run};
use schakel_tests::system::backend::Backend;
use schakel_tests::system::peer;

/// Sends packets to three agencies through a broker of its own, checks that each came exactly once, and says how fast
/// it went beside what the disk, the processor and the bare protocol give in the same run. Ends with status 1 if a
/// packet was lost, doubled or refused.
///
/// Build the broker first, in the same way as this program: `cargo build --release --workspace --bins`. The store lies
/// in the folder for temporary files (TMPDIR).
#[derive(Parser)]
#[command(name = "schakel-bench", version)]
struct Arguments {
    /// Lengths of the content, with or without KiB or MiB.
    #[arg(long, value_delimiter = ',', default_value = "1KiB,4KiB,64KiB,4MiB", value_parser = size)]
    sizes: Vec<u64>,
    /// Connections of the sender.
    #[arg(long, default_value_t = 4)]
    senders: usize,
    /// Submissions at once on each connection (fewer of large packets).
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Streams of each recipient.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Packets in one part of a window (fewer of large ones).
    #[arg(long, default_value_t = 1_000)]
    packets: usize,
    /// Packets before the first window of each size, of which no time is taken.
    #[arg(long, default_value_t = 200)]
    warm_up: usize,
    /// Windows of each size.
    #[arg(long, default_value_t = 5)]
    windows: usize,
    /// Cases that the packets are spread over.
    #[arg(long, default_value_t = 64)]
    cases: usize,
    /// Time for each reference in each window, milliseconds.
    #[arg(long, default_value_t = 500)]
    reference_millis: u64,
    /// What the broker keeps everything in: `sled`, or `postgres` (a server of the run's own, without a standby).
    #[arg(long, default_value = "sled", value_parser = store)]
    store: Backend,
    /// Brokers on the store; 2 only on a database.
    #[arg(long, default_value_t = 1)]
    brokers: usize,
    /// A minute: 4 KiB only, three windows of 500 packets.
    #[arg(long)]
    quick: bool,
    /// Repeats a run with its contents and cases.
    #[arg(long)]
    seed: Option<u64>,
    /// Write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = [("KiB", 1 << 10), ("MiB", 1 << 20)]
        .into_iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, unit)))
        .unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| format!("{text} is no length"))?;
    match number.checked_mul(unit) {
        Some(bytes) if (1..=64 << 20).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{text} is not between 1 byte and 64 MiB")),
    }
}

/// A store by its name.
fn store(text: &str) -> Result<Backend, String> {
    match text {
        "sled" => Ok(Backend::Sled),
        "postgres" => Ok(Backend::Postgres),
        other => Err(format!("{other} is neither sled nor postgres")),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| StdRng::from_os_rng().next_u64());
    println!("SEED schakel-bench: repeat with --seed {seed}");
    match measured(&arguments, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("schakel-bench: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn measured(arguments: &Arguments, seed: u64) -> Result<(), Trouble> {
    let mut order = Order {
        sizes: arguments.sizes.clone(),
        senders: arguments.senders,
        in_flight: arguments.in_flight,
        streams: arguments.streams,
        packets: arguments.packets,
        warm_up: arguments.warm_up,
        windows: arguments.windows,
        cases: arguments.cases,
        reference_millis: arguments.reference_millis,
        backend: arguments.store,
        brokers: arguments.brokers,
        seed,
    };
    if arguments.quick {
        (order.sizes, order.packets, order.windows) = (vec![4 << 10], 500, 3);
    }
    let report = peer::runtime().block_on(run::run(&order, |line| println!("{line}")))?;
    println!(
        "{} packets, each handed over and acknowledged exactly once at each of {} recipients; load {:.1} before, \
         {:.1} after",
        report.checked_packets,
        report.recipients.len(),
        report.load[0],
        report.load[1]
    );
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&report);
        let text = text.map_err(|error| Trouble::new(format!("the report cannot be written: {error}")))?;
        std::fs::write(file, text)?;
    }
    Ok(())
}

//! `certs-dev`: makes and changes networks for development. Never production.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schakel_certs_dev::{Mint, Network, NetworkSpec, Problem, mint};
use schakel_proto::party::AgencyId;
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::LogKey;

/// Makes Schakel networks for development: keys, directory, policy bundle, configurations.
#[derive(Parser)]
#[command(name = "certs-dev", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a whole network in a new folder.
    ///
    /// Example: certs-dev new --network rupel --out /tmp/rupel
    New(New),
    /// Lists the agencies of a network, with their roles.
    Show(Folder),
    /// Issues the next version of the directory.
    #[command(subcommand)]
    Directory(Change),
}

#[derive(clap::Args)]
struct New {
    /// A built-in network (rupel, noorderkempen, secova, west-vlaanderen, oostende) or a TOML file that describes one.
    #[arg(long, value_name = "NAME|FILE")]
    network: String,
    /// The folder to make; it must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The broker's port for agents, on loopback; health is on the next one.
    #[arg(long, default_value_t = 7443)]
    port: u16,
}

#[derive(clap::Args)]
struct Folder {
    /// The network's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(clap::Args)]
struct OfAgency {
    #[command(flatten)]
    folder: Folder,
    /// The agency's id.
    agency: AgencyId,
}

#[derive(Subcommand)]
enum Change {
    /// Nothing but version and dates, so that it is fresh again.
    Refresh(Folder),
    /// Adds an agency that a TOML file describes (one `[[agency]]` table's content).
    Add {
        #[command(flatten)]
        folder: Folder,
        /// The TOML file: id, name, role, region …
        agency: PathBuf,
    },
    /// Removes an agency; its folder stays.
    Remove(OfAgency),
    /// Gives an agency new OpenPGP keys.
    RotateOpenpgp(OfAgency),
    /// Gives an agency a new TLS key.
    RotateTls(OfAgency),
    /// Freezes the log's shard in force and names the next one.
    FreezeLog {
        #[command(flatten)]
        folder: Folder,
        /// The file that `schakel-broker log freeze` wrote: the shard's last checkpoint.
        last: PathBuf,
        /// What `schakel-broker log new-key` printed: the next shard's name and key.
        key: String,
        /// Take a checkpoint that too few witnesses have cosigned.
        #[arg(long)]
        provisional: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(said) => {
            // Whoever reads may be gone (a closed pipe): what was asked for is done all the same.
            let _gone = writeln!(std::io::stdout().lock(), "{said}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("certs-dev: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this program reads the clock"
)]
fn now() -> Timestamp {
    Timestamp::from_system_time(std::time::SystemTime::now())
}

fn run(command: Command) -> Result<String, Problem> {
    match command {
        Command::New(new) => make(&new),
        Command::Show(folder) => show(&folder.dir),
        Command::Directory(change) => {
            let version = reissue(change)?;
            Ok(format!("The directory now has version {version}."))
        }
    }
}

fn make(new: &New) -> Result<String, Problem> {
    let file = Path::new(&new.network);
    let spec = if file.extension().is_some_and(|e| e == "toml") {
        NetworkSpec::load(file)?
    } else {
        NetworkSpec::builtin(&new.network)?
    };
    let health_port = new.port.checked_add(1).filter(|_| new.port != 0).ok_or_else(|| {
        Problem::new(
            "--port",
            "leaves no room for the health port",
            "Choose a port from 1 to 65534.",
        )
    })?;
    let order = Mint {
        spec: &spec,
        out: &new.out,
        port: new.port,
        health_port,
        at: now(),
    };
    let network = mint(&order, &mut StdRng::from_os_rng())?;
    let out = network.root().display();
    Ok(format!(
        "{}: {} agencies, for DEVELOPMENT only, in {out}\n\
         broker:  schakel-broker run --development --config {out}/broker/broker.toml\n\
         agents:  schakel-agent run --development --config {out}/agents/ID/agent.toml",
        spec.title,
        spec.agencies.len(),
    ))
}

fn show(root: &Path) -> Result<String, Problem> {
    let network = Network::open(root)?;
    let directory = network.directory(now())?;
    let head = format!(
        "{} directory version {}",
        directory.network(),
        directory.version()
    );
    let line = |agency: &schakel_proto::directory::Agency| {
        format!(
            "\n{:<26} {:<16} {}",
            agency.id().as_str(),
            agency.role().as_str(),
            agency.name()
        )
    };
    Ok(head + &directory.agencies().map(line).collect::<String>())
}

fn reissue(change: Change) -> Result<u64, Problem> {
    match change {
        Change::Refresh(folder) => Network::open(&folder.dir)?.refresh(now()),
        Change::Add { folder, agency } => {
            let remedy = "Name a TOML file with id, name, role and region.";
            let wrong = |error: &dyn std::fmt::Display| Problem::new(&agency, error, remedy);
            let text = std::fs::read_to_string(&agency).map_err(|error| wrong(&error))?;
            let spec = toml::from_str(&text).map_err(|error| wrong(&error))?;
            Network::open(&folder.dir)?.add_agency(spec, now())
        }
        Change::Remove(of) => Network::open(&of.folder.dir)?.remove_agency(&of.agency, now()),
        Change::RotateOpenpgp(of) => Network::open(&of.folder.dir)?.rotate_openpgp(&of.agency, now()),
        Change::FreezeLog {
            folder,
            last,
            key,
            provisional,
        } => {
            let remedy = "Give the file that `schakel-broker log freeze` wrote.";
            let note = std::fs::read(&last).map_err(|error| Problem::new(&last, error, remedy))?;
            let remedy = "Give the line that `schakel-broker log new-key` printed.";
            let key = LogKey::from_text(&key).map_err(|error| Problem::new("the key", error, remedy))?;
            Network::open(&folder.dir)?.freeze_log(&note, &key, provisional, now())
        }
        Change::RotateTls(of) => Network::open(&of.folder.dir)?.rotate_tls(&of.agency, now()),
    }
}

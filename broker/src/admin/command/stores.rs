//! `schakel-broker store …`: the care of the store. docs/operating/store.md has the steps.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schakel_proto::time::Timestamp;
use serde_json::Value;

use super::{CommandError, Target, list, number, print, text};
use crate::admin::{Ask, Deed, Desk, Session, socket};
use crate::clock::SystemClock;
use crate::config::{Config, StoreConfig};
use crate::serve::ServeError;
use crate::store::CareError;
use crate::store::place::{self, Place};
use crate::store::postgres::{PgKv, PostgresOptions};
use crate::store::sled::{compact as compact_folder, migrate as migrate_folder};

/// `schakel-broker store …`
#[derive(clap::Subcommand)]
pub enum Stores {
    /// Checks every record, the tree and every part file on the disk; exit status 1 if something is wrong.
    Check(Check),
    /// Writes everything to a file, also while the broker runs.
    Backup(Backup),
    /// Makes a store of a backup, in an empty data_dir; nothing is signed on it until it is confirmed.
    Restore(Restore),
    /// Confirms that the log goes on in a store that was restored, or in one that had been moved.
    Confirm(Confirm),
    /// Rewrites the rows, so that they take less room. The broker must be stopped.
    Compact(Compact),
    /// Moves everything into another, empty folder. The broker must be stopped.
    Move(Move),
    /// Does what a store of an older program still needs. The broker must be stopped.
    Migrate(Migrate),
}

/// `schakel-broker store check`
#[derive(clap::Args)]
pub struct Check {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker store backup`
#[derive(clap::Args)]
pub struct Backup {
    /// The file that is to be made; on another disk, if there is one.
    #[arg(value_name = "BACKUP")]
    file: PathBuf,
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker store restore`
#[derive(clap::Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "BACKUP")]
    file: PathBuf,
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `schakel-broker store confirm`
#[derive(clap::Args)]
pub struct Confirm {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Entries of the log in this store.
    #[arg(long, value_name = "COUNT")]
    size: u64,
    /// Root of its tree.
    #[arg(long, value_name = "DIGEST")]
    root: String,
}

/// `schakel-broker store compact`
#[derive(clap::Args)]
pub struct Compact {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `schakel-broker store move`
#[derive(clap::Args)]
pub struct Move {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder that is to be the new data_dir.
    #[arg(long, value_name = "FOLDER", required_unless_present = "to_config")]
    to: Option<PathBuf>,
    /// A configuration whose store, a database or a folder, is to be the new one.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_config: Option<PathBuf>,
}

/// `schakel-broker store migrate`
#[derive(clap::Args)]
pub struct Migrate {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `store …`.
///
/// # Errors
/// It was refused, or broke off.
pub fn store(store: &Stores) -> Result<ExitCode, CommandError> {
    match store {
        Stores::Check(arguments) => check(arguments),
        Stores::Backup(arguments) => backup(arguments),
        Stores::Restore(arguments) => restore(arguments),
        Stores::Confirm(arguments) => confirm(arguments),
        Stores::Compact(arguments) => compact(arguments),
        Stores::Move(arguments) => move_to(arguments),
        Stores::Migrate(arguments) => migrate(arguments),
    }
}

/// Says on standard error how far a long answer is.
fn progress(how_far: &Value) {
    eprintln!("{}: {}", text(how_far, "what"), number(how_far, "done"));
}

/// Bytes between two words on how far it is.
const TOLD_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// Says on standard error how many bytes are done, now and then.
fn bytes_told() -> impl Fn(u64) + Send + Sync {
    let last = AtomicU64::new(0);
    move |done: u64| {
        if done >= last.load(Ordering::Relaxed).saturating_add(TOLD_EVERY_BYTES) {
            last.store(done, Ordering::Relaxed);
            eprintln!("bytes: {done}");
        }
    }
}

fn failed(error: impl Into<CareError>) -> CommandError {
    match error.into() {
        CareError::Store(error) => ServeError::from(error).into(),
        CareError::Refused(refusal) => ServeError::from(refusal).into(),
    }
}

fn check(arguments: &Check) -> Result<ExitCode, CommandError> {
    let mut target = Target::of_damaged(&arguments.config)?;
    let found = target.ask(Ask::Check, &mut progress);
    target.close();
    let found = found?;
    if arguments.json {
        print(&format!("{found:#}\n"))?;
    } else {
        print(&verdict(&found))?;
    }
    Ok(if number(&found, "wrong") == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verdict(found: &Value) -> String {
    let mut lines = vec![format!(
        "{} rows, {} entries in the tree, {} part files checked; {} wrong",
        number(found, "rows"),
        number(found, "leaves"),
        number(found, "files"),
        number(found, "wrong")
    )];
    for one in list(found, "findings") {
        lines.push(format!("wrong: {}: {}", text(one, "place"), text(one, "what")));
    }
    if found.get("halted").is_some_and(Value::is_string) {
        lines.push(text(found, "halted"));
    }
    lines.join("\n") + "\n"
}

fn backup(arguments: &Backup) -> Result<ExitCode, CommandError> {
    let file = std::path::absolute(&arguments.file)?;
    let file = file.to_str().map(str::to_owned).ok_or_else(|| {
        let why = "the name of the backup is not written in UTF-8: name it otherwise";
        CommandError::Refused(why.to_owned())
    })?;
    let mut target = Target::of(&arguments.config)?;
    let made = target.ask(Ask::Backup { file }, &mut progress);
    target.close();
    let made = made?;
    if arguments.json {
        print(&format!("{made:#}\n"))?;
    } else {
        print(&format!(
            "{}: {} bytes, {} rows, {} batches that came meanwhile, {} part files\nlog of {} entries, root {}\n\
             digest {}: keep it elsewhere\n",
            text(&made, "file"),
            number(&made, "bytes"),
            number(&made, "rows"),
            number(&made, "batches"),
            number(&made, "files"),
            number(&made, "size"),
            text(&made, "root"),
            text(&made, "digest"),
        ))?;
    }
    let damaged = number(&made, "damaged_files");
    if damaged == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("DAMAGED: {damaged} part files of the store are not in the backup: run `store check`");
    Ok(ExitCode::FAILURE)
}

/// A configuration whose broker does not run.
fn stopped(config: &Path) -> Result<Config, CommandError> {
    let config = Config::load(config)?;
    match socket::Line::to(&config.data_dir) {
        None => Ok(config),
        Some(_) => Err(CommandError::Refused(
            "the broker runs on this store: stop it first".to_owned(),
        )),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Puts into the log what is done with the store of a stopped broker.
fn record(config: &Config, deed: Deed) -> Result<(), CommandError> {
    runtime()?.block_on(async {
        let desk = Arc::new(Desk::stopped(config, Arc::new(SystemClock)).await?);
        let session = Session::of(Arc::clone(&desk), rustix::process::getuid().as_raw());
        let recorded = session.deed(deed).await;
        desk.close().await;
        recorded.map_err(failed)
    })
}

fn restore(arguments: &Restore) -> Result<ExitCode, CommandError> {
    let config = stopped(&arguments.config)?;
    let (told, place) = (bytes_told(), place_of(&config));
    let restored = place::restore(&arguments.file, &place, &config.network, &told);
    let restored = runtime()?.block_on(restored);
    let (inspected, halt) = restored.map_err(failed)?;
    print(&format!(
        "restored a backup that was begun {}: {} rows, {} part files, digest {}\n\
         nothing is signed on this store until you confirm where its log ends (docs/operating/store.md says what to \
         compare first):\n\
         schakel-broker store confirm --config {} --size {} --root {}\n",
        Timestamp::from_millis(inspected.header.began_ms),
        inspected.trailer.rows,
        inspected.trailer.files,
        inspected.digest,
        arguments.config.display(),
        halt.size,
        halt.root,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn confirm(arguments: &Confirm) -> Result<ExitCode, CommandError> {
    let ask = Ask::Confirm {
        size: arguments.size,
        root: arguments.root.clone(),
    };
    let done = super::answer(&arguments.config, ask)?;
    print(&format!(
        "confirmed: the log goes on here after {} entries, root {}\n",
        number(&done, "size"),
        text(&done, "root")
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn compact(arguments: &Compact) -> Result<ExitCode, CommandError> {
    let config = stopped(&arguments.config)?;
    if matches!(config.store, StoreConfig::Postgres(_)) {
        let why = "the store is a database: its own VACUUM makes room";
        return Err(CommandError::Refused(why.to_owned()));
    }
    record(&config, Deed::Compact)?;
    let done = compact_folder(&config.data_dir, &bytes_told()).map_err(failed)?;
    print(&format!(
        "{} rows took {} bytes and take {}\n",
        done.rows, done.before, done.after
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn move_to(arguments: &Move) -> Result<ExitCode, CommandError> {
    let config = stopped(&arguments.config)?;
    let (to, then) = new_place(arguments, &config)?;
    record(&config, Deed::Move)?;
    let told = bytes_told();
    let moved = runtime()?.block_on(place::move_to(&place_of(&config), &to, &told));
    let (moved, halt) = moved.map_err(failed)?;
    print(&format!(
        "moved {} rows and {} part files; log of {} entries, root {}\n\
         {then}. On the former store nothing is signed any more\n",
        moved.rows, moved.files, halt.size, halt.root,
    ))?;
    if moved.damaged_files == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "DAMAGED: {} part files were not whole in the former store",
        moved.damaged_files
    );
    Ok(ExitCode::FAILURE)
}

/// Where everything goes, and what the operator does then.
fn new_place(arguments: &Move, config: &Config) -> Result<(Place, String), CommandError> {
    if let Some(folder) = &arguments.to {
        let to = std::path::absolute(folder)?;
        let file = arguments.config.display();
        let then = format!(
            "set data_dir = {:?} in {file}, then start the broker",
            to.display().to_string()
        );
        return Ok((Place::Folder(to), then));
    }
    let file = arguments.to_config.as_deref().unwrap_or(Path::new(""));
    let new = stopped(file)?;
    let refused = |why: &str| Err(CommandError::Refused(why.to_owned()));
    if new.network != config.network {
        return refused("the two configurations are of two networks");
    }
    if new.data_dir == config.data_dir {
        return refused(
            "both configurations have the same data_dir: give the new one another, also if it uses a database",
        );
    }
    let then = format!("start the broker with {}", file.display());
    Ok((place_of(&new), then))
}

/// Where the store of a configuration is.
fn place_of(config: &Config) -> Place {
    match &config.store {
        StoreConfig::Sled => Place::Folder(config.data_dir.clone()),
        StoreConfig::Postgres(options) => Place::Database(options.clone()),
    }
}

/// The steps of a database's schema.
fn migrate_database(options: &PostgresOptions, dry_run: bool) -> Result<ExitCode, CommandError> {
    let options = options.clone();
    let standing = runtime()?.block_on(async {
        if dry_run {
            PgKv::standing(options).await.map(|found| (found, found))
        } else {
            PgKv::migrate(options).await
        }
    });
    let (before, after) = standing.map_err(failed)?;
    let done = if dry_run {
        format!("{} to take", before.known.saturating_sub(before.taken))
    } else {
        format!("{} taken", after.taken.saturating_sub(before.taken))
    };
    print(&format!(
        "the database's schema was at step {} of {}: {done}\n",
        before.taken, before.known
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn migrate(arguments: &Migrate) -> Result<ExitCode, CommandError> {
    let config = stopped(&arguments.config)?;
    if let StoreConfig::Postgres(options) = &config.store {
        return migrate_database(options, arguments.dry_run);
    }
    if !config.data_dir.join("STORE").is_file() {
        let why = "there is no store in data_dir: this broker has not run yet";
        return Err(CommandError::Refused(why.to_owned()));
    }
    let all = migrate_folder(&config.data_dir, arguments.dry_run).map_err(failed)?;
    for one in &all {
        let state = match (one.found, one.left) {
            (0, _) => "nothing to do".to_owned(),
            (found, _) if arguments.dry_run => format!("{found} to do"),
            (found, 0) => format!("{found} done"),
            (found, left) => format!("{} done, {left} left for want of room", found - left),
        };
        print(&format!("{} {}: {}: {state}\n", one.number, one.name, one.what))?;
    }
    if !arguments.dry_run && all.iter().any(|one| one.found > 0) {
        record(&config, Deed::Migrate)?;
    }
    Ok(if arguments.dry_run || all.iter().all(|one| one.left == 0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

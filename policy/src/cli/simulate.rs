//! `simulate`: recorded questions put to two bundles. The files are read piece by piece, and the answers written
//! as they come: neither their length nor the number of changes takes memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use schakel_policy::bundle::Bundle;
use schakel_policy::case::Case;
use schakel_policy::compare::{self, OutcomeChange};
use schakel_policy::engine::Engine;
use schakel_policy::ruling::{Outcome, Ruling};

use super::{Answer, Failure};

/// Longest line: far more than any question takes.
const LINE_MAX_BYTES: u64 = 1 << 20;
/// Lines that are read before they are decided together.
const PIECE_LINES: usize = 2_048;
/// Most bytes of such a piece, the last line aside.
const PIECE_BYTES: usize = 8 << 20;

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle in force.
    old: PathBuf,
    /// The bundle that may follow it.
    new: PathBuf,
    /// Questions in the case format, one a line.
    #[arg(required = true)]
    questions: Vec<PathBuf>,
}

/// How many questions there were, and how many come out differently in which way.
#[derive(Debug, Default)]
struct Counts {
    questions: usize,
    delivered: usize,
    held: usize,
    withheld: usize,
    otherwise: usize,
}

impl Counts {
    fn add(&mut self, change: &OutcomeChange) {
        *match word(change) {
            "now delivered" => &mut self.delivered,
            "now held" => &mut self.held,
            "now withheld" => &mut self.withheld,
            _ => &mut self.otherwise,
        } += 1;
    }

    fn changed(&self) -> usize {
        self.delivered + self.held + self.withheld + self.otherwise
    }
}

/// What became of a part.
fn word(change: &OutcomeChange) -> &'static str {
    if change.before.outcome() == change.after.outcome() {
        return "same outcome";
    }
    match change.after.outcome() {
        Outcome::Deliver => "now delivered",
        Outcome::HoldForConsent => "now held",
        Outcome::Withhold | Outcome::DenyPacket => "now withheld",
    }
}

/// The same recorded questions put to both bundles.
pub fn run(arguments: &Arguments, json: bool) -> Answer {
    let engine = |path: &Path| -> Result<Engine, Failure> { Ok(Engine::untested(&Bundle::load(path)?)) };
    let (before, after) = (engine(&arguments.old)?, engine(&arguments.new)?);
    let mut out = std::io::stdout().lock();
    let mut counts = Counts::default();
    let written = |error: std::io::Error| Failure::Other(format!("standard output: {error}"));
    if json {
        write!(out, "{{\"outcomes\":[").map_err(written)?;
    }
    for path in &arguments.questions {
        let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
        let mut file = BufReader::new(file);
        let mut line = 0;
        loop {
            let piece = piece(&mut file, path, &mut line)?;
            if piece.is_empty() {
                break;
            }
            counts.questions += piece.len();
            for (case, change) in decided(&before, &after, &piece, path)? {
                let separator = if counts.changed() > 0 { "," } else { "" };
                counts.add(&change);
                let sentence = if json {
                    write!(out, "{separator}{}", machine(&case, &change))
                } else {
                    writeln!(out, "{}", sentence(&case, &change))
                };
                sentence.map_err(written)?;
            }
        }
    }
    if counts.questions == 0 {
        return Err(Failure::Other("no questions in the files named".to_owned()));
    }
    let end = if json { tail(&counts) } else { summary(&counts) };
    writeln!(out, "{end}").map_err(written)?;
    Ok(true)
}

/// The next lines that are not empty, with their numbers; none at the end.
fn piece(file: &mut BufReader<File>, path: &Path, line: &mut usize) -> Result<Vec<(usize, String)>, Failure> {
    let mut piece = Vec::new();
    let mut bytes = 0;
    while piece.len() < PIECE_LINES && bytes < PIECE_BYTES {
        let mut text = String::new();
        let read = file.by_ref().take(LINE_MAX_BYTES).read_line(&mut text);
        let read = read.map_err(|error| Failure::reading(path, &error))?;
        if read == 0 {
            break;
        }
        *line += 1;
        if read as u64 == LINE_MAX_BYTES && !text.ends_with('\n') {
            let place = format!("{}:{line}", path.display());
            return Err(Failure::Other(format!(
                "{place}: longer than {LINE_MAX_BYTES} bytes"
            )));
        }
        bytes += read;
        if !text.trim().is_empty() {
            piece.push((*line, text));
        }
    }
    Ok(piece)
}

/// A question with its place.
struct Placed {
    place: String,
    case: Case,
}

type Changes = Vec<(Placed, OutcomeChange)>;

/// The questions that come out differently, in their order; decided on as many threads as there are cores.
fn decided(
    before: &Engine,
    after: &Engine,
    piece: &[(usize, String)],
    path: &Path,
) -> Result<Changes, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = piece.len().div_ceil(threads).max(1);
    let one = |share: &[(usize, String)]| -> Result<Changes, Failure> {
        let mut changes = Vec::new();
        for (line, text) in share {
            let place = format!("{}:{line}", path.display());
            let case = Case::parse(text).map_err(|error| Failure::Other(format!("{place}: {error}")))?;
            if let Some(change) = compare::outcome(before, after, &case.given) {
                changes.push((Placed { place, case }, change));
            }
        }
        Ok(changes)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = piece
            .chunks(share)
            .map(|share| scope.spawn(move || one(share)))
            .collect();
        let mut all = Vec::new();
        for thread in running {
            let changes = thread.join();
            all.extend(changes.map_err(|_| Failure::Other("a thread stopped".to_owned()))??);
        }
        Ok(all)
    })
}

fn machine(placed: &Placed, change: &OutcomeChange) -> serde_json::Value {
    let given = &placed.case.given;
    let ruling = |r: &Ruling| {
        serde_json::json!({
            "outcome": r.outcome().as_str(), "reason": r.reason(), "obligations": r.obligations(),
        })
    };
    serde_json::json!({
        "place": placed.place, "id": placed.case.id, "change": word(change),
        "category": given.part.category, "sender": given.sender.id, "recipient": given.recipient.id,
        "before": ruling(&change.before), "after": ruling(&change.after),
    })
}

fn sentence(placed: &Placed, change: &OutcomeChange) -> String {
    let given = &placed.case.given;
    let ruling = |r: &Ruling| format!("{} {}", r.outcome(), r.reason());
    format!(
        "{} {}: {}: {} from {} to {}: {} -> {}",
        placed.place,
        placed.case.id,
        word(change),
        given.part.category,
        given.sender.id,
        given.recipient.id,
        ruling(&change.before),
        ruling(&change.after),
    )
}

fn summary(counts: &Counts) -> String {
    format!(
        "{} of {} questions come out differently: {} now delivered, {} now held, {} now withheld, \
         {} with the same outcome for another reason or with other obligations",
        counts.changed(),
        counts.questions,
        counts.delivered,
        counts.held,
        counts.withheld,
        counts.otherwise,
    )
}

fn tail(counts: &Counts) -> String {
    format!(
        "],\"questions\":{},\"now_delivered\":{},\"now_held\":{},\"now_withheld\":{},\"same_outcome\":{}}}",
        counts.questions, counts.delivered, counts.held, counts.withheld, counts.otherwise,
    )
}

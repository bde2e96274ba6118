//! `schakel-broker log ls|show|export|stats|verify`: their arguments, and what they print.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use schakel_proto::evidence::Event;
use schakel_proto::time::Timestamp;
use serde_json::Value;

use super::{CommandError, Target, answer, list, number, print, text};
use crate::admin::{Ask, Filter};
use crate::csv;

mod timeline;

/// How often `--follow` asks again.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Entries asked for at once when all are wanted.
const PAGE: usize = 1_024;

/// Which entries.
#[derive(clap::Args)]
pub struct Which {
    /// Of this case.
    #[arg(long, value_name = "REF")]
    case: Option<String>,
    /// About this packet.
    #[arg(long, value_name = "ID")]
    packet: Option<String>,
    /// Sent by, meant for, or shown to this agency.
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
    /// Of this event, e.g. SubmissionAcceptance, ContentWithheld.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// With this reason code.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Not before: 2026-11-21 or 2026-11-21T16:30:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before: the same forms.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            case: self.case.clone(),
            packet: self.packet.clone(),
            agency: self.agency.clone(),
            event: self.event.clone(),
            reason: self.reason.clone(),
            since_ms: self.since.map(Timestamp::millis),
            until_ms: self.until.map(Timestamp::millis),
        }
    }
}

/// `schakel-broker log ls`
#[derive(clap::Args)]
pub struct Ls {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Only entries after this position.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Only among the last so many positions of the log.
    #[arg(long, value_name = "COUNT", conflicts_with = "after")]
    last: Option<u64>,
    /// Most entries.
    #[arg(long, value_name = "COUNT", default_value = "100", conflicts_with = "follow")]
    limit: NonZeroUsize,
    /// Go on with new entries until interrupted; begins at the log's end unless told otherwise.
    #[arg(long)]
    follow: bool,
    /// Print JSON; with --follow one object a line.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker log show`
#[derive(clap::Args)]
pub struct Show {
    /// The packet.
    #[arg(value_name = "PACKET")]
    packet: String,
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker log export`
#[derive(clap::Args)]
pub struct Export {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Only entries after this position.
    #[arg(long, value_name = "INDEX")]
    after: Option<u64>,
    /// Comma-separated values for a spreadsheet, instead of JSON Lines.
    #[arg(long)]
    csv: bool,
}

/// `schakel-broker log stats`
#[derive(clap::Args)]
pub struct Stats {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `schakel-broker log verify`
#[derive(clap::Args)]
pub struct Verify {
    /// The configuration, broker.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What page after page came to.
struct Asked {
    /// The last position that was looked at.
    next: Option<u64>,
    /// That was all.
    done: bool,
    /// Entries that could not be read.
    damaged: u64,
}

/// Says on standard error that some entries could not be read; the exit status says it too.
fn status(damaged: u64) -> ExitCode {
    if damaged == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("DAMAGED: {damaged} entries cannot be read: run `log verify`");
    ExitCode::FAILURE
}

/// Asks page after page, until `limit` entries or the end.
fn pages(
    target: &mut Target,
    (filter, export): (&Filter, bool),
    (mut after, last, limit): (Option<u64>, Option<u64>, usize),
    each: &mut dyn FnMut(&Value) -> Result<(), CommandError>,
) -> Result<Asked, CommandError> {
    let (mut left, mut damaged) = (limit, 0);
    loop {
        let ask = Ask::Entries {
            filter: filter.clone(),
            after,
            last,
            limit: left.min(PAGE),
            export,
        };
        let page = target.ask(ask, &mut |_| {})?;
        let mut count = 0;
        for entry in list(&page, "entries") {
            each(entry)?;
            count += 1;
        }
        left = left.saturating_sub(count);
        damaged += number(&page, "damaged");
        after = page.get("next").and_then(Value::as_u64).or(after);
        let done = page.get("done") == Some(&Value::Bool(true));
        if done || left == 0 {
            return Ok(Asked {
                next: after,
                done,
                damaged,
            });
        }
    }
}

/// Runs `log ls`.
pub(super) fn ls(arguments: &Ls) -> Result<ExitCode, CommandError> {
    let mut target = Target::of_damaged(&arguments.config)?;
    if arguments.follow && matches!(target, Target::Stopped { .. }) {
        target.close();
        let why = "the broker does not run: nothing is added to its log. Leave --follow away";
        return Err(CommandError::Refused(why.to_owned()));
    }
    let ended = if arguments.follow {
        follow(&mut target, arguments)
    } else {
        once(&mut target, arguments)
    };
    target.close();
    ended
}

fn once(target: &mut Target, arguments: &Ls) -> Result<ExitCode, CommandError> {
    let place = (arguments.after, arguments.last, arguments.limit.get());
    let filter = arguments.which.filter();
    let mut found = Vec::new();
    let asked = pages(target, (&filter, false), place, &mut |entry| {
        if arguments.json {
            found.push(entry.clone());
            return Ok(());
        }
        found.push(Value::Null);
        print(&line(entry))
    })?;
    let next = asked.next.filter(|_| !asked.done);
    if arguments.json {
        let page = serde_json::json!({ "entries": found, "next": next });
        print(&format!("{page:#}\n"))?;
    } else if let Some(next) = next {
        print(&format!("there is more: --after {next}\n"))?;
    } else if found.is_empty() {
        print("no such entries\n")?;
    }
    Ok(status(asked.damaged))
}

fn follow(target: &mut Target, arguments: &Ls) -> Result<ExitCode, CommandError> {
    let filter = arguments.which.filter();
    let mut after = arguments.after;
    let mut last = arguments.last.or(Some(0)).filter(|_| after.is_none());
    loop {
        let place = (after, last, usize::MAX);
        let next = pages(target, (&filter, false), place, &mut |entry| {
            print(&if arguments.json {
                format!("{entry}\n")
            } else {
                line(entry)
            })
        })?
        .next;
        (after, last) = (next, last.filter(|_| next.is_none()));
        std::thread::sleep(FOLLOW_EVERY);
    }
}

/// One line for people.
fn line(entry: &Value) -> String {
    let mut line = format!(
        "{:>9}  {}  {:<27}  packet {}  case {}  {} > {}",
        number(entry, "index"),
        text(entry, "at"),
        text(entry, "event"),
        text(entry, "packet"),
        text(entry, "case"),
        text(entry, "sender"),
        text(entry, "recipient"),
    );
    for (word, field) in [("", "reason"), ("by ", "actor")] {
        let said = text(entry, field);
        if !said.is_empty() && said != "-" {
            line.push_str(&format!("  {word}{said}"));
        }
    }
    let left_out = number(entry, "left_out");
    if left_out > 0 {
        let what = if entry["event"] == Event::RecordsErased.as_str() {
            "went"
        } else {
            "before it got no entry"
        };
        line.push_str(&format!("  ({left_out} {what})"));
    }
    line + "\n"
}

/// Runs `log show`.
pub(super) fn show(arguments: &Show) -> Result<ExitCode, CommandError> {
    let packet = arguments.packet.clone();
    let found = answer(&arguments.config, Ask::Show { packet })?;
    let text = if arguments.json {
        format!("{found:#}\n")
    } else {
        timeline::text_of(&found)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [&str; 12] = [
    "index",
    "at",
    "event",
    "packet",
    "case",
    "sender",
    "recipient",
    "reason",
    "left_out",
    "actor",
    "shown_to",
    "leaf",
];

/// Runs `log export`.
pub(super) fn export(arguments: &Export) -> Result<ExitCode, CommandError> {
    let mut target = Target::of_damaged(&arguments.config)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let filter = arguments.which.filter();
    let ended = (|| {
        if arguments.csv {
            out.write_all(csv::line(COLUMNS).as_bytes())?;
        }
        let place = (arguments.after, None, usize::MAX);
        let asked = pages(&mut target, (&filter, true), place, &mut |entry| {
            let line = if arguments.csv {
                row(entry)
            } else {
                format!("{entry}\n")
            };
            Ok(out.write_all(line.as_bytes())?)
        })?;
        out.flush()?;
        Ok(status(asked.damaged))
    })();
    target.close();
    ended
}

/// An entry as a line of the spreadsheet.
fn row(entry: &Value) -> String {
    let cell = |column: &&str| match entry.get(*column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            names.join(" ")
        }
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let cells: Vec<String> = COLUMNS.iter().map(cell).collect();
    csv::line(cells.iter().map(String::as_str))
}

/// Says on standard error how far a long answer is.
fn progress(how_far: &Value) {
    let what = how_far.get("what").and_then(Value::as_str).unwrap_or("entries");
    eprintln!("{what}: {} of {}", number(how_far, "done"), number(how_far, "of"));
}

fn long(mut target: Target, ask: Ask) -> Result<Value, CommandError> {
    let found = target.ask(ask, &mut progress);
    target.close();
    found
}

/// Runs `log stats`.
pub(super) fn stats(arguments: &Stats) -> Result<ExitCode, CommandError> {
    let filter = arguments.which.filter();
    let found = long(Target::of_damaged(&arguments.config)?, Ask::Stats { filter })?;
    let text = if arguments.json {
        format!("{found:#}\n")
    } else {
        figures(&found)
    };
    print(&text)?;
    Ok(if list(&found, "damaged").next().is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn figures(found: &Value) -> String {
    let mut lines = vec![
        format!(
            "log of {} entries, root {}; newest entry {} ({} s ago); {} wait for their checkpoint",
            number(found, "size"),
            text(found, "root"),
            text(found, "newest_at"),
            number(found, "newest_age_seconds"),
            number(found, "pending"),
        ),
        format!(
            "{} entries counted; {} cases in the log, {} of them erased",
            number(found, "entries"),
            number(found, "cases"),
            number(found, "erased_cases")
        ),
    ];
    let damaged: Vec<&str> = list(found, "damaged").filter_map(Value::as_str).collect();
    if !damaged.is_empty() {
        lines.push(format!(
            "DAMAGED: {} entries cannot be read: run `log verify`. At {}",
            number(found, "unreadable"),
            damaged.join(", "),
        ));
    }
    for (title, field) in [
        ("by event", "events"),
        ("by reason", "reasons"),
        ("by agency", "agencies"),
        ("by day", "days"),
    ] {
        lines.push(format!("{title}:"));
        let counts = found.get(field).and_then(Value::as_object);
        for (name, count) in counts.into_iter().flatten() {
            let name: String = name
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            lines.push(format!("{count:>12}  {name}"));
        }
    }
    lines.join("\n") + "\n"
}

/// Runs `log verify`.
pub(super) fn verify(arguments: &Verify) -> Result<ExitCode, CommandError> {
    let found = long(Target::of_damaged(&arguments.config)?, Ask::Verify)?;
    let text = if arguments.json {
        format!("{found:#}\n")
    } else {
        verdict(&found)
    };
    print(&text)?;
    Ok(if number(&found, "wrong") == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verdict(found: &Value) -> String {
    let mut lines = vec![format!(
        "{} entries, {} signatures, {} rows checked; {} wrong",
        number(found, "entries"),
        number(found, "signatures"),
        number(found, "rows"),
        number(found, "wrong")
    )];
    for one in list(found, "findings") {
        let index = one.get("index").and_then(Value::as_u64);
        let index = index.map(|index| format!("entry {index}: ")).unwrap_or_default();
        lines.push(format!(
            "wrong: {index}{}: {}",
            text(one, "place"),
            text(one, "what")
        ));
    }
    for (what, count) in found.get("gone").and_then(Value::as_object).into_iter().flatten() {
        lines.push(format!("not checkable, {what}: {count}"));
    }
    lines.join("\n") + "\n"
}

//! The demonstration from begin to end. Read this first.

use std::path::Path;

use schakel_agent::clock::randomness;
use schakel_proto::ids::{CaseRef, PacketId, PartId, SubjectRef};
use serde_json::{Value, json};

use super::cli::{Cli, DECIDED_MAX_SECONDS, field, is_decided, list};
use super::outside::{self, Check, Sent};
use super::problem::{Problem, Result};
use super::processes::Processes;
use super::say::Voice;
use super::script::{self, Expected, PACKETS, Packet, Part};
use super::stage::Stage;
use super::table;
use super::why::Reasons;

/// What came of one part for one recipient.
#[derive(Clone, Debug)]
struct Row {
    packet: &'static Packet,
    expected: &'static Expected,
    state: String,
    reason: String,
}

impl Row {
    fn fits(&self) -> bool {
        self.state == self.expected.end.as_str() && self.reason == self.expected.reason
    }
}

/// Runs the demonstration on the network `name`. Gives what differs from what was promised: nothing.
///
/// # Errors
/// It could not be run to its end.
pub fn run(name: &str, keep: bool, processes: &Processes, voice: Voice) -> Result<usize> {
    voice.line("Schakel: a network on this machine, for DEVELOPMENT. All persons are fictional.\n");
    let mut stage = Stage::mint(name, keep, processes.clone(), voice)?;
    stage.start(voice)?;
    let (case, sent, rows) = play(&stage, voice)?;
    let reasons = Reasons::built_in()?;
    show(&rows, &reasons, voice);
    let checks = check(&stage, case, &sent, voice)?;
    stage.processes().all_run()?;
    let wrong = rows.iter().filter(|row| !row.fits()).count();
    let differing = wrong + checks.iter().filter(|check| check.differs.is_some()).count();
    tell(&checks, voice);
    voice.document(&document(case, &sent, &rows, &checks, &reasons, differing));
    if keep {
        leave(&stage, case, &sent, voice)?;
    } else {
        stop(&stage, voice)?;
    }
    voice.line(&match differing {
        0 => "\nEverything is as promised.".to_owned(),
        n => format!("\n{n} DIFFER from what was promised: see above."),
    });
    Ok(differing)
}

/// Opens the case and sends the packets; waits until each is decided for each recipient.
fn play(stage: &Stage, voice: Voice) -> Result<(CaseRef, Vec<Sent>, Vec<Row>)> {
    let mut rng = randomness();
    let case = CaseRef::random(&mut rng);
    let subjects: Vec<(&str, SubjectRef)> = ["victim", "perpetrator"]
        .map(|role| (role, SubjectRef::random(&mut rng)))
        .to_vec();
    let opener = script::ROSTER.first().copied().unwrap_or_default();
    let step = voice.step("Opening the case");
    let mut arguments = words(&[
        ("--case", case.to_string()),
        ("--type", "partner_violence".to_owned()),
        ("--region", "vlg".to_owned()),
    ]);
    for id in script::ROSTER {
        arguments.extend(words(&[("--roster", (*id).to_owned())]));
    }
    Cli::of(stage, opener)?.expect(&["statement", "open-case"], &arguments)?;
    step.done(&format!("{case} by {opener}; OCMW Schelle is not on the roster"));
    let (mut sent, mut rows) = (Vec::new(), Vec::new());
    for packet in PACKETS {
        let step = voice.step(packet.name);
        let (one, of_packet) = send(stage, packet, case, &subjects)?;
        let ends: Vec<_> = of_packet
            .iter()
            .map(|row| format!("{} {}", row.expected.recipient, row.state))
            .collect();
        step.done(&ends.join(", "));
        sent.push(one);
        rows.extend(of_packet);
    }
    Ok((case, sent, rows))
}

fn words(pairs: &[(&str, String)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(name, value)| [(*name).to_owned(), value.clone()])
        .collect()
}

/// Sends one packet with the sender's own command line, and waits until it is decided.
fn send(
    stage: &Stage,
    packet: &'static Packet,
    case: CaseRef,
    subjects: &[(&str, SubjectRef)],
) -> Result<(Sent, Vec<Row>)> {
    let mut arguments = words(&[
        ("--case", case.to_string()),
        ("--to", packet.to.join(",")),
        ("--purpose", packet.purpose.to_owned()),
        ("--basis", packet.basis.to_owned()),
        ("--wait", "decided".to_owned()),
        ("--wait-seconds", DECIDED_MAX_SECONDS.to_string()),
    ]);
    for part in packet.parts {
        let text = described(part, &stage.documents().join(part.file), subjects);
        arguments.extend(words(&[("--part", text)]));
    }
    // A packet that is refused ends the command badly; its state says by whom and why.
    let answer = Cli::of(stage, packet.sender)?.call(&["send"], &arguments)?;
    let state = answer.value;
    if !is_decided(&state) {
        let error = format!(
            "{}: \"{}\" was not decided: {}",
            packet.sender,
            packet.name,
            answer.error.trim()
        );
        return Err(Problem::new(format!("{error} {state}")));
    }
    let id = field(&state, "packet")
        .parse::<PacketId>()
        .map_err(Problem::during("a packet's id"))?;
    let parts = list(&state, "parts")
        .iter()
        .map(|part| field(part, "part").parse::<PartId>());
    let parts = parts
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(Problem::during("a part's id"))?;
    let row = |expected: &'static Expected| {
        let part = parts
            .get(expected.part)
            .map(ToString::to_string)
            .unwrap_or_default();
        let outcome = list(&state, "outcomes")
            .iter()
            .find(|o| field(o, "recipient") == expected.recipient && field(o, "part") == part);
        let said = |name| outcome.map_or("", |o| field(o, name)).to_owned();
        Row {
            packet,
            expected,
            state: said("state"),
            reason: said("reason"),
        }
    };
    let rows = packet.expected.iter().map(row).collect();
    Ok((Sent { packet, id, parts }, rows))
}

/// A part as the command line takes it.
fn described(part: &Part, file: &Path, subjects: &[(&str, SubjectRef)]) -> String {
    let escaped = |text: &str| text.replace(',', "\\,");
    let mut fields = vec![
        format!("category={}", part.category),
        format!("file={}", escaped(&file.display().to_string())),
        format!("secrecy={}", part.secrecy),
        format!("media={}", part.media),
        format!("title={}", escaped(part.title)),
    ];
    let about = subjects.iter().filter(|(role, _)| part.subjects.contains(role));
    fields.extend(about.map(|(role, reference)| format!("subject={role}:adult:{reference}")));
    fields.join(",")
}

/// The table: per packet, part and recipient what happened and why.
fn show(rows: &[Row], reasons: &Reasons, voice: Voice) {
    let cells = |row: &Row| {
        let part = row.packet.parts.get(row.expected.part);
        let mut why = format!("{} [{}]", reasons.sentence(&row.reason), row.reason);
        if !row.fits() {
            why += &format!(
                " EXPECTED: {}, {}",
                row.expected.end.as_str(),
                row.expected.reason
            );
        }
        vec![
            if row.fits() { "  ✓" } else { "  ✗" }.to_owned(),
            part.map_or("", |p| p.file).to_owned(),
            part.map_or("", |p| p.category).to_owned(),
            row.expected.recipient.to_owned(),
            row.state.clone(),
            why,
        ]
    };
    let mut table = vec![
        ["", "Document", "Category", "Recipient", "Outcome", "Why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    table.extend(rows.iter().map(cells));
    let mut lines = table::rows(&table).into_iter();
    voice.line("\nWhat happened, and why\n");
    voice.lines(&lines.next().unwrap_or_default());
    let mut last = "";
    for (row, lines) in rows.iter().zip(lines) {
        if row.packet.name != last {
            last = row.packet.name;
            voice.line(&format!(
                "{last} (from {}, {})",
                row.packet.sender, row.packet.basis
            ));
        }
        voice.lines(&lines);
    }
}

/// All checks from outside.
fn check(stage: &Stage, case: CaseRef, sent: &[Sent], voice: Voice) -> Result<Vec<Check>> {
    let step = voice.step("Checking from outside");
    step.now("opening the documents");
    let mut checks = outside::files(stage, sent)?;
    step.now("the log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Problem::during("a runtime"))?;
    checks.extend(runtime.block_on(outside::log(stage, sent))?);
    step.now("the recipients' disks");
    checks.extend(outside::disks(stage, sent)?);
    step.now("the broker's disk and memory");
    checks.extend(outside::broker(stage, case, sent)?);
    step.done(&format!("{} checks", checks.len()));
    Ok(checks)
}

fn tell(checks: &[Check], voice: Voice) {
    voice.line("\nChecked from outside\n");
    let row = |check: &Check| {
        let (mark, what) = match (&check.differs, &check.skipped) {
            (Some(differs), _) => ("✗", format!("{}. DIFFERS: {differs}", check.what)),
            (None, Some(why)) => ("-", format!("{}. NOT CHECKED: {why}", check.what)),
            (None, None) => ("✓", check.what.clone()),
        };
        vec![mark.to_owned(), what]
    };
    for lines in table::rows(&checks.iter().map(row).collect::<Vec<_>>()) {
        voice.lines(&lines);
    }
}

fn stop(stage: &Stage, voice: Voice) -> Result<()> {
    let step = voice.step("Stopping broker and agents");
    let bad = stage.processes().stop();
    if !bad.is_empty() {
        return Err(Problem::new(format!(
            "did not end well when told to: {}",
            bad.join(", ")
        )));
    }
    step.done("all have ended");
    Ok(())
}

/// Leaves the network running, and says how to talk to it.
fn leave(stage: &Stage, case: CaseRef, sent: &[Sent], voice: Voice) -> Result<()> {
    let processes = stage.processes().leave();
    let first = sent.first().ok_or_else(|| Problem::new("nothing was sent"))?;
    let part = first.parts.first().map(ToString::to_string).unwrap_or_default();
    let (packet, copy) = (first.id, stage.folder().join("feiten.pdf"));
    let cli = |id| Cli::of(stage, id);
    voice.line(&format!(
        "\nThe network keeps running in {}. Try:\n",
        stage.folder().display()
    ));
    for command in [
        cli("parket-antwerpen")?.typed("inbox list"),
        cli("parket-antwerpen")?.typed(&format!("inbox open {packet} {part} --out {}", copy.display())),
        cli("pz-rupel")?.typed(&format!("status {packet}")),
        cli("pz-rupel-opvolgcel")?.typed("status"),
    ] {
        voice.line(&format!("  {command}"));
    }
    voice.line(&format!(
        "\nThe case is {case}. Logs: {}/*.log",
        stage.folder().display()
    ));
    let ids: Vec<_> = processes.iter().map(|(_, id)| id.to_string()).collect();
    let running: Vec<_> = processes
        .iter()
        .map(|(name, id)| format!("{name} ({id})"))
        .collect();
    voice.line(&format!("Running: {}", running.join(", ")));
    voice.line(&format!(
        "Stop it: kill {}; sleep 3; rm -r {}",
        ids.join(" "),
        stage.folder().display()
    ));
    Ok(())
}

/// The result as JSON.
fn document(
    case: CaseRef,
    sent: &[Sent],
    rows: &[Row],
    checks: &[Check],
    reasons: &Reasons,
    differing: usize,
) -> Value {
    let outcome = |row: &Row| {
        let part = row.packet.parts.get(row.expected.part);
        json!({
            "packet": row.packet.name,
            "packet_id": sent.iter().find(|s| s.packet.name == row.packet.name).map(|s| s.id),
            "sender": row.packet.sender,
            "recipient": row.expected.recipient,
            "file": part.map(|p| p.file),
            "category": part.map(|p| p.category),
            "outcome": row.state,
            "reason": row.reason,
            "sentence": reasons.sentence(&row.reason),
            "as_promised": row.fits(),
        })
    };
    let check = |check: &Check| {
        json!({
            "check": check.what,
            "holds": check.differs.is_none() && check.skipped.is_none(),
            "differs": check.differs,
            "not_checked": check.skipped,
        })
    };
    json!({
        "case": case,
        "outcomes": rows.iter().map(outcome).collect::<Vec<_>>(),
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "differing": differing,
    })
}

//! The demonstration from begin to end. Read this first.

use std::path::Path;

use serde_json::{Value, json};

use super::outside::{self, Check, Sent};
use super::play::Play;
use super::problem::{Problem, Result};
use super::processes::{Processes, binary};
use super::say::Voice;
use super::stage::{Stage, agency};
use super::story::Story;
use super::table;
use super::tale::Tale;

/// How the demonstration is to run.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The network whose story is told, or a story file.
    pub name: &'a str,
    /// Leave the network running.
    pub keep: bool,
    /// Where the outcomes go as JSON.
    pub json: Option<&'a Path>,
}

/// Runs a story. Gives how much differs from what was promised: nothing.
///
/// # Errors
/// It could not be run to its end.
pub fn run(order: &Order<'_>, processes: &Processes, voice: Voice) -> Result<usize> {
    voice.line("Schakel: a network on this machine, for DEVELOPMENT. All persons are fictional.\n");
    let story = Story::load(order.name)?;
    let tale = Tale::in_language(&story.head.language, voice)?;
    let mut stage = Stage::mint(story.clone(), order.keep, processes.clone(), voice)?;
    stage.start(voice)?;
    tale.open(&story.network.title, &story.head.opening);
    let mut play = Play::on(&mut stage, tale);
    play.run()?;
    let (sent, events, wrong) = (play.sent, play.events, play.wrong);
    let checks = check(&stage, &sent, voice)?;
    stage.processes().all_run()?;
    let differing = wrong + checks.iter().filter(|check| check.differs.is_some()).count();
    tell(&checks, voice);
    if let Some(file) = order.json {
        let text = format!("{:#}\n", document(&story, &events, &checks, differing));
        std::fs::write(file, text).map_err(Problem::during(file.display()))?;
    }
    if order.keep {
        leave(&stage, &sent, voice)?;
    } else {
        stop(&stage, voice)?;
    }
    voice.line(&match differing {
        0 => "\nEverything is as promised.".to_owned(),
        n => format!("\n{n} DIFFER from what was promised: see above."),
    });
    Ok(differing)
}

/// All checks from outside.
fn check(stage: &Stage, sent: &[Sent], voice: Voice) -> Result<Vec<Check>> {
    let step = voice.step("Checking from outside");
    step.now("opening the documents");
    let mut checks = outside::files(stage, sent)?;
    step.now("the log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Problem::during("a runtime"))?;
    checks.extend(runtime.block_on(outside::log(stage, sent))?);
    step.now("the decisions");
    checks.push(outside::replay(stage)?);
    step.now("the recipients' disks");
    checks.extend(outside::disks(stage, sent)?);
    step.now("the broker's disk and memory");
    checks.extend(outside::broker(stage, sent)?);
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
fn leave(stage: &Stage, sent: &[Sent], voice: Voice) -> Result<()> {
    let processes = stage.processes().leave();
    let program = binary("schakel-agent")?;
    let typed = |id: &str, words: &str| -> Result<String> {
        let config = stage.network().agent_config(&agency(id)?);
        Ok(format!(
            "  {} {words} --config {}",
            program.display(),
            config.display()
        ))
    };
    let folder = stage.folder().display();
    voice.line(&format!("\nThe network keeps running in {folder}. Try:\n"));
    let received = |packet: &&Sent| packet.ends.iter().any(outside::End::is_received);
    if let Some(packet) = sent.iter().find(received)
        && let Some(end) = packet.ends.iter().find(|end| end.is_received())
        && let Some(part) = packet.parts.get(end.part.saturating_sub(1))
        && let Some(id) = part.id
    {
        let (copy, packet_id) = (stage.folder().join(&part.file), packet.id);
        voice.line(&typed(&end.to, "inbox list")?);
        voice.line(&typed(
            &end.to,
            &format!("inbox open {packet_id} {id} --out {}", copy.display()),
        )?);
        voice.line(&typed(&packet.sender, &format!("status {packet_id}"))?);
        voice.line(&typed(&packet.sender, &format!("facts {}", packet.case))?);
    }
    voice.line(&format!("\nLogs: {folder}/*.log"));
    let ids: Vec<_> = processes.iter().map(|(_, id)| id.to_string()).collect();
    let running: Vec<_> = processes
        .iter()
        .map(|(name, id)| format!("{name} ({id})"))
        .collect();
    voice.line(&format!("Running: {}", running.join(", ")));
    voice.line(&format!(
        "Stop it: kill {}; sleep 3; rm -r {folder}",
        ids.join(" ")
    ));
    Ok(())
}

/// The result as JSON.
fn document(story: &Story, events: &[Value], checks: &[Check], differing: usize) -> Value {
    let check = |check: &Check| {
        json!({
            "check": check.what,
            "holds": check.differs.is_none() && check.skipped.is_none(),
            "differs": check.differs,
            "not_checked": check.skipped,
        })
    };
    json!({
        "network": story.network.network,
        "outcomes": events,
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
        "differing": differing,
    })
}

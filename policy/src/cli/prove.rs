//! `prove`: what holds of all requests, and a case for what does not.

use std::path::PathBuf;
use std::time::Duration;

use schakel_policy::bundle::Bundle;
use schakel_policy::prove::{self, Counterexample, Finding, Options, Verdict};

use super::{Answer, Failure, bundle};

/// Arguments of `prove`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A directory, an archive or a signed bundle.
    bundle: Option<PathBuf>,
    /// Only this invariant (may be repeated), e.g. `helpline`.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Also looks for rules that can never hold (takes a minute).
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    solving: Solving,
}

/// How to prove, and where counterexamples go.
#[derive(Debug, clap::Args)]
pub struct Solving {
    /// Longest time for one question to the solver, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Writes the counterexamples there, one case a line.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Solving {
    fn options(&self) -> Options {
        Options::new(Duration::from_secs(self.timeout))
    }
}

impl From<prove::ProveError> for Failure {
    fn from(error: prove::ProveError) -> Self {
        Self::Other(error.to_string())
    }
}

/// Proves the invariants and that no rule errs.
pub fn run(arguments: &Arguments, json: bool) -> Answer {
    let bundle = bundle(arguments.bundle.as_deref())?;
    let mut options = arguments.solving.options();
    options.dead = arguments.dead.then(Vec::new);
    if let Some(strange) = arguments
        .only
        .iter()
        .find(|id| !prove::names().contains(&id.as_str()))
    {
        let names = prove::names().join(", ");
        return Err(Failure::Other(format!(
            "{strange:?} is no invariant; one of {names}"
        )));
    }
    options.only.clone_from(&arguments.only);
    let report = prove::prove(&bundle, &options)?;
    write(&arguments.solving, &report.findings)?;
    if json {
        let findings: Vec<_> = report.findings.iter().map(finding_json).collect();
        println!(
            "{}",
            serde_json::json!({
                "name": bundle.name(), "version": bundle.version(), "digest": bundle.digest().to_string(),
                "findings": findings, "warnings": report.warnings, "proved": report.proved(),
            })
        );
        return Ok(report.proved());
    }
    report.findings.iter().for_each(print);
    for warning in &report.warnings {
        println!("warning: {warning}");
    }
    let proved = report.findings.iter().filter(|finding| finding.proved()).count();
    println!("{proved} of {} proved", report.findings.len());
    Ok(report.proved())
}

/// Whether `new` delivers anything that `old` does not: printed, or returned as JSON.
pub fn compare(old: &Bundle, new: &Bundle, solving: &Solving, json: bool) -> Result<Compared, Failure> {
    let finding = prove::not_wider(old, new, &solving.options())?;
    write(solving, std::slice::from_ref(&finding))?;
    if !json {
        print(&finding);
    }
    Ok(Compared {
        json: finding_json(&finding),
        proved: finding.proved(),
    })
}

/// What the comparison came to.
pub struct Compared {
    /// For machines.
    pub json: serde_json::Value,
    /// Whether the new bundle is not wider.
    pub proved: bool,
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "proved",
        Verdict::Broken(_) => "BROKEN",
        Verdict::NotDecided(_) => "not decided",
        Verdict::NotExpressible(_) => "not expressible",
    }
}

fn broken(finding: &Finding) -> Option<&Counterexample> {
    match &finding.verdict {
        Verdict::Broken(counterexample) => Some(counterexample),
        _ => None,
    }
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    let case = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let why = match &finding.verdict {
        Verdict::NotDecided(why) | Verdict::NotExpressible(why) => Some(why),
        _ => None,
    };
    let counterexample = broken(finding).map(|one| {
        serde_json::json!({
            "case": one.case.as_deref().and_then(case), "answer": one.answer, "policy": one.policy,
            "symbolic": one.symbolic,
        })
    });
    let millis = u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX);
    serde_json::json!({
        "id": finding.id, "sentences": finding.sentences.iter().cloned()
            .collect::<std::collections::BTreeMap<String, String>>(),
        "verdict": word(&finding.verdict).to_lowercase(), "why": why, "millis": millis,
        "counterexample": counterexample,
    })
}

fn print(finding: &Finding) {
    let verdict = word(&finding.verdict);
    let seconds = finding.took.as_secs_f64();
    println!(
        "{verdict:<15} {:<18} {seconds:>6.1} s  {}",
        finding.id,
        finding.sentence()
    );
    match &finding.verdict {
        Verdict::Proved => {}
        Verdict::NotDecided(why) | Verdict::NotExpressible(why) => println!("    {why}"),
        Verdict::Broken(one) => {
            if let Some(policy) = &one.policy {
                println!("    the rule {policy} errs");
            }
            match &one.case {
                Some(case) => {
                    println!("    decided as {} in this case:\n{case}", one.answer);
                }
                None => println!(
                    "    the engine does not decide so on the case made from it; the request as the solver has it:\n    {}",
                    one.symbolic
                ),
            }
        }
    }
}

fn write(solving: &Solving, findings: &[Finding]) -> Result<(), Failure> {
    let Some(path) = &solving.out else { return Ok(()) };
    let cases = findings
        .iter()
        .filter_map(|finding| broken(finding)?.case.as_deref());
    let text: String = cases.flat_map(|case| [case, "\n"]).collect();
    std::fs::write(path, text).map_err(|error| Failure::reading(path, &error))
}

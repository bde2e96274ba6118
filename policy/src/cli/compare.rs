//! `diff`: what another bundle would change.

use std::path::{Path, PathBuf};

use schakel_policy::bundle::Bundle;
use schakel_policy::case::Case;
use schakel_policy::compare::{self, RuleChange};
use schakel_policy::engine::Engine;

use super::{Answer, Failure, test};

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle in force.
    old: PathBuf,
    /// The bundle that may follow it.
    new: PathBuf,
    /// Questions in the case format, one a line.
    questions: Vec<PathBuf>,
}

/// A question and where it stands.
type Placed = (String, Case);

fn placed(paths: &[PathBuf]) -> Result<Vec<Placed>, Failure> {
    let mut all = Vec::new();
    for path in paths {
        let here = |line: usize| format!("{}:{line}", path.display());
        all.extend(
            test::read(path)?
                .into_iter()
                .map(|(line, case)| (here(line), case)),
        );
    }
    Ok(all)
}

/// The cases of both bundles, each once.
fn own(bundles: [&Bundle; 2]) -> Vec<Placed> {
    let mut all: Vec<Placed> = Vec::new();
    for (file, cases) in bundles.iter().flat_map(|bundle| bundle.cases()) {
        for (line, case) in cases {
            if !all.iter().any(|(_, known)| known.given == case.given) {
                all.push((format!("{file}:{line}"), case.clone()));
            }
        }
    }
    all
}

fn load(path: &Path) -> Result<(Bundle, Engine), Failure> {
    let bundle = Bundle::load(path)?;
    let engine = Engine::untested(&bundle);
    Ok((bundle, engine))
}

/// Changed cells, rules and cases.
pub fn diff(arguments: &Arguments, json: bool) -> Answer {
    let ((old, before), (new, after)) = (load(&arguments.old)?, load(&arguments.new)?);
    let (cells, rules) = (compare::cells(&old, &new), compare::rules(&old, &new));
    let questions = if arguments.questions.is_empty() {
        own([&old, &new])
    } else {
        placed(&arguments.questions)?
    };
    let cells: Vec<String> = cells
        .iter()
        .map(|c| format!("{} x {}: {} -> {}", c.category, c.role, c.before, c.after))
        .collect();
    let rules: Vec<String> = rules
        .iter()
        .map(|change| match change {
            RuleChange::Added(id) => format!("added {id}"),
            RuleChange::Removed(id) => format!("removed {id}"),
            RuleChange::Changed(id) => format!("changed {id}"),
        })
        .collect();
    let outcomes = changes(&before, &after, &questions);
    if json {
        println!(
            "{}",
            serde_json::json!({ "cells": cells, "rules": rules, "outcomes": outcomes })
        );
        return Ok(true);
    }
    for line in cells
        .iter()
        .map(|c| format!("cell {c}"))
        .chain(rules.iter().map(|r| format!("rule {r}")))
    {
        println!("{line}");
    }
    print_changes(&outcomes, questions.len());
    Ok(true)
}

fn changes(before: &Engine, after: &Engine, questions: &[Placed]) -> Vec<serde_json::Value> {
    let change = |(place, case): &Placed| {
        let change = compare::outcome(before, after, &case.given)?;
        let ruling = |r: &schakel_policy::ruling::Ruling| {
            serde_json::json!({
                "outcome": r.outcome().as_str(), "reason": r.reason(), "obligations": r.obligations(),
            })
        };
        Some(serde_json::json!({
            "place": place, "id": case.id,
            "category": case.given.part.category,
            "sender": case.given.sender.id, "recipient": case.given.recipient.id,
            "before": ruling(&change.before), "after": ruling(&change.after),
        }))
    };
    questions.iter().filter_map(change).collect()
}

fn print_changes(outcomes: &[serde_json::Value], asked: usize) {
    let text = |value: &serde_json::Value, path: &str| {
        value
            .pointer(path)
            .and_then(|v| v.as_str())
            .unwrap_or("")
            .to_owned()
    };
    for one in outcomes {
        println!(
            "{} {}: {} from {} to {}: {} {} -> {} {}",
            text(one, "/place"),
            text(one, "/id"),
            text(one, "/category"),
            text(one, "/sender"),
            text(one, "/recipient"),
            text(one, "/before/outcome"),
            text(one, "/before/reason"),
            text(one, "/after/outcome"),
            text(one, "/after/reason"),
        );
    }
    println!("{} of {asked} questions come out differently", outcomes.len());
}

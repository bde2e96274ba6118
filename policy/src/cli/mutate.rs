//! `mutate`: what the bundle's own cases notice.

use std::collections::BTreeMap;
use std::path::Path;

use schakel_policy::engine::mutate::{self, CellFates, Fate, Mutations};
use serde_json::{Value, json};

use super::{Answer, bundle};

/// Changes every rule and cell once and prints what became of it.
pub fn run(path: Option<&Path>, only: &str, json: bool) -> Answer {
    let bundle = bundle(path)?;
    let found = mutate::run(&bundle, only);
    if json {
        println!("{}", machine(&found));
    } else {
        table(&found);
    }
    Ok(found.surviving() == 0)
}

fn word(fate: &Fate) -> String {
    match fate {
        Fate::Noticed(case) => case.clone(),
        Fate::Survives(None) => "SURVIVES".to_owned(),
        Fate::Survives(Some(asked)) => format!(
            "SURVIVES (sender {}, basis {}, purpose {}, subjects {:?}, region {}, pseudonymous {}, {} consents)",
            asked.sender.role,
            asked.legal_basis,
            asked.purpose,
            asked
                .part
                .subjects
                .iter()
                .map(|s| s.role.as_str())
                .collect::<Vec<_>>(),
            asked.case.region,
            asked.part.pseudonymous,
            asked.consents.len(),
        ),
        Fate::Unreachable => "unreachable".to_owned(),
        Fate::NoDifference(asked) => format!("no difference ({asked} asked)"),
    }
}

/// One line a rule; one line a cell, with what became of each other verdict.
fn table(found: &Mutations) {
    println!("rule taken out: first case that notices");
    for (id, fate) in &found.rules {
        println!("{id:<32} {}", word(fate));
    }
    println!("\ncell and its verdict: first case that notices each other verdict");
    let mut unreachable = Vec::new();
    for cell in found.cells.values() {
        let name = format!("{} {} {}", cell.category, cell.role, cell.verdict.letter());
        if cell.fates.iter().all(|(_, fate)| *fate == Fate::Unreachable) {
            unreachable.push(name);
            continue;
        }
        let fates = cell
            .fates
            .iter()
            .map(|(v, fate)| format!("{}: {}", v.letter(), word(fate)));
        println!("{name:<36} {}", fates.collect::<Vec<_>>().join("  "));
    }
    println!("\ncells that no question reaches, because a gate or a wall comes first");
    unreachable.iter().for_each(|name| println!("{name}"));
    println!("\n{}", summary(found));
}

fn summary(found: &Mutations) -> String {
    let cells = found
        .cells
        .values()
        .flat_map(|cell| cell.fates.iter().map(|(_, fate)| fate));
    let of_cells = counts(cells);
    let of_rules = counts(found.rules.values());
    let line = |counts: &BTreeMap<&str, usize>| {
        counts
            .iter()
            .map(|(word, n)| format!("{n} {word}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "{} rules: {}\n{} cells, {} changes: {}",
        found.rules.len(),
        line(&of_rules),
        found.cells.len(),
        of_cells.values().sum::<usize>(),
        line(&of_cells)
    )
}

fn counts<'a>(fates: impl Iterator<Item = &'a Fate>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for fate in fates {
        *counts.entry(kind(fate)).or_default() += 1;
    }
    counts
}

fn kind(fate: &Fate) -> &'static str {
    match fate {
        Fate::Noticed(_) => "noticed",
        Fate::Survives(_) => "surviving",
        Fate::Unreachable => "unreachable",
        Fate::NoDifference(_) => "without difference",
    }
}

fn machine(found: &Mutations) -> Value {
    let fate = |fate: &Fate| match fate {
        Fate::Noticed(case) => json!({ "fate": kind(fate), "case": case }),
        Fate::NoDifference(asked) => json!({ "fate": kind(fate), "asked": asked }),
        _ => json!({ "fate": word(fate) }),
    };
    let cell = |cell: &CellFates| {
        let fates: BTreeMap<&str, Value> = cell.fates.iter().map(|(v, f)| (v.as_str(), fate(f))).collect();
        json!({ "category": cell.category, "role": cell.role, "verdict": cell.verdict.as_str(), "other": fates })
    };
    let rules: BTreeMap<&String, Value> = found.rules.iter().map(|(id, f)| (id, fate(f))).collect();
    json!({
        "surviving": found.surviving(),
        "rules": rules,
        "cells": found.cells.values().map(cell).collect::<Vec<_>>(),
    })
}

//! `schakel-sabotage [NAME…]`: builds what is wrong on purpose (`tests/sabotage.toml`) and shows that a test notices
//! each. Started by `tests/run --sabotage`. Ends 1 if one is not noticed.

use std::path::Path;
use std::process::ExitCode;

use schakel_tests::sabotage::bench::{Line, Verdict, all_is_well, tried};
use schakel_tests::sabotage::tree::Tree;
use schakel_tests::sabotage::{Sabotage, all};
use schakel_tests::system::process::built;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match run(&names) {
        Ok(lines) => {
            println!();
            lines.iter().for_each(|line| println!("{line}"));
            let caught = lines
                .iter()
                .filter(|line| line.verdict == Verdict::Failed)
                .count();
            println!("{caught} of {} caught", lines.len());
            if caught == lines.len() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("schakel-sabotage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[String]) -> Result<Vec<Line>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().ok_or("no repository around the tests")?;
    let chosen = chosen(all(root)?, names)?;
    let seed = built();
    let seed = seed.parent().ok_or("no target folder around this program")?;
    let place = seed.join("schakel-sabotage");
    let tree = Tree::copied(root, &place, seed)?;
    // All are looked at before the first is built.
    for one in &chosen {
        one.applied(&tree.read(&one.file)?)?;
    }
    println!("{} to try, in {}", chosen.len(), tree.root.display());
    all_is_well(&tree, &chosen, &place)?;
    let mut lines = Vec::new();
    for one in &chosen {
        let line = tried(&tree, one, &place)?;
        println!("{line}");
        lines.push(line);
    }
    Ok(lines)
}

fn chosen(all: Vec<Sabotage>, names: &[String]) -> Result<Vec<Sabotage>, String> {
    let unknown = names.iter().find(|name| all.iter().all(|one| one.name != **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        return Err(format!("there is no {name}: there are {}", known.join(", ")));
    }
    let wanted = |one: &Sabotage| names.is_empty() || names.contains(&one.name);
    Ok(all.into_iter().filter(wanted).collect())
}

//! `test`: runs decision cases.

use std::path::{Path, PathBuf};

use schakel_policy::case::Case;
use schakel_policy::engine::Engine;

use super::{Answer, Failure, bundle};

/// Runs the cases of the files named, or the bundle's own.
pub fn run(paths: &[PathBuf], json: bool) -> Answer {
    let is_cases = |path: &&PathBuf| path.extension().is_some_and(|e| e == "jsonl");
    let bundles: Vec<&PathBuf> = paths.iter().filter(|p| !is_cases(p)).collect();
    let files: Vec<&PathBuf> = paths.iter().filter(is_cases).collect();
    if bundles.len() > 1 {
        return Err(Failure::Other(
            "more than one bundle named; case files end in .jsonl".to_owned(),
        ));
    }
    let bundle = bundle(bundles.first().map(|p| p.as_path()))?;
    let engine = Engine::untested(&bundle);
    let (mut passed, mut failures) = (0_usize, Vec::new());
    let mut one = |file: &str, line: usize, case: &Case| {
        let ruling = engine.receive(&case.given);
        match case.difference(&ruling) {
            _ if case.expect.is_none() => {
                failures.push(format!("{file}:{line}: {}: nothing is expected", case.id))
            }
            None => passed += 1,
            Some(difference) => failures.push(format!("{file}:{line}: {}: {difference}", case.id)),
        }
    };
    if files.is_empty() {
        for (file, cases) in bundle.cases() {
            cases.iter().for_each(|(line, case)| one(file, *line, case));
        }
    }
    let statements = if files.is_empty() {
        bundle.statement_cases()
    } else {
        &[]
    };
    for path in files {
        for (line, case) in read(path)? {
            one(&path.display().to_string(), line, &case);
        }
    }
    for (line, case) in statements {
        match case.difference(&engine) {
            None => passed += 1,
            Some(difference) => {
                failures.push(format!(
                    "cases/statements.jsonl:{line}: {}: {difference}",
                    case.id
                ));
            }
        }
    }
    let failed = failures.len();
    if json {
        println!(
            "{}",
            serde_json::json!({ "passed": passed, "failed": failed, "failures": failures })
        );
    } else {
        for failure in &failures {
            println!("FAILED {failure}");
        }
        println!("{passed} passed, {failed} failed");
    }
    Ok(failed == 0)
}

/// A file's cases with their lines.
pub fn read(path: &Path) -> Result<Vec<(usize, Case)>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path, &error))?;
    Case::parse_file(&text)
        .map_err(|(line, error)| Failure::Other(format!("{}:{line}: {error}", path.display())))
}

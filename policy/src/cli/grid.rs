//! `matrix`: the grid as text or values; `--set` changes one cell of a bundle directory.

use std::path::PathBuf;

use schakel_policy::bundle::Bundle;
use schakel_policy::matrix::{self, Verdict};

use super::{Answer, Failure, bundle, html};

/// Arguments of `matrix`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A directory, an archive or a signed bundle.
    bundle: Option<PathBuf>,
    /// Comma-separated values.
    #[arg(long)]
    csv: bool,
    /// One HTML page.
    #[arg(long, conflicts_with = "csv")]
    html: bool,
    /// Language of grid and page: nl, fr or en.
    #[arg(long, default_value = "nl")]
    lang: String,
    /// Sets one cell: category, role, and a verdict (word or letter D K C E N). Needs a bundle directory.
    #[arg(long, num_args = 3, value_names = ["CATEGORY", "ROLE", "VERDICT"])]
    set: Option<Vec<String>>,
}

/// Shows or edits the grid.
pub fn run(arguments: &Arguments, json: bool) -> Answer {
    if let Some([category, role, verdict]) = arguments.set.as_deref() {
        return set(arguments, category, role, verdict, json);
    }
    let bundle = bundle(arguments.bundle.as_deref())?;
    if json {
        let mut rows = serde_json::Map::new();
        for (category, row) in &bundle.matrix().cells {
            let cell =
                |c: &matrix::Cell| serde_json::json!({ "verdict": c.verdict.as_str(), "reason": c.reason });
            rows.insert(
                category.clone(),
                row.iter().map(|(r, c)| (r.clone(), cell(c))).collect(),
            );
        }
        println!("{}", serde_json::Value::Object(rows));
    } else if arguments.csv {
        print!("{}", bundle.matrix_csv());
    } else {
        let language = &arguments.lang;
        let speech = bundle.texts().language(language);
        let speech =
            speech.ok_or_else(|| Failure::Other(format!("the bundle does not speak {language:?}")))?;
        if arguments.html {
            print!("{}", html::page(&bundle, language, speech));
        } else {
            print!("{}", bundle.matrix_grid(language, speech));
        }
    }
    Ok(true)
}

fn set(arguments: &Arguments, category: &str, role: &str, verdict: &str, json: bool) -> Answer {
    let folder = arguments.bundle.as_deref().filter(|path| path.is_dir());
    let folder = folder.ok_or_else(|| Failure::Other("--set needs a bundle directory".to_owned()))?;
    let verdict = Verdict::parse(verdict).ok_or_else(|| {
        let words: Vec<&str> = Verdict::ALL.iter().map(|v| v.as_str()).collect();
        Failure::Other(format!(
            "{verdict:?} is no verdict; one of {} or D K C E N",
            words.join(", ")
        ))
    })?;
    let bundle = Bundle::from_dir(folder)?;
    let files = bundle
        .with_cell(category, role, verdict)
        .ok_or_else(|| Failure::Other(format!("there is no cell {category} x {role}")))?;
    let changed = Bundle::from_files(files)?;
    let text = changed.files().get(matrix::FILE).map_or(&[][..], Vec::as_slice);
    let (path, beside) = (folder.join(matrix::FILE), folder.join(".matrix.toml.new"));
    let write = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &path));
    write.map_err(|error| Failure::reading(&path, &error))?;
    let before = bundle.matrix().cells.get(category).and_then(|row| row.get(role));
    let before = before.map_or("", |cell| cell.verdict.as_str());
    if json {
        let (verdict, digest) = (verdict.as_str(), changed.digest().to_string());
        println!(
            "{}",
            serde_json::json!({
                "category": category, "role": role, "before": before, "verdict": verdict, "digest": digest,
            })
        );
    } else {
        println!("{category} x {role}: {before} -> {}", verdict.as_str());
    }
    Ok(true)
}

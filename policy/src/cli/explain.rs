//! `explain`: one decision in sentences.

use std::path::PathBuf;

use schakel_policy::case::Case;
use schakel_policy::engine::Engine;
use schakel_policy::explain::{Audience, explain};

use super::{Answer, Failure, bundle};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A bundle if there are two paths; then a case (JSON, or the first line of a .jsonl file).
    #[arg(required = true, num_args = 1..=2)]
    paths: Vec<PathBuf>,
    /// nl, fr or en.
    #[arg(long, default_value = "nl")]
    lang: String,
    /// For whom: officer, sender or recipient.
    #[arg(long, default_value = "officer")]
    audience: String,
}

/// Explains one case.
pub fn run(arguments: &Arguments, json: bool) -> Answer {
    let (bundle_path, case_path) = match arguments.paths.as_slice() {
        [case] => (None, case),
        [bundle, case] => (Some(bundle.as_path()), case),
        _ => return Err(Failure::Other("one bundle and one case at most".to_owned())),
    };
    let audience = Audience::parse(&arguments.audience).ok_or_else(|| {
        Failure::Other(format!(
            "{:?} is not officer, sender or recipient",
            arguments.audience
        ))
    })?;
    let bundle = bundle(bundle_path)?;
    let text = std::fs::read_to_string(case_path).map_err(|error| Failure::reading(case_path, &error))?;
    let case = Case::parse(&text)
        .or_else(|error| text.lines().next().map_or(Err(error), Case::parse))
        .map_err(|error| Failure::reading(case_path, &error))?;
    let engine = Engine::untested(&bundle);
    let explanation = explain(&engine, &case.given, &arguments.lang, audience)
        .ok_or_else(|| Failure::Other(format!("the bundle does not speak {:?}", arguments.lang)))?;
    if json {
        println!("{}", explanation.to_json());
    } else {
        println!("{explanation}");
    }
    Ok(true)
}

//! `check`: everything wrong with a bundle.

use std::path::Path;

use schakel_policy::bundle::Bundle;
use schakel_policy::engine::Engine;

use super::{Answer, Failure};

/// Prints the findings; none is well.
pub fn run(path: Option<&Path>, json: bool) -> Answer {
    let files = match path {
        Some(path) => Bundle::read(path).map_err(Failure::Bundle)?,
        None => Bundle::built_in_files(),
    };
    let found = match Bundle::check(files) {
        Ok(bundle) => match Engine::new(&bundle) {
            Ok(_) => {
                if json {
                    println!(
                        "{}",
                        serde_json::json!({
                            "name": bundle.name(), "version": bundle.version(),
                            "digest": bundle.digest().to_string(), "findings": [],
                        })
                    );
                } else {
                    let (name, version, digest) = (bundle.name(), bundle.version(), bundle.digest());
                    println!("{name} {version} {digest}: no findings");
                }
                return Ok(true);
            }
            Err(error) => vec![error],
        },
        Err(found) => found,
    };
    if json {
        let list: Vec<_> = found
            .iter()
            .map(|f| serde_json::json!({ "code": f.code, "sentence": f.sentence, "place": f.place }))
            .collect();
        println!("{}", serde_json::json!({ "findings": list }));
    } else {
        for finding in &found {
            println!("{finding}");
        }
        let count = found.len();
        println!("{count} finding{}", if count == 1 { "" } else { "s" });
    }
    Ok(false)
}

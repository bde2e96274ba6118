//! The files of the repository as the checks see them.

use std::path::Path;

use walkdir::WalkDir;

/// One text file: its path from the repository's root, with `/`, and its text.
pub struct File {
    pub path: String,
    pub text: String,
}

impl File {
    /// A made-up file, to show that a check finds what it looks for.
    pub fn sample(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Generated and checked in; kept fresh by proto/tests/generated.rs.
    pub fn is_generated(&self) -> bool {
        self.path.starts_with("proto/src/gen/")
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every text file of the repository, generated ones included, built ones not.
pub fn files() -> Vec<File> {
    let built = |name: &str| name == ".git" || name == "target" || name.starts_with("target-");
    let walk = WalkDir::new(root()).sort_by_file_name().into_iter();
    let mut files = Vec::new();
    for entry in walk.filter_entry(|e| !built(&e.file_name().to_string_lossy())) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let Ok(text) = String::from_utf8(std::fs::read(entry.path()).unwrap()) else {
            continue;
        };
        let path = entry
            .path()
            .strip_prefix(root())
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        files.push(File { path, text });
    }
    assert!(
        files.iter().any(|f| f.path == "proto/src/ids.rs"),
        "the walk does not see the repository"
    );
    files
}

/// Fails with one finding per line.
pub fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

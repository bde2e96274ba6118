//! Relative links in the documents lead to a file, and to a heading if they name one.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::tree::{File, files, none, root};

/// Targets of the inline links of a Markdown text, code blocks left out.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(end) = line[at..].find(')') {
                found.push(line[at + 2..at + end].split(' ').next().unwrap().to_owned());
            }
        }
    }
    found
}

/// The anchors of a Markdown text's headings, as the usual renderers make them.
fn anchors(text: &str) -> Vec<String> {
    let heading = |l: &str| {
        l.starts_with('#')
            .then(|| l.trim_start_matches('#').trim().to_lowercase())
    };
    let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    text.lines()
        .filter_map(heading)
        .map(|h| {
            h.chars()
                .filter(keep)
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// `base/../x` without `.` and `..`, from the repository's root.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

fn broken(files: &[File], exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let texts: BTreeMap<&str, &str> = files.iter().map(|f| (f.path.as_str(), f.text.as_str())).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        for target in targets(&file.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (to, anchor) = target
                .split_once('#')
                .map_or((target.as_str(), None), |(to, a)| (to, Some(a)));
            let path = match to {
                "" => PathBuf::from(&file.path),
                _ => plain(&Path::new(&file.path).parent().unwrap().join(to)),
            };
            let text = texts.get(path.to_str().unwrap());
            if !exists(&path) {
                findings.push(format!("{}: ({target}): no such file", file.path));
            } else if anchor.is_some_and(|a| text.is_some_and(|t| !anchors(t).iter().any(|h| h == a))) {
                findings.push(format!("{}: ({target}): no such heading", file.path));
            }
        }
    }
    findings
}

#[test]
fn relative_links_of_the_documents_resolve() {
    none(&broken(&files(), &|path| root().join(path).exists()));
}

#[test]
fn a_broken_link_is_found() {
    let found = |link: &str| {
        let text = format!("# Way of a packet\nsee [it]({link} \"title\").\n```\n[not](a-link)\n```\n");
        let files = [
            File::sample("docs/format/packet.md", &text),
            File::sample("README.md", "# Schakel, in short\n"),
        ];
        broken(&files, &|path| {
            path == Path::new("README.md") || path == Path::new("docs/format/packet.md")
        })
        .len()
    };
    assert_eq!(found("../../README.md"), 0);
    assert_eq!(found("../../README.md#schakel-in-short"), 0);
    assert_eq!(found("#way-of-a-packet"), 0);
    assert_eq!(found("https://example.org/x"), 0);
    assert_eq!(found("../README.md"), 1);
    assert_eq!(found("../../README.md#schakel"), 1);
    assert_eq!(found("#nowhere"), 1);
}

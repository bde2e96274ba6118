//! Files of at most 500 lines that say what they are, functions of at most 70, tests last.

use crate::code::{block_length, code_only, functions};
use crate::tree::{File, files, none};

const FILE_MAX_LINES: usize = 500;
const FUNCTION_MAX_LINES: usize = 70;

fn long_files(files: &[File]) -> Vec<String> {
    let kinds = [".rs", ".proto", ".cedar", ".cedarschema", ".sh"];
    let ours = |f: &&File| kinds.iter().any(|k| f.path.ends_with(k)) && !f.is_generated();
    let lines = |f: &File| f.text.lines().count();
    files
        .iter()
        .filter(ours)
        .filter(|f| lines(f) > FILE_MAX_LINES)
        .map(|f| {
            format!(
                "{}: {} lines, at most {FILE_MAX_LINES}: split it by subject",
                f.path,
                lines(f)
            )
        })
        .collect()
}

fn long_functions(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust() && !f.is_generated()) {
        for function in functions(&code_only(&file.text)) {
            let lines = function.last - function.first + 1;
            if lines > FUNCTION_MAX_LINES {
                let place = format!("{}:{}", file.path, function.first);
                findings.push(format!(
                    "{place}: fn {}: {lines} lines, at most {FUNCTION_MAX_LINES}",
                    function.name
                ));
            }
        }
    }
    findings
}

fn silent_files(files: &[File]) -> Vec<String> {
    let ours = |f: &&File| f.is_rust() && !f.is_generated();
    let first = |f: &File| {
        f.text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty())
            .unwrap_or("")
            .to_owned()
    };
    files
        .iter()
        .filter(ours)
        .filter(|f| {
            first(f)
                .strip_prefix("//!")
                .is_none_or(|said| said.trim().len() < 8)
        })
        .map(|f| format!("{}: begins without `//!` that says what it is", f.path))
        .collect()
}

fn tests_before_code(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| f.is_rust()) {
        let code = code_only(&file.text);
        if let Some(at) = code.find("\nmod tests {") {
            let block = at + code[at..].find('{').unwrap();
            if !code[block + block_length(&code[block..])..].trim().is_empty() {
                findings.push(format!("{}: code after `mod tests`: tests stand last", file.path));
            }
        }
    }
    findings
}

#[test]
fn no_file_is_longer_than_500_lines() {
    none(&long_files(&files()));
}

#[test]
fn no_function_is_longer_than_70_lines() {
    none(&long_functions(&files()));
}

#[test]
fn every_file_says_what_it_is() {
    none(&silent_files(&files()));
}

#[test]
fn tests_stand_last() {
    none(&tests_before_code(&files()));
}

#[test]
fn a_long_file_is_found() {
    let lines = |n: usize| [File::sample("broker/src/x.rs", &"\n".repeat(n))];
    assert_eq!(long_files(&lines(500)).len(), 0);
    assert_eq!(long_files(&lines(501)).len(), 1);
    assert_eq!(
        long_files(&[File::sample("proto/src/gen/x.rs", &"\n".repeat(501))]).len(),
        0
    );
}

#[test]
fn a_long_function_is_found() {
    let function = |n: usize| {
        [File::sample(
            "a/src/x.rs",
            &format!("//! X.\nfn f() {{{}}}\n", "\n".repeat(n)),
        )]
    };
    assert_eq!(long_functions(&function(69)).len(), 0);
    assert_eq!(long_functions(&function(70)).len(), 1);
}

#[test]
fn a_silent_file_is_found() {
    let said = |text: &str| silent_files(&[File::sample("a/src/x.rs", text)]).len();
    assert_eq!(said("//! The outbox.\nfn f() {}"), 0);
    assert_eq!(said("// The outbox.\nfn f() {}"), 1);
    assert_eq!(said("//!\nfn f() {}"), 1);
    assert_eq!(said(""), 1);
}

#[test]
fn code_after_tests_is_found() {
    let found = |text: &str| tests_before_code(&[File::sample("a/src/x.rs", text)]).len();
    assert_eq!(
        found("fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\n// end\n"),
        0
    );
    assert_eq!(
        found("#[cfg(test)]\nmod tests {\n    fn g() {}\n}\nfn f() {}\n"),
        1
    );
}

//! Policy bundles: the archive, the signed file, each file in it, and the parts of it that are cheap to read.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schakel_policy::bundle::{Bundle, BundleError, SignedBundle};
use schakel_policy::case::Case;
use schakel_policy::case::statement::StatementCase;
use schakel_policy::matrix::Matrix;
use schakel_proto::limits;

use crate::{choice, chosen, stable};

fn refused(error: &BundleError) {
    stable(error.code);
    assert!(!error.sentence.is_empty() && !error.place.is_empty(), "{error}");
}

/// A matrix, a case, a case about a statement.
pub fn text(input: &[u8]) {
    let (way, rest) = choice(input);
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let lines = text.lines().count();
    match way % 3 {
        0 => {
            if let Err(error) = Matrix::parse(text) {
                refused(&error);
            }
        }
        1 => match Case::parse_file(text) {
            Ok(cases) => assert!(cases.iter().all(|(line, _)| (1..=lines).contains(line))),
            Err((line, error)) => assert!((1..=lines).contains(&line) && !error.to_string().is_empty()),
        },
        _ => {
            if let Err(error) = StatementCase::parse(text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(Bundle::built_in_files);

/// Lines of the built-in bundle's cases, and its matrix.
pub fn texts() -> Vec<Vec<u8>> {
    let mut all = vec![chosen(0, &FILES["matrix.toml"])];
    for (name, bytes) in FILES.iter().filter(|(name, _)| name.starts_with("cases/")) {
        let way = if name == "cases/statements.jsonl" { 2 } else { 1 };
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        all.extend(lines.take(12).map(|line| chosen(way, line)));
    }
    all
}

/// A signed bundle or an archive: what is read is written again as the same.
pub fn archive(input: &[u8]) {
    match SignedBundle::from_bytes(input) {
        Ok(signed) => {
            assert_eq!(SignedBundle::from_bytes(&signed.to_bytes()).as_ref(), Ok(&signed));
            assert!(signed.signatures.len() <= 16);
            if let Err(error) = Bundle::from_archive(&signed.archive) {
                refused(&error);
            }
        }
        Err(error) => refused(&error),
    }
    match Bundle::from_archive(input) {
        Ok(bundle) => {
            assert_eq!(bundle.archive(), input);
            assert!(input.len() <= limits::BUNDLE_MAX_BYTES);
        }
        Err(error) => refused(&error),
    }
}

/// Small archives, in the open and within a signed file.
pub fn archives() -> Vec<Vec<u8>> {
    let archive = |names: &[&str]| {
        let mut out = b"SCHAKEL-BUNDLE 1\n".to_vec();
        for (name, bytes) in FILES.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            out.extend(format!("{} {name}\n", bytes.len()).into_bytes());
            out.extend(bytes);
            out.push(b'\n');
        }
        out
    };
    let empty = archive(&[]);
    let one = archive(&["bundle.toml"]);
    let two = [&one[..], b"2 texts/nl.toml\n\n\n\n"].concat();
    let signed = SignedBundle {
        archive: two.clone(),
        signatures: vec![schakel_policy::bundle::BundleSignature {
            officer: "officer-1".parse().unwrap(),
            signature: vec![0xC2, 3, 1, 2, 3],
        }],
    };
    vec![empty, one, two, signed.to_bytes()]
}

/// The built-in bundle but for its cases, which are read apart.
static BARE: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let mut files = FILES.clone();
    files.retain(|name, _| !name.starts_with("cases/"));
    files
});

/// The built-in bundle with one file changed: it loads whole, or is refused with a place.
pub fn bundle(input: &[u8]) {
    let (number, content) = choice(input);
    let mut files = BARE.clone();
    let name = files
        .keys()
        .nth(usize::from(number) % files.len())
        .unwrap()
        .clone();
    files.insert(name, content.to_vec());
    match Bundle::check(files.clone()) {
        Ok(bundle) => {
            assert_eq!(bundle.files(), &files);
            assert!(bundle.valid_from() < bundle.valid_until());
        }
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason");
            found.iter().for_each(refused);
        }
    }
}

/// One file of each kind.
pub fn bundles() -> Vec<Vec<u8>> {
    let kinds = [
        "bundle.toml",
        "matrix.toml",
        "references.toml",
        "texts/nl.toml",
        "policies/",
        ".cedarschema",
    ];
    let kind = |kind: &&str| BARE.iter().position(|(name, _)| name.contains(kind));
    let numbers = kinds.iter().filter_map(kind);
    let file = |n: usize| chosen(u8::try_from(n).unwrap(), BARE.values().nth(n).unwrap());
    numbers.map(file).collect()
}

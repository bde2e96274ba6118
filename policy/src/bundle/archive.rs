//! The files of a bundle, as a directory and as one file; and the digest over them.
//!
//! The archive is plain text around the files, in the order of their paths:
//! `SCHAKEL-BUNDLE 1\n`, then for each file `LENGTH PATH\n`, its bytes and `\n`. Nothing follows the last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use schakel_proto::ids::Digest;
use schakel_proto::limits;

use super::{BundleError, MANIFEST_FILE};
use crate::engine::vocabulary;
use crate::matrix;
use crate::texts::REFERENCES_FILE;

type Files = BTreeMap<String, Vec<u8>>;

const MAGIC: &[u8] = b"SCHAKEL-BUNDLE 1\n";
/// Most files in a bundle.
const FILES_MAX_COUNT: usize = 256;
/// Files at the top of a bundle.
const TOP: [&str; 4] = [MANIFEST_FILE, vocabulary::FILE, matrix::FILE, REFERENCES_FILE];
/// Folders of a bundle, and how the names in them end.
const FOLDERS: [(&str, &str); 3] = [("policies", ".cedar"), ("texts", ".toml"), ("cases", ".jsonl")];

/// Whether a path may stand in a bundle.
fn allowed(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    let name = |text: &str| {
        !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.bytes().all(plain)
    };
    TOP.contains(&path)
        || FOLDERS.iter().any(|(folder, ending)| {
            path.strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|file| name(file) && file.ends_with(ending))
        })
}

fn no_place(path: &str) -> BundleError {
    BundleError::new("BUNDLE_LAYOUT", "no file of a bundle has this path", path, 1)
}

/// The archive form.
pub(super) fn pack(files: &Files) -> Result<Vec<u8>, BundleError> {
    if files.len() > FILES_MAX_COUNT {
        let sentence = format!("more than {FILES_MAX_COUNT} files");
        return Err(BundleError::new("BUNDLE_TOO_LARGE", &sentence, MANIFEST_FILE, 1));
    }
    let mut out = MAGIC.to_vec();
    for (path, bytes) in files {
        if !allowed(path) {
            return Err(no_place(path));
        }
        out.extend_from_slice(format!("{} {path}\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.push(b'\n');
    }
    Ok(out)
}

/// Whether bytes begin as an archive does.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The files of an archive. Only the canonical form is taken: the same files give the same bytes.
pub(super) fn unpack(bytes: &[u8]) -> Result<Files, BundleError> {
    let bad = |sentence: &str| BundleError::new("BUNDLE_ARCHIVE", sentence, "archive", 1);
    if bytes.len() > limits::BUNDLE_MAX_BYTES {
        let sentence = format!("the archive is larger than {} bytes", limits::BUNDLE_MAX_BYTES);
        return Err(BundleError::new("BUNDLE_TOO_LARGE", &sentence, "archive", 1));
    }
    let mut rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| bad("not a bundle archive"))?;
    let mut files = Files::new();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|b| *b == b'\n')
            .ok_or_else(|| bad("the archive is cut off"))?;
        let (header, body) = rest.split_at(end);
        let header = std::str::from_utf8(header).map_err(|_| bad("a file header is not text"))?;
        let (length, path) = header
            .split_once(' ')
            .ok_or_else(|| bad("a file header has no length"))?;
        let length: usize = length.parse().map_err(|_| bad("a file header has no length"))?;
        if !allowed(path) {
            return Err(no_place(path));
        }
        let body = body.get(1..).unwrap_or(&[]);
        let content = body.get(..length).ok_or_else(|| bad("the archive is cut off"))?;
        rest = body
            .get(length..)
            .and_then(|b| b.strip_prefix(b"\n"))
            .ok_or_else(|| bad("the archive is cut off"))?;
        files.insert(path.to_owned(), content.to_vec());
    }
    if pack(&files)? == bytes {
        Ok(files)
    } else {
        Err(bad("the archive is not in canonical form"))
    }
}

/// SHA-256 over the canonical listing: `schakel/bundle/v1\n`, then `HEX  PATH\n` for each file in the order of paths.
pub(super) fn digest(files: &Files) -> Digest {
    let mut listing = String::from("schakel/bundle/v1\n");
    for (path, bytes) in files {
        let text = Digest::of(bytes).to_string();
        listing.push_str(&format!("{}  {path}\n", text.trim_start_matches("sha256:")));
    }
    Digest::of(listing.as_bytes())
}

/// One file, never longer than a bundle.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, BundleError> {
    let shown = path.display().to_string();
    let bad = |error: std::io::Error| BundleError::new("BUNDLE_UNREADABLE", &error.to_string(), &shown, 1);
    let most = limits::BUNDLE_MAX_BYTES as u64 + 64 * 1024; // signatures come on top
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(bad)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(bad)?;
    if bytes.len() as u64 > most {
        return Err(BundleError::new(
            "BUNDLE_TOO_LARGE",
            "the file is larger than a bundle may be",
            &shown,
            1,
        ));
    }
    Ok(bytes)
}

/// The files of a directory. Things beside the bundle's files and folders are not read; a strange file
/// inside one of its folders is an error.
pub(super) fn read_dir(path: &Path) -> Result<Files, BundleError> {
    let mut files = Files::new();
    for name in TOP {
        if path.join(name).exists() {
            files.insert(name.to_owned(), read_file(&path.join(name))?);
        }
    }
    for (folder, _) in FOLDERS {
        let inside = path.join(folder);
        if !inside.is_dir() {
            continue;
        }
        let shown = inside.display().to_string();
        let bad =
            |error: std::io::Error| BundleError::new("BUNDLE_UNREADABLE", &error.to_string(), &shown, 1);
        for entry in std::fs::read_dir(&inside).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let relative = format!("{folder}/{name}");
            if !allowed(&relative) || files.len() >= FILES_MAX_COUNT {
                return Err(no_place(&relative));
            }
            files.insert(relative, read_file(&entry.path())?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        Files::from([
            file("bundle.toml", "a\n"),
            file("policies/x.cedar", ""),
            file("texts/nl.toml", "12 z\n"),
        ])
    }

    #[test]
    fn an_archive_goes_there_and_back_and_nothing_else_does() {
        let packed = pack(&files()).unwrap();
        assert_eq!(unpack(&packed).unwrap(), files());
        for cut in 0..packed.len() {
            assert!(
                unpack(&packed[..cut]).is_err() || unpack(&packed[..cut]).unwrap() != files(),
                "cut at {cut}"
            );
        }
        let mut twice = packed.clone();
        twice.extend_from_slice(b"2 bundle.toml\na\n\n");
        assert_eq!(unpack(&twice).unwrap_err().code, "BUNDLE_ARCHIVE");
        let mut padded = MAGIC.to_vec();
        padded.extend_from_slice(b"02 bundle.toml\na\n\n");
        assert_eq!(unpack(&padded).unwrap_err().code, "BUNDLE_ARCHIVE");
    }

    #[test]
    fn paths_outside_the_layout_are_refused() {
        for path in [
            "../x",
            "policies/../x.cedar",
            "policies/.cedar",
            "/etc/passwd",
            "policies/a/b.cedar",
            "x",
        ] {
            assert!(!allowed(path), "{path}");
        }
        assert!(allowed("policies/a-b_1.cedar") && allowed("matrix.toml"));
    }

    #[test]
    fn the_digest_names_paths_and_content() {
        let (one, mut two) = (files(), files());
        two.insert("texts/fr.toml".to_owned(), Vec::new());
        let mut three = files();
        three.insert("bundle.toml".to_owned(), b"b\n".to_vec());
        assert!(
            digest(&one) != digest(&two)
                && digest(&one) != digest(&three)
                && digest(&one) == digest(&files())
        );
    }
}

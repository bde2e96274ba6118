//! Searches for what must not be there: in folders and in the memory of a process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::process::command;

/// Texts to look for, each as it is, in hexadecimal, and in base64 at each of its three alignments.
pub struct Needles {
    texts: Vec<String>,
    patterns: tempfile::NamedTempFile,
}

impl Needles {
    /// Needles for `texts`, each at least 12 bytes so that none is found by chance.
    pub fn new(texts: &[&str]) -> Self {
        let mut patterns = tempfile::NamedTempFile::new().unwrap();
        for text in texts {
            assert!(
                text.len() >= 12 && !text.contains('\n'),
                "{text:?} is not a good needle"
            );
            for form in forms(text) {
                patterns.write_all(&form).unwrap();
                patterns.write_all(b"\n").unwrap();
            }
        }
        Self {
            texts: texts.iter().map(|t| (*t).to_owned()).collect(),
            patterns,
        }
    }

    /// Which of the texts occur in any file under `folder`, names of files included.
    pub fn in_folder(&self, folder: &Path) -> BTreeSet<String> {
        let mut found = self.grep(folder);
        for entry in walkdir::WalkDir::new(folder) {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            found.extend(self.texts.iter().filter(|t| name.contains(t.as_str())).cloned());
        }
        found
    }

    /// Which of the texts occur in the memory of a running process.
    ///
    /// # Panics
    /// When its memory cannot be read: check [`memory_is_readable`] first.
    pub fn in_memory(&self, process: u32) -> BTreeSet<String> {
        let image = memory_image(process).unwrap();
        self.grep(image.path())
    }

    fn grep(&self, place: &Path) -> BTreeSet<String> {
        let output = command("grep")
            .env("LC_ALL", "C")
            .args([
                "--recursive",
                "--text",
                "--only-matching",
                "--no-filename",
                "--fixed-strings",
                "--file",
            ])
            .arg(self.patterns.path())
            .arg("--")
            .arg(place)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() != Some(2) || error.contains("No such file"),
            "grep: {error}"
        );
        let hits: BTreeSet<&[u8]> = output
            .stdout
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .collect();
        let hit = |text: &&String| forms(text).iter().any(|form| hits.contains(form.as_slice()));
        self.texts.iter().filter(hit).cloned().collect()
    }
}

/// The ways in which a text may stand somewhere.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![text.as_bytes().to_vec(), hex::encode(text).into_bytes()];
    forms.extend((0..3).map(|skip| base64_inside(&text.as_bytes()[skip..])));
    forms
}

/// Base64 of as many whole groups of three bytes as there are: what stands inside a longer text.
fn base64_inside(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |g: &[u8]| {
        let bits = usize::from(g[0]) << 16 | usize::from(g[1]) << 8 | usize::from(g[2]);
        [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// Which of the identifiers (16 bytes as they are stored and sent) occur in any file under `folder`.
pub fn ids_in_folder(folder: &Path, ids: &[[u8; 16]]) -> BTreeSet<[u8; 16]> {
    let mut found = BTreeSet::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            found.extend(ids_in(&std::fs::read(entry.path()).unwrap(), ids));
        }
    }
    found
}

/// Which of the identifiers occur in the memory of a running process.
///
/// # Panics
/// When its memory cannot be read: check [`memory_is_readable`] first.
pub fn ids_in_memory(process: u32, ids: &[[u8; 16]]) -> BTreeSet<[u8; 16]> {
    ids_in(
        &std::fs::read(memory_image(process).unwrap().path()).unwrap(),
        ids,
    )
}

fn ids_in(bytes: &[u8], ids: &[[u8; 16]]) -> BTreeSet<[u8; 16]> {
    let mut ends = [false; 1 << 16];
    let end = |id: &[u8]| usize::from(id[14]) << 8 | usize::from(id[15]);
    // The end of an identifier is random, its beginning may be a time: look at the end first.
    ids.iter().for_each(|id| ends[end(id)] = true);
    let may_be = |w: &&[u8]| ends[end(w)];
    bytes
        .windows(16)
        .filter(may_be)
        .filter_map(|w| ids.iter().find(|id| *id == w))
        .copied()
        .collect()
}

/// Why the memory of a process cannot be read, if it cannot.
pub fn memory_is_readable(process: u32) -> Result<(), String> {
    memory_image(process).map(drop)
}

/// A copy of all readable memory of a process.
fn memory_image(process: u32) -> Result<tempfile::NamedTempFile, String> {
    let denied = |e: std::io::Error| format!("the memory of process {process} cannot be read: {e}");
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).map_err(denied)?;
    let mut memory = File::open(format!("/proc/{process}/mem")).map_err(denied)?;
    let mut image = tempfile::NamedTempFile::new().map_err(denied)?;
    let mut buffer = vec![0; 1 << 20];
    let mut copied = 0_u64;
    for line in maps
        .lines()
        .filter(|l| !l.contains("[v") && l.split(' ').nth(1).is_some_and(|p| p.starts_with('r')))
    {
        let (from, to) = line
            .split(' ')
            .next()
            .and_then(|r| r.split_once('-'))
            .ok_or("maps")?;
        let number = |text| u64::from_str_radix(text, 16).map_err(|e| e.to_string());
        let (mut at, to) = (number(from)?, number(to)?);
        while at < to {
            let want = usize::try_from((to - at).min(1 << 20)).unwrap();
            memory.seek(SeekFrom::Start(at)).map_err(denied)?;
            // A page may be gone by now: the next range then.
            let Ok(got) = memory.read(&mut buffer[..want]) else {
                break;
            };
            if got == 0 {
                break;
            }
            image.write_all(&buffer[..got]).map_err(denied)?;
            (at, copied) = (at + got as u64, copied + got as u64);
        }
    }
    if copied == 0 {
        Err(format!("no memory of process {process} can be read"))
    } else {
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_found_in_files_names_and_memory_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let secret = format!("Zeer geheim {}", "en vertrouwelijk");
        let held = std::hint::black_box(secret.clone().into_bytes());
        let needles = Needles::new(&[&secret, "staat hier niet in"]);
        let only = BTreeSet::from([secret.clone()]);
        assert!(needles.in_folder(folder.path()).is_empty());
        let base64 = |before: &str| base64_inside(format!("{before}{secret}xx").as_bytes());
        for bytes in [
            secret.clone().into_bytes(),
            hex::encode(&secret).into_bytes(),
            base64(""),
            base64("a"),
            base64("bc"),
        ] {
            let file = folder.path().join("file");
            std::fs::write(&file, [b"\0\x01\n", bytes.as_slice(), b"\xff"].concat()).unwrap();
            assert_eq!(needles.in_folder(folder.path()), only);
            std::fs::remove_file(file).unwrap();
        }
        std::fs::write(folder.path().join(format!("{secret}.pdf")), "").unwrap();
        assert_eq!(needles.in_folder(folder.path()), only);
        match memory_is_readable(std::process::id()) {
            Ok(()) => assert!(needles.in_memory(std::process::id()).contains(&secret)),
            Err(why) => crate::system::told::skip(&why),
        }
        drop(held);
    }

    #[test]
    fn an_identifier_is_found_wherever_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let (there, elsewhere) = ([7; 16], [9; 16]);
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), [&[1, 2, 3][..], &there, &[4]].concat()).unwrap();
        assert_eq!(
            ids_in_folder(folder.path(), &[there, elsewhere]),
            BTreeSet::from([there])
        );
    }
}

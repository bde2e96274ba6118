//! Searches all bytes of folders and of a process's memory for what must, or must not, be there: as it
//! is, in UTF-16, in hexadecimal, and in base64 at each of its three alignments.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const CHUNK_BYTES: usize = 1 << 20;
const NEEDLE_MIN_BYTES: usize = 10;

/// What to search for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Name of the needle, one of its forms.
    forms: Vec<(String, Vec<u8>)>,
    /// First two bytes -> places in `forms`.
    starts: HashMap<[u8; 2], Vec<usize>>,
    /// The same as a table, since every byte of a memory image passes here.
    begins: Vec<bool>,
}

impl Search {
    /// Adds a needle under a name. Short ones would be found by chance and are passed over.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        if bytes.len() < NEEDLE_MIN_BYTES {
            return;
        }
        self.begins.resize(1 << 16, false);
        for form in forms(bytes) {
            if let [a, b, ..] = *form.as_slice() {
                self.starts.entry([a, b]).or_default().push(self.forms.len());
                if let Some(begins) = self.begins.get_mut(usize::from(u16::from_be_bytes([a, b]))) {
                    *begins = true;
                }
                self.forms.push((name.to_owned(), form));
            }
        }
    }

    /// Names of the needles that occur in these bytes.
    pub fn in_bytes(&self, bytes: &[u8], found: &mut BTreeSet<String>) {
        let mut before = None;
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(first) = before.replace(*byte)
                && self.begins.get(usize::from(u16::from_be_bytes([first, *byte]))) == Some(&true)
            {
                let rest = bytes.get(at.saturating_sub(1)..).unwrap_or_default();
                for place in self.starts.get(&[first, *byte]).into_iter().flatten() {
                    if let Some((name, form)) = self.forms.get(*place)
                        && rest.starts_with(form)
                        && !found.contains(name)
                    {
                        found.insert(name.clone());
                    }
                }
            }
        }
    }

    /// Names of the needles that occur in any file under a folder, or in a file's name.
    pub fn in_folder(&self, folder: &Path) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for entry in walkdir::WalkDir::new(folder) {
            let entry = match entry {
                Ok(entry) => entry,
                // Files come and go in a running network: what is gone is not on the disk.
                Err(error) if error.io_error().is_some_and(gone) => continue,
                Err(error) => return Err(error.into()),
            };
            self.in_bytes(entry.file_name().as_encoded_bytes(), &mut found);
            if entry.file_type().is_file() {
                match File::open(entry.path()) {
                    Ok(file) => self.in_reader(file, &mut found)?,
                    Err(error) if gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Names of the needles that occur in the readable memory of a process, and how many bytes that was.
    ///
    /// # Errors
    /// The memory cannot be read: usually a right is missing.
    pub fn in_memory(&self, process: u32) -> io::Result<(BTreeSet<String>, u64)> {
        let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
        let mut memory = File::open(format!("/proc/{process}/mem"))?;
        let mut found = BTreeSet::new();
        let mut total = 0;
        for (from, to) in maps.lines().filter_map(readable) {
            memory.seek(SeekFrom::Start(from))?;
            let mut range = Counted {
                inner: (&mut memory).take(to.saturating_sub(from)),
                count: 0,
            };
            // A page may be gone by now, or be the kernel's: the next range then.
            self.in_reader(&mut range, &mut found).ok();
            total += range.count;
        }
        if total == 0 {
            return Err(io::Error::other(format!(
                "no memory of process {process} can be read"
            )));
        }
        Ok((found, total))
    }

    fn in_reader(&self, mut reader: impl Read, found: &mut BTreeSet<String>) -> io::Result<()> {
        let overlap = self.forms.iter().map(|(_, form)| form.len()).max().unwrap_or(1) - 1;
        let mut window = Vec::with_capacity(CHUNK_BYTES + overlap);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let got = reader.read(&mut chunk)?;
            if got == 0 {
                return Ok(());
            }
            window.extend_from_slice(chunk.get(..got).unwrap_or_default());
            self.in_bytes(&window, found);
            let done = window.len().saturating_sub(overlap);
            window.drain(..done);
        }
    }
}

struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count += got as u64;
        Ok(got)
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The address range of a line of `/proc/PID/maps`, if it can be read, is not the kernel's, and is not the
/// unchanged content of a file (the program itself and its libraries).
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split(' ');
    let (from, to) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let of_file = line.contains(" /") && !rights.contains('w');
    let wanted = rights.starts_with('r') && !of_file && !line.contains("[v");
    wanted.then_some((number(from)?, number(to)?))
}

/// The ways in which bytes may stand somewhere.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
    ];
    if let Ok(text) = std::str::from_utf8(bytes) {
        forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    }
    forms.extend((0..3).filter_map(|skip| bytes.get(skip..)).map(base64_inside));
    forms.retain(|form| form.len() >= NEEDLE_MIN_BYTES);
    forms
}

/// Base64 of as many whole groups of three bytes as there are: what stands inside a longer text.
fn base64_inside(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| ALPHABET.get((bits & 63) as usize).copied().unwrap_or(b'=');
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        [18, 12, 6, 0].map(|shift| letter(bits >> shift))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(secret: &[u8]) -> Search {
        let mut search = Search::default();
        search.add("secret", secret);
        search.add("another", b"staat hier niet in");
        search
    }

    #[test]
    fn each_form_is_found_in_files_and_file_names_and_nothing_else_is() {
        let secret = "Zeer geheime tekst";
        let search = search(secret.as_bytes());
        let folder = tempfile::tempdir().unwrap();
        let only = BTreeSet::from(["secret".to_owned()]);
        assert!(search.in_folder(folder.path()).unwrap().is_empty());
        for form in forms(secret.as_bytes()) {
            let file = folder.path().join("file");
            let mut bytes = vec![7; CHUNK_BYTES - form.len() / 2];
            bytes.extend(form);
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(
                search.in_folder(folder.path()).unwrap(),
                only,
                "across the border of two chunks"
            );
            std::fs::remove_file(file).unwrap();
        }
        std::fs::write(folder.path().join(secret), "").unwrap();
        assert_eq!(search.in_folder(folder.path()).unwrap(), only);
    }

    #[test]
    fn a_needle_is_found_in_memory() {
        let secret: Vec<u8> = (0..16).map(|n: u8| n.wrapping_mul(37).wrapping_add(11)).collect();
        let search = search(&secret);
        let (found, bytes) = search.in_memory(std::process::id()).unwrap();
        assert!(found.contains("secret") && bytes > 0);
    }
}

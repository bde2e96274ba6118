//! The container: an uncompressed tar (POSIX ustar) of ordinary files, so that a person with a shell can take it
//! apart. Of a tar only what names a file and its length counts; links, devices and extensions are refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::names;
use crate::problem::{Kind, Problem};

/// Tar works in blocks of this size.
const BLOCK_BYTES: u64 = 512;
/// Longest name of a member: what fits without an extension.
const NAME_MAX_BYTES: usize = 100;
/// Folders deep that a folder is looked into.
const DEPTH_MAX: usize = 4;

/// What is wrong with a container: which member, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the member, or empty.
    pub member: String,
    /// What is wrong.
    pub what: &'static str,
}

/// Members by name: of a tar file, or of a folder that one was unpacked into.
pub struct Members {
    source: Source,
    index: BTreeMap<String, Place>,
}

enum Source {
    Tar(File),
    Folder(PathBuf),
    Memory(Vec<u8>),
}

#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    length: u64,
}

/// The bytes in front of a member.
///
/// # Errors
/// The name or the length does not fit.
pub fn header(name: &str, length: u64, made_seconds: u64) -> Result<Vec<u8>, Problem> {
    if !is_name(name) || length >= 1 << 33 {
        let sentence = "this cannot be a member of a pack";
        return Err(Problem::new(Kind::Local, "PACK_MEMBER", sentence, "").at(name));
    }
    let mut block = Vec::with_capacity(512);
    let mut field = |text: &str, width: usize| {
        block.extend(text.bytes().chain(std::iter::repeat(0)).take(width));
    };
    field(name, 100);
    field("0000600", 8);
    field("0000000", 8);
    field("0000000", 8);
    field(&format!("{length:011o}"), 12);
    field(&format!("{:011o}", made_seconds & 0o77_777_777_777), 12);
    field("        ", 8);
    field("0", 1);
    field("", 100);
    field("ustar", 6);
    field("00", 2);
    field("", 64);
    field("0000000", 8);
    field("0000000", 8);
    field("", 167);
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
    Ok(block)
}

/// Zeros behind a member of this length.
pub(super) fn padding(length: u64) -> usize {
    usize::try_from(length.next_multiple_of(BLOCK_BYTES) - length).unwrap_or(0)
}

/// Zeros behind the last member.
pub(super) const END_BYTES: usize = 1024;

/// Plain relative names only: nothing that could be written elsewhere when it is unpacked.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let step = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    name.len() <= NAME_MAX_BYTES && name.split('/').all(step)
}

/// The same of a folder; the one that all is in has no name.
fn is_folder(name: &str) -> bool {
    let name = name.strip_suffix('/').unwrap_or(name);
    name.is_empty() || name == "." || is_name(name)
}

/// A header as read.
enum Entry {
    End,
    Folder,
    Member(String, u64),
}

fn text(field: Option<&[u8]>) -> Option<&str> {
    let field = field?;
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    std::str::from_utf8(field.get(..end)?).ok()
}

/// Digits from 0 to 7 and nothing else: what a sign or another form says is read otherwise by other tools.
fn octal(field: Option<&[u8]>) -> Option<u64> {
    let digits = text(field)?.trim_matches(' ');
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    plain.then(|| u64::from_str_radix(digits, 8).ok())?
}

fn entry(block: &[u8]) -> Result<Entry, &'static str> {
    if block.iter().all(|b| *b == 0) {
        return Ok(Entry::End);
    }
    let sum = |range: std::ops::Range<usize>| -> u64 {
        block
            .get(range)
            .unwrap_or_default()
            .iter()
            .map(|b| u64::from(*b))
            .sum()
    };
    let sum = sum(0..148) + 8 * u64::from(b' ') + sum(156..512);
    if octal(block.get(148..156)) != Some(sum) || block.get(257..262) != Some(b"ustar") {
        return Err("this is not the header of a tar member");
    }
    let length = octal(block.get(124..136)).ok_or("its length cannot be read")?;
    let name = text(block.get(..100)).ok_or("its name cannot be read")?;
    let name = name.strip_prefix("./").unwrap_or(name);
    match block.get(156) {
        Some(b'5') if length == 0 && is_folder(name) && block.get(345) == Some(&0) => Ok(Entry::Folder),
        Some(b'5') => Err("its folder's name is not one that a pack can have"),
        Some(b'0' | 0) if is_name(name) && block.get(345) == Some(&0) => {
            Ok(Entry::Member(name.to_owned(), length))
        }
        Some(b'0' | 0) => Err("its name is not one that a pack can have"),
        _ => Err("it is not an ordinary file"),
    }
}

impl Members {
    /// Opens a tar file, or a folder.
    ///
    /// # Errors
    /// `Err`: it cannot be read, or is no container at all. `Ok(Err)`: it is a damaged one.
    pub fn open(path: &Path) -> Result<Result<Self, Damage>, Problem> {
        let failed = |e: io::Error| unreadable(path, &e.to_string());
        let meta = std::fs::metadata(path).map_err(failed)?;
        if meta.is_dir() {
            return Self::of_folder(path);
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut first = Vec::new();
        (&mut file)
            .take(BLOCK_BYTES)
            .read_to_end(&mut first)
            .map_err(failed)?;
        if first.get(257..262) != Some(b"ustar") {
            return Err(unreadable(
                path,
                "this is neither a pack nor a folder with its files",
            ));
        }
        let index = index(&mut file, meta.len()).map_err(failed)?;
        Ok(index.map(|index| Self {
            source: Source::Tar(file),
            index,
        }))
    }

    fn of_folder(path: &Path) -> Result<Result<Self, Damage>, Problem> {
        let mut index = BTreeMap::new();
        let mut open = vec![(path.to_owned(), String::new(), 0)];
        while let Some((folder, prefix, depth)) = open.pop() {
            let entries = std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e.to_string()))?;
            for entry in entries {
                let entry = entry.map_err(|e| unreadable(&folder, &e.to_string()))?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let meta = entry
                    .metadata()
                    .map_err(|e| unreadable(&entry.path(), &e.to_string()))?;
                let damage = |what| {
                    Ok(Err(Damage {
                        member: crate::problem::printable(&name, 100),
                        what,
                    }))
                };
                if meta.is_dir() && depth < DEPTH_MAX && is_name(&name) {
                    open.push((entry.path(), format!("{name}/"), depth + 1));
                    continue;
                }
                if !meta.is_file() || !is_name(&name) {
                    return damage("it is not an ordinary file with a plain name");
                }
                if meta.len() > names::max_bytes(&name) {
                    return damage("it is longer than such a member can be");
                }
                let place = Place {
                    offset: 0,
                    length: meta.len(),
                };
                index.insert(name.clone(), place);
                if index.len() > names::MEMBERS_MAX_COUNT {
                    return damage("there are more members than a pack can have");
                }
            }
        }
        let source = Source::Folder(path.to_owned());
        Ok(Ok(Self { source, index }))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Whether there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// A tar in memory.
    ///
    /// # Errors
    /// It is a damaged one, or none.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, Damage> {
        let length = bytes.len() as u64;
        let index = index(&mut Cursor::new(&bytes), length);
        let none = |_| Damage {
            member: String::new(),
            what: "it cannot be read",
        };
        Ok(Self {
            index: index.map_err(none)??,
            source: Source::Memory(bytes),
        })
    }

    /// A member's bytes as they come.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reader(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, Problem> {
        let Some(place) = self.index.get(name) else {
            return Ok(None);
        };
        let (path, opened) = match &self.source {
            Source::Memory(bytes) => {
                let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).unwrap_or_default();
                return Ok(Some(Box::new(rest.take(place.length))));
            }
            Source::Folder(folder) => {
                let path = folder.join(name);
                (path.clone(), File::open(path))
            }
            Source::Tar(file) => (PathBuf::from(name), file.try_clone()),
        };
        let mut file = opened.map_err(|e| unreadable(&path, &e.to_string()))?;
        file.seek(SeekFrom::Start(place.offset))
            .map_err(|e| unreadable(&path, &e.to_string()))?;
        Ok(Some(Box::new(file.take(place.length))))
    }

    /// A member that is not content, whole; none if there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        let Some(reader) = self.reader(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let max = names::MEMBER_MAX_BYTES;
        let read = reader.take(max).read_to_end(&mut bytes);
        read.map(|_| Some(bytes))
            .map_err(|e| unreadable(Path::new(name), &e.to_string()))
    }
}

/// Where each member lies; the file is read through once.
fn index(file: &mut (impl Read + Seek), length: u64) -> io::Result<Result<BTreeMap<String, Place>, Damage>> {
    let mut index = BTreeMap::new();
    let mut at = 0_u64;
    let mut last = String::new();
    let damage = |member: &str, what| {
        Ok(Err(Damage {
            member: member.to_owned(),
            what,
        }))
    };
    loop {
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.by_ref().take(BLOCK_BYTES).read_to_end(&mut block)?;
        if block.len() as u64 != BLOCK_BYTES {
            return damage(&last, "the file is cut off behind this member");
        }
        at += BLOCK_BYTES;
        let (name, size) = match entry(&block) {
            Err(what) => return damage(&last, what),
            Ok(Entry::Folder) => continue,
            Ok(Entry::End) => break,
            Ok(Entry::Member(name, size)) => (name, size),
        };
        if size > names::max_bytes(&name) {
            return damage(&name, "it is longer than such a member can be");
        }
        let place = Place {
            offset: at,
            length: size,
        };
        at += size.next_multiple_of(BLOCK_BYTES);
        if at > length {
            return damage(&name, "the file is cut off in this member");
        }
        if index.insert(name.clone(), place).is_some() {
            return damage(&name, "there are two members of this name");
        }
        if index.len() > names::MEMBERS_MAX_COUNT {
            return damage(&name, "there are more members than a pack can have");
        }
        last = name;
    }
    file.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    file.by_ref().take(names::TAIL_MAX_BYTES).read_to_end(&mut rest)?;
    let whole = (rest.len() as u64) < names::TAIL_MAX_BYTES && rest.len() >= END_BYTES / 2;
    if whole && rest.iter().all(|b| *b == 0) {
        Ok(Ok(index))
    } else {
        damage(&last, "the file does not end behind this member")
    }
}

fn unreadable(path: &Path, what: &str) -> Problem {
    let remedy =
        "Name a file that `schakel-agent evidence export` wrote, or the folder that it was unpacked into.";
    Problem::new(Kind::Usage, "PACK_UNREADABLE", what, remedy).at(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            ".x",
            "a/.x",
            "a b",
            "é",
            &"a".repeat(101),
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("log/17/proof.tlog-proof") && is_name("SHA256SUMS"));
    }

    /// With a checksum that fits.
    fn summed(mut block: Vec<u8>) -> Vec<u8> {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
        block
    }

    #[test]
    fn a_number_that_other_tools_read_otherwise_is_refused() {
        let whole = header("log/17/leaf.bin", 123, 0).unwrap();
        assert!(entry(&summed(whole.clone())).is_ok());
        for length in [
            "+0000000173",
            "-0000000173",
            "0000000 173",
            "0000000193",
            "0x000000173",
        ] {
            let mut block = whole.clone();
            block[124..135].fill(0);
            block[124..124 + length.len()].copy_from_slice(length.as_bytes());
            assert!(entry(&summed(block)).is_err(), "{length}");
        }
        let mut block = whole;
        block[147] = 0;
        let mut block = summed(block);
        block[148] = b'+';
        assert!(entry(&block).is_err(), "a checksum with a sign");
    }

    #[test]
    fn a_folder_has_a_plain_name_too() {
        let folder = |name: &str| {
            let mut block = header("x", 0, 0).unwrap();
            block[..100].fill(0);
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[156] = b'5';
            summed(block)
        };
        for name in ["./", "log/", "./log/17/", "log/17"] {
            assert!(matches!(entry(&folder(name)), Ok(Entry::Folder)), "{name}");
        }
        for name in [
            "../",
            "log/../../x/",
            "/etc/",
            "a\x1b[2J/",
            "a b/",
            ".ssh/",
            "log//",
        ] {
            assert!(entry(&folder(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_header_is_read_back_and_with_any_byte_changed_it_is_not_the_same() {
        let block = header("log/17/leaf.bin", 123, 1_795_278_600).unwrap();
        assert_eq!(block.len(), 512);
        let Ok(Entry::Member(name, 123)) = entry(&block) else {
            panic!("not read back");
        };
        assert_eq!(name, "log/17/leaf.bin");
        for at in 0..512 {
            let mut other = block.clone();
            other[at] ^= 1;
            // The checksum's own field may be written in several ways.
            assert!(entry(&other).is_err() || (148..156).contains(&at), "{at}");
        }
        assert!(header("x", 1 << 33, 0).is_err());
    }

    #[test]
    fn a_folder_within_an_unpacked_one_has_a_plain_name_too() {
        for (name, good) in [("log", true), ("a b", false), (".hidden", false)] {
            let unpacked = tempfile::tempdir().unwrap();
            std::fs::create_dir(unpacked.path().join(name)).unwrap();
            assert_eq!(Members::open(unpacked.path()).unwrap().is_ok(), good, "{name}");
        }
    }
}

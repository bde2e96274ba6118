//! Writing a pack: members one after the other, each hashed on its way, the list of digests last; it appears under
//! its name only when all of it is durable.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rand::RngCore;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::limits;

use super::container::{END_BYTES, header, padding};
use super::names;
use crate::clock::randomness;
use crate::disk::{Disk, UNFINISHED};
use crate::inbox::open::check_target;
use crate::problem::{Kind, Problem};

/// A pack in the making.
pub(super) struct Writing<'a> {
    disk: &'a Disk,
    out: &'a Path,
    temporary: PathBuf,
    file: BufWriter<File>,
    sums: Vec<(String, Digest)>,
    made_seconds: u64,
    bytes: u64,
}

/// Where one member's bytes go.
pub(super) struct Member<'a> {
    file: &'a mut BufWriter<File>,
    hasher: Sha256,
    written: u64,
}

impl Write for Member<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<'a> Writing<'a> {
    /// Begins a pack that will be `out`.
    pub(super) fn begin(disk: &'a Disk, out: &'a Path, made_seconds: u64) -> Result<Self, Problem> {
        // Never the file of another export to the same name, which may be under way.
        let mut unique = [0; 8];
        randomness().fill_bytes(&mut unique);
        let temporary = out.with_file_name(format!("{UNFINISHED}{}", hex::encode(unique)));
        let file = disk.create(&temporary)?;
        Ok(Self {
            disk,
            out,
            temporary,
            file: BufWriter::with_capacity(limits::CHUNK_MAX_BYTES, file),
            sums: Vec::new(),
            made_seconds,
            bytes: 0,
        })
    }

    /// Adds a small member; once, whoever names it again.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        if self.sums.iter().any(|(there, _)| there == name) {
            return Ok(());
        }
        self.stream(name, bytes.len() as u64, |member| {
            member
                .write_all(bytes)
                .map_err(|e| Problem::io(&e, Path::new(name)))
        })
        .map(|_| ())
    }

    /// Adds a file of this disk.
    pub(super) fn add_file(&mut self, name: &str, path: &Path) -> Result<(), Problem> {
        let failed = |e: io::Error| Problem::io(&e, path);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        self.stream(name, length, |member| {
            io::copy(&mut file.take(length), member)
                .map(|_| ())
                .map_err(failed)
        })
        .map(|_| ())
    }

    /// Adds a member of known length, written by `fill`.
    pub(super) fn stream<T>(
        &mut self,
        name: &str,
        length: u64,
        fill: impl FnOnce(&mut Member<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let failed = |e: io::Error| Problem::io(&e, Path::new(name));
        if self.sums.len() >= names::MEMBERS_MAX_COUNT || length > names::max_bytes(name) {
            let sentence = "there is more evidence of this packet than a pack can hold";
            return Err(Problem::new(Kind::Local, "PACK_TOO_LARGE", sentence, "").at(name));
        }
        self.file
            .write_all(&header(name, length, self.made_seconds)?)
            .map_err(failed)?;
        let mut member = Member {
            file: &mut self.file,
            hasher: Sha256::default(),
            written: 0,
        };
        let done = fill(&mut member)?;
        let (written, digest) = (member.written, member.hasher.finish());
        if written != length {
            let sentence = format!("{written} bytes came of {length}");
            return Err(Problem::new(Kind::Local, "PACK_MEMBER", sentence, "Try again.").at(name));
        }
        let zeros = vec![0; padding(length)];
        self.file.write_all(&zeros).map_err(failed)?;
        self.bytes += length;
        self.sums.push((name.to_owned(), digest));
        Ok(done)
    }

    /// Ends it: digests, then it appears. Gives how many members there are, and their bytes.
    pub(super) fn finish(&mut self) -> Result<(usize, u64), Problem> {
        self.sums.sort();
        let line =
            |(name, digest): &(String, Digest)| format!("{}  {name}\n", hex::encode(digest.as_bytes()));
        let sums: String = self.sums.iter().map(line).collect();
        self.add(names::SUMS, sums.as_bytes())?;
        let failed = |e: io::Error| Problem::io(&e, &self.temporary);
        self.file.write_all(&[0; END_BYTES]).map_err(failed)?;
        self.file.flush().map_err(failed)?;
        self.disk.sync_file(self.file.get_ref(), &self.temporary)?;
        // Another export may have ended before this one.
        check_target(self.out)?;
        self.disk.rename(&self.temporary, self.out)?;
        Ok((self.sums.len(), self.bytes))
    }

    /// Gives it up: nothing is left behind.
    pub(super) fn give_up(self) {
        if let Err(problem) = self.disk.remove_file(&self.temporary) {
            tracing::warn!(code = problem.code, "an unfinished pack could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests say what fails by panicking")]

    use super::*;

    #[test]
    fn of_two_exports_to_one_file_at_once_the_first_is_whole_and_nothing_of_the_other_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, out) = (Disk::default(), folder.path().join("pack.tar"));
        let [mut one, mut two] = [0, 0].map(|made| Writing::begin(&disk, &out, made).unwrap());
        one.add("one.bin", &[1; 700]).unwrap();
        two.add("two.bin", &[2; 700]).unwrap();
        assert_eq!(one.finish().unwrap(), (2, 700 + 74));
        let whole = std::fs::read(&out).unwrap();
        assert_eq!(two.finish().unwrap_err().code, "FILE_EXISTS");
        two.give_up();
        assert_eq!(std::fs::read(&out).unwrap(), whole);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

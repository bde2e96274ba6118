//! Why a content could not be written: opening says only that it could not, the disk says why.

use std::io::{self, Write};
use std::path::Path;

use schakel_proto::packet::OpenError;

use super::verify::open_problem;
use crate::problem::Problem;

/// Passes bytes on and keeps the first error.
pub(super) struct Writing<'a> {
    to: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, error: None }
    }

    /// The problem of an opening that failed: that of the disk on which `path` lies, if it was the disk.
    pub(super) fn problem(self, opening: &OpenError, path: &Path) -> Problem {
        match self.error {
            Some(error) => Problem::io(&error, path),
            None => open_problem(opening),
        }
    }

    fn keep<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            let kind = error.kind();
            self.error.get_or_insert(error);
            kind.into()
        })
    }
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.to.write(bytes);
        self.keep(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.to.flush();
        self.keep(done)
    }
}

#[cfg(test)]
mod tests {
    use schakel_proto::packet::Defect;

    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_disk_says_is_told_and_else_what_opening_says() {
        let (mut full, path) = (Full, Path::new("out"));
        let mut writing = Writing::new(&mut full);
        assert!(writing.write_all(b"content").is_err());
        let problem = writing.problem(&Defect::WriteFailed.into(), path);
        assert_eq!(
            (problem.code.as_str(), problem.place.as_str()),
            ("DISK_FULL", "out")
        );
        let writing = Writing::new(&mut full);
        let problem = writing.problem(&Defect::DecryptionFailed.into(), path);
        assert_eq!(problem.code.as_str(), Defect::DecryptionFailed.code());
    }
}

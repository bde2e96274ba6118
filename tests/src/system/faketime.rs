//! Another clock for one process (Debian's `faketime`): an offset in a file, which may change while it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A clock that processes can be started with.
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// One that shows `offset` (`+0`, `-280s`, `+1d`, or a moment at which it stands still); its file lies in
    /// `folder`. Or why none can be had here.
    pub fn new(folder: &Path, offset: &str) -> Result<Self, String> {
        let found = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = found
            .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
            .find(|path| path.is_file())
            .ok_or("libfaketime is missing (Debian package faketime)")?;
        let clock = Self {
            library,
            file: folder.join("clock"),
        };
        clock.set(offset);
        Ok(clock)
    }

    /// The clock shows something else from now on.
    pub fn set(&self, offset: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    /// The same command, under this clock. What waits for a time to pass waits as before.
    pub fn over(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}

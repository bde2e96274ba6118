//! A limit on the memory of one process (cgroup version 1): whoever needs more is killed by the kernel.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::is_root;

const CONTROLLER: &str = "/sys/fs/cgroup/memory";
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A group of processes of ours. Removed when dropped, if they have ended.
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// One without a limit; or why none can be had here.
    pub fn new() -> Result<Self, String> {
        if !is_root() {
            return Err("limiting memory takes root".to_owned());
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("schakel-test-{}-{number}", std::process::id());
        let group = Self {
            folder: PathBuf::from(CONTROLLER).join(name),
        };
        std::fs::create_dir(&group.folder)
            .map_err(|e| format!("no memory controller of cgroup version 1 can be used here: {e}"))?;
        Ok(group)
    }

    /// The same command, started in the group: all its memory counts.
    pub fn over(&self, command: &Command) -> Command {
        let mut within = Command::new("sh");
        within.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
        within.arg(self.folder.join("cgroup.procs"));
        within.arg(command.get_program()).args(command.get_args());
        within
    }

    /// Leaves it `bytes` above what it uses now.
    pub fn leave(&self, bytes: u64) {
        let used = std::fs::read_to_string(self.folder.join("memory.usage_in_bytes")).unwrap();
        let limit = used.trim().parse::<u64>().unwrap() + bytes;
        // More may be in use by now: then the next attempt limits it.
        let _busy = std::fs::write(self.folder.join("memory.limit_in_bytes"), limit.to_string());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.folder).ok();
    }
}

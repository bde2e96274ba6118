//! Real processes: started with their output in a file, signalled, and never left behind.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::wait;

/// The folder with the binaries of this build: that of the running test.
pub fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    if folder.ends_with("deps") {
        folder.parent().unwrap().to_owned()
    } else {
        folder.to_owned()
    }
}

/// A binary of this build.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace` (tests/run does)",
        path.display()
    );
    path
}

/// A command with the folders of administrators' tools in its path.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs a tool to its end; its output, or what it said against it.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let said = command(program).args(arguments).stdin(Stdio::null()).output();
    let output = said.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}: {}",
        arguments.join(" "),
        output.status,
        error.trim()
    ))
}

/// Whether this process has root's rights.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .any(|l| {
            l.strip_prefix("Uid:")
                .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
        })
}

/// A running process of ours. Killed when dropped.
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let command = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had resident, in MiB (VmHWM).
    pub fn peak_mebibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()).unwrap();
        kibibytes.parse::<u64>().unwrap().div_ceil(1024)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// All it printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Stops all its threads (SIGSTOP) and waits until they stand still.
    pub fn freeze(&self) {
        freeze(self.id());
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().ok();
        let status = self.child.wait().unwrap();
        assert!(
            status.signal() == Some(9) || status.success(),
            "{} ended before it was killed: {status}\n{}",
            self.name,
            tail(&self.printed())
        );
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop(mut self) {
        self.signal("TERM");
        let limit = wait::LIMIT;
        let status = wait::try_until(limit, || self.ended());
        let ended_well = status.is_some_and(|s| s.success());
        assert!(
            ended_well,
            "{} did not end well on SIGTERM: {status:?}\n{}",
            self.name,
            tail(&self.printed())
        );
    }

    /// Waits until `ready` answers.
    ///
    /// # Panics
    /// When the process ends before, or nothing comes in time; with its log.
    pub fn wait_until<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let mut ended = None;
        let answer = wait::try_until(wait::LIMIT, || {
            ended = self.ended();
            if ended.is_some() {
                Some(None)
            } else {
                ready().map(Some)
            }
        });
        answer.flatten().unwrap_or_else(|| {
            panic!(
                "{}: {what} did not come (ended: {ended:?})\n{}",
                self.name,
                tail(&self.printed())
            )
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            println!("---- {} ----\n{}", self.name, tail(&self.printed()));
        }
    }
}

/// Sends a signal by name to one process of ours.
pub fn signal(id: u32, name: &str) {
    run("kill", &[&format!("-{name}"), &id.to_string()]).unwrap();
}

/// Stops all threads of a process of ours (SIGSTOP) and waits until they stand still.
pub fn freeze(id: u32) {
    signal(id, "STOP");
    wait::until("the process to stand still", || {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
        let still = |task: PathBuf| {
            let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
            status.contains("State:\tT") || status.contains("State:\tt")
        };
        tasks.flatten().all(|task| still(task.path())).then_some(())
    });
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

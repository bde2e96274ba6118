//! System calls that fail, lie or kill: `strace` tampers with them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::process::{command, run, signal};
use super::wait;

/// Whether the tracer works here.
pub fn has_strace() -> Result<(), String> {
    let tried = run("strace", &["--output=/dev/null", "--trace=fsync", "true"]);
    tried
        .map(drop)
        .map_err(|e| format!("strace cannot be used here: {e}"))
}

/// `program` with some of its system calls tampered with, all of these `calls` written to `output` with the paths they are
/// about: one system call an injection. Without `--seccomp-bpf`, with which strace 6.1 does not count to `when`.
pub fn tampered(program: &Path, calls: &str, output: &Path, injections: &[String]) -> Command {
    let mut command = command("strace");
    command.args(["--follow-forks", "--quiet=all", "--decode-fds=path"]);
    command.arg(format!("--trace={calls}"));
    command.arg(format!("--output={}", output.display()));
    command.args(injections.iter().map(|injection| format!("--inject={injection}")));
    command.arg("--").arg(program);
    command
}

/// The process that a tracer runs.
pub fn traced(tracer: u32) -> u32 {
    wait::until("the traced process", || {
        let children = std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

/// A tracer that is killed lets go of what it traced: ends that first.
pub fn end_traced(tracer: u32) {
    let children =
        std::fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        run("kill", &["-KILL", child]).ok();
    }
}

/// A tracer on a running process, which it lets go of when dropped.
pub struct Tracer(Child);

impl Tracer {
    /// Does `what` (`signal=KILL`, `error=EIO`) at the `when`-th of these `calls` of each thread. Back when the tracer
    /// sees all threads.
    pub fn new(id: u32, calls: &str, what: &str, when: u64, output: &Path) -> Self {
        let mut tracer = command("strace");
        tracer.args(["--follow-forks", "--quiet=all"]);
        tracer.arg(format!("--output={}", output.display()));
        tracer.arg(format!("--trace={calls}"));
        tracer.arg(format!("--inject={calls}:{what}:when={when}"));
        tracer.arg(format!("--attach={id}"));
        let tracer = tracer.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait::until("the tracer", || {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
            let seen = |status: String| !status.contains("TracerPid:\t0\n");
            threads
                .flatten()
                .all(|thread| std::fs::read_to_string(thread.path().join("status")).is_ok_and(seen))
                .then_some(())
        });
        Self(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Asked to end it detaches; killed while it holds a call it would leave that tampered with.
        signal(self.0.id(), "TERM");
        let ended = wait::try_until(std::time::Duration::from_secs(10), || self.0.try_wait().ok()?);
        if ended.is_none() {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}

//! The processes of the network: started with their output in a file, watched, and always stopped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::problem::{Problem, Result};

/// Longest wait for a process to get ready; generous, since debug builds on small machines are slow.
pub const READY_MAX: Duration = Duration::from_secs(90);
/// Longest wait for a process to end by itself once told to.
const STOP_MAX: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
const TAIL_LINES: usize = 20;

struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

/// All processes started. The last handle that is dropped stops them; [`Processes::stop`] does so earlier,
/// also from another thread.
#[derive(Clone, Default)]
pub struct Processes(Arc<Mutex<Group>>);

#[derive(Default)]
struct Group {
    running: Vec<Running>,
    folder: Option<PathBuf>,
    closed: bool,
}

/// A binary of this build: beside the running program.
pub fn binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().map_err(Problem::during("this program's own place"))?;
    let path = here.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Problem::new(format!(
        "{} is not built; run `./demo`, or `cargo build --workspace`",
        path.display()
    )))
}

impl Processes {
    fn group(&self) -> std::sync::MutexGuard<'_, Group> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process in a group of its own, so that Ctrl-C reaches it through us only.
    pub fn start(&self, name: &str, command: &mut Command, log: &Path) -> Result<u32> {
        let mut group = self.group();
        if group.closed {
            return Err(Problem::new("stopped"));
        }
        let file = File::options().create(true).append(true).open(log);
        let file = file.map_err(Problem::during(log.display()))?;
        let error = file.try_clone().map_err(Problem::during(log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(error)
            .process_group(0)
            .spawn();
        let child = child.map_err(Problem::during(format!("cannot start {name}")))?;
        let id = child.id();
        group.running.push(Running {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        });
        Ok(id)
    }

    /// Waits until `ready` says so; fails if one of the processes ends before, or after [`READY_MAX`].
    pub fn wait(&self, what: &str, ready: &mut dyn FnMut() -> bool) -> Result<()> {
        let began = Instant::now();
        loop {
            if ready() {
                return Ok(());
            }
            self.all_run()?;
            if began.elapsed() > READY_MAX {
                let logs = self
                    .group()
                    .running
                    .iter()
                    .map(|p| p.log.display().to_string())
                    .collect::<Vec<_>>();
                let seconds = READY_MAX.as_secs();
                return Err(Problem::new(format!(
                    "{what} did not come in {seconds} s; see {}",
                    logs.join(", ")
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// That all processes still run.
    pub fn all_run(&self) -> Result<()> {
        let mut group = self.group();
        if group.closed {
            return Err(Problem::new("stopped"));
        }
        for process in &mut group.running {
            let ended = process.child.try_wait().map_err(Problem::during(&process.name))?;
            if let Some(status) = ended {
                return Err(ended_early(&process.name, status, &process.log));
            }
        }
        Ok(())
    }

    /// Stops all processes: SIGTERM, then, for those that do not listen, SIGKILL. Nothing can be started
    /// any more. Gives the names of those that had to be killed or ended badly.
    pub fn stop(&self) -> Vec<String> {
        let mut group = self.group();
        group.closed = true;
        for process in &group.running {
            terminate(process.child.id());
        }
        let began = Instant::now();
        let mut bad = Vec::new();
        for process in group.running.drain(..) {
            let name = process.name.clone();
            if !ends_well(process, began) {
                bad.push(name);
            }
        }
        bad
    }

    /// Stops one process, as [`Processes::stop`] does all; it can be started again.
    pub fn stop_one(&self, name: &str) -> Result<()> {
        let mut group = self.group();
        let place = group.running.iter().position(|process| process.name == name);
        let place = place.ok_or_else(|| Problem::new(format!("{name} does not run")))?;
        let process = group.running.remove(place);
        drop(group);
        terminate(process.child.id());
        if ends_well(process, Instant::now()) {
            return Ok(());
        }
        Err(Problem::new(format!("{name} did not end well when told to")))
    }

    /// Tells a process to look at its files anew (SIGHUP).
    pub fn hang_up(&self, id: u32) {
        send(id, Signal::HUP);
    }

    /// The folder that an interruption removes, since nothing else then can.
    pub fn remove_when_interrupted(&self, folder: &Path) {
        self.group().folder = Some(folder.to_owned());
    }

    /// Removes that folder, once all processes are stopped.
    pub fn clean(&self) {
        if let Some(folder) = self.group().folder.take() {
            std::fs::remove_dir_all(folder).ok();
        }
    }

    /// Lets all processes run on after this program has ended. Gives their names and ids.
    pub fn leave(&self) -> Vec<(String, u32)> {
        let mut group = self.group();
        group.closed = true;
        group.folder = None;
        group
            .running
            .drain(..)
            .map(|process| (process.name, process.child.id()))
            .collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for process in &mut self.running {
            process.child.kill().ok();
            process.child.wait().ok();
        }
    }
}

/// Waits until a process ends that was told to; kills it if it does not. Whether it ended as it should.
fn ends_well(mut process: Running, told: Instant) -> bool {
    let status = loop {
        match process.child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if told.elapsed() < STOP_MAX => std::thread::sleep(PAUSE),
            _ => break None,
        }
    };
    if status.is_none() {
        process.child.kill().ok();
        process.child.wait().ok();
    }
    status.is_some_and(|status| status.success())
}

fn terminate(id: u32) {
    send(id, Signal::TERM);
}

fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself: then there is nothing to do.
        kill_process(pid, signal).ok();
    }
}

fn ended_early(name: &str, status: ExitStatus, log: &Path) -> Problem {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default()
        .join("\n    ");
    Problem::new(format!(
        "{name} ended ({status}); the end of its log:\n    {tail}"
    ))
}

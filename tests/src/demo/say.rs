//! What the demonstration tells while it runs: progress to standard error, results to standard output.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Tells the person in front of the screen what happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voice {
    quiet: bool,
}

impl Voice {
    /// One that tells everything.
    pub const fn new() -> Self {
        Self { quiet: false }
    }

    /// One that tells only what takes a while, not the results.
    pub const fn quiet() -> Self {
        Self { quiet: true }
    }

    /// A line of the result.
    pub fn line(self, text: &str) {
        if !self.quiet {
            print(text);
        }
    }

    /// Several lines of the result.
    pub fn lines(self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    /// A step that takes a while: a spinner with the time it has taken, then a line that it is done.
    pub fn step(self, what: &str) -> Step {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar.set_message(what.to_owned());
        if bar.is_hidden() {
            eprintln!("  … {what}");
        }
        Step {
            bar,
            what: what.to_owned(),
        }
    }
}

/// Whoever reads may be gone (a closed pipe): the demonstration goes on and stops its processes.
fn print(text: &str) {
    let _gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// A step in progress. Dropped before it is done, it says that it was not.
pub struct Step {
    bar: ProgressBar,
    what: String,
}

impl Step {
    /// What is happening within the step.
    pub fn now(&self, detail: &str) {
        self.bar.set_message(format!("{}: {detail}", self.what));
    }

    /// The step is done.
    pub fn done(self, result: &str) {
        let seconds = self.bar.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        eprintln!("  ✓ {}: {result} ({seconds:.1} s)", self.what);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
            eprintln!("  ✗ {}", self.what);
        }
    }
}

//! The progress of a run: a bar on a terminal, plain lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Whether lines are printed because there is no bar.
    lines: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}%");
        bar.set_style(style.expect("the template is well formed"));
        let lines = bar.is_hidden();
        Self { bar, lines }
    }

    /// For a part of a run. The run has a progress of its own.
    pub(crate) fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), lines: false }
    }

    /// Begins a part of a number of steps.
    pub(crate) fn begin(&self, what: &str, steps: u64) {
        self.bar.set_length(steps);
        self.name(what);
        self.bar.reset();
    }

    /// Names the current step.
    pub(crate) fn name(&self, what: &str) {
        if self.lines {
            eprintln!("{what}");
        }
        self.bar.set_message(what.to_owned());
    }

    pub(crate) fn at(&self, step: u64) {
        self.bar.set_position(step);
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.bar.inc(steps);
    }

    /// Prints a line that stays.
    pub(crate) fn print(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The steps of a part that lasts for a time: milliseconds.
pub(crate) fn steps(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

//! The machine and the time of a run: figures of different machines cannot be compared.

use std::fs;
use std::time::SystemTime;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// When the run ended, in UTC.
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) system: String,
    /// The load average of the last minute, when the run began.
    pub(crate) load_before: Option<f64>,
}

impl Machine {
    /// `processors` is how many there were before any thread was pinned.
    pub(crate) fn new(load_before: Option<f64>, processors: usize) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            processor: model.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned(),
            processors,
            system: format!("{} {}", std::env::consts::OS, kernel.trim()).trim_end().to_owned(),
            load_before,
        }
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Self { date, processor, processors, system, .. } = self;
        let busy = match self.load_before {
            Some(load) if load >= BUSY => format!("; it was BUSY: load {load:.1} before the run"),
            _ => String::new(),
        };
        format!("{date}, {processor}, {processors} processors, {system}{busy}")
    }
}

/// The load from which on a machine counts as busy.
const BUSY: f64 = 0.7;

/// How many processors this thread may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// The load average of the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

//! Reads figures of a process from `/proc`. On other systems than Linux there are none.

use std::fs;
use std::path::PathBuf;

use crate::threads::ThreadTime;

/// A process that is watched from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its own, without what is mapped from files (`RssAnon`).
    pub(crate) anonymous: u64,
    /// All that is resident (`VmRSS`).
    pub(crate) resident: u64,
}

impl Process {
    /// The process of this harness.
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// Time on a processor, user and kernel, of all its threads, in nanoseconds.
    pub(crate) fn cpu(self) -> Option<u64> {
        self.sum("schedstat", cpu_in)
    }

    /// How often its threads went to sleep and were woken.
    pub(crate) fn wakeups(self) -> Option<u64> {
        self.sum("status", |status| number_in(status, "voluntary_ctxt_switches:"))
    }

    pub(crate) fn memory(self) -> Option<Memory> {
        memory_in(&fs::read_to_string(self.directory().join("status")).ok()?)
    }

    /// Time on a processor of each of its threads, in the order of their ids. The first one, which
    /// has the program's name, is called `main`.
    pub(crate) fn thread_times(self) -> Vec<ThreadTime> {
        let time = |id: u32| {
            let task = self.directory().join("task").join(id.to_string());
            let name = fs::read_to_string(task.join("comm")).ok()?;
            let name = if id == self.0 { "main" } else { name.trim_end() }.to_owned();
            let cpu = cpu_in(&fs::read_to_string(task.join("schedstat")).ok()?)?;
            Some(ThreadTime { id, name, cpu })
        };
        let mut times: Vec<_> = self.threads().into_iter().filter_map(time).collect();
        times.sort_unstable_by_key(|time| time.id);
        times
    }

    /// The ids of its threads.
    pub(crate) fn threads(self) -> Vec<u32> {
        let number = |task: PathBuf| task.file_name()?.to_str()?.parse().ok();
        self.tasks().into_iter().flatten().filter_map(number).collect()
    }

    /// The sum over its threads. A thread that ends meanwhile counts as 0.
    fn sum(self, file: &str, number: impl Fn(&str) -> Option<u64>) -> Option<u64> {
        let texts = self.tasks()?.filter_map(|task| fs::read_to_string(task.join(file)).ok());
        texts.filter_map(|text| number(&text)).reduce(|sum, next| sum + next)
    }

    fn directory(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.0))
    }

    fn tasks(self) -> Option<impl Iterator<Item = PathBuf>> {
        let tasks = fs::read_dir(self.directory().join("task")).ok()?;
        Some(tasks.filter_map(|task| Some(task.ok()?.path())))
    }
}

/// The first number of `schedstat` is the time on a processor.
pub(crate) fn cpu_in(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

pub(crate) fn memory_in(status: &str) -> Option<Memory> {
    let kilobytes = |name| Some(number_in(status, name)? * 1024);
    Some(Memory { anonymous: kilobytes("RssAnon:")?, resident: kilobytes("VmRSS:")? })
}

pub(crate) fn number_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

//! The CPU time of each thread of a process. Reads nothing itself.

use std::time::Duration;

use serde::Serialize;

use crate::figures::float;

/// Time on a processor of a thread, user and kernel, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadTime {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) cpu: u64,
}

/// Times of threads, summed over several turns.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    began: Vec<ThreadTime>,
    total: Vec<ThreadTime>,
}

/// What one thread spent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ThreadUse {
    pub(crate) name: String,
    /// Time on a processor for each message, user and kernel, in microseconds.
    pub(crate) cpu_us: f64,
    /// How busy it kept a processor, from 0 to 1.
    pub(crate) cpu_share: f64,
    /// How many messages per second it could process with a processor of its own, without waiting
    /// for other threads.
    pub(crate) alone_per_second: f64,
}

/// A thread that uses less than this share of a processor counts as asleep.
const ASLEEP: f64 = 0.001;

impl Threads {
    /// A turn begins.
    pub(crate) fn begin(&mut self, times: Vec<ThreadTime>) {
        self.began = times;
    }

    /// A turn ends. A thread that began meanwhile counts from its own beginning.
    pub(crate) fn end(&mut self, times: &[ThreadTime]) {
        for time in times {
            let began = self.began.iter().find(|began| began.id == time.id);
            let cpu = time.cpu.saturating_sub(began.map_or(0, |began| began.cpu));
            match self.total.iter_mut().find(|total| total.id == time.id) {
                Some(total) => total.cpu += cpu,
                None => self.total.push(ThreadTime { cpu, ..time.clone() }),
            }
        }
    }

    /// What each thread that was not asleep spent on each of `count` messages.
    pub(crate) fn uses(&self, count: u64, time: Duration) -> Vec<ThreadUse> {
        let spent = |thread: &ThreadTime| {
            let seconds = Duration::from_nanos(thread.cpu).as_secs_f64();
            let cpu_us = seconds * 1e6 / float(count);
            let (cpu_share, alone_per_second) = (seconds / time.as_secs_f64(), 1e6 / cpu_us);
            ThreadUse { name: thread.name.clone(), cpu_us, cpu_share, alone_per_second }
        };
        let uses = self.total.iter().filter(|_| count > 0).map(spent);
        uses.filter(|each| each.cpu_share > ASLEEP).collect()
    }
}

//! The results of a run: counts, times and memory. Imports no scenario.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::curve::Curve;
use crate::figures::{Latency, float};
use crate::server::{Memory, Process};
use crate::threads::{ThreadUse, Threads};

/// One run of one scenario on one server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measurement {
    pub(crate) server: String,
    pub(crate) work: String,
    pub(crate) sessions: usize,
    pub(crate) seconds: f64,
    /// Messages that were answered, deliveries of a broadcast, or sessions of a storm.
    pub(crate) count: u64,
    pub(crate) latency: Option<Latency>,
    /// For a drain: when the close frames arrived.
    pub(crate) curve: Option<Curve>,
    /// Server time on a processor for each of `count`, user and kernel, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// How busy the server kept a processor: 1 is one whole processor.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) wakeups: Option<u64>,
    /// The same for each thread, the harness' own included, where a scenario measures it.
    pub(crate) threads: Vec<ThreadUse>,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) failures: BTreeMap<String, u64>,
    /// Further results, as text.
    pub(crate) notes: Vec<String>,
}

/// Memory of a server, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryUse {
    /// Resident, before the first connection.
    pub(crate) resident_at_start: u64,
    /// Resident, at the end.
    pub(crate) resident: u64,
    /// Growth of its anonymous memory for each session, at the end.
    pub(crate) per_session: f64,
    /// The largest growth of its anonymous memory that was seen.
    pub(crate) peak_growth: u64,
}

impl Measurement {
    pub(crate) fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { float(self.count) / self.seconds } else { 0.0 }
    }
}

/// Watches a server from before the first connection.
#[derive(Debug)]
pub(crate) struct Watch {
    process: Option<Process>,
    memory: Option<Memory>,
    /// The largest anonymous memory that was seen.
    peak: u64,
    began: Mark,
    total: Spent,
    threads: Threads,
    own_threads: Threads,
}

/// A time, and what the server had used by then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    cpu: Option<u64>,
    wakeups: Option<u64>,
}

/// What was used between two times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    time: Duration,
    cpu: Option<Duration>,
    wakeups: Option<u64>,
}

impl Watch {
    /// Call it before the first connection: later memory is compared with the memory then.
    pub(crate) fn new(process: Option<Process>) -> Self {
        let memory = process.and_then(Process::memory);
        let began = Mark { at: Instant::now(), cpu: None, wakeups: None };
        let (threads, own_threads) = (Threads::default(), Threads::default());
        Self { process, memory, peak: 0, began, total: Spent::default(), threads, own_threads }
    }

    /// Time and processor time count from here.
    pub(crate) fn begin(&mut self) {
        let wakeups = self.process.and_then(Process::wakeups);
        let cpu = self.process.and_then(Process::cpu);
        self.threads.begin(self.process.map(Process::thread_times).unwrap_or_default());
        self.own_threads.begin(Process::own().thread_times());
        self.began = Mark { at: Instant::now(), cpu, wakeups };
    }

    /// What was spent since [`Self::begin`]. Nothing is added to the total yet.
    pub(crate) fn so_far(&self) -> Spent {
        let time = self.began.at.elapsed();
        let grown = |(after, before): (u64, u64)| after.saturating_sub(before);
        let cpu = self.process.and_then(Process::cpu).zip(self.began.cpu).map(grown);
        let wakeups = self.process.and_then(Process::wakeups).zip(self.began.wakeups).map(grown);
        Spent { time, cpu: cpu.map(Duration::from_nanos), wakeups }
    }

    /// Ends the interval that [`Self::begin`] began, adds it to the total and returns it.
    pub(crate) fn end(&mut self) -> Spent {
        let spent = self.so_far();
        self.threads.end(&self.process.map(Process::thread_times).unwrap_or_default());
        self.own_threads.end(&Process::own().thread_times());
        self.total = self.total.and(spent);
        spent
    }

    /// What each thread of the server and of the harness spent on each of `count` messages.
    pub(crate) fn threads(&self, count: u64) -> (Vec<ThreadUse>, Vec<ThreadUse>) {
        let time = self.total.time;
        (self.threads.uses(count, time), self.own_threads.uses(count, time))
    }

    /// The total of all intervals that were ended.
    pub(crate) fn total(&self) -> Spent {
        self.total
    }

    /// Reads the server's memory, for its peak.
    pub(crate) fn look(&mut self) {
        if let Some(memory) = self.process.and_then(Process::memory) {
            self.peak = self.peak.max(memory.anonymous);
        }
    }

    /// The server's anonymous memory now.
    pub(crate) fn anonymous(&self) -> u64 {
        self.process.and_then(Process::memory).map_or(0, |memory| memory.anonymous)
    }

    /// The server's memory now, with `sessions` sessions.
    pub(crate) fn memory(&self, sessions: usize) -> Option<MemoryUse> {
        let (before, now) = (self.memory?, self.process?.memory()?);
        let growth = float(now.anonymous) - float(before.anonymous);
        Some(MemoryUse {
            resident_at_start: before.resident,
            resident: now.resident,
            peak_growth: self.peak.max(now.anonymous).saturating_sub(before.anonymous),
            per_session: if sessions > 0 { growth / float(sessions as u64) } else { 0.0 },
        })
    }
}

impl Spent {
    fn and(self, other: Self) -> Self {
        Self {
            time: self.time + other.time,
            cpu: other.cpu.map(|cpu| self.cpu.unwrap_or_default() + cpu),
            wakeups: other.wakeups.map(|wakeups| self.wakeups.unwrap_or(0) + wakeups),
        }
    }

    /// Server time for each of `count` messages, in microseconds.
    pub(crate) fn cpu_us(self, count: u64) -> Option<f64> {
        Some(self.cpu?.as_secs_f64() * 1e6 / float(count)).filter(|_| count > 0)
    }

    /// Writes it to a measurement whose count is set.
    pub(crate) fn put_into(self, measurement: &mut Measurement) {
        measurement.seconds = self.time.as_secs_f64();
        measurement.cpu_us = self.cpu_us(measurement.count);
        measurement.cpu_share = self.cpu.map(|cpu| cpu.as_secs_f64() / self.time.as_secs_f64());
        measurement.wakeups = self.wakeups;
    }
}

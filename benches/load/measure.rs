//! What a run gives: counts, times and memory. Knows no scenario.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::figures::{Latency, float};
use crate::server::{Memory, Process};

/// One run of one scenario on one server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measurement {
    pub(crate) server: String,
    pub(crate) work: String,
    pub(crate) sessions: usize,
    pub(crate) seconds: f64,
    /// Messages that came back, or deliveries of a broadcast, or sessions of a storm.
    pub(crate) count: u64,
    pub(crate) latency: Option<Latency>,
    /// Server time on a processor for each of `count`, user and kernel, in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// How busy the server kept a processor, as a share of one.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) wakeups: Option<u64>,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) failures: BTreeMap<String, u64>,
    /// What the figures do not say.
    pub(crate) notes: Vec<String>,
}

/// Memory of a server, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryUse {
    /// Resident, before the first connection.
    pub(crate) resident_at_start: u64,
    /// Resident, at the end.
    pub(crate) resident: u64,
    /// Growth of its own memory (what is mapped from no file) for each session, at the end.
    pub(crate) per_session: f64,
    /// The largest growth of its own memory that was seen.
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
    began: Instant,
    cpu: Option<u64>,
    wakeups: Option<u64>,
    /// The most of its own memory that was seen.
    peak: u64,
}

impl Watch {
    /// Call it before the first connection: its memory is what later memory is compared with.
    pub(crate) fn new(process: Option<Process>) -> Self {
        let memory = process.and_then(Process::memory);
        Self { process, memory, began: Instant::now(), cpu: None, wakeups: None, peak: 0 }
    }

    /// Time and processor time count from here.
    pub(crate) fn begin(&mut self) {
        self.wakeups = self.process.and_then(Process::wakeups);
        self.cpu = self.process.and_then(Process::cpu);
        self.began = Instant::now();
    }

    /// Ends what [`Self::begin`] began, and puts it into `measurement`, whose `count` is set.
    pub(crate) fn finish(&self, measurement: &mut Measurement) {
        let elapsed = self.began.elapsed();
        let cpu = self.process.and_then(Process::cpu).zip(self.cpu);
        let wakeups = self.process.and_then(Process::wakeups).zip(self.wakeups);
        measurement.seconds = elapsed.as_secs_f64();
        if let Some((after, before)) = cpu {
            let spent = Duration::from_nanos(after.saturating_sub(before));
            measurement.cpu_share = Some(spent.as_secs_f64() / elapsed.as_secs_f64());
            if measurement.count > 0 {
                measurement.cpu_us = Some(spent.as_secs_f64() * 1e6 / float(measurement.count));
            }
        }
        measurement.wakeups = wakeups.map(|(after, before)| after.saturating_sub(before));
    }

    /// Looks at the server's memory, for its peak.
    pub(crate) fn look(&mut self) {
        if let Some(memory) = self.process.and_then(Process::memory) {
            self.peak = self.peak.max(memory.anonymous);
        }
    }

    /// What the server holds now for so many sessions.
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

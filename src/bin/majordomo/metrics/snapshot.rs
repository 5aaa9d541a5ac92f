//! All values of one moment.

use std::time::{Duration, SystemTime};

use majordomo::{Cause, Disconnects, Phase, Sessions, Stats};

use super::histograms::TickHistograms;

/// The values of one moment.
#[derive(Clone, Debug)]
pub(crate) struct MetricsSnapshot {
    /// When the gateway started.
    pub(crate) started: SystemTime,
    /// The phase of the shutdown.
    pub(crate) phase: Phase,
    /// Whether no session is read because a backend is behind or missing.
    pub(crate) reads_paused: bool,
    /// The library's counters.
    pub(crate) stats: Stats,
    /// The iterations of the loop.
    pub(crate) ticks: TickHistograms,
    /// How many control connections of each kind are open.
    pub(crate) control_connections: [(&'static str, usize); 2],
    /// All links: the control connections, and standard input and output.
    pub(crate) backends: Vec<BackendMetrics>,
    /// The closed ones, by cause.
    pub(crate) backends_closed: CauseCounts,
    /// How often all reads were paused, and how long.
    pub(crate) pauses: (u64, Duration),
    /// How many messages were discarded because there was no backend.
    pub(crate) unheard: u64,
    /// The log lines that were lost.
    pub(crate) log_lines_lost: u64,
}

/// A link.
#[derive(Clone, Debug)]
pub(crate) struct BackendMetrics {
    /// Its id: `stdio` or, for example, `control-1`.
    pub(crate) id: String,
    /// The bytes of events and replies that it has not read yet.
    pub(crate) backlog: usize,
}

impl MetricsSnapshot {
    /// The values that the sessions know, without any backends. O(1).
    pub(crate) fn of(sessions: &Sessions, ticks: &TickHistograms, started: SystemTime) -> Self {
        Self {
            started,
            phase: sessions.phase(),
            reads_paused: sessions.are_reads_paused(),
            stats: sessions.stats(),
            ticks: ticks.clone(),
            control_connections: [("backend", 0), ("observer", 0)],
            backends: Vec::new(),
            backends_closed: CauseCounts::default(),
            pauses: (0, Duration::ZERO),
            unheard: 0,
            log_lines_lost: 0,
        }
    }
}

/// A count for each cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CauseCounts([u64; Cause::ALL.len()]);

impl CauseCounts {
    /// Counts one.
    pub(crate) fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// All causes and their counts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL.iter().copied().zip(self.0)
    }
}

impl From<&Disconnects> for CauseCounts {
    fn from(disconnects: &Disconnects) -> Self {
        Self(std::array::from_fn(|index| disconnects.get(Cause::ALL[index])))
    }
}

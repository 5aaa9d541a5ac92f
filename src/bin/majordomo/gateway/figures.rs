//! What the gateway's loop counts for whoever watches it.

use std::mem;
use std::time::{Duration, SystemTime};

use majordomo::{Cause, Sessions};

use super::Gateway;
use crate::admin::metrics::{ByCause, Snapshot, Ticks};

/// Counts that nobody else keeps.
#[derive(Debug)]
pub(super) struct Figures {
    started: SystemTime,
    ticks: Ticks,
    /// Messages received in this turn.
    heard: u64,
    links_closed: ByCause,
}

impl Figures {
    /// None yet. `started` is now.
    pub(super) fn new(started: SystemTime) -> Self {
        let (ticks, links_closed) = (Ticks::default(), ByCause::default());
        Self { started, ticks, heard: 0, links_closed }
    }

    #[inline]
    pub(super) fn count_message(&mut self) {
        self.heard += 1;
    }

    pub(super) fn count_closed_link(&mut self, cause: Cause) {
        self.links_closed.count(cause);
    }
}

impl Gateway {
    /// Counts a turn of the loop, which worked for that long.
    #[inline]
    pub(crate) fn count_turn(&mut self, duration: Duration) {
        let heard = mem::take(&mut self.figures.heard);
        self.figures.ticks.record(duration, heard);
    }

    /// All figures as of now. Costs O(n) in the links to drivers, and nothing in the sessions.
    pub(crate) fn snapshot(&self, sessions: &Sessions) -> Snapshot {
        let Figures { started, ticks, links_closed, .. } = &self.figures;
        let mut snapshot = Snapshot::of(sessions, ticks, *started);
        snapshot.links = self.links.figures();
        snapshot.links_closed = links_closed.clone();
        snapshot
    }
}

//! The way to the driver, as the loop sees it: what is told is gathered, and handed over in few
//! large pieces, because each one costs a wake-up of the thread that writes.

use std::time::Duration;

use majordomo::Sessions;

use crate::protocol::Journal;
use crate::stdio::{Output, Pressure};

/// What is gathered within a tick before it is handed over in the midst of it. As much as a pipe
/// holds: a driver need not wait for the end of a long tick.
const PIECE: usize = 64 << 10;

/// The least time that a driver is given to read on at the end, however short the grace.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Events and replies on their way to the driver.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where they are written down.
    pub(super) journal: Journal,
    output: Output,
}

impl Link {
    /// A link whose first event is `ready`. It leaves with the first tick.
    pub(crate) fn new<U: serde::Serialize>(output: Output, listen: &[U], epoch: &str) -> Self {
        let mut journal = Journal::default();
        journal.ready(listen, epoch);
        Self { journal, output }
    }

    /// Hands over what was gathered, if it is much.
    ///
    /// # Backpressure
    ///
    /// Once the backlog has become high, no session is read, and none accepted, until
    /// [`Gateway::handle_relief`](super::Gateway::handle_relief).
    #[inline]
    pub(super) fn hand_over_if_full(&mut self, sessions: &mut Sessions) {
        if self.journal.len() >= PIECE && self.hand_over() {
            log::debug!("the driver is behind: sessions are not read until it has caught up");
            sessions.pause_all_reads();
        }
    }

    /// Hands over what was gathered. Says whether sessions are not to be read for now.
    #[must_use]
    pub(super) fn hand_over(&mut self) -> bool {
        self.output.push(self.journal.take()) == Pressure::High
    }

    pub(super) fn is_high(&self) -> bool {
        self.output.is_high()
    }

    /// Tells that all is over, and waits until everything was read, or nothing was for that long.
    /// Says which.
    pub(super) fn finish(mut self, patience: Duration) -> bool {
        self.journal.stopped();
        // There is no session left to pause.
        let _ = self.hand_over();
        self.output.finish(patience.max(LEAST_PATIENCE))
    }
}

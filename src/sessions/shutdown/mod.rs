//! How a manager comes to its end: whether it stops, when each session is closed, and until when it
//! waits. Knows no session and no other part.

mod stopping;

use std::time::Instant;

use crate::close::CloseReason;
use crate::error::{Error, Result};
use crate::id::SessionKey;

use stopping::Stopping;

pub use stopping::{Phase, StopOptions};

/// Shutdown's own state.
#[derive(Debug)]
pub(crate) struct Shutdown {
    state: ShutdownState,
}

#[derive(Debug)]
enum ShutdownState {
    Running,
    Stopping(Stopping),
    Stopped,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self { state: ShutdownState::Running }
    }

    pub(crate) fn phase(&self) -> Phase {
        match &self.state {
            ShutdownState::Running => Phase::Running,
            ShutdownState::Stopping(stopping) if stopping.drain.is_some() => Phase::Draining,
            ShutdownState::Stopping(_) => Phase::Closing,
            ShutdownState::Stopped => Phase::Stopped,
        }
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        !matches!(self.state, ShutdownState::Running)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, ShutdownState::Stopped)
    }

    fn stopping(&self) -> Option<&Stopping> {
        match &self.state {
            ShutdownState::Stopping(stopping) => Some(stopping),
            ShutdownState::Running | ShutdownState::Stopped => None,
        }
    }

    /// Begins a stop, or shortens one that is under way. Says whether it begins.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it is over already.
    pub(crate) fn stop(&mut self, options: StopOptions, now: Instant) -> Result<bool> {
        match &mut self.state {
            ShutdownState::Running => {
                self.state = ShutdownState::Stopping(Stopping::new(options, now));
                Ok(true)
            }
            ShutdownState::Stopping(stopping) => {
                stopping.shorten_to(&options, now);
                Ok(false)
            }
            ShutdownState::Stopped => Err(Error::Stopped),
        }
    }

    /// No session waits for its moment any more. Says whether a drain ends by that.
    pub(crate) fn end_drain(&mut self, now: Instant) -> bool {
        match &mut self.state {
            ShutdownState::Stopping(stopping) => stopping.end_drain(now),
            ShutdownState::Running | ShutdownState::Stopped => false,
        }
    }

    /// Nothing is left.
    pub(crate) fn finish(&mut self) {
        self.state = ShutdownState::Stopped;
    }

    /// When the drain schedule closes an open session, if one is under way.
    #[inline]
    pub(crate) fn drain_at(&self, key: SessionKey) -> Option<Instant> {
        let stopping = self.stopping()?;
        let window = stopping.drain?;
        Some(window.moment(stopping.share(key)))
    }

    /// When a stop that is under way ends at the latest.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stopping().map(Stopping::deadline)
    }

    /// Until when a session that is closed now may answer, where the manager stops.
    pub(crate) fn answer_by(&self, now: Instant) -> Option<Instant> {
        self.stopping().map(|stopping| stopping.answer_by(now))
    }

    /// What close frames carry, where the manager stops.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.stopping().map(Stopping::reason)
    }

    /// After how many seconds a client that is refused may come back, where the manager stops.
    pub(crate) fn retry_after(&self, key: SessionKey, now: Instant) -> Option<u64> {
        self.stopping().map(|stopping| stopping.retry_after(key, now))
    }
}

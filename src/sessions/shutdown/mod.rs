//! How a manager stops: whether it is stopping, when each session is closed, and how long it waits.
//! Knows no session and no other part.

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

    /// Begins a stop, or shortens the current one. Returns whether it begins.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the manager has stopped already.
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

    /// No session waits for its drain time any more. Returns whether that ends a drain.
    pub(crate) fn end_drain(&mut self, now: Instant) -> bool {
        match &mut self.state {
            ShutdownState::Stopping(stopping) => stopping.end_drain(now),
            ShutdownState::Running | ShutdownState::Stopped => false,
        }
    }

    /// Nothing is left: the manager has stopped.
    pub(crate) fn finish(&mut self) {
        self.state = ShutdownState::Stopped;
    }

    /// When the drain schedule closes an open session, if the manager drains.
    #[inline]
    pub(crate) fn drain_at(&self, key: SessionKey) -> Option<Instant> {
        let stopping = self.stopping()?;
        let window = stopping.drain?;
        Some(window.moment(stopping.share(key)))
    }

    /// When the current stop ends at the latest.
    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stopping().map(Stopping::deadline)
    }

    /// The deadline for the close handshake of a session that is closed now, while the manager
    /// stops.
    pub(crate) fn answer_by(&self, now: Instant) -> Option<Instant> {
        self.stopping().map(|stopping| stopping.answer_by(now))
    }

    /// The close reason, while the manager stops.
    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.stopping().map(Stopping::reason)
    }

    /// After how many seconds a refused client may reconnect, while the manager stops.
    pub(crate) fn retry_after(&self, key: SessionKey, now: Instant) -> Option<u64> {
        self.stopping().map(|stopping| stopping.retry_after(key, now))
    }
}

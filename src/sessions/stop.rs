//! Stopping: everybody is told, those who answer are waited for, and then there is nothing left.

use std::time::{Duration, Instant};

use super::Sessions;
use super::stats::HandshakeFailure;
use super::table::{Connection, Peer, Stage};
use crate::close::{Cause, CloseCode};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::SessionKey;
use crate::session::Socket;

/// How a manager is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOptions {
    /// How long close handshakes are awaited, at most [`Config::MAX_TIMEOUT`]. Default 5 s. Zero
    /// drops every connection at once.
    pub grace: Duration,
}

impl StopOptions {
    /// The default: a grace of 5 s.
    #[must_use]
    pub fn new() -> Self {
        Self { grace: Duration::from_secs(5) }
    }

    /// The same with another grace.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl Default for StopOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// Close handshakes are awaited until then.
    Stopping(Instant),
    Stopped,
}

impl Sessions {
    /// Stops the manager: new upgrades are answered 503, every session is closed with 1001, close
    /// handshakes are awaited up to the grace, the rest are dropped, `on_disconnect` runs for each,
    /// and then [`SessionManager::run`](crate::SessionManager::run) returns.
    ///
    /// Called again while it stops, it can only shorten the grace.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it has stopped already.
    pub fn stop(&mut self, options: StopOptions) -> Result<()> {
        // A host may well say `Duration::MAX`, which no clock can count up to.
        let until = self.now + options.grace.min(Config::MAX_TIMEOUT);
        let deadline = match self.life {
            Life::Running => until,
            Life::Stopping(earlier) => until.min(earlier),
            Life::Stopped => return Err(Error::Stopped),
        };
        self.life = Life::Stopping(deadline);
        // Stopping must be able to read the close frames that it waits for.
        self.resume_all_reads();
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.stop_connection(key, deadline);
        }
        Ok(())
    }

    /// Whether [`Sessions::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.life != Life::Running
    }

    /// Ends what the grace, or the last session's end, leaves nothing to wait for; when nothing is
    /// left at all, the manager has stopped.
    pub(crate) fn finish_stopping(&mut self) {
        let Life::Stopping(deadline) = self.life else { return };
        if self.now >= deadline || self.is_all_said() {
            let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
            for key in keys {
                if self.any_session(key).is_some() {
                    self.finish(key, Socket::Drop);
                } else {
                    self.abandon(key, HandshakeFailure::Stopping);
                }
            }
        }
        if self.table.is_empty() && self.lifecycle.is_empty() {
            self.life = Life::Stopped;
        }
    }

    /// Whether no session is left, and nobody who was told something and might say more: dropping
    /// that one's socket could destroy what it was told. A connection that has said nothing, or
    /// not finished a request, holds up no stop.
    fn is_all_said(&self) -> bool {
        let is_silent = |connection: &Connection| match &connection.stage {
            Stage::Session(_) => false,
            Stage::Lingering(lingering) => {
                lingering.outbox.is_empty() && lingering.peer != Peer::MaySpeak
            }
            Stage::Handshake(_) => !connection.readiness.readable,
        };
        self.counters.open() + self.counters.closing == 0
            && self.table.iter().all(|(_, connection)| is_silent(connection))
    }

    /// What stopping does to one connection.
    fn stop_connection(&mut self, key: SessionKey, deadline: Instant) {
        let Some(connection) = self.table.get(key) else { return };
        match &connection.stage {
            Stage::Session(session) if session.is_open() => {
                self.show_out(key, Cause::Stopped, &CloseCode::GOING_AWAY.into(), deadline);
            }
            Stage::Session(_) | Stage::Lingering(_) => {
                let earlier = self.wheel.deadline(connection.timer);
                if earlier.is_none_or(|earlier| deadline < earlier) {
                    self.wheel.reschedule(connection.timer, deadline);
                }
            }
            Stage::Handshake(_) => self.refuse_stopping(key, deadline),
        }
    }

    /// When stopping ends at the latest.
    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Stopping(deadline) => Some(deadline),
            Life::Running | Life::Stopped => None,
        }
    }
}

//! Pausing reads. A paused session sends as before; nothing is read from it, the end of its stream
//! waits as well, and its silence is not held against it.

use std::time::Instant;

use super::Sessions;
use super::table::{Connection, Stage};
use crate::error::Result;
use crate::id::{SessionKey, SessionRef};
use crate::session::Due;

impl Sessions {
    /// Stops reading from one session, until [`Sessions::resume_reads`]. Messages that were read
    /// already still arrive. Its heartbeat and idle clocks stand still meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound);
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn pause_reads<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        let key = self.find(session.into())?;
        let now = self.now;
        if let Some(connection) = self.table.get_mut(key)
            && !connection.readiness.paused
        {
            connection.readiness.paused = true;
            if let Some(session) = connection.session_mut() {
                session.record_pause(now);
            }
        }
        Ok(())
    }

    /// Reads from one session again; it stays paused while all are.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`](crate::Error::SessionNotFound);
    /// [`Error::Stopped`](crate::Error::Stopped).
    pub fn resume_reads<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        let key = self.find(session.into())?;
        if let Some(connection) = self.table.get_mut(key)
            && connection.readiness.paused
        {
            connection.readiness.paused = false;
            if self.paused.is_none() && !connection.readiness.delayed {
                self.forgive(key, None);
            }
        }
        Ok(())
    }

    /// A session that has said all that it may has waited long enough. It stays paused while the
    /// host wants it so.
    pub(super) fn end_delay(&mut self, key: SessionKey) {
        if let Some(connection) = self.table.get_mut(key)
            && connection.readiness.delayed
        {
            connection.readiness.delayed = false;
            if self.paused.is_none() && !connection.readiness.paused {
                self.forgive(key, None);
            }
        }
    }

    /// Stops accepting, and reading from every session and handshake, until
    /// [`Sessions::resume_all_reads`]. Their clocks stand still meanwhile. O(1). While the manager
    /// stops, newcomers are read all the same, to be refused; once no session waits for its turn
    /// it cannot be paused: it has to read the close frames that it waits for.
    pub fn pause_all_reads(&mut self) {
        if self.paused.is_some() || (self.is_stopping() && !self.is_draining()) {
            return;
        }
        self.paused = Some(self.now);
    }

    /// Accepts and reads again, but for sessions that are paused themselves. Costs O(n).
    pub fn resume_all_reads(&mut self) {
        let Some(since) = self.paused.take() else { return };
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(connection) = self.table.get_mut(key) else { continue };
            let paused = connection.readiness.paused || connection.readiness.delayed;
            match &mut connection.stage {
                Stage::Session(session) => {
                    if paused {
                        session.record_pause(since);
                    } else {
                        self.forgive(key, Some(since));
                    }
                }
                Stage::Handshake(handshake) => {
                    let pause = self.now.saturating_duration_since(since.max(handshake.since));
                    handshake.deadline += pause;
                    handshake.since = self.now;
                    self.wheel.reschedule(connection.timer, handshake.deadline);
                    self.carry(key);
                }
                Stage::Lingering(_) => {}
            }
        }
    }

    /// Whether all reads are paused.
    #[must_use]
    pub fn are_reads_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Whether newcomers are accepted now: also where reads are paused, if it is to refuse them.
    pub(crate) fn accepts(&self) -> bool {
        self.paused.is_none() || self.is_stopping()
    }

    /// Whether nothing may be read from this connection for now. What closes or lingers is read
    /// all the same: no message comes of it.
    #[inline]
    pub(crate) fn is_paused(&self, key: SessionKey) -> bool {
        self.table.get(key).is_some_and(|connection| self.is_held(connection))
    }

    /// The same of a connection that was looked up already.
    #[inline]
    pub(super) fn is_held(&self, connection: &Connection) -> bool {
        let readiness = &connection.readiness;
        if self.paused.is_none() && !readiness.paused && !readiness.delayed {
            return false;
        }
        match &connection.stage {
            Stage::Session(session) => session.is_open(),
            Stage::Handshake(_) => !self.is_stopping(),
            Stage::Lingering(_) => false,
        }
    }

    /// Takes the pause that ends now out of a session's clocks, and reads what has waited. `all`
    /// is since when all reads were paused.
    fn forgive(&mut self, key: SessionKey, all: Option<Instant>) {
        let now = self.now;
        let Some(connection) = self.table.get_mut(key) else { return };
        let timer = connection.timer;
        let Stage::Session(session) = &mut connection.stage else { return };
        if let Some(since) = session.take_pause().into_iter().chain(all).min() {
            session.forgive(since, now);
        }
        if session.is_open() {
            match session.due(now, &self.config, self.life.turn(key)) {
                Due::At(at) => self.wheel.reschedule(timer, at),
                Due::Never => {}
                // Due now: the wheel says so at once.
                _ => self.wheel.reschedule(timer, now),
            }
        }
        self.carry(key);
    }
}

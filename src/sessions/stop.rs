//! Stopping: everybody is told, those who answer are waited for, and then there is nothing left.

use std::time::Instant;

use super::Sessions;
use super::lifecycle::Lifecycle;
use super::stats::HandshakeFailure;
use super::stopping::{Life, Phase, StopOptions, Stopping};
use super::table::{Connection, Peer, Stage};
use crate::close::Cause;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::SessionKey;
use crate::session::Socket;

impl Sessions {
    /// Stops the manager: newcomers are refused, every session is closed, close handshakes are
    /// awaited up to the grace, the rest are dropped, `on_disconnect` runs for each, and then
    /// [`SessionManager::run`](crate::SessionManager::run) returns. Costs O(n).
    ///
    /// Clients that are all told to go at one instant all come back at one instant. With a
    /// [`drain_window`](StopOptions::drain_window) each session is told at a moment of its own,
    /// drawn at random; until then it exchanges messages as ever, is found and counted, and its
    /// heartbeats go on. A session that is paused has its turn as well. The grace counts from each
    /// session's own turn, so the whole stop takes at most window and grace together, and less
    /// where the sessions are gone before.
    ///
    /// From the start of it, with or without a window, [`Sessions::phase`] says so,
    /// [`Handler::on_stopping`](crate::Handler::on_stopping) is told, and newcomers are counted as
    /// [`HandshakeFailure::Stopping`]: raw connections are dropped, [`Sessions::add_session`]
    /// refuses, and upgrades, also those that are parked or under way, are answered 503 with a
    /// `Retry-After`. That is at least one second, and at least the rest of the window; where the
    /// code is 1012, the rest of the stop, for only then another server can be there. A window's
    /// length more is drawn at random, so that those who are refused do not return together either.
    /// An HTTP connection that was kept after an answer is closed at once where it waits for its
    /// next request, and otherwise with its next answer.
    ///
    /// Called again while it stops, it can only shorten what is left of window and grace: those who
    /// wait for their turn keep their order and stand closer together, or are told at once. Code
    /// and reason stay those of the first call.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it has stopped already.
    pub fn stop(&mut self, options: StopOptions) -> Result<()> {
        match &mut self.life {
            Life::Running => {
                self.life = Life::Stopping(Stopping::new(options, self.now));
                self.lifecycle.push_back(Lifecycle::Stopping);
            }
            Life::Stopping(stopping) => stopping.hurry(&options, self.now),
            Life::Stopped => return Err(Error::Stopped),
        }
        self.end_drain_of_nobody();
        if !self.is_draining() {
            // Stopping must be able to read the close frames that it waits for.
            self.resume_all_reads();
        }
        let keys: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.stop_connection(key);
        }
        Ok(())
    }

    /// Whether [`Sessions::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// How far the manager is on its way to its end. A host that answers `/ready` does so by this:
    /// it is to get no more clients unless this is [`Phase::Running`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.life.phase()
    }

    /// Whether the manager stops, and open sessions wait for their turn.
    pub(super) fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// When a session is told to go, or now if that is due, it begins to close.
    pub(super) fn bid_farewell(&mut self, key: SessionKey) {
        let Some(stopping) = self.life.stopping() else { return };
        let (farewell, deadline) = (stopping.farewell().clone(), stopping.answer_by(self.now));
        self.show_out(key, Cause::Stopped, &farewell, deadline);
    }

    /// A paused session's clocks stand still, but its turn comes all the same.
    pub(super) fn await_turn(&mut self, key: SessionKey) {
        let Some(turn) = self.life.turn(key) else { return };
        if turn <= self.now {
            self.bid_farewell(key);
        } else if let Some(connection) = self.table.get(key)
            && self.wheel.deadline(connection.timer).is_none_or(|earlier| turn < earlier)
        {
            // What is set for before is the end of a delay.
            self.wheel.reschedule(connection.timer, turn);
        }
    }

    /// The last session that waited for its turn has gone, perhaps before the window's end.
    fn end_drain_of_nobody(&mut self) {
        if self.counters.open() == 0
            && let Life::Stopping(stopping) = &mut self.life
            && stopping.end_drain(self.now)
        {
            self.resume_all_reads();
        }
    }

    /// Ends what the grace, or the last session's end, leaves nothing to wait for; when nothing is
    /// left at all, the manager has stopped.
    pub(crate) fn finish_stopping(&mut self) {
        self.end_drain_of_nobody();
        let Some(deadline) = self.stop_deadline() else { return };
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
    fn stop_connection(&mut self, key: SessionKey) {
        let Some(stopping) = self.life.stopping() else { return };
        let Some(connection) = self.table.get(key) else { return };
        let deadline = match &connection.stage {
            Stage::Session(session) if session.is_open() => match self.life.turn(key) {
                Some(turn) => turn,
                None => return self.bid_farewell(key),
            },
            Stage::Session(_) => stopping.answer_by(self.now),
            Stage::Lingering(_) => stopping.deadline(),
            Stage::Handshake(_) => return self.refuse_stopping(key, stopping.deadline()),
        };
        let earlier = self.wheel.deadline(connection.timer);
        if earlier.is_none_or(|earlier| deadline < earlier) {
            self.wheel.reschedule(connection.timer, deadline);
        }
    }

    /// Checks that no session's turn to be told to go is forgotten: its timer is set for that, or
    /// for something before.
    ///
    /// # Panics
    ///
    /// When one would be told later, or never. Costs O(n) while the manager drains.
    pub(crate) fn audit_turns(&self) {
        if !self.is_draining() {
            // Nobody has a turn, and a million sessions are not gone through to learn that.
            return;
        }
        for (key, connection) in self.table.iter() {
            if let Some(turn) = self.life.turn(key)
                && let Some(session) = connection.open_session()
            {
                // The wheel counts in milliseconds, and rounds up.
                let latest = turn.max(self.now) + Config::MIN_TIMEOUT;
                let due = self.wheel.deadline(connection.timer);
                assert!(due.is_some_and(|due| due < latest), "the turn of {}", session.id());
            }
        }
    }

    /// When stopping ends at the latest.
    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        self.life.stopping().map(Stopping::deadline)
    }
}

//! What is done when a deadline of a connection has passed.

use super::Sessions;
use crate::close::{Cause, CloseCode};
use crate::connection::{
    Connection, Deadline, Due, Effects, HandshakeFailure, Session, SocketFate, State,
};
use crate::id::SessionKey;

/// What the tick has to do for a deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing more.
    Done,
    /// A deadline is about to end or change the connection: read from it once more, then call
    /// [`Sessions::expire_after_read`].
    ReadFirst(SessionKey),
}

impl Sessions {
    /// Takes the next connection whose timer is due, and does what is due for it. `None` when no
    /// timer is due.
    #[inline]
    pub(crate) fn expire_next(&mut self) -> Option<Expired> {
        let key = self.liveness.pop_expired(self.now)?;
        Some(self.expire(key, false))
    }

    /// The session was read once more. If nothing was received, it becomes inactive before it is
    /// closed, also if the timeout is shorter than two intervals.
    pub(crate) fn confirm_silence(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get(key) else { return };
        let is_silent = self.due(key, connection) == Due::Now(Deadline::Heartbeat);
        if is_silent && connection.open_session().is_some_and(Session::may_turn_inactive) {
            self.turn_inactive(key);
        }
    }

    /// The session was read once more: does what is still due.
    pub(crate) fn expire_after_read(&mut self, key: SessionKey) {
        self.expire(key, true);
    }

    /// Does what is due for a connection, until nothing is, and sets its timer to the next
    /// deadline. `was_read`: its socket was read just now, so nothing received can prevent it.
    fn expire(&mut self, key: SessionKey, was_read: bool) -> Expired {
        loop {
            let Some(connection) = self.table.get(key) else { return Expired::Done };
            match self.due(key, connection) {
                Due::At(at) => {
                    let timer = connection.timer();
                    self.liveness.schedule(timer, Due::At(at), self.now);
                    return Expired::Done;
                }
                Due::Never => return Expired::Done,
                Due::Now(Deadline::Ping) => self.send_ping(key),
                Due::Now(deadline) if !was_read && deadline.is_verdict() => {
                    return Expired::ReadFirst(key);
                }
                Due::Now(Deadline::Inactive) => self.turn_inactive(key),
                Due::Now(deadline) => {
                    // The step sets its timer. What is queued is flushed before it is checked
                    // again.
                    self.handle_deadline(key, deadline);
                    return Expired::Done;
                }
            }
        }
    }

    /// Handles a deadline that changes the connection for good.
    fn handle_deadline(&mut self, key: SessionKey, deadline: Deadline) {
        match deadline {
            Deadline::Ping | Deadline::Inactive => unreachable!("`expire` goes on after these"),
            Deadline::Heartbeat => {
                self.step(key, Connection::on_heartbeat_timeout);
            }
            Deadline::Idle => {
                self.close(key, Cause::IdleTimeout, &CloseCode::GOING_AWAY.into(), None);
            }
            Deadline::Drain => self.close_for_stop(key),
            Deadline::RateDelay => {
                let all_paused = self.liveness.is_all_paused();
                self.step(key, |connection, context| connection.end_delay(all_paused, context.now));
            }
            Deadline::Request => {
                self.step(key, |connection, _| connection.abandon(HandshakeFailure::TimedOut));
            }
            Deadline::Decision => self.refuse(key, HandshakeFailure::ApplicationTimedOut),
            Deadline::Close => {
                self.step(key, |connection, _| connection.finish(SocketFate::Drop));
            }
            Deadline::Linger => self.remove(key),
        }
    }

    /// Records a ping, and queues it. Without room for it, the peer has not read what is queued
    /// already.
    #[inline]
    fn send_ping(&mut self, key: SessionKey) {
        let connection = self.table.expect(key);
        let session = connection.expect_session();
        session.record_ping(session.since_connected(self.now));
        self.delivery.queue_ping(key, connection);
    }

    fn turn_inactive(&mut self, key: SessionKey) {
        self.step(key, |connection, _| {
            connection.expect_session().record_inactive();
            Effects { state: Some(State::Inactive), ..Effects::NONE }
        });
    }
}

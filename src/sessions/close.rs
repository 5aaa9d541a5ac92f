//! Closing sessions, and removing those that have ended from the table.

use std::time::Instant;

use super::Sessions;
use super::delivery::Flushed;
use crate::close::{Cause, CloseReason};
use crate::connection::{Connection, Disconnect, SocketFate, Stage, StepContext};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey, SessionRef};

/// Closing sessions.
impl Sessions {
    /// Closes a session with 1000, cause [`Cause::Removed`]. Over raw TCP its stream is ended.
    ///
    /// What is queued for it is still sent. From now on the session is not found. The peer's close
    /// frame is awaited up to [`Config::close_timeout`](crate::Config::close_timeout), then
    /// `on_disconnect` runs.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`].
    pub fn remove_session<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        self.close_session(session, &CloseReason::default())
    }

    /// The same with a code and a reason for the peer.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`].
    pub fn close_session<'a>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        reason: &CloseReason,
    ) -> Result<()> {
        if self.is_stopping() && !self.is_draining() {
            return Err(Error::Stopped);
        }
        let key = self.find(session.into())?;
        let deadline = self.now + self.config.close_timeout;
        self.close(key, Cause::Removed, reason, Some(deadline));
        Ok(())
    }

    /// Closes a session with a close frame. With a deadline, its answer is awaited until then.
    pub(super) fn close(
        &mut self,
        key: SessionKey,
        cause: Cause,
        reason: &CloseReason,
        answer_by: Option<Instant>,
    ) {
        self.step(key, |connection, context| connection.close(cause, reason, answer_by, context));
    }

    /// Closes a session for the current stop.
    pub(super) fn close_for_stop(&mut self, key: SessionKey) {
        let reason = self.shutdown.reason().expect("a stop is under way").clone();
        self.close(key, Cause::Stopped, &reason, self.shutdown.answer_by(self.now));
    }

    /// Frees the id of a session that is closing: its `on_disconnect` runs before any callback of
    /// the session that gets the id.
    pub(super) fn free_id(&mut self, id: &SessionId) {
        if let Some(older) = self.table.find(id) {
            self.step(older, |connection, _| {
                let ending = connection.expect_session().ending();
                let socket = ending.map_or(SocketFate::Drop, |ending| ending.socket);
                connection.finish(socket)
            });
            self.table.remove_id(older);
        }
    }

    /// Removes a session that has ended from the table. Its socket lingers in the same slot, or is
    /// dropped. `None` if the session is gone.
    pub(crate) fn remove_ended(&mut self, key: SessionKey) -> Option<Disconnect> {
        let connection = self.table.get_mut(key)?;
        let address = connection.address();
        let may_linger = connection.session()?.ending()?.socket == SocketFate::Linger;
        if may_linger {
            // Flushed first, so that as few messages as possible are pending. A socket that fails
            // now is dropped at its next read or write.
            let _: Flushed = self.delivery.flush(connection);
        }
        self.table.remove_id(key);
        let (session, pending) = if may_linger && self.admission.may_linger(address) {
            let pending = self.delivery.count_waiting(self.table.expect(key).outbox());
            let linger = |connection: &mut Connection, context: &mut StepContext<'_>| {
                connection.linger_after_session(context)
            };
            (self.step_with(key, linger)?, pending)
        } else {
            let mut connection = self.take_out(key)?;
            self.delivery.drop_all(connection.expect_session());
            let Stage::Session(session) = connection.stage else {
                unreachable!("it was a session just now");
            };
            (session, 0)
        };
        let disconnect = session.into_disconnect(pending, self.now);
        self.counters.count_disconnect(disconnect.cause);
        Some(disconnect)
    }
}

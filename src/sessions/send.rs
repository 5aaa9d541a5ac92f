//! Sending to one, several, or all sessions.

use super::Sessions;
use super::delivery::{Delivery, Flushed, SendOutcome};
use crate::codec::Encoded;
use crate::config::SlowConsumer;
use crate::connection::{Connection, Session, Stage};
use crate::error::{Error, Result};
use crate::id::{SessionKey, SessionRef};
use crate::message::{AsMessage, Message};

/// How many connections are flushed in a row. Between two parts new connections are accepted.
const FLUSH_PART: usize = 512;

/// Sending messages.
impl Sessions {
    /// Sends a message to one session, at the end of the tick, together with the session's other
    /// messages. Two kinds are sent earlier: an answer to a session, as soon as all that was read
    /// from it was processed, if no other session has anything to send; and a message of 8 KiB or
    /// more for which nothing has to wait, at once, which saves a copy.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`]; [`Error::OutboxFull`], after which the
    /// slow-consumer policy may close the session; [`Error::MessageTooBig`] and
    /// [`Error::Unframeable`], after which the session stays open.
    #[inline]
    pub fn send_to<'a>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        message: impl AsMessage,
    ) -> Result<()> {
        let key = match session.into() {
            SessionRef::Key(key) => key,
            SessionRef::Id(id) => self.table.find(id).ok_or_else(|| self.not_found())?,
        };
        // Split by kind here, because the parts of a message are passed in registers. A whole
        // message would be passed in memory, and reading back a value that was just written in
        // parts stalls the processor.
        match message.as_message() {
            Message::Text(text) => self.send_text(key, text),
            Message::Binary(bytes) => self.send_binary(key, bytes),
        }
    }

    #[inline(never)]
    fn send_text(&mut self, key: SessionKey, text: &str) -> Result<()> {
        self.send(key, text)
    }

    #[inline(never)]
    fn send_binary(&mut self, key: SessionKey, bytes: &[u8]) -> Result<()> {
        self.send(key, bytes)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each caller knows what kind of message it is")]
    fn send<'m>(&mut self, key: SessionKey, message: impl Into<Message<'m>> + Copy) -> Result<()> {
        let Some(connection) = self.table.get_mut(key) else {
            return self.send_to_moved(key, message.into());
        };
        self.budget.spend(1);
        match self.delivery.send(key, connection, message) {
            SendOutcome::Queued => Ok(()),
            outcome => self.settle_failure(key, outcome, message.into()),
        }
    }

    /// Sends a message to every open session. It is encoded once for each wire format in use. A
    /// session that is slow or fails does not affect the others. Costs O(n).
    pub fn broadcast(&mut self, message: impl AsMessage) -> Delivery {
        self.deliver(message.as_message(), |_, _| true)
    }

    /// Sends a message to every open session for which `predicate` holds. Costs O(n).
    pub fn broadcast_where(
        &mut self,
        message: impl AsMessage,
        mut predicate: impl FnMut(&Session) -> bool,
    ) -> Delivery {
        self.deliver(message.as_message(), |_, session| predicate(session))
    }

    /// Sends a message to every open session but one, which need not exist. Costs O(n).
    pub fn broadcast_others<'a>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        message: impl AsMessage,
    ) -> Delivery {
        let except = self.table.find_open(session.into());
        self.deliver(message.as_message(), |key, _| Some(key) != except)
    }

    /// Sends a message to each of these sessions, twice to one that is named twice. Sessions that
    /// are not found count as refused. Costs O(m) in the number of names.
    pub fn send_to_many<'a, R: Into<SessionRef<'a>>>(
        &mut self,
        sessions: impl IntoIterator<Item = R>,
        message: impl AsMessage,
    ) -> Delivery {
        let mut encoded = Encoded::new(message.as_message());
        let mut delivery = Delivery::default();
        for session in sessions {
            self.budget.spend(1);
            let key = self.table.find_open(session.into());
            let sent = key.is_some_and(|key| self.send_encoded(key, &mut encoded).is_ok());
            delivery.count(sent);
        }
        delivery
    }

    fn deliver(
        &mut self,
        message: Message<'_>,
        wanted: impl FnMut(SessionKey, &Session) -> bool,
    ) -> Delivery {
        self.budget.spend(self.table.len());
        if !self.delivery.has_batch_room(message.len()) {
            // Beyond a full batch each outbox would get its own copy of each message.
            self.flush();
        }
        let mut encoded = Encoded::new(message);
        let done = self.delivery.broadcast(&mut self.table, &mut encoded, wanted);
        let mut delivery = done.delivery;
        for (key, outcome) in done.failed {
            // The session is to be closed; delivery has counted the refusal.
            let _ = self.settle(key, outcome);
        }
        for key in done.without_room {
            delivery.count(self.send_encoded(key, &mut encoded).is_ok());
        }
        delivery
    }

    fn send_encoded(&mut self, key: SessionKey, encoded: &mut Encoded<'_>) -> Result<()> {
        let connection = self.table.get_mut(key);
        let Some(connection) = connection.filter(|c| c.open_session().is_some()) else {
            return Err(Error::SessionNotFound);
        };
        let outcome = match encoded.frame(&connection.expect_session().codec) {
            Ok(frame) => match self.delivery.send_shared(key, connection, frame) {
                SendOutcome::TotalFull => {
                    // Once more, after all outboxes together were reduced.
                    let may_send = self.make_total_room(key, frame.bytes().len());
                    let open = self.table.get_mut(key).filter(|c| c.open_session().is_some());
                    let sent = open
                        .filter(|_| may_send)
                        .map(|connection| self.delivery.send_shared(key, connection, frame));
                    match sent {
                        None | Some(SendOutcome::TotalFull) => {
                            self.delivery.refuse(Error::OutboxFull)
                        }
                        Some(outcome) => outcome,
                    }
                }
                outcome => outcome,
            },
            Err(error) => self.delivery.refuse_unencoded(connection, error),
        };
        self.settle(key, outcome)
    }

    /// Sends to a session that is in another slot than its key says, if it is there.
    #[cold]
    fn send_to_moved(&mut self, key: SessionKey, message: Message<'_>) -> Result<()> {
        let current = self.table.current_key(key);
        if current == key {
            return Err(self.not_found());
        }
        self.send_encoded(current, &mut Encoded::new(message))
    }

    /// Handles a message for one session that was not queued.
    #[cold]
    fn settle_failure(
        &mut self,
        key: SessionKey,
        outcome: SendOutcome,
        message: Message<'_>,
    ) -> Result<()> {
        match outcome {
            SendOutcome::TotalFull => self.send_encoded(key, &mut Encoded::new(message)),
            outcome => self.settle(key, outcome),
        }
    }

    fn settle(&mut self, key: SessionKey, outcome: SendOutcome) -> Result<()> {
        match outcome {
            SendOutcome::Queued => Ok(()),
            SendOutcome::Refused(error) => Err(error),
            SendOutcome::TotalFull => unreachable!("the callers make room and send once more"),
            SendOutcome::SlowConsumer => {
                self.step(key, Connection::on_slow_consumer);
                Err(Error::OutboxFull)
            }
            SendOutcome::Broken(error) => {
                self.step(key, |connection, context| connection.on_io_error(&error, context));
                Err(Error::SessionNotFound)
            }
        }
    }

    /// Sends a control frame to a session, if its outbox's reserve has room.
    pub(crate) fn send_control(&mut self, key: SessionKey, frame: &[u8]) -> bool {
        let connection = self.table.expect(key);
        self.delivery.queue_control(key, connection, frame)
    }
}

/// Flushing outboxes, and making room in all of them together.
impl Sessions {
    /// Flushes every marked connection, once each.
    pub(crate) fn flush(&mut self) {
        // A session that ends by this may be marked again, at the end of the list.
        while let Some((key, flushed)) = self.delivery.flush_to(usize::MAX, &mut self.table) {
            self.settle_flush(key, &flushed);
        }
        self.delivery.end_flush();
    }

    /// Flushes the next marked connections, not more than [`FLUSH_PART`]. Returns whether others
    /// are left.
    #[inline]
    pub(crate) fn flush_part(&mut self) -> bool {
        if self.delivery.marked_count() == 0 {
            self.delivery.end_flush();
            return false;
        }
        self.flush_some()
    }

    #[inline(never)]
    fn flush_some(&mut self) -> bool {
        let end = self.delivery.end_of_part(FLUSH_PART);
        while let Some((key, flushed)) = self.delivery.flush_to(end, &mut self.table) {
            self.settle_flush(key, &flushed);
        }
        let is_left = self.delivery.marked_count() > 0;
        if !is_left {
            self.delivery.end_flush();
        }
        is_left
    }

    /// Whether so many connections are to be flushed that a new one should not wait for them.
    pub(crate) fn has_long_flush(&self) -> bool {
        self.delivery.marked_count() > FLUSH_PART
    }

    /// Flushes one connection before the others that are marked.
    pub(crate) fn flush_first(&mut self, key: SessionKey) {
        if let Some(connection) = self.table.get_mut(key) {
            let flushed = self.delivery.flush(connection);
            self.settle_flush(key, &flushed);
        }
    }

    /// Flushes one connection, if no other is marked and no notice is queued, which might cause
    /// more to be sent. Its answer is still in the processor's cache then. If other connections are
    /// marked, more may be queued for this one in the same tick, and all of it is sent at the end
    /// in one write.
    #[inline]
    pub(crate) fn flush_alone(&mut self, key: SessionKey) {
        if self.notices.is_empty()
            && self.delivery.take_only(key)
            && let Some(connection) = self.table.get_mut(key)
            && let Some(flushed) = self.delivery.flush_marked(connection)
        {
            self.settle_flush(key, &flushed);
        }
    }

    /// Flushes a connection although its socket was full: before one of its deadlines ends it, or to
    /// see what the peer has taken. The event that announces a writable socket may not have been seen
    /// yet.
    pub(crate) fn flush_last(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        if !connection.outbox().is_empty() {
            connection.flags.writable = true;
            self.flush_first(key);
        }
    }

    /// Does what is left to be done for a connection that was flushed.
    #[cold]
    fn settle_flush(&mut self, key: SessionKey, flushed: &Flushed) {
        match flushed {
            Flushed::Empty => self.step(key, Connection::on_flushed),
            Flushed::Blocked => {}
            Flushed::Broken(error) => {
                self.step(key, |connection, context| connection.on_io_error(error, context));
            }
        }
    }

    /// Flushes all outboxes. If that is not enough, reduces the fullest outboxes or closes their
    /// sessions, as the slow-consumer policy says. Returns whether the session of this key may be
    /// sent `wire` bytes more.
    #[cold]
    fn make_total_room(&mut self, key: SessionKey, wire: usize) -> bool {
        // An earlier message of the same call may have found that nothing more can be dropped.
        if self.delivery.is_exhausted() {
            return false;
        }
        self.flush();
        if self.delivery.has_total_room(wire) {
            return true;
        }
        let eviction = self.delivery.begin_eviction(&self.table, wire);
        if self.delivery.policy() == SlowConsumer::Close {
            for (_, fullest) in &eviction.fullest {
                if self.delivery.has_reached_goal(&eviction) {
                    break;
                }
                self.evict(*fullest);
            }
            return self.delivery.has_total_room(wire);
        }
        let level = eviction.level();
        let mut is_among_them = false;
        for (_, fullest) in eviction.fullest.iter().take_while(|(size, _)| *size > level) {
            is_among_them |= *fullest == key;
            let connection = self.table.expect(*fullest);
            if let Stage::Session(_) = connection.stage {
                self.delivery.reduce(*fullest, connection, level);
            } else {
                self.remove(*fullest);
            }
        }
        self.delivery.end_eviction(&eviction);
        let is_refused = is_among_them && self.delivery.policy() == SlowConsumer::DropNewest;
        !is_refused && self.delivery.has_total_room(wire)
    }

    /// Ends a connection because of the size of its outbox, which is freed at once.
    fn evict(&mut self, key: SessionKey) {
        if self.table.expect(key).session().is_none() {
            self.remove(key);
            return;
        }
        self.step(key, Connection::on_slow_consumer);
        self.delivery.drop_all(self.table.expect(key).expect_session());
    }
}

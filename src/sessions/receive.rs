//! Reading connections and decoding what sessions send.

use std::io;

use super::Sessions;
use super::liveness::Rate;
use crate::close::{Cause, CloseCode, CloseReason};
use crate::codec::{Codec, CodecError, Event};
use crate::connection::{Connection, Effects, HandshakeFailure, Input, Received, Session, State};
use crate::id::SessionKey;
use crate::message::Message;

/// The readiness of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of the stream, an error or urgent data is pending. No further edge announces it.
    pub(crate) until_end: bool,
}

/// A decoded event of a session.
pub(crate) enum Decoded<'a> {
    /// A text message in one piece, of an open session, already counted.
    Text(&'a str),
    /// The same for a binary message.
    Binary(&'a [u8]),
    /// Anything else. A message of an open session was counted.
    Other { event: Result<Event<'a>, CodecError>, is_open: bool },
}

impl Sessions {
    /// Records the readiness of a connection, and begins to read it if it is readable. Nothing is
    /// read if it is gone, or in the list of those to be read in the next tick. If it became
    /// writable, it is marked for the flush.
    #[inline]
    pub(crate) fn handle_readiness(
        &mut self,
        key: SessionKey,
        readiness: Readiness,
        buffer: &mut [u8],
    ) -> Received {
        let Some(connection) = self.table.get_mut(key) else { return Received::Nothing };
        let readable = readiness.readable || readiness.until_end;
        connection.flags.readable |= readable;
        connection.flags.until_end |= readiness.until_end;
        self.delivery.record_writable(key, connection, readiness.writable);
        if !readable || connection.flags.carried {
            return Received::Nothing;
        }
        if self.liveness.limits_rates() {
            return self.begin_receiving(key, buffer);
        }
        let all = self.liveness.pause_of_all(self.shutdown.is_stopping());
        let received = connection.begin_receiving(buffer, all, self.now);
        self.record_received(key, received)
    }

    /// Begins to read a connection in a tick.
    pub(crate) fn begin_receiving(&mut self, key: SessionKey, buffer: &mut [u8]) -> Received {
        let all = self.pause_of_all();
        let Some(connection) = self.table.get_mut(key) else { return Received::Nothing };
        match connection.begin_tick(all) {
            Some(unread) => Received::Unread(unread),
            None => self.receive(key, buffer),
        }
    }

    /// Records readiness of a connection that was read in this tick already: it is read in the next
    /// one.
    #[cold]
    pub(crate) fn defer_readiness(&mut self, key: SessionKey, readiness: Readiness) {
        let Some(connection) = self.table.get_mut(key) else { return };
        let readable = readiness.readable || readiness.until_end;
        self.delivery.record_writable(key, connection, readiness.writable);
        connection.flags.readable |= readable;
        connection.flags.until_end |= readiness.until_end;
        if readable {
            self.carry(key);
        }
    }

    /// Reads a connection once more in a tick, if it is to be read and there may be something to
    /// read.
    #[inline]
    pub(crate) fn receive(&mut self, key: SessionKey, buffer: &mut [u8]) -> Received {
        let all = self.pause_of_all();
        let Some(connection) = self.table.get_mut(key) else { return Received::Nothing };
        let mut most = buffer.len();
        let is_metered = self.liveness.is_metered(connection);
        if is_metered {
            if !connection.may_read(all) {
                return Received::Nothing;
            }
            match self.liveness.grant_read(key, most, self.now) {
                Ok(granted) => most = granted,
                Err(rate) => {
                    self.exceed_rate(key, rate);
                    return Received::Nothing;
                }
            }
        }
        let mut received = connection.receive(&mut buffer[..most], all, self.now);
        if let Received::Session { metered, .. } = &mut received {
            *metered = is_metered;
        }
        self.record_received(key, received)
    }

    #[inline]
    fn record_received(&mut self, key: SessionKey, received: Received) -> Received {
        if let Received::Session { was_inactive: true, .. } = received {
            self.end_inactivity(key);
        }
        received
    }

    /// Marks a connection to be read to its end without an edge: its deadline is about to end it,
    /// or an end of stream was found that nothing could be done with.
    pub(crate) fn set_readable(&mut self, key: SessionKey, until_end: bool) {
        if let Some(connection) = self.table.get_mut(key) {
            connection.flags.readable = true;
            connection.flags.until_end |= until_end;
        }
    }

    /// A lingering socket has read `count` bytes.
    pub(crate) fn discard(&mut self, key: SessionKey, count: usize) {
        self.step(key, |connection, _| connection.discard(count));
    }

    /// Where a connection's input goes.
    #[inline]
    pub(crate) fn input(&self, key: SessionKey) -> Input {
        self.table.get(key).map_or(Input::Unread, Connection::input)
    }

    /// Whether a rate is limited and this connection is an open session.
    pub(crate) fn is_metered(&self, key: SessionKey) -> bool {
        self.liveness.limits_rates()
            && self.table.get(key).is_some_and(|connection| self.liveness.is_metered(connection))
    }

    /// Records that a session sent bytes, which were read before.
    pub(crate) fn record_activity(&mut self, key: SessionKey) {
        if self.table.expect(key).expect_session().record_activity(self.now) {
            self.end_inactivity(key);
        }
    }

    /// Marks a connection to be read in the next tick, because its budget for this one is used up.
    pub(crate) fn carry_rest(&mut self, key: SessionKey) {
        let all = self.pause_of_all();
        if self.table.get(key).is_some_and(|connection| connection.may_read(all)) {
            self.carry(key);
        }
    }

    /// Copies input that is to be processed later. A connection for which there is no memory ends.
    pub(crate) fn copy_unread(&mut self, key: SessionKey, bytes: &[u8]) {
        let mut unread = Vec::new();
        if unread.try_reserve_exact(bytes.len()).is_ok() {
            unread.extend_from_slice(bytes);
            self.keep_unread(key, unread);
        } else if self.input(key) == Input::Session {
            self.end_by_codec(key, &CodecError::MessageTooBig { max: 0 });
        } else if self.has_connection(key) {
            self.step(key, |connection, _| connection.abandon(HandshakeFailure::ConnectionLost));
        }
    }

    /// Keeps input that is to be processed later. The input of a connection that is gone is
    /// dropped. If its turn is over, it is read on in the next tick, after those that wait already.
    pub(crate) fn keep_unread(&mut self, key: SessionKey, bytes: Vec<u8>) {
        if let Some(connection) = self.table.get_mut(key) {
            let has_unread = !bytes.is_empty();
            connection.keep_unread(bytes);
            if has_unread && self.budget.is_turn_over() {
                self.carry(key);
            }
        }
    }

    /// Takes the input of a closing session that was read and is not decoded yet.
    pub(crate) fn take_unread_of_closing(&mut self, key: SessionKey) -> Option<Vec<u8>> {
        self.any_session_mut(key).filter(|session| !session.is_open())?.take_unread()
    }

    /// Decodes the next event of a session from the front of its input. `None` when the input is
    /// consumed, or the session is no longer read.
    ///
    /// Messages are counted against their limit only if the session is `METERED`.
    ///
    /// Messages in one piece are kept apart from all other events, so that their parts stay in
    /// registers.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "one of the few calls for each message")]
    #[expect(clippy::mut_mut, reason = "the input is consumed from the front")]
    pub(crate) fn decode<'a, const METERED: bool>(
        &mut self,
        key: SessionKey,
        input: &mut &'a mut [u8],
    ) -> Option<Decoded<'a>> {
        let session = self.table.get_mut(key)?.session_mut()?;
        if !session.is_open() {
            return self.decode_other::<METERED>(key, input);
        }
        let message = match &mut session.codec {
            Codec::WebSocket(websocket) => match websocket.decode_short(input) {
                Some(message) => message,
                None if input.is_empty() => return None,
                None => match websocket.decode_long(input) {
                    Some(message) => message,
                    None => return self.decode_other::<METERED>(key, input),
                },
            },
            Codec::Raw(decoder) => match decoder.decode(input).transpose()? {
                Ok(Event::Message(message)) => Ok(message),
                event => return self.count_event::<METERED>(key, event),
            },
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return Some(Decoded::Other { event: Err(error), is_open: true }),
        };
        if METERED && !self.liveness.take_message(key, self.now) {
            self.exceed_rate(key, Rate::Messages);
            return None;
        }
        self.budget.spend_message();
        session.record_message(message.len());
        self.counters.received.messages += 1;
        self.counters.received.bytes += message.len() as u64;
        match message {
            Message::Text(text) => Some(Decoded::Text(text)),
            Message::Binary(bytes) => Some(Decoded::Binary(bytes)),
        }
    }

    /// The same for all but a message in one piece of an open session.
    #[inline(never)]
    #[expect(clippy::mut_mut, reason = "the input is consumed from the front")]
    fn decode_other<'a, const METERED: bool>(
        &mut self,
        key: SessionKey,
        input: &mut &'a mut [u8],
    ) -> Option<Decoded<'a>> {
        let session = self.table.expect(key).expect_session();
        if !session.is_read() {
            return None;
        }
        let event = session.codec.decode(input).transpose()?;
        self.count_event::<METERED>(key, event)
    }

    /// Counts an event that was decoded, unless its session exceeds its rate by it.
    #[inline(never)]
    fn count_event<'a, const METERED: bool>(
        &mut self,
        key: SessionKey,
        event: Result<Event<'a>, CodecError>,
    ) -> Option<Decoded<'a>> {
        let session = self.table.expect(key).expect_session();
        let is_open = session.is_open();
        if METERED
            && is_open
            && counts(&event, session)
            && !self.liveness.take_message(key, self.now)
        {
            self.exceed_rate(key, Rate::Messages);
            return None;
        }
        self.budget.spend_message();
        if is_open {
            let payload = match &event {
                Ok(Event::Message(message)) => Some(message.len()),
                Ok(Event::Assembled(message)) => Some(message.as_message().len()),
                _ => None,
            };
            if let Some(payload) = payload {
                session.record_message(payload);
                self.counters.received.messages += 1;
                self.counters.received.bytes += payload as u64;
            }
        }
        Some(Decoded::Other { event, is_open })
    }

    /// Keeps what a session has sent beyond its turn.
    #[cold]
    #[inline(never)]
    pub(crate) fn end_turn(&mut self, key: SessionKey, input: &[u8]) {
        self.keep_unread(key, input.to_vec());
    }

    /// Takes as many of `count` bytes as a metered session may send now.
    pub(crate) fn take_bytes(&mut self, key: SessionKey, count: usize) -> usize {
        self.liveness.take_bytes(key, count, self.now)
    }

    /// Whether the next message of a session has to wait for a token.
    pub(crate) fn must_wait(&mut self, key: SessionKey) -> bool {
        self.is_metered(key) && self.liveness.must_wait(key, self.now)
    }

    /// A metered session's turn is over: `left` bytes that were counted already have to wait.
    pub(crate) fn return_bytes(&mut self, key: SessionKey, left: usize) {
        self.liveness.give_back_bytes(key, left);
    }

    /// Messages have to wait, and with them `left` bytes that were counted already.
    pub(crate) fn delay_messages(&mut self, key: SessionKey, left: usize) {
        self.liveness.give_back_bytes(key, left);
        self.exceed_rate(key, Rate::Messages);
    }

    /// More bytes were received than a session may send now. Returns whether they have to wait;
    /// otherwise the session is closed.
    pub(crate) fn exceed_bytes(&mut self, key: SessionKey) -> bool {
        self.exceed_rate(key, Rate::Bytes)
    }

    /// A session exceeded a limit: its reads are delayed until it has tokens again, or it is
    /// closed. Returns whether it is delayed; its clocks stand still meanwhile.
    fn exceed_rate(&mut self, key: SessionKey, rate: Rate) -> bool {
        if let Some(until) = self.liveness.exceed(key, rate, self.now) {
            self.step(key, |connection, context| connection.delay(until, context.now));
            return true;
        }
        let code = CloseCode::POLICY_VIOLATION;
        let reason = CloseReason::new(code.get(), self.liveness.exceeded_reason(rate))
            .expect("a limit's number and unit fit into a close frame");
        self.close(key, Cause::RateLimited, &reason, None);
        false
    }

    /// An inactive session has sent something.
    #[cold]
    fn end_inactivity(&mut self, key: SessionKey) {
        self.counters.end_inactivity();
        // Its timer waits for the timeout, or for nothing; the next ping is due before.
        let state = Some(State::Active);
        self.apply(key, Effects { reschedule: true, state, ..Effects::NONE });
    }

    /// The peer's close frame was received.
    pub(crate) fn end_by_peer(
        &mut self,
        key: SessionKey,
        code: Option<CloseCode>,
        reason: Box<str>,
    ) {
        self.step(key, |connection, context| connection.on_close_frame(code, reason, context));
    }

    /// The peer violated the protocol or a limit. A session that is closing already is no longer
    /// read.
    pub(crate) fn end_by_codec(&mut self, key: SessionKey, error: &CodecError) {
        self.step(key, |connection, context| connection.on_codec_error(error, context));
    }

    /// The peer ended its stream. If a callback has just closed the session, the end is left for
    /// its lingering socket to find: no event announces it twice.
    pub(crate) fn end_of_stream(&mut self, key: SessionKey) {
        match self.input(key) {
            Input::Unread => self.set_readable(key, true),
            _ => self.step(key, Connection::on_end_of_stream),
        }
    }

    /// A read failed.
    pub(crate) fn end_by_error(&mut self, key: SessionKey, error: &io::Error) {
        if self.input(key) == Input::Http {
            self.step(key, |connection, _| connection.abandon(HandshakeFailure::ConnectionLost));
        } else if self.has_connection(key) {
            self.step(key, |connection, context| connection.on_io_error(error, context));
        }
    }
}

/// Whether an event counts against the limit on messages: frames that cost as much as a message do.
/// A pong that answers one of this side's pings does not.
fn counts(event: &Result<Event<'_>, CodecError>, session: &mut Session) -> bool {
    match event {
        Ok(Event::Pong(_)) => !session.take_awaited_pong(),
        Ok(Event::Message(_) | Event::Assembled(_) | Event::Ping(_) | Event::EmptyContinuation) => {
            true
        }
        Ok(Event::Close { .. }) | Err(_) => false,
    }
}

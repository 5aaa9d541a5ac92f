//! What the tick does to a connection that it reads from.

use super::Sessions;
use super::rates::Rate;
use super::table::{Connection, Stage};
use crate::codec::{CodecError, Event};
use crate::id::SessionKey;
use crate::message::Message;
use crate::session::{Awaits, Session};
use crate::transport::Read;

/// What a connection's input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A session's codec.
    Session,
    /// A request.
    Handshake,
    /// Nobody: it is thrown away.
    Lingering,
    /// Nobody, and it is left in the socket.
    Nothing,
}

/// What a session says.
pub(crate) enum Heard<'a> {
    /// What nearly all of them say: a message in one piece, of an open session, and counted.
    Text(&'a str),
    /// The same in bytes.
    Binary(&'a [u8]),
    /// Anything else. A message of an open session was counted.
    Other { event: Result<Event<'a>, CodecError>, is_open: bool },
}

impl Sessions {
    /// Notes what the system said of a connection, and says whether there is one that is not
    /// carried over: then the next tick reads it. What can be written again is marked for the
    /// flush.
    #[inline]
    pub(crate) fn note_readiness(
        &mut self,
        key: SessionKey,
        readable: bool,
        writable: bool,
        until_end: bool,
    ) -> bool {
        let Some(connection) = self.table.get_mut(key) else { return false };
        connection.readiness.readable |= readable;
        connection.readiness.until_end |= until_end;
        let is_carried = connection.readiness.in_carry;
        if writable && !connection.readiness.writable {
            connection.readiness.writable = true;
            let outbox = match &connection.stage {
                Stage::Session(session) => &session.outbox,
                Stage::Lingering(lingering) => &lingering.outbox,
                Stage::Handshake(handshake) => &handshake.outbox,
            };
            if !outbox.is_empty() {
                self.outgoing.mark(key, &mut connection.readiness, outbox);
            }
        }
        !is_carried
    }

    /// Whether there may be something to read, and somebody to read it for.
    pub(crate) fn may_read(&self, key: SessionKey) -> bool {
        self.table.get(key).is_some_and(|connection| self.is_readable(connection))
    }

    #[inline]
    fn is_readable(&self, connection: &Connection) -> bool {
        connection.readiness.readable
            && reading(connection) != Reading::Nothing
            && !self.is_held(connection)
    }

    /// What a connection's input is for.
    #[inline]
    pub(crate) fn reading(&self, key: SessionKey) -> Reading {
        self.table.get(key).map_or(Reading::Nothing, reading)
    }

    /// Reads once, and notes whether the socket is drained by that. None when there is nothing to
    /// read, or it is not to be read for now.
    #[inline]
    pub(crate) fn read(&mut self, key: SessionKey, buffer: &mut [u8]) -> Option<Read> {
        if !self.is_readable(self.table.get(key)?) {
            return None;
        }
        let most = self.grant_read(key, buffer.len())?;
        let connection = self.table.get_mut(key)?;
        let read = connection.transport.read(&mut buffer[..most], connection.readiness.until_end);
        connection.readiness.readable = matches!(read, Read::Bytes { drained: false, .. });
        Some(read)
    }

    /// Takes bytes that were read before they could be heard, unless reads are paused.
    #[inline]
    pub(crate) fn take_unread(&mut self, key: SessionKey) -> Option<Vec<u8>> {
        if self.is_held(self.table.get(key)?) {
            return None;
        }
        match &mut self.table.get_mut(key)?.stage {
            Stage::Session(session) => session.take_unread(),
            Stage::Handshake(handshake) => handshake.begin_turn(),
            Stage::Lingering(_) => None,
        }
    }

    /// Keeps bytes that were read, and that are to be heard later.
    pub(crate) fn keep_unread(&mut self, key: SessionKey, bytes: Vec<u8>) {
        match self.table.get_mut(key).map(|connection| &mut connection.stage) {
            Some(Stage::Session(session)) => session.set_unread(bytes),
            Some(Stage::Handshake(handshake)) => handshake.keep_unread(bytes),
            Some(Stage::Lingering(_)) | None => {}
        }
    }

    /// Takes what a session says next off the front of its input. None when the input is used up,
    /// or nobody reads it.
    ///
    /// Only where the session is `METERED`, messages are counted against their limit.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for each message it is one of few calls")]
    #[expect(clippy::mut_mut, reason = "the input is used up from the front")]
    pub(crate) fn decode<'a, const METERED: bool>(
        &mut self,
        key: SessionKey,
        input: &mut &'a mut [u8],
    ) -> Option<Heard<'a>> {
        let session = self.table.get_mut(key)?.session_mut()?;
        if !is_read(session) {
            return None;
        }
        let event = session.codec.decode(input).transpose()?;
        let is_open = session.is_open();
        if METERED
            && is_open
            && let Some(rates) = &mut self.rates
            && counts(&event)
            && !rates.take_message(key.slot(), self.now)
        {
            self.end_over_rate(key, Rate::Messages);
            return None;
        }
        let payload = match &event {
            Ok(Event::Message(message)) if is_open => message.len(),
            Ok(Event::Assembled(message)) if is_open => message.as_message().len(),
            _ => return Some(Heard::Other { event, is_open }),
        };
        session.record_message(payload);
        self.counters.received.messages += 1;
        self.counters.received.bytes += payload as u64;
        match event {
            Ok(Event::Message(Message::Text(text))) => Some(Heard::Text(text)),
            Ok(Event::Message(Message::Binary(bytes))) => Some(Heard::Binary(bytes)),
            event => Some(Heard::Other { event, is_open }),
        }
    }
}

/// Whether an event is a message to the limit on their rate: a ping is, for it is answered.
fn counts(event: &Result<Event<'_>, CodecError>) -> bool {
    matches!(event, Ok(Event::Message(_) | Event::Assembled(_) | Event::Ping(_)))
}

/// What a connection's input is for.
#[inline]
fn reading(connection: &Connection) -> Reading {
    match &connection.stage {
        Stage::Session(session) if is_read(session) => Reading::Session,
        Stage::Handshake(handshake) if handshake.may_go_on() => Reading::Handshake,
        // What comes behind a parked request stays in the socket.
        Stage::Session(_) | Stage::Handshake(_) => Reading::Nothing,
        Stage::Lingering(_) => Reading::Lingering,
    }
}

/// Whether a session's input still means anything: it is open, or its close frame is awaited.
#[inline]
fn is_read(session: &Session) -> bool {
    match session.ending() {
        None => true,
        Some(ending) => matches!(ending.awaits, Awaits::PeerClose(_)),
    }
}

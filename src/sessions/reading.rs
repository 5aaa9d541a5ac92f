//! What the tick does to a connection that it reads from.

use super::Sessions;
use super::rates::Rate;
use super::table::Stage;
use crate::codec::{CodecError, Event};
use crate::id::SessionKey;
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
    #[inline]
    pub(crate) fn may_read(&self, key: SessionKey) -> bool {
        let Some(connection) = self.table.get(key) else { return false };
        connection.readiness.readable
            && self.reading(key) != Reading::Nothing
            && !self.is_paused(key)
    }

    /// What a connection's input is for.
    #[inline]
    pub(crate) fn reading(&self, key: SessionKey) -> Reading {
        let Some(connection) = self.table.get(key) else { return Reading::Nothing };
        match &connection.stage {
            Stage::Session(session) if is_read(session) => Reading::Session,
            Stage::Handshake(handshake) if handshake.may_go_on() => Reading::Handshake,
            // What comes behind a parked request stays in the socket.
            Stage::Session(_) | Stage::Handshake(_) => Reading::Nothing,
            Stage::Lingering(_) => Reading::Lingering,
        }
    }

    /// Reads once, and notes whether the socket is drained by that.
    #[inline]
    pub(crate) fn read(&mut self, key: SessionKey, buffer: &mut [u8]) -> Read {
        let Some(connection) = self.table.get_mut(key) else { return Read::Drained };
        let read = connection.transport.read(buffer, connection.readiness.until_end);
        connection.readiness.readable = matches!(read, Read::Bytes { drained: false, .. });
        read
    }

    /// Takes bytes that were read before they could be heard, unless reads are paused.
    #[inline]
    pub(crate) fn take_unread(&mut self, key: SessionKey) -> Option<Vec<u8>> {
        if self.is_paused(key) {
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

    /// Takes the next event off the front of a session's input, and whether the session is open;
    /// a message of an open one is counted. None when the input is used up, or nobody reads it.
    ///
    /// Only where the session is `METERED`, messages are counted against their limit.
    #[inline]
    #[expect(clippy::mut_mut, reason = "the input is used up from the front")]
    pub(crate) fn decode<'a, const METERED: bool>(
        &mut self,
        key: SessionKey,
        input: &mut &'a mut [u8],
    ) -> Option<(Result<Event<'a>, CodecError>, bool)> {
        let session = self.table.get_mut(key)?.session_mut()?;
        if !is_read(session) {
            return None;
        }
        let event = session.codec.decode(input).transpose()?;
        let open = session.is_open();
        if open {
            if METERED
                && let Some(rates) = &mut self.rates
                && counts(&event)
                && !rates.take_message(key.slot(), self.now)
            {
                self.end_over_rate(key, Rate::Messages);
                return None;
            }
            let payload = match &event {
                Ok(Event::Message(message)) => message.len(),
                Ok(Event::Assembled(message)) => message.as_message().len(),
                _ => return Some((event, open)),
            };
            session.record_message(payload);
            self.counters.received.messages += 1;
            self.counters.received.bytes += payload as u64;
        }
        Some((event, open))
    }
}

/// Whether an event is a message to the limit on their rate: a ping is, for it is answered.
fn counts(event: &Result<Event<'_>, CodecError>) -> bool {
    matches!(event, Ok(Event::Message(_) | Event::Assembled(_) | Event::Ping(_)))
}

/// Whether a session's input still means anything: it is open, or its close frame is awaited.
#[inline]
fn is_read(session: &Session) -> bool {
    match session.ending() {
        None => true,
        Some(ending) => matches!(ending.awaits, Awaits::PeerClose(_)),
    }
}

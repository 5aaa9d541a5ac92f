//! Messages on their way out: from a host's call into an outbox, from the outbox into a socket.

use std::io::{self, IoSlice};

use super::table::{Connection, Readiness, Stage};
use crate::close::Traffic;
use crate::codec::{Codec, Frame, SharedFrame, websocket};
use crate::config::{Config, SlowConsumer};
use crate::error::Error;
use crate::id::SessionKey;
use crate::message::Message;
use crate::outbox::{BatchFrame, CONTROL_RESERVE, Departed, FrameKind, Outbox, Pool};
use crate::session::Session;
use crate::transport::{Stream, Write};

/// The most that framing adds to a message, of any wire format that is built in.
const MAX_OVERHEAD: usize = 16;

/// How many slices one vectored write takes: far more than a tick of an ordinary session fills,
/// and few enough to stand on the stack.
const MAX_SLICES: usize = 32;

/// A message from this size on, in bytes on the wire, is written straight to a socket that waits
/// for nothing else, rather than copied first and written at the end of the tick. Below it, the
/// system call that many small messages share costs more than their copies.
const WRITE_THROUGH: usize = 8 * 1024;

/// What all sessions share on the way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) pool: Pool,
    /// Those that have something to send, each once.
    pub(crate) flush: Vec<SessionKey>,
    pub(crate) totals: Totals,
    /// Bytes that wait in all outboxes, also in those of sockets that linger.
    pub(crate) queued: usize,
    /// The most that may; without a limit, as much as can be counted.
    pub(crate) total_limit: usize,
    /// Nothing more can be dropped in this tick to make room in all outboxes together.
    pub(crate) exhausted: bool,
    limit: usize,
    pub(crate) policy: SlowConsumer,
}

/// What went out, over all sessions that ever were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) sent: Traffic,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) total_outbox_full: u64,
}

/// What became of one message for one session.
#[derive(Debug)]
pub(crate) enum Push {
    /// It waits in the outbox.
    Queued,
    /// It was not taken; the session goes on.
    Refused(Error),
    /// It was not taken yet: all outboxes together have no room for it.
    Crowded,
    /// It was not taken, and the session is to be closed: its outbox is full.
    SlowConsumer,
    /// It was not taken, and the session is to be closed: its socket is broken.
    Failed(io::Error),
}

/// What became of an outbox when it was flushed.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// It is empty.
    Empty,
    /// The socket is full; its next writable edge goes on.
    Blocked,
    /// The socket is broken.
    Failed(io::Error),
}

impl Outgoing {
    pub(crate) fn new(config: &Config) -> Self {
        let limit = config.max_outbox.max(config.max_message_size + MAX_OVERHEAD);
        Self {
            pool: Pool::new(),
            flush: Vec::new(),
            totals: Totals::default(),
            queued: 0,
            total_limit: config.max_total_outbox.map_or(usize::MAX, |total| total.max(limit)),
            exhausted: false,
            limit,
            policy: config.slow_consumer,
        }
    }

    /// Queues a message for one session, which is open, by copying it. A large one is written
    /// first, and only what the socket does not take is copied.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what the caller knows of the message counts")]
    pub(crate) fn push<'m>(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        message: impl Into<Message<'m>> + Copy,
    ) -> Push {
        match connection.open_session().map(|session| &session.codec) {
            // Nearly all messages: what is in their envelopes is known here.
            Some(Codec::WebSocket(_)) if message.into().len() < WRITE_THROUGH => {
                self.push_envelope(key, connection, &websocket::encode(message.into()))
            }
            Some(_) => self.push_any(key, connection, message.into()),
            None => Push::Refused(Error::SessionNotFound),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is known of a short message's frame counts")]
    fn push_envelope(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &Frame<'_>,
    ) -> Push {
        let (wire, payload) = (frame.len(), frame.payload_len());
        let (outbox, readiness) = match self.outbox_with_room(key, connection, wire) {
            Ok(found) => found,
            Err(push) => return push,
        };
        let bytes = outbox.append(&mut self.pool, wire, payload, FrameKind::Message);
        let end = bytes.len() + wire;
        frame.append_to(bytes);
        debug_assert_eq!(bytes.len(), end, "an outbox that counts wrong is never empty");
        self.note_queued(key, readiness, outbox, wire)
    }

    /// Queues any message. A large one is written before anything of it is queued, unless
    /// something waits already.
    #[inline(never)]
    fn push_any(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        message: Message<'_>,
    ) -> Push {
        let Some(session) = connection.open_session() else {
            return Push::Refused(Error::SessionNotFound);
        };
        let frame = match session.codec.encode(message) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(error),
        };
        let (parts, wire, payload) = (frame.parts(), frame.len(), frame.payload_len());
        let goes_through = wire >= WRITE_THROUGH
            && wire <= self.limit
            && session.outbox.is_empty()
            && self.has_total_room(wire);
        if goes_through {
            match write_through(connection, &parts) {
                Ok(0) => {}
                Ok(taken) if taken == wire => {
                    self.record_written(connection, payload);
                    return Push::Queued;
                }
                Ok(taken) => {
                    self.push_rest(key, connection, &parts, payload, taken);
                    return Push::Queued;
                }
                Err(error) => return Push::Failed(error),
            }
        }
        self.push_envelope(key, connection, &frame)
    }

    /// Queues what a socket did not take of a message for an empty outbox. Nothing can refuse it
    /// any more: the peer has its beginning.
    #[cold]
    fn push_rest(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        parts: &[&[u8]],
        payload: usize,
        taken: usize,
    ) {
        let Stage::Session(session) = &mut connection.stage else { return };
        session.outbox.push(&mut self.pool, parts, payload, FrameKind::Message);
        session.outbox.advance(&mut self.pool, taken);
        self.queued += session.outbox.queued_bytes();
        self.mark(key, &mut connection.readiness, &session.outbox);
    }

    /// Counts one message that never waited in an outbox.
    fn record_written(&mut self, connection: &mut Connection, payload: usize) {
        if let Stage::Session(session) = &mut connection.stage {
            self.record_sent(session, Departed { messages: 1, payload: payload as u64 });
        }
    }

    #[inline]
    fn record_sent(&mut self, session: &mut Session, departed: Departed) {
        session.record_sent(departed.messages, departed.payload);
        self.totals.sent.messages += departed.messages;
        self.totals.sent.bytes += departed.payload;
    }

    /// Queues a message for one of many sessions, encoded already.
    #[inline]
    pub(crate) fn push_shared(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        wire: &SharedFrame,
    ) -> Push {
        let bytes = wire.bytes();
        let (outbox, readiness) = match self.outbox_with_room(key, connection, bytes.len()) {
            Ok(found) => found,
            Err(push) => return push,
        };
        outbox.push_shared(&mut self.pool, bytes, wire.payload_len());
        self.note_queued(key, readiness, outbox, bytes.len())
    }

    /// Queues a message for one of many sessions that stands in the pool's run.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its one caller is a loop over all sessions")]
    pub(crate) fn push_batched(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: BatchFrame,
    ) -> Push {
        let (outbox, readiness) = match self.outbox_with_room(key, connection, frame.len()) {
            Ok(found) => found,
            Err(push) => return push,
        };
        outbox.push_batched(frame);
        self.note_queued(key, readiness, outbox, frame.len())
    }

    /// The outbox of a session, if it takes `wire` bytes more, and where to note that it has some.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an answer of this size is not handed over for free")]
    fn outbox_with_room<'c>(
        &mut self,
        key: SessionKey,
        connection: &'c mut Connection,
        wire: usize,
    ) -> Result<(&'c mut Outbox, &'c mut Readiness), Push> {
        let Stage::Session(session) = &connection.stage else {
            return Err(Push::Refused(Error::SessionNotFound));
        };
        // Under the limit altogether, and so by itself as well.
        let has_room = session.outbox.queued_bytes() + wire <= self.limit;
        if !has_room || !self.has_total_room(wire) {
            match self.find_room(connection, wire) {
                Push::Queued => {}
                other => {
                    self.mark_if_emptied(key, connection);
                    return Err(other);
                }
            }
        }
        match connection {
            Connection { stage: Stage::Session(session), readiness, .. } => {
                Ok((&mut session.outbox, readiness))
            }
            _ => Err(Push::Refused(Error::SessionNotFound)),
        }
    }

    /// Counts `wire` bytes that were queued.
    #[inline]
    fn note_queued(
        &mut self,
        key: SessionKey,
        readiness: &mut Readiness,
        outbox: &Outbox,
        wire: usize,
    ) -> Push {
        self.queued += wire;
        self.mark(key, readiness, outbox);
        Push::Queued
    }

    /// Queues a control frame, if the outbox's reserve has room for it, and says whether it had.
    pub(crate) fn push_control(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &[u8],
    ) -> bool {
        let Stage::Session(session) = &mut connection.stage else { return false };
        let room = session.outbox.has_room(frame.len(), self.limit + CONTROL_RESERVE);
        if room {
            self.push_exempt(&mut session.outbox, frame);
            self.mark(key, &mut connection.readiness, &session.outbox);
        }
        room
    }

    /// Queues an empty ping, which is the same for all sessions, if the outbox's reserve has room.
    pub(crate) fn push_ping(&mut self, key: SessionKey, connection: &mut Connection) {
        let ping = &websocket::EMPTY_PING;
        let Stage::Session(session) = &mut connection.stage else { return };
        // Behind other frames it is copied, so that all of them stand in one piece.
        let frame = if session.outbox.is_empty() { self.pool.share_control(ping) } else { None };
        let Some(frame) = frame else {
            self.push_control(key, connection, ping);
            return;
        };
        session.outbox.push_batched(frame);
        self.queued += frame.len();
        self.mark(key, &mut connection.readiness, &session.outbox);
    }

    /// Queues what is the protocol's own, and passes the limits that are meant for messages.
    pub(crate) fn push_exempt(&mut self, outbox: &mut Outbox, bytes: &[u8]) {
        outbox.push(&mut self.pool, &[bytes], 0, FrameKind::Control);
        self.queued += bytes.len();
    }

    /// Empties an outbox, and says which messages are lost by that.
    pub(crate) fn clear(&mut self, outbox: &mut Outbox) -> Departed {
        self.queued -= outbox.queued_bytes();
        outbox.clear(&mut self.pool)
    }

    /// Notes that a session has something to send.
    #[inline]
    pub(crate) fn mark(&mut self, key: SessionKey, readiness: &mut Readiness, outbox: &Outbox) {
        if outbox.queued_bytes() > self.limit / 2 {
            readiness.past_half = true;
        }
        if !readiness.in_flush {
            readiness.in_flush = true;
            self.flush.push(key);
        }
    }

    /// Flushes an outbox that would overflow, and applies the policy only to what does not leave:
    /// a burst within one tick condemns no peer whose socket has room.
    pub(super) fn make_room(&mut self, connection: &mut Connection, wire: usize) -> Push {
        if wire > self.limit {
            return self.refuse(Error::MessageTooBig { given: wire, max: self.limit });
        }
        if let Flushed::Failed(error) = self.flush(connection) {
            return Push::Failed(error);
        }
        let limit = self.limit;
        let Stage::Session(session) = &mut connection.stage else {
            return Push::Refused(Error::SessionNotFound);
        };
        if session.outbox.has_room(wire, limit) {
            return Push::Queued;
        }
        match self.policy {
            SlowConsumer::Close => {
                self.totals.refused += 1;
                Push::SlowConsumer
            }
            SlowConsumer::DropNewest => self.refuse(Error::OutboxFull),
            SlowConsumer::DropOldest => {
                self.drop_oldest(session, wire, limit);
                if session.outbox.has_room(wire, limit) {
                    Push::Queued
                } else {
                    self.refuse(Error::OutboxFull)
                }
            }
        }
    }

    /// Drops a session's oldest messages until `wire` bytes more have room under `limit`.
    pub(crate) fn drop_oldest(&mut self, session: &mut Session, wire: usize, limit: usize) {
        let before = session.outbox.queued_bytes();
        let dropped = session.outbox.drop_oldest(&mut self.pool, wire, limit);
        self.queued -= before - session.outbox.queued_bytes();
        self.record_dropped(session, dropped);
    }

    #[cold]
    pub(super) fn refuse(&mut self, error: Error) -> Push {
        self.totals.refused += 1;
        Push::Refused(error)
    }

    pub(crate) fn record_dropped(&mut self, session: &mut Session, dropped: Departed) {
        session.record_dropped(dropped.messages);
        self.totals.dropped += dropped.messages;
    }

    /// Writes what waits, as far as the socket takes it.
    #[inline]
    pub(crate) fn flush(&mut self, connection: &mut Connection) -> Flushed {
        let Connection { transport, readiness, stage, .. } = connection;
        match stage {
            Stage::Session(session) => {
                let before = session.outbox.queued_bytes();
                let (departed, flushed) =
                    write_out(transport, readiness, &mut session.outbox, &mut self.pool);
                self.queued -= before - session.outbox.queued_bytes();
                self.record_sent(session, departed);
                flushed
            }
            // What a lingering socket still delivers was counted when its session ended.
            Stage::Lingering(lingering) => {
                self.flush_answers(transport, readiness, &mut lingering.outbox)
            }
            Stage::Handshake(handshake) => {
                self.flush_answers(transport, readiness, &mut handshake.outbox)
            }
        }
    }

    /// The same where no session is.
    fn flush_answers(
        &mut self,
        transport: &mut Stream,
        readiness: &mut Readiness,
        outbox: &mut Outbox,
    ) -> Flushed {
        let before = outbox.queued_bytes();
        let (_, flushed) = write_out(transport, readiness, outbox, &mut self.pool);
        self.queued -= before - outbox.queued_bytes();
        flushed
    }
}

/// Writes a frame for which nothing has to wait, and says how much of it the socket took.
#[inline]
fn write_through(connection: &mut Connection, parts: &[&[u8]; 3]) -> io::Result<usize> {
    let Connection { transport, readiness, .. } = connection;
    if !readiness.writable {
        return Ok(0);
    }
    // Of the three only the tail is ever missing, and usually is.
    let filled = parts.len() - usize::from(parts[2].is_empty());
    match transport.write_vectored(&parts.map(IoSlice::new)[..filled]) {
        Write::Taken { count, full } => {
            readiness.writable = !full;
            Ok(count)
        }
        Write::Failed(error) => Err(error),
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "two callers, and an answer of several parts")]
fn write_out(
    transport: &mut Stream,
    readiness: &mut Readiness,
    outbox: &mut Outbox,
    pool: &mut Pool,
) -> (Departed, Flushed) {
    let mut total = Departed::default();
    while !outbox.is_empty() {
        if !readiness.writable {
            outbox.copy_out_of_batch(pool);
            return (total, Flushed::Blocked);
        }
        let written = if outbox.is_contiguous() {
            transport.write(outbox.front(pool))
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = outbox.slices(pool, &mut slices);
            transport.write_vectored(&slices[..filled])
        };
        match written {
            Write::Taken { count, full } => {
                let departed = outbox.advance(pool, count);
                total += departed;
                readiness.writable = !full;
            }
            Write::Failed(error) => {
                outbox.copy_out_of_batch(pool);
                return (total, Flushed::Failed(error));
            }
        }
    }
    (total, Flushed::Empty)
}

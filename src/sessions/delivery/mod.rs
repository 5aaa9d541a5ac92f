//! Messages on their way out: into an outbox, and from the outbox into a socket. Knows the limits
//! of all outboxes; knows no other part, and ends no session.

mod eviction;

use std::io::{self, IoSlice};

use super::table::Table;
use crate::close::Traffic;
use crate::codec::{Codec, Encoded, Frame, SharedFrame, websocket};
use crate::config::{Config, SlowConsumer};
use crate::connection::{Connection, ConnectionFlags, Session, Stage};
use crate::error::Error;
use crate::id::SessionKey;
use crate::message::Message;
use crate::outbox::{BatchFrame, CONTROL_RESERVE, Departed, FrameKind, Outbox, Pool};
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

/// What became of a message that was sent to several sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The sessions that it was queued for.
    pub queued: usize,
    /// The sessions that did not take it: not found, an outbox that is full, or a framing that
    /// cannot carry it.
    pub refused: usize,
}

impl Delivery {
    pub(crate) fn count(&mut self, queued: bool) {
        if queued {
            self.queued += 1;
        } else {
            self.refused += 1;
        }
    }
}

/// Delivery's own state: what all sessions share on the way out.
#[derive(Debug)]
pub(crate) struct DeliveryQueue {
    pool: Pool,
    /// The connections that have something to send, each once.
    marked: Vec<SessionKey>,
    totals: DeliveryTotals,
    /// Bytes that wait in all outboxes, those of lingering sockets included.
    queued: usize,
    /// The most that may wait in all; without a limit, as much as can be counted.
    total_limit: usize,
    /// Nothing more can be dropped in this tick to make room in all outboxes together.
    exhausted: bool,
    /// The most that may wait in one outbox.
    limit: usize,
    policy: SlowConsumer,
}

/// What went out, over all sessions that ever were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryTotals {
    pub(crate) sent: Traffic,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) total_outbox_full: u64,
}

/// What became of one message for one session.
#[derive(Debug)]
pub(crate) enum SendOutcome {
    /// It waits in the outbox, or is written.
    Queued,
    /// It was not taken; the session goes on.
    Refused(Error),
    /// It was not taken yet: all outboxes together have no room for it.
    TotalFull,
    /// It was not taken, and the session is to be closed: its outbox is full.
    SlowConsumer,
    /// It was not taken, and the session is to be closed: its socket is broken.
    Broken(io::Error),
}

/// What became of an outbox when it was flushed.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// It is empty.
    Empty,
    /// The socket is full; its next writable edge goes on.
    Blocked,
    /// The socket is broken.
    Broken(io::Error),
}

/// What a broadcast leaves to be done.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    pub(crate) delivery: Delivery,
    /// The sessions to be closed for it.
    pub(crate) failed: Vec<(SessionKey, SendOutcome)>,
    /// The sessions for which all outboxes together had no room.
    pub(crate) without_room: Vec<SessionKey>,
}

impl DeliveryQueue {
    pub(crate) fn new(config: &Config) -> Self {
        let limit = config.max_outbox.max(config.max_message_size + MAX_OVERHEAD);
        Self {
            pool: Pool::new(),
            marked: Vec::new(),
            totals: DeliveryTotals::default(),
            queued: 0,
            total_limit: config.max_total_outbox.map_or(usize::MAX, |total| total.max(limit)),
            exhausted: false,
            limit,
            policy: config.slow_consumer,
        }
    }

    /// Queues a message for one session by copying it. A large one is written first, and only what
    /// the socket does not take is copied.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what the caller knows of the message counts")]
    pub(crate) fn send<'m>(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        message: impl Into<Message<'m>> + Copy,
    ) -> SendOutcome {
        match connection.open_session().map(|session| &session.codec) {
            // Nearly all messages: what is in their frames is known here.
            Some(Codec::WebSocket(_)) if message.into().len() < WRITE_THROUGH => {
                self.queue_frame(key, connection, &websocket::encode(message.into()))
            }
            Some(_) => self.send_any(key, connection, message.into()),
            None => SendOutcome::Refused(Error::SessionNotFound),
        }
    }

    /// Queues any message. A large one is written before anything of it is queued, unless
    /// something waits already.
    #[inline(never)]
    fn send_any(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        message: Message<'_>,
    ) -> SendOutcome {
        let session = connection.expect_session();
        let frame = match session.codec.encode(message) {
            Ok(frame) => frame,
            Err(error) => return self.refuse(error),
        };
        let (wire, payload) = (frame.len(), frame.payload_len());
        let goes_through = wire >= WRITE_THROUGH
            && wire <= self.limit
            && session.outbox.is_empty()
            && self.has_total_room(wire);
        if goes_through {
            let parts = frame.parts();
            match write_through(connection, &parts) {
                Ok(0) => {}
                Ok(taken) => {
                    // Nothing can refuse the rest any more: the peer has its beginning.
                    let session = connection.expect_session();
                    if taken == wire {
                        let payload = payload as u64;
                        self.record_sent(session, Departed { messages: 1, payload });
                    } else {
                        session.outbox.push(&mut self.pool, &parts, payload, FrameKind::Message);
                        session.outbox.advance(&mut self.pool, taken);
                        self.queued += session.outbox.queued_bytes();
                        self.mark(key, connection);
                    }
                    return SendOutcome::Queued;
                }
                Err(error) => return SendOutcome::Broken(error),
            }
        }
        self.queue_frame(key, connection, &frame)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what is known of a short message's frame counts")]
    fn queue_frame(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &Frame<'_>,
    ) -> SendOutcome {
        let (wire, payload) = (frame.len(), frame.payload_len());
        self.queue(key, connection, wire, |outbox, pool| {
            let bytes = outbox.append(pool, wire, payload, FrameKind::Message);
            let end = bytes.len() + wire;
            frame.append_to(bytes);
            debug_assert_eq!(bytes.len(), end, "an outbox that counts wrong is never empty");
        })
    }

    /// Queues a message for one of many sessions, encoded already.
    #[inline]
    pub(crate) fn send_shared(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &SharedFrame,
    ) -> SendOutcome {
        let bytes = frame.bytes();
        self.queue(key, connection, bytes.len(), |outbox, pool| {
            outbox.push_shared(pool, bytes, frame.payload_len());
        })
    }

    /// Queues a message for every open session that is `wanted`. It is encoded once for each wire
    /// format among them; a small WebSocket frame stands once in the batch that outboxes point
    /// into. Ending a session needs the whole table, and so does making room in all outboxes
    /// together: the caller does both when the round is over.
    #[inline]
    pub(crate) fn broadcast(
        &mut self,
        table: &mut Table,
        encoded: &mut Encoded<'_>,
        mut wanted: impl FnMut(SessionKey, &Session) -> bool,
    ) -> Broadcast {
        let mut broadcast = Broadcast::default();
        // Asked for at most once; `Some(None)` means that the batch has no room for this frame.
        let mut batched: Option<Option<BatchFrame>> = None;
        for (key, connection) in table.iter_mut() {
            let Some(session) = connection.open_session() else { continue };
            if !wanted(key, session) {
                continue;
            }
            let frame = match &session.codec {
                Codec::WebSocket(_) => *batched.get_or_insert_with(|| {
                    let frame = encoded.frame(&session.codec).ok()?;
                    self.pool.add_to_batch(frame.bytes(), frame.payload_len())
                }),
                Codec::Raw(_) => None,
            };
            let outcome = match frame {
                Some(frame) => {
                    self.queue(key, connection, frame.len(), |outbox, _| outbox.push_batched(frame))
                }
                None => match encoded.frame(&session.codec) {
                    Ok(frame) => self.send_shared(key, connection, frame),
                    Err(error) => self.refuse(error),
                },
            };
            match outcome {
                SendOutcome::Queued => broadcast.delivery.queued += 1,
                SendOutcome::TotalFull => broadcast.without_room.push(key),
                SendOutcome::Refused(_) => broadcast.delivery.refused += 1,
                SendOutcome::SlowConsumer | SendOutcome::Broken(_) => {
                    broadcast.delivery.refused += 1;
                    broadcast.failed.push((key, outcome));
                }
            }
        }
        broadcast
    }

    /// Queues a frame of `wire` bytes that `put` appends, if the outbox has room or gets some.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what the caller knows of its frame counts")]
    fn queue(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        wire: usize,
        put: impl FnOnce(&mut Outbox, &mut Pool),
    ) -> SendOutcome {
        let session = connection.expect_session();
        // Under the limit altogether, and so by itself as well.
        let has_room = session.outbox.queued_bytes() + wire <= self.limit;
        if !has_room || !self.has_total_room(wire) {
            match self.find_room(connection, wire) {
                SendOutcome::Queued => {}
                other => {
                    self.mark_if_emptied(key, connection);
                    return other;
                }
            }
        }
        let Connection { flags, stage: Stage::Session(session), .. } = connection else {
            unreachable!("it was a session just now");
        };
        put(&mut session.outbox, &mut self.pool);
        self.queued += wire;
        self.mark_flags(key, flags, session.outbox.queued_bytes());
        SendOutcome::Queued
    }

    /// Queues a control frame, if the outbox's reserve has room for it, and says whether it had.
    pub(crate) fn queue_control(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &[u8],
    ) -> bool {
        let session = connection.expect_session();
        let room = session.outbox.has_room(frame.len(), self.limit + CONTROL_RESERVE);
        if room {
            session.outbox.push(&mut self.pool, &[frame], 0, FrameKind::Control);
            self.queued += frame.len();
            self.mark(key, connection);
        }
        room
    }

    /// Queues an empty ping, which is the same for all sessions, if the outbox's reserve has room.
    pub(crate) fn queue_ping(&mut self, key: SessionKey, connection: &mut Connection) {
        let ping = &websocket::EMPTY_PING;
        let session = connection.expect_session();
        // Behind other frames it is copied, so that all of them stand in one piece.
        let shared = if session.outbox.is_empty() { self.pool.share_control(ping) } else { None };
        let Some(frame) = shared else {
            self.queue_control(key, connection, ping);
            return;
        };
        session.outbox.push_batched(frame);
        self.queued += frame.len();
        self.mark(key, connection);
    }

    /// Marks a connection to be flushed in this tick.
    #[inline]
    pub(crate) fn mark(&mut self, key: SessionKey, connection: &mut Connection) {
        let waiting = connection.outbox().queued_bytes();
        self.mark_flags(key, &mut connection.flags, waiting);
    }

    #[inline]
    fn mark_flags(&mut self, key: SessionKey, flags: &mut ConnectionFlags, waiting: usize) {
        if waiting > self.limit / 2 {
            flags.past_half = true;
        }
        if !flags.in_flush {
            flags.in_flush = true;
            self.marked.push(key);
        }
    }

    /// The connection at this place in the list of those to flush, which grows while it is walked.
    #[inline]
    pub(crate) fn marked(&self, place: usize) -> Option<SessionKey> {
        self.marked.get(place).copied()
    }

    /// How many connections are to be flushed.
    pub(crate) fn marked_count(&self) -> usize {
        self.marked.len()
    }

    /// Takes a connection off the list of those to flush, if it is the only one there.
    #[inline]
    pub(crate) fn take_only(&mut self, key: SessionKey) -> bool {
        let is_only = self.marked == [key];
        if is_only {
            self.marked.clear();
        }
        is_only
    }

    /// Every marked connection was flushed, and so no outbox points into the batch any more.
    pub(crate) fn end_flush(&mut self) {
        self.marked.clear();
        self.exhausted = false;
        self.pool.clear_batch();
    }

    /// Writes what waits, as far as the socket takes it.
    #[inline]
    pub(crate) fn flush(&mut self, connection: &mut Connection) -> Flushed {
        let Connection { stream, flags, stage, .. } = connection;
        match stage {
            Stage::Session(session) => {
                let before = session.outbox.queued_bytes();
                let (departed, flushed) =
                    write_out(stream, flags, &mut session.outbox, &mut self.pool);
                self.queued -= before - session.outbox.queued_bytes();
                self.record_sent(session, departed);
                flushed
            }
            // What a lingering socket still delivers was counted when its session ended.
            Stage::Lingering(lingering) => self.flush_answers(stream, flags, &mut lingering.outbox),
            Stage::Http(http) => self.flush_answers(stream, flags, &mut http.outbox),
        }
    }

    /// The same where no session is.
    fn flush_answers(
        &mut self,
        stream: &mut Stream,
        flags: &mut ConnectionFlags,
        outbox: &mut Outbox,
    ) -> Flushed {
        let before = outbox.queued_bytes();
        let (_, flushed) = write_out(stream, flags, outbox, &mut self.pool);
        self.queued -= before - outbox.queued_bytes();
        flushed
    }

    /// The buffers that outboxes share, for steps that queue frames themselves. The caller accounts
    /// for what they queue by [`DeliveryQueue::account`].
    pub(crate) fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Accounts for an outbox that held `before` bytes and holds `after`.
    pub(crate) fn account(&mut self, before: usize, after: usize) {
        self.queued = self.queued + after - before;
    }

    /// Empties the outbox of a connection that goes.
    pub(crate) fn discard(&mut self, connection: &mut Connection) {
        let outbox = connection.outbox_mut();
        self.queued -= outbox.queued_bytes();
        outbox.clear(&mut self.pool);
    }

    /// Counts the messages that wait in the outbox of a session that has ended as dropped.
    pub(crate) fn count_waiting_as_dropped(&mut self, session: &mut Session) {
        let waiting = session.outbox.waiting(&self.pool);
        self.record_dropped(session, waiting);
    }

    /// Bytes that wait in all outboxes.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn totals(&self) -> DeliveryTotals {
        self.totals
    }

    /// The bytes that stand in the batch.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.pool.batch_bytes()
    }

    /// Counts a message that was refused.
    #[cold]
    pub(crate) fn refuse(&mut self, error: Error) -> SendOutcome {
        self.totals.refused += 1;
        SendOutcome::Refused(error)
    }

    #[inline]
    fn record_sent(&mut self, session: &mut Session, departed: Departed) {
        session.record_sent(departed.messages, departed.payload);
        self.totals.sent.messages += departed.messages;
        self.totals.sent.bytes += departed.payload;
    }

    fn record_dropped(&mut self, session: &mut Session, dropped: Departed) {
        session.record_dropped(dropped.messages);
        self.totals.dropped += dropped.messages;
    }
}

/// Writes a frame for which nothing has to wait, and says how much of it the socket took.
#[inline]
fn write_through(connection: &mut Connection, parts: &[&[u8]; 3]) -> io::Result<usize> {
    let Connection { stream, flags, .. } = connection;
    if !flags.writable {
        return Ok(0);
    }
    // Of the three only the tail is ever missing, and usually is.
    let filled = parts.len() - usize::from(parts[2].is_empty());
    match stream.write_vectored(&parts.map(IoSlice::new)[..filled]) {
        Write::Taken { count, full } => {
            flags.writable = !full;
            Ok(count)
        }
        Write::Failed(error) => Err(error),
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "two callers, and an answer of several parts")]
fn write_out(
    stream: &mut Stream,
    flags: &mut ConnectionFlags,
    outbox: &mut Outbox,
    pool: &mut Pool,
) -> (Departed, Flushed) {
    let mut total = Departed::default();
    while !outbox.is_empty() {
        if !flags.writable {
            outbox.copy_out_of_batch(pool);
            return (total, Flushed::Blocked);
        }
        let written = if outbox.is_contiguous() {
            stream.write(outbox.front(pool))
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let filled = outbox.slices(pool, &mut slices);
            stream.write_vectored(&slices[..filled])
        };
        match written {
            Write::Taken { count, full } => {
                let departed = outbox.advance(pool, count);
                total += departed;
                flags.writable = !full;
            }
            Write::Failed(error) => {
                outbox.copy_out_of_batch(pool);
                return (total, Flushed::Broken(error));
            }
        }
    }
    (total, Flushed::Empty)
}

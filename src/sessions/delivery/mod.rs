//! Sending messages: into an outbox ([`queue`]), and from the outbox into a socket. Knows the
//! limits of all outboxes ([`eviction`]); knows no other part, and ends no session.

mod eviction;
mod queue;

use std::io::{self, IoSlice};

use super::table::Table;
use crate::close::Traffic;
use crate::config::{Config, SlowConsumer};
use crate::connection::{Connection, ConnectionFlags, Session, Stage};
use crate::error::Error;
use crate::id::SessionKey;
use crate::outbox::{Departed, Outbox, Pool};
use crate::transport::{Stream, Write};

/// The most bytes that any built-in wire format adds to a message.
const MAX_OVERHEAD: usize = 16;

/// How many slices one vectored write has: more than a tick of an ordinary session fills, and few
/// enough for the stack.
const MAX_SLICES: usize = 32;

/// The result of sending a message to several sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// How many sessions it was queued for.
    pub queued: usize,
    /// How many sessions it was not queued for: not found, a full outbox, or a framing that cannot
    /// carry it.
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

/// Delivery's own state: what all sessions share for sending.
#[derive(Debug)]
pub(crate) struct DeliveryQueue {
    pool: Pool,
    /// The connections that have something to send, each once from `flushed` on.
    marked: Vec<SessionKey>,
    /// How many of them were flushed.
    flushed: usize,
    totals: DeliveryTotals,
    /// Bytes that wait in all outboxes, those of lingering sockets included.
    queued: usize,
    /// The most bytes that may wait in all outboxes; `usize::MAX` without a limit.
    total_limit: usize,
    /// In this tick nothing more can be dropped to make room in all outboxes together.
    exhausted: bool,
    /// The most bytes that may wait in one outbox.
    limit: usize,
    policy: SlowConsumer,
}

/// Totals of what was sent, over all sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryTotals {
    pub(crate) sent: Traffic,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
    pub(crate) total_outbox_full: u64,
}

impl DeliveryTotals {
    #[inline]
    fn count_sent(&mut self, departed: Departed) {
        self.sent.messages += departed.messages;
        self.sent.bytes += departed.payload;
    }
}

/// The result of queueing one message for one session.
#[derive(Debug)]
pub(crate) enum SendOutcome {
    /// It is queued, or written.
    Queued,
    /// It was refused; the session stays open.
    Refused(Error),
    /// It was not queued yet: all outboxes together have no room for it.
    TotalFull,
    /// It was refused, and the session is to be closed: its outbox is full.
    SlowConsumer,
    /// It was refused, and the session is to be closed: its socket is broken.
    Broken(io::Error),
}

/// The result of flushing an outbox.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// It is empty.
    Empty,
    /// The socket is full; its next writable edge continues.
    Blocked,
    /// The socket is broken.
    Broken(io::Error),
}

impl DeliveryQueue {
    pub(crate) fn new(config: &Config) -> Self {
        let limit = config.max_outbox.max(config.max_message_size + MAX_OVERHEAD);
        Self {
            pool: Pool::new(),
            marked: Vec::new(),
            flushed: 0,
            totals: DeliveryTotals::default(),
            queued: 0,
            total_limit: config.max_total_outbox.map_or(usize::MAX, |total| total.max(limit)),
            exhausted: false,
            limit,
            policy: config.slow_consumer,
        }
    }

    /// Marks a connection to be flushed in this tick.
    #[inline]
    pub(crate) fn mark(&mut self, key: SessionKey, connection: &mut Connection) {
        let waiting = connection.outbox().queued_bytes();
        self.mark_flags(key, &mut connection.flags, waiting);
    }

    /// Records that a connection can be written again, if it can: what waits in its outbox is
    /// flushed in this tick.
    #[inline]
    pub(crate) fn record_writable(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        writable: bool,
    ) {
        if writable && !connection.flags.writable {
            connection.flags.writable = true;
            if !connection.outbox().is_empty() {
                self.mark(key, connection);
            }
        }
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

    /// Flushes the marked connections, once each, up to this index of their list, which may grow
    /// while it is iterated. Stops at a connection for which more is to be done, and returns it.
    #[inline]
    pub(crate) fn flush_to(
        &mut self,
        end: usize,
        table: &mut Table,
    ) -> Option<(SessionKey, Flushed)> {
        // Nothing is marked by a flush itself, so the list can be taken meanwhile.
        let marked = std::mem::take(&mut self.marked);
        let end = end.min(marked.len());
        let mut keys = marked[self.flushed..end].iter();
        let left = keys.find_map(|&key| {
            let connection = table.get_mut(key)?;
            connection.flags.in_flush = false;
            let flushed = self.flush(connection);
            Some((key, what_is_left(connection, flushed)?))
        });
        self.flushed = end - keys.len();
        self.marked = marked;
        left
    }

    /// Flushes one marked connection. `None` if nothing more is to be done for it: it is an open
    /// session whose outbox is empty, or its socket is full.
    #[inline]
    pub(crate) fn flush_marked(&mut self, connection: &mut Connection) -> Option<Flushed> {
        connection.flags.in_flush = false;
        let flushed = self.flush_inlined(connection);
        what_is_left(connection, flushed)
    }

    /// Frees the memory of the list, which is empty between two ticks.
    pub(crate) fn compact(&mut self) {
        assert!(self.marked.is_empty(), "a tick flushes all that is marked");
        self.marked.shrink_to_fit();
    }

    /// The memory of the list, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.marked.capacity() * size_of::<SessionKey>()
    }

    /// How many connections are to be flushed.
    pub(crate) fn marked_count(&self) -> usize {
        self.marked.len() - self.flushed
    }

    /// The index at which a part of `count` connections ends.
    pub(crate) fn end_of_part(&self, count: usize) -> usize {
        self.flushed + count
    }

    /// Takes a connection off the list of those to flush, if it is the only one in it.
    #[inline]
    pub(crate) fn take_only(&mut self, key: SessionKey) -> bool {
        let is_only = self.marked == [key];
        if is_only {
            self.marked.clear();
        }
        is_only
    }

    /// Every marked connection was flushed, so no outbox points into the batch any more.
    pub(crate) fn end_flush(&mut self) {
        self.marked.clear();
        self.flushed = 0;
        self.exhausted = false;
        self.pool.clear_batch();
    }

    /// Whether the batch has room for a message of `payload` bytes, or would not hold it in any case.
    #[inline]
    pub(crate) fn has_batch_room(&self, payload: usize) -> bool {
        self.pool.has_batch_room(payload + MAX_OVERHEAD)
    }

    /// Writes what is queued, as far as the socket accepts it.
    #[inline(never)]
    pub(crate) fn flush(&mut self, connection: &mut Connection) -> Flushed {
        self.flush_inlined(connection)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "two callers: `flush`, and an answer to one session")]
    fn flush_inlined(&mut self, connection: &mut Connection) -> Flushed {
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
            Stage::Lingering(lingering) => {
                self.flush_without_session(stream, flags, &mut lingering.outbox)
            }
            Stage::Http(http) => self.flush_without_session(stream, flags, &mut http.outbox),
        }
    }

    /// The same for a connection without a session. What it sends of a session that has ended counts
    /// in the totals.
    fn flush_without_session(
        &mut self,
        stream: &mut Stream,
        flags: &mut ConnectionFlags,
        outbox: &mut Outbox,
    ) -> Flushed {
        let before = outbox.queued_bytes();
        let (departed, flushed) = write_out(stream, flags, outbox, &mut self.pool);
        self.queued -= before - outbox.queued_bytes();
        self.totals.count_sent(departed);
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

    /// Empties the outbox of a connection without a session, which ends. The messages of a session
    /// that has ended are lost, and count in the totals.
    pub(crate) fn discard(&mut self, connection: &mut Connection) {
        let outbox = connection.outbox_mut();
        self.queued -= outbox.queued_bytes();
        let lost = outbox.clear(&mut self.pool);
        self.totals.dropped += lost.messages;
    }

    /// The number of messages that wait in an outbox.
    pub(crate) fn count_waiting(&self, outbox: &Outbox) -> u64 {
        outbox.waiting(&self.pool).messages
    }

    /// Bytes that wait in all outboxes.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn totals(&self) -> DeliveryTotals {
        self.totals
    }

    /// The bytes in the batch.
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
        self.totals.count_sent(departed);
    }

    fn record_dropped(&mut self, session: &mut Session, dropped: Departed) {
        session.record_dropped(dropped.messages);
        self.totals.dropped += dropped.messages;
    }
}

/// What is left to be done for a marked connection that was flushed.
#[inline]
fn what_is_left(connection: &Connection, flushed: Flushed) -> Option<Flushed> {
    match flushed {
        Flushed::Empty if connection.flags.past_half => Some(Flushed::Empty),
        Flushed::Empty if connection.open_session().is_none() => Some(Flushed::Empty),
        Flushed::Empty | Flushed::Blocked => None,
        Flushed::Broken(error) => Some(Flushed::Broken(error)),
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

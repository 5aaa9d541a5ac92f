//! Queueing messages in outboxes: for one session, for several, for all.

use std::io::{self, IoSlice};

use super::{Delivery, DeliveryQueue, SendOutcome};
use crate::codec::{Codec, Encoded, Frame, SharedFrame, websocket};
use crate::connection::{Connection, ConnectionFlags, Session, Stage};
use crate::error::Error;
use crate::id::SessionKey;
use crate::message::Message;
use crate::outbox::{BatchFrame, CONTROL_RESERVE, Departed, FrameKind, Outbox};
use crate::sessions::table::Table;
use crate::transport::Write;

/// A message of at least this size, in bytes on the wire, is written directly to a socket for which
/// nothing is queued, rather than copied and written at the end of the tick. Below it, the copies
/// cost less than the system calls.
const WRITE_THROUGH: usize = 8 * 1024;

/// What is left to do after a broadcast.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    pub(crate) delivery: Delivery,
    /// The sessions to be closed.
    pub(crate) failed: Vec<(SessionKey, SendOutcome)>,
    /// The sessions for which all outboxes together had no room.
    pub(crate) without_room: Vec<SessionKey>,
}

impl DeliveryQueue {
    /// Queues a message for one session by copying it. A large one is written first, and only what
    /// the socket does not accept is copied.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "what the caller knows of the message counts")]
    pub(crate) fn send<'m>(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        message: impl Into<Message<'m>> + Copy,
    ) -> SendOutcome {
        match connection.open_session().map(|session| &session.codec) {
            // The usual case: the length of the frame's head is a constant here.
            Some(Codec::WebSocket(_)) if message.into().len() < WRITE_THROUGH => {
                self.queue_frame(key, connection, &websocket::encode(message.into()))
            }
            Some(_) => self.send_any(key, connection, message.into()),
            None => SendOutcome::Refused(Error::SessionNotFound),
        }
    }

    /// Queues any message. A large one is written first, unless something is queued already.
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
                    // The rest cannot be refused: the peer has received the beginning.
                    let session = connection.expect_session();
                    if taken == wire {
                        let payload = payload as u64;
                        self.record_sent(session, Departed { messages: 1, payload });
                    } else {
                        let outbox = &mut session.outbox;
                        let Some(bytes) =
                            outbox.append(&mut self.pool, wire, payload, FrameKind::Message)
                        else {
                            self.totals.refused += 1;
                            return SendOutcome::SlowConsumer;
                        };
                        frame.append_to(bytes);
                        outbox.advance(&mut self.pool, taken);
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
        let (outbox, flags) = match self.outbox_with_room(key, connection, wire) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let Some(bytes) = outbox.append(&mut self.pool, wire, payload, FrameKind::Message) else {
            return self.refuse(Error::OutboxFull);
        };
        let end = bytes.len() + wire;
        frame.append_to(bytes);
        debug_assert_eq!(bytes.len(), end, "an outbox that counts wrong is never empty");
        self.record_queued(key, flags, outbox, wire)
    }

    /// Queues an encoded message for one of many sessions.
    #[inline]
    pub(crate) fn send_shared(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: &SharedFrame,
    ) -> SendOutcome {
        let bytes = frame.bytes();
        let (outbox, flags) = match self.outbox_with_room(key, connection, bytes.len()) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        outbox.push_shared(&mut self.pool, bytes, frame.payload_len());
        self.record_queued(key, flags, outbox, bytes.len())
    }

    /// Queues a message for one of many sessions that is stored in the batch.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its one caller is a loop over all sessions")]
    fn send_batched(
        &mut self,
        key: SessionKey,
        connection: &mut Connection,
        frame: BatchFrame,
    ) -> SendOutcome {
        let (outbox, flags) = match self.outbox_with_room(key, connection, frame.len()) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        outbox.push_batched(frame);
        self.record_queued(key, flags, outbox, frame.len())
    }

    /// Queues a message for every open session that is `wanted`. It is encoded once for each wire
    /// format among them; a small WebSocket frame is stored once, in the batch that outboxes point
    /// into. Closing a session needs the whole table, and so does making room in all outboxes
    /// together: the caller does both afterwards.
    #[inline]
    pub(crate) fn broadcast(
        &mut self,
        table: &mut Table,
        encoded: &mut Encoded<'_>,
        mut wanted: impl FnMut(SessionKey, &Session) -> bool,
    ) -> Broadcast {
        let mut broadcast = Broadcast::default();
        // Built at most once; `Some(None)` means that the batch has no room for this frame.
        let mut batched: Option<Option<BatchFrame>> = None;
        for (key, connection) in table.iter_mut() {
            let Some(session) = connection.open_session() else { continue };
            if !wanted(key, session) {
                continue;
            }
            let frame = match &session.codec {
                Codec::WebSocket(_) => *batched.get_or_insert_with(|| {
                    let frame = websocket::encode(encoded.message());
                    self.pool.add_to_batch(&frame.parts(), frame.payload_len())
                }),
                Codec::Raw(_) => None,
            };
            let outcome = match frame {
                Some(frame) => self.send_batched(key, connection, frame),
                None => match encoded.frame(&session.codec) {
                    Ok(frame) => self.send_shared(key, connection, frame),
                    Err(error) => self.refuse_unencoded(connection, error),
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

    /// Counts a message to many sessions that was not encoded for one. The sender is told only how
    /// many sessions did not get it, so the log says once which session has a framing that cannot
    /// carry it.
    #[cold]
    pub(crate) fn refuse_unencoded(
        &mut self,
        connection: &mut Connection,
        error: Error,
    ) -> SendOutcome {
        let session = connection.expect_session();
        if let Error::Unframeable { .. } = error
            && let Codec::Raw(decoder) = &mut session.codec
            && decoder.record_refusal()
        {
            let (id, remote) = (session.id(), session.remote_addr());
            log::warn!(
                "session {id} from {remote} misses a message to many sessions: {error} (further \
                 ones are counted only)"
            );
        }
        self.refuse(error)
    }

    /// The outbox of a session, if it has room for `wire` bytes or gets some, and the flags of its
    /// connection.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an answer of this size is not handed over for free")]
    fn outbox_with_room<'c>(
        &mut self,
        key: SessionKey,
        connection: &'c mut Connection,
        wire: usize,
    ) -> Result<(&'c mut Outbox, &'c mut ConnectionFlags), SendOutcome> {
        let session = connection.expect_session();
        // Under the limit altogether, and so by itself as well.
        let has_room = session.outbox.queued_bytes() + wire <= self.limit;
        if !has_room || !self.has_total_room(wire) {
            match self.find_room(connection, wire) {
                SendOutcome::Queued => {}
                other => {
                    self.mark_if_emptied(key, connection);
                    return Err(other);
                }
            }
        }
        match connection {
            Connection { flags, stage: Stage::Session(session), .. } => {
                Ok((&mut session.outbox, flags))
            }
            _ => unreachable!("it was a session just now"),
        }
    }

    /// Accounts for `wire` bytes that were queued.
    #[inline]
    fn record_queued(
        &mut self,
        key: SessionKey,
        flags: &mut ConnectionFlags,
        outbox: &Outbox,
        wire: usize,
    ) -> SendOutcome {
        self.queued += wire;
        self.mark_flags(key, flags, outbox.queued_bytes());
        SendOutcome::Queued
    }

    /// Queues a control frame, if the outbox's reserve has room for it. Returns whether it had.
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
        // Behind other frames it is copied, so that all of them are contiguous.
        let shared = if session.outbox.is_empty() { self.pool.share_control(ping) } else { None };
        let Some(frame) = shared else {
            self.queue_control(key, connection, ping);
            return;
        };
        session.outbox.push_batched(frame);
        self.queued += frame.len();
        self.mark(key, connection);
    }
}

/// Writes a frame while nothing else is queued. Returns how many bytes the socket accepted.
#[inline]
fn write_through(connection: &mut Connection, parts: &[&[u8]; 3]) -> io::Result<usize> {
    let Connection { stream, flags, .. } = connection;
    if !flags.writable {
        return Ok(0);
    }
    // Of the three parts only the tail can be empty, and usually is.
    let filled = parts.len() - usize::from(parts[2].is_empty());
    match stream.write_vectored(&parts.map(IoSlice::new)[..filled]) {
        Write::Taken { count, full } => {
            flags.writable = !full;
            Ok(count)
        }
        Write::Failed(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::codec::Framing;
    use crate::config::Config;
    use crate::id::SessionId;
    use crate::timer_wheel::TimerWheel;
    use crate::transport::{Stream, memory};

    #[test]
    fn only_a_framing_that_cannot_carry_a_message_is_recorded_as_such() {
        let now = Instant::now();
        let (key, id) = (SessionKey::new(0, 0), SessionId::new("a").expect("valid"));
        let timer = TimerWheel::new(now).insert(key, now);
        let mut queue = DeliveryQueue::new(&Config::default());
        let errors = [(Error::OutboxFull, false), (Error::Unframeable { reason: "why" }, true)];
        for (error, is_recorded) in errors {
            let (socket, _peer, _) = memory::pair();
            let stream = Stream::Memory(Box::new(socket));
            let codec = Codec::raw(Framing::Lines, 10);
            let remote = ([127, 0, 0, 1], 1).into();
            let session = Session::new(key, id.clone(), remote, None, codec, now);
            let mut connection = Connection::new(stream, 0, timer, Stage::Session(session));
            queue.refuse_unencoded(&mut connection, error);
            let Codec::Raw(decoder) = &mut connection.expect_session().codec else {
                unreachable!("it is one of lines");
            };
            assert_eq!(decoder.record_refusal(), !is_recorded);
        }
        assert_eq!(queue.totals().refused, 2);
    }
}

//! The effect of a send on an outbox and on the wire, to the byte.

use std::rc::Rc;

use majordomo::{Cause, Session, SessionKey, Sessions, SlowConsumer};

use crate::application::{Application, trace};
use crate::client::{Client, End, Phase};
use crate::ledger::Payload;

/// The content of an outbox before a send.
#[derive(Debug)]
pub(crate) struct Gauge {
    number: usize,
    key: SessionKey,
    queued: usize,
    written: u64,
    dropped: u64,
}

impl Application {
    pub(crate) fn gauge(&mut self, sessions: &Sessions, of: &[(usize, SessionKey)]) -> Vec<Gauge> {
        let gauge = |&(number, key): &(usize, SessionKey)| {
            let client = &mut self.clients[number];
            client.receive();
            let session = sessions.get_session(key).expect("it is open");
            let (queued, dropped) = (session.queued_bytes(), session.dropped());
            Gauge { number, key, queued, written: client.peer.bytes_written(), dropped }
        };
        of.iter().map(gauge).collect()
    }

    /// Determines whether a message for one session was queued, and checks that this is right.
    pub(crate) fn settle_sent(
        &mut self,
        sessions: &Sessions,
        before: &Gauge,
        payload: &Rc<Payload>,
    ) -> bool {
        let limit = self.plan.limit;
        let policy = self.plan.config.slow_consumer;
        let client = &mut self.clients[before.number];
        let wire = client.format.wire_len(&payload.bytes);
        let fits = wire.is_some_and(|wire| wire <= limit);
        let wire = wire.unwrap_or(usize::MAX);
        // The bytes that the socket took during the send.
        let gone =
            usize::try_from(client.peer.bytes_written() - before.written).expect("it is little");
        let Some(session) = sessions.get_session(before.key) else {
            assert!(fits, "client {} ends by a message that does not fit", before.number);
            let left = before.queued - gone;
            self.end_by_send(before.number, left + wire > limit);
            return false;
        };
        let taken = client.settle(session, before, payload, wire, gone, limit);
        if taken {
            assert!(fits, "client {}: accepted a message that does not fit", before.number);
            assert!(session.queued_bytes() <= limit, "client {}: over the limit", before.number);
            client.past_half |= session.queued_bytes() > limit / 2;
        } else {
            self.totals.refused += 1;
            let has_room =
                fits && (session.queued_bytes() == 0 || session.queued_bytes() + wire <= limit);
            assert!(!has_room, "client {}: refused in spite of room", before.number);
            assert!(
                !fits || policy != SlowConsumer::Close,
                "client {}: slow and not closed",
                before.number
            );
        }
        let client = &self.clients[before.number];
        let dropped = session.dropped() - before.dropped;
        assert!(
            dropped == 0 || policy == SlowConsumer::DropOldest,
            "client {}: the policy drops none that were accepted",
            before.number
        );
        assert_eq!(session.dropped(), client.ledger.dropped);
        taken
    }

    /// A session has ended in a send: it is too slow, or its socket is broken.
    fn end_by_send(&mut self, number: usize, is_full: bool) {
        let policy = self.plan.config.slow_consumer;
        let client = &mut self.clients[number];
        client.receive();
        client.phase = Phase::Closing { deadline: self.now };
        if client.failed.is_some() {
            // Whether the failure or the full outbox came first is known when its end is reported.
            trace!(self, "client {number} is broken");
            client.may_be_slow = is_full && policy == SlowConsumer::Close;
            return;
        }
        trace!(self, "client {number} is too slow");
        assert!(is_full && policy == SlowConsumer::Close, "client {number} has room");
        self.totals.refused += 1;
        let end =
            End { cause: Cause::SlowConsumer, code: None, reason: String::new(), frame: None };
        client.end = Some(end);
    }
}

impl Client {
    /// Whether the message was queued, by the bytes that are in the outbox, have left it and were
    /// dropped.
    fn settle(
        &mut self,
        session: &Session,
        before: &Gauge,
        payload: &Rc<Payload>,
        wire: usize,
        gone: usize,
        limit: usize,
    ) -> bool {
        let number = self.number;
        let dropped = session.dropped() - before.dropped;
        let mut freed = 0;
        if dropped > 0 {
            // It dropped messages after the socket had taken all that it could.
            self.receive();
            let last;
            (freed, last) = self.forget_oldest(dropped);
            let excess = (before.queued - gone + wire).saturating_sub(limit);
            assert!(freed - last < excess, "client {number}: more was dropped than had to be");
        }
        let is = session.queued_bytes() + gone + freed;
        let taken = match is.checked_sub(before.queued) {
            Some(0) => false,
            Some(more) if more == wire => true,
            more => panic!("client {number}: {more:?} bytes more by a message of {wire}"),
        };
        if taken {
            self.enqueue(payload, wire);
        }
        self.receive();
        taken
    }
}

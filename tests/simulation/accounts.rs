//! What a send has to come to, in an outbox and on the wire, to the byte.

use std::rc::Rc;

use majordomo::{Cause, Session, SessionKey, Sessions, SlowConsumer};

use crate::client::{Client, End, Phase};
use crate::host::{Host, trace};
use crate::ledger::Payload;

/// What stood in an outbox before a send.
#[derive(Debug)]
pub(crate) struct Gauge {
    number: usize,
    key: SessionKey,
    queued: usize,
    written: u64,
    dropped: u64,
}

impl Host {
    pub(crate) fn gauge(&mut self, sessions: &Sessions, of: &[(usize, SessionKey)]) -> Vec<Gauge> {
        let gauge = |&(number, key): &(usize, SessionKey)| {
            let client = &mut self.clients[number];
            client.listen();
            let session = sessions.get_session(key).expect("it is open");
            let (queued, dropped) = (session.queued_bytes(), session.dropped());
            Gauge { number, key, queued, written: client.peer.written(), dropped }
        };
        of.iter().map(gauge).collect()
    }

    /// Finds out what became of a message for one session, and whether it may be so.
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
        // What stood in the outbox when its socket had taken what it could.
        let gone = usize::try_from(client.peer.written() - before.written).expect("it is little");
        let Some(session) = sessions.get_session(before.key) else {
            assert!(fits, "client {} ends by what cannot be sent", before.number);
            let left = before.queued - gone;
            self.end_by_send(before.number, left + wire > limit);
            return false;
        };
        let taken = client.settle(session, before, payload, wire, gone, limit);
        if taken {
            assert!(fits, "client {}: accepted what does not fit", before.number);
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

    /// A session has ended in a send: it is too slow, or its socket turned out to be broken.
    fn end_by_send(&mut self, number: usize, is_full: bool) {
        let policy = self.plan.config.slow_consumer;
        let client = &mut self.clients[number];
        client.listen();
        client.phase = Phase::Closing { deadline: self.now };
        if client.failed.is_some() {
            // Whether that was found out, or before that the outbox full, its end will tell.
            trace!(self, "client {number} turns out to be gone");
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
    /// Whether the message was taken, by what is in the outbox now, has left it and was dropped.
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
            // It dropped what was left after all had been written that could be.
            self.listen();
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
            self.promise(payload, wire);
        }
        self.listen();
        taken
    }
}
